package settings

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"strings"
)

// Secret is a value that no log, no dump and no error message shows. A setting
// password of this type has no flag and no place in the file: it is the content
// of the file that password_file names (as a setting, a flag or a variable), or
// the value of its environment variable.
type Secret struct{ value string }

// NewSecret returns the secret of that value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the value itself.
func (s Secret) Reveal() string { return s.value }

// IsZero reports whether there is no value.
func (s Secret) IsZero() bool { return s.value == "" }

const redacted = "[redacted]"

// String returns a fixed text, or "" if there is no value.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// Format is String for every verb; %d of a struct would show the value.
func (s Secret) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, s.String()) // fmt ignores the error too
}

// MarshalText is String, for JSON and other encodings.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is String, for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// given is what was said of a secret: the name of its file, or itself.
type given struct {
	file   bool
	value  string
	origin origin
}

// setSecret notes what a source says of a secret, the sources coming in the
// order of their levels. Within one level it may be said once.
func (s *Settings) setSecret(f *field, g given) {
	if before, ok := s.secrets[f.path]; ok && before.origin.level == g.origin.level {
		s.report(g.origin, f.path, "", "either "+f.key+" or "+f.key+fileSuffix+", not both")
	}
	s.secrets[f.path] = g
}

// readSecrets stores the secrets, reading those that are in files.
func (s *Settings) readSecrets(f *field, v reflect.Value) {
	for _, c := range f.children {
		if c.kind == group {
			s.readSecrets(c, v.Field(c.index))
		}
		g, ok := s.secrets[c.path]
		if !ok || g.file && g.value == "" {
			continue
		}
		value := g.value
		switch {
		case g.file:
			var err error
			if value, err = readSecret(g.value); err != nil {
				s.report(g.origin, c.path+fileSuffix, g.value, "a file that holds the secret: "+reason(err))
				s.refused[c.path], s.refused[c.path+fileSuffix] = true, true
			}
		case g.origin.level != fromEnv && hasPassword(value):
			s.report(g.origin, c.path, "", "a URL without a password, or "+c.placeForSecret())
			s.refused[c.path] = true
		}
		v.Field(c.index).Set(reflect.ValueOf(NewSecret(value)))
	}
}

// placeForSecret tells where a secret belongs.
func (f *field) placeForSecret() string {
	return "the secret in a file of its own, named by " + f.key + fileSuffix + ", or in " + envName(f.path)
}

// maxSecret bounds a secret's file, so that a wrong name (a device, a log)
// does no harm.
const maxSecret = 64 << 10

// readSecret returns the content of a file without the newline at its end.
func readSecret(name string) (string, error) {
	data, err := readFile(name, maxSecret)
	if err != nil {
		return "", err
	}
	if len(data) > maxSecret {
		return "", errors.New("it is longer than 64KiB")
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if value == "" {
		return "", errors.New("it is empty")
	}
	return value, nil
}

// readFile returns the content of a file, of a longer one than most bytes at
// least one byte more.
func readFile(name string, most int64) (data []byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, most+1))
}

// hasPassword reports whether a URL's authority holds a password. It is no
// url.Parse because that refuses the several hosts of a MongoDB URI.
func hasPassword(url string) bool {
	_, rest, _ := strings.Cut(url, "://")
	authority, _, _ := strings.Cut(rest, "/")
	at := strings.LastIndexByte(authority, '@')
	return at >= 0 && strings.Contains(authority[:at], ":")
}
