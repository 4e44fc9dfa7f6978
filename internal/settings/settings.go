package settings

import (
	"cmp"
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// NamingRule says to the user how settings are named; it is meant for --help.
const NamingRule = `A setting that the file calls mqtt.keep_alive is the flag --mqtt-keep-alive and the
environment variable TELLTALE_MQTT_KEEP_ALIVE. A flag wins over the environment, the
environment over the file, the file over the default. A flag or a variable takes a list
as YAML, with or without the brackets around it. A secret is never a flag and never in
the file: give the name of a file that holds it (mqtt.password_file,
--mqtt-password-file), or the value itself in the environment (TELLTALE_MQTT_PASSWORD).`

// Defaulter is implemented by the pointer to an element of a list whose
// settings have defaults other than zero.
type Defaulter interface {
	SetDefaults()
}

// Settings is a configuration that can be filled.
type Settings struct {
	root     *field
	cfg      reflect.Value // the caller's struct
	defaults reflect.Value // a copy of it as it was
	all      []Setting
	flags    []*flagValue

	// What follows is of one Load or Parse.

	origins  map[string]origin // by path
	secrets  map[string]given  // by path
	refused  map[string]bool   // paths whose value was refused already
	problems []problem
}

// level is a kind of source; a higher one wins.
type level uint8

const (
	byDefault level = iota
	fromFile
	fromEnv
	fromFlag
)

// origin is where a value was written, and how.
type origin struct {
	level        level
	source       string
	line, column int
	text         string
}

// problem is a Problem that knows its place among others.
type problem struct {
	Problem
	level level
}

func (s *Settings) report(o origin, path, value, want string) {
	s.problems = append(s.problems, problem{
		Problem{Source: o.source, Line: o.line, Column: o.column, Path: path, Value: value, Want: want}, o.level,
	})
}

// New describes the configuration that cfg, a pointer to a struct, points to;
// what the struct holds now are the defaults. It panics if a field cannot be a
// setting or if two settings would have one name as a flag or a variable.
func New(cfg any) *Settings {
	v := reflect.ValueOf(cfg).Elem()
	s := &Settings{root: newField("", v.Type()), cfg: v, defaults: reflect.New(v.Type()).Elem()}
	s.defaults.Set(v)
	s.all = document(nil, s.root, s.defaults, nil)
	names := map[string]string{}
	for _, d := range s.all {
		if d.Env == "" {
			continue
		}
		if other, ok := names[d.Env]; ok {
			panic("settings: " + d.Path + " and " + other + " have one name in the environment")
		}
		names[d.Env] = d.Path
	}
	return s
}

// Load fills the configuration from its defaults, the named file ("": none),
// the environment (os.LookupEnv) and the flags that were parsed, reads the files
// of secrets, and validates. If anything is wrong the error is [Problems], all of them, and the configuration
// is not to be used. It may be called again, to read everything anew.
func (s *Settings) Load(file string, lookupEnv func(string) (string, bool)) error {
	s.reset()
	if file != "" {
		data, err := readFile(file, maxDocument)
		if err != nil {
			return Problems{{Source: file, Want: "a file that can be read: " + reason(err)}}
		}
		s.decode(origin{level: fromFile, source: file}, data, s.root, "", s.cfg)
	}
	for _, d := range s.all {
		if d.Env == "" {
			continue
		}
		if text, ok := lookupEnv(d.Env); ok {
			s.override(d, origin{level: fromEnv, source: d.Env, text: text})
		}
	}
	for _, f := range s.flags {
		if f.given {
			s.override(f.setting, origin{level: fromFlag, source: "--" + f.setting.Flag, text: f.text})
		}
	}
	return s.finish()
}

// Parse fills the configuration from its defaults and data, the content of a
// file of that name, alone, reads the files of secrets, and validates, as Load
// does.
func (s *Settings) Parse(name string, data []byte) error {
	s.reset()
	s.decode(origin{level: fromFile, source: name}, data, s.root, "", s.cfg)
	return s.finish()
}

func (s *Settings) reset() {
	s.cfg.Set(s.defaults)
	s.origins = map[string]origin{}
	s.secrets = map[string]given{}
	s.refused = map[string]bool{}
	s.problems = nil
}

// finish fills the secrets in, validates, and returns what was found.
func (s *Settings) finish() error {
	s.readSecrets(s.root, s.cfg)
	s.validate(s.root, "", s.cfg)
	if len(s.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(s.problems, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.level, b.level), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	all := make(Problems, len(s.problems))
	for i, p := range s.problems {
		all[i] = p.Problem
	}
	return all
}

// reason is an error without the operation and the path that the message names
// already.
func reason(err error) string {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}

// override sets one setting from the environment or from a flag.
func (s *Settings) override(d Setting, o origin) {
	f, v := d.field, s.cfg
	for _, i := range d.indices {
		v = v.Field(i)
	}
	if f.kind == secret {
		s.origins[d.Path] = o
		s.setSecret(f, given{file: d.Path != f.path, value: o.text, origin: o})
		return
	}
	for path := range s.origins {
		if within(path, d.Path) {
			delete(s.origins, path)
		}
	}
	for path := range s.refused {
		if within(path, d.Path) {
			delete(s.refused, path)
		}
	}
	if f.kind == list {
		s.decode(o, flow(o.text), f, d.Path, v)
		return
	}
	if want := f.setText(v, o.text); want != "" {
		value := o.text
		if value == "" {
			value = `""`
		}
		s.report(o, d.Path, value, want)
		s.refused[d.Path] = true
		return
	}
	s.origins[d.Path] = o
}

// flow returns the YAML of a list that may lack its brackets: bridge,sink.
func flow(text string) []byte {
	if strings.HasPrefix(strings.TrimSpace(text), "[") {
		return []byte(text)
	}
	return []byte("[" + text + "]")
}

// within reports whether path is outer or something in it.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || outer == "" || rest[0] == '.' || rest[0] == '[')
}

// flagValue is a setting as a pflag.Value: it keeps the text for Load, so that
// Load can report it along with everything else.
type flagValue struct {
	setting Setting
	given   bool
	text    string
}

func (f *flagValue) Set(text string) error {
	f.given, f.text = true, text
	return nil
}

func (f *flagValue) String() string {
	if f.given {
		return f.text
	}
	return f.setting.Default
}

func (f *flagValue) Type() string { return f.setting.Type }

// Flags adds one flag for each setting that is no group and no secret. It is
// called once.
func (s *Settings) Flags(fs *pflag.FlagSet) {
	for _, d := range s.all {
		if d.Flag == "" {
			continue
		}
		f := &flagValue{setting: d}
		s.flags = append(s.flags, f)
		help := d.Help
		if d.Values != nil {
			help += ": " + strings.Join(d.Values, ", ")
		}
		added := fs.VarPF(f, d.Flag, "", help)
		if d.field.kind == truth {
			added.NoOptDefVal = "true"
		}
	}
}
