package settings_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/telltale-iot/telltale/internal/settings"
)

// farm is a configuration with a setting of every type.
type farm struct {
	Name    string          `yaml:"name" help:"what it is called"`
	Organic bool            `yaml:"organic" help:"no sprays"`
	Area    int             `yaml:"area" help:"in ares"`
	Silo    settings.Size   `yaml:"silo" help:"what it holds"`
	Crops   []string        `yaml:"crops" enum:"rye,oats" help:"what grows"`
	Store   store           `yaml:"store"`
	Ledger  settings.Secret `yaml:"ledger" secret:"url" help:"where the books are"`
	Fields  []plot          `yaml:"fields" help:"the plots"`
}

type store struct {
	OpenFor time.Duration   `yaml:"open_for" help:"a day"`
	Code    settings.Secret `yaml:"code" help:"lock's code"`
}

type plot struct {
	ID   string   `yaml:"id" help:"unique"`
	Soil string   `yaml:"soil" enum:"clay,sand"`
	Row  uint8    `yaml:"row" want:"a row from 1 to 20"`
	Hens *int8    `yaml:"hens"`
	Bees *bool    `yaml:"bees"`
	Sown []string `yaml:"sown"`
}

func (p *plot) SetDefaults() { p.Soil = "clay" }

func (f *farm) Validate(report func(path, value, want string)) {
	if f.Name == "" {
		report("name", "", "a name")
	}
	for i, p := range f.Fields {
		if p.ID == "" {
			report(fmt.Sprintf("fields[%d].id", i), "", "an id")
		}
	}
}

func (s store) Validate(report func(path, value, want string)) {
	settings.Within(report, "open_for", s.OpenFor, time.Hour, 24*time.Hour)
	if s.Code.Reveal() == "1234" {
		report("code", s.Code.Reveal(), "a better code")
	}
}

func defaults() farm {
	return farm{Silo: 2 * settings.MiB, Crops: []string{"rye"}, Store: store{OpenFor: 8 * time.Hour}}
}

var farms = cmp.AllowUnexported(settings.Secret{})

