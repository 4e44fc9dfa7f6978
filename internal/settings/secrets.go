package settings

import "reflect"

// setSecret notes what one source says of a secret. Of two sources the higher
// one wins; within one source it may be said once.
func (s *Settings) setSecret(path string, l level, g given) {
	g.level = l
	if before, ok := s.secrets[path]; ok && before.level == l && before.file != g.file {
		s.problems = append(s.problems, g.origin.problem(path, "", "either the value or its file, not both; the other is "+before.origin.source))
	}
	s.secrets[path] = g
}

// readSecrets stores the secrets, reading those that are in files.
func (s *Settings) readSecrets(f *field, v reflect.Value) {
	for _, c := range f.children {
		if c.kind == group {
			s.readSecrets(c, v.Field(c.index))
		}
		g, ok := s.secrets[c.path]
		if !ok {
			continue
		}
		value := g.value
		switch {
		case g.file && value != "":
			var err error
			if value, err = readSecret(g.value); err != nil {
				s.problems = append(s.problems, g.origin.problem(c.path+fileSuffix, g.value, "a file that holds the secret: "+reason(err)))
				s.refused[c.path] = true
			}
		case !g.file && g.level != fromEnv && hasPassword(value):
			s.problems = append(s.problems, g.origin.problem(c.path, "", "a URL without a password, or "+c.placeForSecret()))
			s.refused[c.path] = true
		}
		v.Field(c.index).Set(reflect.ValueOf(NewSecret(value)))
	}
}

// placeForSecret tells where a secret belongs.
func (f *field) placeForSecret() string {
	return "the secret in a file of its own, named by " + f.key + fileSuffix + ", or in " + envName(f.path)
}
