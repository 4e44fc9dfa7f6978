package settings_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/telltale-iot/telltale/internal/settings"
)

func TestSecretIsNotShown(t *testing.T) {
	const value = "hunter2"
	held := struct {
		Password settings.Secret
		Pointer  *settings.Secret
	}{Password: settings.NewSecret(value)}
	held.Pointer = &held.Password

	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	logger.Info("secret", "secret", held.Password, "holder", held)
	slog.New(slog.NewTextHandler(&log, nil)).Info("secret", "secret", held.Password, "holder", held)
	encoded, err := json.Marshal(held)
	if err != nil {
		t.Fatal(err)
	}
	shown := log.String() + string(encoded)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown += fmt.Sprintf(verb+" "+verb+" ", held.Password, held)
	}
	if strings.Contains(shown, value) || strings.Contains(shown, fmt.Sprintf("%x", value)) {
		t.Errorf("it is shown: %s", shown)
	}
	if got := fmt.Sprintf("%v", held.Password); got != "[redacted]" {
		t.Errorf("got %s", got)
	}
	if got := held.Password.Reveal(); got != value {
		t.Errorf("got %s, want %s", got, value)
	}
	if got := (settings.Secret{}).String(); got != "" {
		t.Errorf("none: got %s, want nothing", got)
	}
}

func TestSecretSources(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	inFile := write("file", "from file\n")
	inEnv := write("env", "from environment's file\r\n")
	inFlag := write("flag", "from flag's file")
	lines := write("lines", " two\n\n")
	yaml := "name: a\nstore:\n  code_file: " + inFile

	for _, tt := range []struct {
		name, yaml string
		env        map[string]string
		args       []string
		want       string
	}{
		{name: "none", yaml: "name: a"},
		{name: "file", yaml: yaml, want: "from file"},
		{name: "variable over file", yaml: yaml, env: map[string]string{"TELLTALE_STORE_CODE": "variable"}, want: "variable"},
		{name: "variable's file over file", yaml: yaml, env: map[string]string{"TELLTALE_STORE_CODE_FILE": inEnv}, want: "from environment's file"},
		{name: "flag over variable", yaml: yaml, env: map[string]string{"TELLTALE_STORE_CODE": "variable"}, args: []string{"--store-code-file=" + inFlag}, want: "from flag's file"},
		{name: "one newline is cut off", yaml: "name: a\nstore: {code_file: " + lines + "}", want: " two\n"},
		{name: "flag that names no file", yaml: yaml, args: []string{"--store-code-file="}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := load(t, tt.yaml, tt.env, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			if got.Store.Code.Reveal() != tt.want {
				t.Errorf("got %q, want %q", got.Store.Code.Reveal(), tt.want)
			}
		})
	}
}

func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ name, content, want string }{
		{"empty", "", "it is empty"},
		{"newline", "\n", "it is empty"},
		{"long", strings.Repeat("a", 64<<10+1), "it is longer than 64KiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := filepath.Join(dir, tt.name)
			if err := os.WriteFile(name, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := load(t, "", nil, "--name=a", "--store-code-file="+name)
			want := "--store-code-file: store.code_file: " + name + ": want a file that holds the secret: " + tt.want
			if err == nil || !strings.HasSuffix(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "--store-code-file: store.code_file: ") {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
	_, err := load(t, "", nil, "--name=a", "--store-code-file="+dir)
	if err == nil || !strings.HasSuffix(err.Error(), "is a directory") {
		t.Errorf("got %v", err)
	}
}

func TestSecretURL(t *testing.T) {
	withPassword := "db://u:hunter2@a"
	got, err := load(t, "", map[string]string{"TELLTALE_NAME": "a", "TELLTALE_LEDGER": withPassword})
	if err != nil || got.Ledger.Reveal() != withPassword {
		t.Errorf("from the environment: got %q, %v", got.Ledger.Reveal(), err)
	}
	name := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(name, []byte(withPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err = load(t, "name: a\nledger_file: "+name, nil)
	if err != nil || got.Ledger.Reveal() != withPassword {
		t.Errorf("from a file: got %q, %v", got.Ledger.Reveal(), err)
	}
}
