package settings

import "reflect"

// validate calls the Validators in v and below it, and traces what they report
// to where it was written.
func (s *Settings) validate(f *field, path string, v reflect.Value) {
	if validator, ok := v.Addr().Interface().(Validator); ok {
		validator.Validate(func(relative, value, want string) {
			s.invalid(join(path, relative), value, want)
		})
	}
	switch f.kind {
	case group:
		for _, c := range f.children {
			s.validate(c, join(path, c.key), v.Field(c.index))
		}
	case list:
		for i := range v.Len() {
			s.validate(f.elem, index(path, i), v.Index(i))
		}
	}
}

// invalid reports a value that parsed, unless it or what it is part of was
// refused before.
func (s *Settings) invalid(path, value, want string) {
	for refused := range s.refused {
		if within(path, refused) {
			return
		}
	}
	o, exact := s.origins[path]
	isSecret := s.isSecret(path)
	if g, ok := s.secrets[path]; ok {
		o, exact = g.origin, true
	}
	for at := path; !exact && at != ""; {
		at = parent(at)
		if found, ok := s.origins[at]; ok {
			o = found
			break
		}
	}
	switch {
	case isSecret:
		value = ""
	case value == "" && exact && s.scalar(path):
		if value = o.text; value == "" {
			value = `""`
		}
	}
	s.problems = append(s.problems, o.problem(path, value, want))
}