func TestParse(t *testing.T) {
	yes := true
	for _, tt := range []struct {
		name, yaml string
		want       func(*farm)
	}{
		{"one setting", "name: a", func(*farm) {}},
		{"document start and end", "---\nname: a\n...\n", func(*farm) {}},
		{"directive", "%YAML 1.2\n---\nname: a", func(*farm) {}},
		{"carriage returns", "name: a\r\narea: 5\r\n", func(f *farm) { f.Area = 5 }},
		{"every type", "name: a\norganic: true\narea: 0x10\nsilo: 3KiB\ncrops: [oats, rye]\nstore:\n  open_for: 90m\n",
			func(f *farm) {
				f.Organic, f.Area, f.Silo, f.Crops = true, 16, 3*settings.KiB, []string{"oats", "rye"}
				f.Store.OpenFor = 90 * time.Minute
			}},
		{"on", "{name: a, organic: on}", func(f *farm) { f.Organic = true }},
		{"quoted text", "name: 'a'\ncrops: [\"oats\"]", func(f *farm) { f.Crops = []string{"oats"} }},
		{"block text", "name: >-\n  a\n", func(*farm) {}},
		{"empty list", "name: a\ncrops: []", func(f *farm) { f.Crops = []string{} }},
		{"everything below commented out", "name: a\nstore:\n# open_for: 5s\ncrops:\n", func(*farm) {}},
		{"elements have defaults", "name: a\nfields:\n- id: x\n- {id: y, soil: sand, row: 20, bees: true}",
			func(f *farm) {
				f.Fields = []plot{{ID: "x", Soil: "clay"}, {ID: "y", Soil: "sand", Row: 20, Bees: &yes}}
			}},
		{"alias", "name: &n a\nfields:\n- id: *n", func(f *farm) { f.Fields = []plot{{ID: "a", Soil: "clay"}} }},
		{"latest anchor", "name: &n a\nfields:\n- id: &n b\n- id: *n",
			func(f *farm) { f.Fields = []plot{{ID: "b", Soil: "clay"}, {ID: "b", Soil: "clay"}} }},
		{"merged mapping yields to its own keys", "name: a\nfields:\n- &x {id: x, row: 1}\n- {row: 2, <<: *x}",
			func(f *farm) { f.Fields = []plot{{ID: "x", Soil: "clay", Row: 1}, {ID: "x", Soil: "clay", Row: 2}} }},
		{"first of merged mappings wins", "name: a\nfields:\n- &x {id: x}\n- &y {id: y, row: 3}\n- {<<: [*x, *y]}",
			func(f *farm) {
				f.Fields = []plot{{ID: "x", Soil: "clay"}, {ID: "y", Soil: "clay", Row: 3}, {ID: "x", Soil: "clay", Row: 3}}
			}},
		{"mapping merged into itself", "name: a\nstore: &s\n  open_for: 2h\n  <<: *s", func(f *farm) { f.Store.OpenFor = 2 * time.Hour }},
		{"URL without a password", "name: a\nledger: db://user@a:1,b:2/x", func(f *farm) { f.Ledger = settings.NewSecret("db://user@a:1,b:2/x") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, want := defaults(), defaults()
			want.Name = "a"
			tt.want(&want)
			if err := settings.New(&got).Parse("farm.yaml", []byte(tt.yaml)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, farms); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	for _, tt := range []struct{ name, yaml, want string }{
		{"nothing", "", "farm.yaml:1:1: name: want a name"},
		{"comment", "# farm\n", "farm.yaml:1:1: name: want a name"},
		{"null", "null", "farm.yaml:1:1: name: want a name"},
		{"missing, beside others", "\n\narea: 5\n", "farm.yaml:3:1: name: want a name"},
		{"empty", "name: \"\"", `farm.yaml:1:7: name: "": want a name`},
		{"not YAML", "name: [a\n", "farm.yaml:1:7: want YAML: sequence end token ']' not found"},
		{"tab", "name: a\nstore:\n\topen_for: 2h\n", "farm.yaml:3:1: want YAML: found character '\t' that cannot start any token"},
		{"list at the top", "- name: a\n", "farm.yaml:1:1: want a mapping of settings, not a list"},
		{"text at the top", "name\n", "farm.yaml:1:1: name: want a mapping of settings"},
		{"several documents", "name: a\n---\nname: b\n", "farm.yaml:2:1: want one YAML document, not several"},
		{"unknown key, a near one", "name: a\nstore:\n  openfor: 5h\n", "farm.yaml:3:3: store.openfor: want a setting that exists, perhaps open_for"},
		{"unknown key, elsewhere", "name: a\nopen_for: 5h\n", "farm.yaml:2:1: open_for: want a setting that exists, perhaps store.open_for"},
		{"unknown key, none alike", "name: a\nstore: {colour: red}\n", "farm.yaml:2:9: store.colour: want a setting that exists: open_for or code_file"},
		{"key of another type", "name: a\n5: b\n", "farm.yaml:2:1: 5: want a setting that exists: name, organic, area, silo, crops, store, ledger, ledger_file or fields"},
		{"key twice", "name: a\narea: 5\nname: b\n", "farm.yaml:3:1: name: want each setting once; it is also at line 1"},
		{"number for text", "name: 5", "farm.yaml:1:7: name: 5: want text; put it in quotes"},
		{"bool for text", "name: yes\nfields: [{id: true}]", "farm.yaml:2:15: fields[0].id: true: want text; put it in quotes"},
		{"null for text", "name: ~", "farm.yaml:1:7: name: null: want text"},
		{"list for text", "name: [a]", "farm.yaml:1:1: name: want text, not a list"},
		{"mapping for text", "name: {a: b}", "farm.yaml:1:1: name: want text, not a mapping"},
		{"tag", "name: !!str 5", "farm.yaml:1:7: name: !!str: want a value without a tag"},
		{"text for bool", "name: a\norganic: very", "farm.yaml:2:10: organic: very: want true or false"},
		{"quoted bool", "name: a\norganic: \"true\"", "farm.yaml:2:10: organic: true: want true or false"},
		{"text for number", "name: a\narea: big", "farm.yaml:2:7: area: big: want a whole number"},
		{"fraction", "name: a\narea: 1.5", "farm.yaml:2:7: area: 1.5: want a whole number"},
		{"infinity", "name: a\narea: .inf", "farm.yaml:2:7: area: .inf: want a whole number"},
		{"too great for its type", "name: a\nfields: [{id: a, row: 256}]", "farm.yaml:2:23: fields[0].row: 256: want a row from 1 to 20"},
		{"negative for an unsigned type", "name: a\nfields: [{id: a, row: -1}]", "farm.yaml:2:23: fields[0].row: -1: want a row from 1 to 20"},
		{"too great for a type of a few bits", "name: a\nfields: [{id: a, hens: 128}]", "farm.yaml:2:24: fields[0].hens: 128: want a whole number from -128 to 127"},
		{"long value", "name: a\narea: " + strings.Repeat("x", 100), "farm.yaml:2:7: area: " + strings.Repeat("x", 80) + "…: want a whole number"},
		{"merge of a list of text", "name: a\nstore: {<<: [b]}", "farm.yaml:2:14: store.<<: want a mapping to merge"},
		{"too great for 64 bits", "name: a\narea: 99999999999999999999", "farm.yaml:2:7: area: 99999999999999999999: want a whole number"},
		{"duration without unit", "name: a\nstore: {open_for: 5}", "farm.yaml:2:19: store.open_for: 5: want a duration with its unit, such as 500ms, 5s or 1h30m"},
		{"zero without unit", "name: a\nstore: {open_for: \"0\"}", "farm.yaml:2:19: store.open_for: 0: want a duration with its unit, such as 500ms, 5s or 1h30m"},
		{"duration with a wrong unit", "name: a\nstore:\n  open_for: 5 hours", "farm.yaml:3:13: store.open_for: 5 hours: want a duration with its unit, such as 500ms, 5s or 1h30m"},
		{"duration out of range", "name: a\nstore:\n  open_for: 0h5m", "farm.yaml:3:13: store.open_for: 0h5m: want from 1h to 24h"},
		{"size without unit", "name: a\nsilo: 1024", "farm.yaml:2:7: silo: 1024: want a size with its unit, such as 64KiB or 256MiB"},
		{"decimal size", "name: a\nsilo: 5MB", "farm.yaml:2:7: silo: 5MB: want a size with its unit, such as 64KiB or 256MiB"},
		{"value that is none of a few", "name: a\ncrops: [rye, oat]", "farm.yaml:2:14: crops[1]: oat: want rye or oats"},
		{"text for a list", "name: a\ncrops: rye", "farm.yaml:2:8: crops: rye: want a list"},
		{"mapping for a list", "name: a\nfields: {id: a}", "farm.yaml:2:1: fields: want a list, not a mapping"},
		{"text for a mapping", "name: a\nstore: shut", "farm.yaml:2:8: store: shut: want a mapping of settings"},
		{"element that is text", "name: a\nfields:\n- id: x\n- y", "farm.yaml:4:3: fields[1]: y: want a mapping of settings"},
		{"element without what it needs", "name: a\nfields:\n- id: x\n- row: 2", "farm.yaml:4:3: fields[1].id: want an id"},
		{"alias of nothing", "name: a\nfields: [{id: *x}]", "farm.yaml:2:15: fields[0].id: want an alias of an anchor above it"},
		{"merge of text", "name: a\nstore: {<<: b}", "farm.yaml:2:13: store.<<: want a mapping to merge"},
		{"secret", "name: a\nstore:\n  code: hunter2", "farm.yaml:3:3: store.code: want the secret in a file of its own, named by code_file, or in TELLTALE_STORE_CODE"},
		{"file of a secret that is not there", "name: a\nstore:\n  code_file: testdata/none", "farm.yaml:3:14: store.code_file: testdata/none: want a file that holds the secret: no such file or directory"},
		{"URL with a password", "name: a\nledger: db://u:hunter2@a:1,b:2/x", "farm.yaml:2:9: ledger: want a URL without a password, or the secret in a file of its own, named by ledger_file, or in TELLTALE_LEDGER"},
		{"secret twice", "name: a\nledger: db://a\nledger_file: testdata/code", "farm.yaml:3:14: ledger: want either ledger or ledger_file, not both"},
		{"control characters", "name: a\narea: \"\\e[2J\"", `farm.yaml:2:7: area: "\x1b[2J": want a whole number`},
		{"all of them", "nam: a\narea: x\nstore:\n  open_for: 5\n  code: hunter2\nfields:\n- row: 5\n- id: 5\n",
			"farm.yaml:1:1: nam: want a setting that exists, perhaps name\n" +
				"farm.yaml:1:1: name: want a name\n" +
				"farm.yaml:2:7: area: x: want a whole number\n" +
				"farm.yaml:4:13: store.open_for: 5: want a duration with its unit, such as 500ms, 5s or 1h30m\n" +
				"farm.yaml:5:3: store.code: want the secret in a file of its own, named by code_file, or in TELLTALE_STORE_CODE\n" +
				"farm.yaml:7:3: fields[0].id: want an id\n" +
				"farm.yaml:8:7: fields[1].id: 5: want text; put it in quotes"},
		{"too long", "name: " + strings.Repeat("a", 256<<10), "farm.yaml:1:1: want at most 256KiB of YAML"},
		{"aliases without end", "name: a\nfields:\n- &x {id: a, sown: [" + strings.Repeat("x, ", 600) + "]}" + strings.Repeat("\n- *x", 600),
			"farm.yaml:3:1329: fields[434].sown[436]: want at most 262144 values"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := defaults()
			err := settings.New(&got).Parse("farm.yaml", []byte(tt.yaml))
			var problems settings.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("got %v, want Problems", err)
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the message shows a secret")
			}
		})
	}
}

func TestProblemFields(t *testing.T) {
	got := defaults()
	err := settings.New(&got).Parse("farm.yaml", []byte("name: a\narea: x"))
	want := settings.Problems{{Source: "farm.yaml", Line: 2, Column: 7, Path: "area", Value: "x", Want: "a whole number"}}
	if diff := cmp.Diff(error(want), err); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// load fills a farm from a file, variables and arguments.
func load(t *testing.T, yaml string, env map[string]string, args ...string) (farm, error) {
	t.Helper()
	f := defaults()
	s := settings.New(&f)
	flags := pflag.NewFlagSet("farm", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	s.Flags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	name := ""
	if yaml != "" {
		name = filepath.Join(t.TempDir(), "farm.yaml")
		if err := os.WriteFile(name, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := s.Load(name, func(key string) (string, bool) {
		if key == "" {
			t.Error("a setting without a variable was looked up")
		}
		value, ok := env[key]
		return value, ok
	})
	return f, err
}

// Each setting has the same effect from the file, the environment and the
// command line, under the names that the rule gives it.
func TestNamingRule(t *testing.T) {
	values := map[string]string{
		"name": "b", "organic": "true", "area": "7", "silo": "9KiB", "crops": "[oats]",
		"store.open_for": "3h", "ledger": "db://c", "ledger_file": "testdata/code", "store.code_file": "testdata/code",
		"fields": "[{id: x, bees: off}]",
	}
	f := defaults()
	for _, d := range settings.New(&f).Document() {
		if d.Flag == "" {
			continue
		}
		value, ok := values[d.Path]
		if !ok {
			t.Errorf("%s: the test has no value", d.Path)
			continue
		}
		section, key, nested := strings.Cut(d.Path, ".")
		yaml := section + ": " + value
		if nested {
			yaml = section + ":\n  " + key + ": " + value
		}
		fromFile, err := load(t, yaml, map[string]string{"TELLTALE_NAME": "a"})
		if err != nil {
			t.Fatal(err)
		}
		fromEnv, err := load(t, "", map[string]string{"TELLTALE_NAME": "a", d.Env: value})
		if err != nil {
			t.Fatal(err)
		}
		fromFlag, err := load(t, "", map[string]string{"TELLTALE_NAME": "a"}, "--"+d.Flag+"="+value)
		if err != nil {
			t.Fatal(err)
		}
		unset := defaults()
		unset.Name = "a"
		if cmp.Equal(fromFlag, unset, farms) {
			t.Errorf("%s has no effect", d.Path)
		}
		if d.Path == "name" {
			fromFile = fromEnv // the variable that every run has is this one
		}
		if diff := cmp.Diff(fromFile, fromEnv, farms); diff != "" {
			t.Errorf("%s -file +environment:\n%s", d.Path, diff)
		}
		if diff := cmp.Diff(fromEnv, fromFlag, farms); diff != "" {
			t.Errorf("%s -environment +flag:\n%s", d.Path, diff)
		}
	}
}

func TestOrder(t *testing.T) {
	env := map[string]string{"TELLTALE_NAME": "env", "TELLTALE_AREA": "2"}
	got, err := load(t, "name: file\narea: 1\norganic: on\ncrops: [oats]", env, "--name=flag", "--crops=rye,oats")
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Name, want.Area, want.Organic, want.Crops = "flag", 2, true, []string{"rye", "oats"}
	if diff := cmp.Diff(want, got, farms); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestFlags(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		env        map[string]string
		args       []string
	}{
		{name: "nothing", want: "name: want a name"},
		{name: "wrong flag", args: []string{"--name=a", "--area=x"}, want: "--area: area: x: want a whole number"},
		{name: "empty flag", args: []string{"--name="}, want: `--name: name: "": want a name`},
		{name: "wrong variable", args: []string{"--name=a"}, env: map[string]string{"TELLTALE_STORE_OPEN_FOR": "5"},
			want: "TELLTALE_STORE_OPEN_FOR: store.open_for: 5: want a duration with its unit, such as 500ms, 5s or 1h30m"},
		{name: "invalid flag", args: []string{"--name=a", "--store-open-for=48h"}, want: "--store-open-for: store.open_for: 48h: want from 1h to 24h"},
		{name: "flag that does not mend a variable", args: []string{"--name=a", "--area=5"}, env: map[string]string{"TELLTALE_AREA": "x"},
			want: "TELLTALE_AREA: area: x: want a whole number"},
		{name: "in a list", args: []string{"--name=a", "--fields=[{id: x}, {row: 5}]"}, want: "--fields: fields[1].id: want an id"},
		{name: "list that is not YAML", args: []string{"--name=a", "--crops=[rye"}, want: "--crops: crops: want YAML: sequence end token ']' not found"},
		{name: "variable before flag", args: []string{"--silo=5"}, env: map[string]string{"TELLTALE_AREA": "x"},
			want: "name: want a name\nTELLTALE_AREA: area: x: want a whole number\n--silo: silo: 5: want a size with its unit, such as 64KiB or 256MiB"},
		{name: "invalid secret", args: []string{"--name=a"}, env: map[string]string{"TELLTALE_STORE_CODE": "1234"},
			want: "TELLTALE_STORE_CODE: store.code: want a better code"},
		{name: "secret twice", args: []string{"--name=a"}, env: map[string]string{"TELLTALE_STORE_CODE": "1", "TELLTALE_STORE_CODE_FILE": "testdata/code"},
			want: "TELLTALE_STORE_CODE_FILE: store.code: want either code or code_file, not both"},
		{name: "URL with a password", args: []string{"--name=a", "--ledger=db://u:hunter2@a"},
			want: "--ledger: ledger: want a URL without a password, or the secret in a file of its own, named by ledger_file, or in TELLTALE_LEDGER"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, "", tt.env, tt.args...)
			if err == nil {
				t.Fatal("got no error")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestFlagWithoutValue(t *testing.T) {
	got, err := load(t, "", nil, "--name=a", "--organic")
	if err != nil || !got.Organic {
		t.Errorf("got %v, %v", got.Organic, err)
	}
}

// What a flag replaces is neither validated nor blamed.
func TestFlagReplacesList(t *testing.T) {
	got, err := load(t, "name: a\nfields: [{row: 1}, {row: 2}]", nil, "--fields={id: x}")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]plot{{ID: "x", Soil: "clay"}}, got.Fields); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLoadFileThatIsAbsent(t *testing.T) {
	f := defaults()
	err := settings.New(&f).Load("testdata/none.yaml", func(string) (string, bool) { return "", false })
	if want := "testdata/none.yaml: want a file that can be read: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %v", err, want)
	}
}

// A second Load begins with the defaults again.
func TestLoadAgain(t *testing.T) {
	got := defaults()
	s := settings.New(&got)
	if err := s.Parse("farm.yaml", []byte("name: a\narea: 5\ncrops: []")); err != nil {
		t.Fatal(err)
	}
	if err := s.Parse("farm.yaml", []byte("name: b")); err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Name = "b"
	if diff := cmp.Diff(want, got, farms); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDocument(t *testing.T) {
	f := defaults()
	var got []string
	for _, d := range settings.New(&f).Document() {
		got = append(got, strings.Join([]string{d.Path, d.Flag, d.Env, d.Type, d.Default, strings.Join(d.Values, "|"), d.Help}, "; "))
	}
	want := []string{
		"name; name; TELLTALE_NAME; text; ; ; what it is called",
		"organic; organic; TELLTALE_ORGANIC; bool; false; ; no sprays",
		"area; area; TELLTALE_AREA; number; 0; ; in ares",
		"silo; silo; TELLTALE_SILO; size; 2MiB; ; what it holds",
		"crops; crops; TELLTALE_CROPS; list; [rye]; rye|oats; what grows",
		"store.open_for; store-open-for; TELLTALE_STORE_OPEN_FOR; duration; 8h; ; a day",
		"store.code; ; TELLTALE_STORE_CODE; secret; ; ; lock's code",
		"store.code_file; store-code-file; TELLTALE_STORE_CODE_FILE; file; ; ; file that holds the lock's code",
		"ledger; ledger; TELLTALE_LEDGER; url; ; ; where the books are",
		"ledger_file; ledger-file; TELLTALE_LEDGER_FILE; file; ; ; file that holds the where the books are",
		"fields; fields; TELLTALE_FIELDS; list; []; ; the plots",
		"fields[].id; ; ; text; ; ; unique",
		"fields[].soil; ; ; text; clay; clay|sand; ",
		"fields[].row; ; ; number; 0; ; ",
		"fields[].hens; ; ; number; ; ; ",
		"fields[].bees; ; ; bool; ; ; ",
		"fields[].sown; ; ; list; ; ; ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestNewPanics(t *testing.T) {
	for name, cfg := range map[string]any{
		"float": &struct {
			F float64 `yaml:"f"`
		}{},
		"no tag": &struct{ F int }{},
		"secret in a list": &struct {
			L []store `yaml:"l"`
		}{},
		"one name for two": &struct {
			A struct {
				BC int `yaml:"b_c"`
			} `yaml:"a"`
			B struct {
				C int `yaml:"c"`
			} `yaml:"a_b"`
		}{},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("got no panic")
				}
			}()
			settings.New(cfg)
		})
	}
}

// Parse neither panics nor returns an error that says nothing, whatever the
// file holds.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"name: a\nstore: {open_for: 5h}\nfields:\n- id: x\n  row: 1", "name: &n a\nfields: [{id: *n, <<: {row: 1}}]",
		"a: 1\n---\nb: 2", "? a\n: b", "name: |\n a\n b\n", "name: !!str 5", "- \"\\u0000\"", "%TAG ! x\n--- a",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4<<10 {
			return // The parser's time grows with the square of some inputs.
		}
		got := defaults()
		err := settings.New(&got).Parse("farm.yaml", data)
		if err == nil {
			return
		}
		var problems settings.Problems
		if !errors.As(err, &problems) || len(problems) == 0 {
			t.Fatalf("got %v, want Problems", err)
		}
		for _, p := range problems {
			if p.Source != "farm.yaml" || p.Line < 1 || p.Column < 1 || p.Want == "" {
				t.Errorf("%+v does not say enough", p)
			}
		}
	})
}
