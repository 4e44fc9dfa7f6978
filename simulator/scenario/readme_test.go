package scenario_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/telltale-iot/telltale/internal/settings"
	"github.com/telltale-iot/telltale/simulator/scenario"
)

// README.md has every setting, every fault and every scenario, and its example
// is as it expects.
func TestReadme(t *testing.T) {
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, d := range settings.New(new(scenario.File)).Document() {
		name := d.Path[strings.LastIndex(d.Path, ".")+1:]
		if strings.HasPrefix(d.Path, "sensors[]") { // the agent's
			continue
		}
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("%s is missing", d.Path)
		}
		for _, value := range d.Values {
			if !strings.Contains(text, "`"+value+"`") {
				t.Errorf("%s: %s is missing", d.Path, value)
			}
		}
	}
	for _, name := range scenario.Shipped() {
		if !strings.Contains(text, "["+name+"](shipped/"+name+".yaml)") {
			t.Errorf("the scenario %s is missing", name)
		}
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(text, -1)
	if len(examples) != 1 {
		t.Fatalf("%d examples, want one", len(examples))
	}
	meets(t, parse(t, "README.md", examples[0][1]))
}
