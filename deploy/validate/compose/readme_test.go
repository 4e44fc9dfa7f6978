package compose

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// TestOverrideOfTheREADME: the file that the README has for clients without TLS
// gives the broker their listener's rights and port, and takes nothing away.
func TestOverrideOfTheREADME(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(read(t, filepath.Join(folder, "README.md")), -1)
	if len(blocks) != 1 {
		t.Fatalf("%d blocks of YAML, want the override alone", len(blocks))
	}
	override := filepath.Join(t.TempDir(), "compose.override.yaml")
	if err := os.WriteFile(override, []byte(blocks[0][1]), 0o600); err != nil {
		t.Fatal(err)
	}
	project := load(t, "compose.yaml", override)
	before, after := load(t, "compose.yaml").Services["mosquitto"], project.Services["mosquitto"]
	target := func(c types.ServiceConfigObjConfig) string { return c.Target }
	published := func(p types.ServicePortConfig) string { return p.Published }
	for _, tt := range []struct {
		what       string
		have, want []string
	}{
		{"configs", texts(after.Configs, target), append(texts(before.Configs, target), "/etc/mosquitto/seed.acl")},
		{"ports", texts(after.Ports, published), append(texts(before.Ports, published), "1883")},
	} {
		if !slices.Equal(tt.have, tt.want) {
			t.Errorf("%s %q: want %q", tt.what, tt.have, tt.want)
		}
	}
	if want := "secrets/mosquitto.conf"; filepath.Base(filepath.Dir(project.Configs["mosquitto"].File))+"/"+filepath.Base(project.Configs["mosquitto"].File) != want {
		t.Errorf("the broker's configuration is %s: want %s", project.Configs["mosquitto"].File, want)
	}
}

func texts[T any](all []T, text func(T) string) (of []string) {
	for _, v := range all {
		of = append(of, text(v))
	}
	return of
}
