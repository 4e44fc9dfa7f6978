package settings

import (
	"cmp"
	"fmt"
	"reflect"
	"time"
)

// Validator says what is wrong with values that parsed. It is implemented by
// the configuration, by groups and by the elements of lists, and called for
// each after everything has been read. path is relative to the receiver: ""
// is the receiver itself, address and chips[1].address are its settings. value
// is for a setting that nothing set; of one that was set, the message has it as
// it was written. want completes a sentence that begins with "want".
type Validator interface {
	Validate(report func(path, value, want string))
}

// Within reports a value that is not from least to most.
func Within[T cmp.Ordered](report func(path, value, want string), path string, value, least, most T) {
	if value < least || value > most {
		report(path, show(value), "from "+show(least)+" to "+show(most))
	}
}

func show(v any) string {
	if d, ok := v.(time.Duration); ok {
		return formatDuration(d)
	}
	return fmt.Sprint(v)
}

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
	if exact && s.scalar(path) {
		if value = o.text; value == "" {
			value = `""`
		}
	}
	if s.isSecret(path) || hasPassword(value) {
		value = ""
	}
	s.report(o, path, value, want)
}
