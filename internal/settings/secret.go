package settings

import (
	"errors"
	"io"
	"log/slog"
	"os"
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

// GoString is String, for %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText is String, for JSON and other encodings.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is String, for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// maxSecret bounds a secret's file, so that a wrong name (a device, a log)
// does no harm.
const maxSecret = 64 << 10

// readSecret returns the content of a file without the newline at its end.
func readSecret(name string) (value string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxSecret {
		return "", errors.New("it is longer than 64KiB")
	}
	value = strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if value == "" {
		return "", errors.New("it is empty")
	}
	return value, nil
}

// hasPassword reports whether a URL's authority holds a password. It is no
// url.Parse because that refuses the several hosts of a MongoDB URI.
func hasPassword(url string) bool {
	_, rest, _ := strings.Cut(url, "://")
	authority, _, _ := strings.Cut(rest, "/")
	at := strings.LastIndexByte(authority, '@')
	return at >= 0 && strings.Contains(authority[:at], ":")
}
