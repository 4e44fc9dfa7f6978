package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/telltale-iot/telltale/internal/settings"
	"github.com/telltale-iot/telltale/internal/settings/settingstest"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// firmware is the folder of what this package is held against.
const firmware = "../../../firmware-config/"

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(firmware, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// documented returns the settings that a file can hold, by path.
func documented() map[string]settings.Setting {
	c := Default()
	all := map[string]settings.Setting{}
	for _, d := range settings.New(&c).Document() {
		if d.Type != "secret" {
			all[d.Path] = d
		}
	}
	return all
}

// The example has every setting, and what is commented out is the default.
func TestExample(t *testing.T) {
	file := read(t, "agent.yaml")
	got, err := Parse("agent.yaml", file)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Device, want.MQTT.URL = "greenhouse-7", "tls://broker.example:8883"
	want.Sensors = []Sensor{
		{ID: "greenhouse-7", Name: "Greenhouse 7", PlaceID: "house-2", Chips: []Chip{
			{Driver: BME280, Address: 0x76}, {Driver: BH1750, Address: 0x23},
		}},
		{ID: "greenhouse-7.shelf", Chips: []Chip{
			{Driver: SHT4X, Address: 0x44}, {Driver: VEML7700, Address: 0x10, Gain: new("1/8")},
		}},
		{ID: "greenhouse-7.door", Chips: []Chip{
			{Driver: HTU21D, Address: 0x40}, {Driver: OPT3001, Address: 0x47},
		}},
		{ID: "greenhouse-7.soil", Chips: []Chip{
			{Driver: IIO, Device: "dht11", Measures: []string{"temperature", "humidity"}},
		}},
	}
	for i := range want.Sensors {
		want.Sensors[i].SetDefaults()
		for j := range want.Sensors[i].Chips {
			want.Sensors[i].Chips[j].SetDefaults()
		}
	}
	if diff := cmp.Diff(want, got, configs); diff != "" {
		t.Errorf("as it is: -want +got:\n%s", diff)
	}

	all := settingstest.Uncomment(file)
	got, err = Parse("agent.yaml", all)
	if err != nil {
		t.Fatal(err)
	}
	// What the comments say holds where nothing is said.
	climate, light := &want.Sensors[0].Chips[0], &want.Sensors[0].Chips[1]
	climate.Oversampling, climate.Filter = new(1), new(0)
	light.Mode, light.MeasurementTime = new(ModeHigh), new(69)
	want.Sensors[1].Chips[0].Repeatability = new(RepeatabilityHigh)
	want.Sensors[1].Chips[1].IntegrationTime = new(100 * time.Millisecond)
	want.Sensors[2].Chips[0].Resolution = new(14)
	want.Sensors[2].Chips[1].ConversionTime = new(800 * time.Millisecond)
	climate.StuckAfter, light.StuckAfter = new(climate.Stuck(telemetry.Temperature)), new(light.Stuck(telemetry.Luminosity))
	climate.Calibration = []Calibration{ // an example, as the file says
		{Measure: "temperature", Date: "2026-11-26", Reference: "Testo 110", Offset: decimal(t, "-0.35")},
		{Measure: "humidity", Date: "2026-11-20", Reference: "salt solutions", Points: []CalibrationPoint{
			{decimal(t, "35.1"), decimal(t, "32.8")}, {decimal(t, "74.2"), decimal(t, "75.3")},
		}},
	}
	if diff := cmp.Diff(want, got, configs); diff != "" {
		t.Errorf("with all settings: -want +got:\n%s", diff)
	}

	paths, err := settingstest.Paths(all)
	if err != nil {
		t.Fatal(err)
	}
	for path := range documented() {
		if !paths[path] {
			t.Errorf("agent.yaml lacks %s", path)
		}
	}
}

func TestProfiles(t *testing.T) {
	names, err := filepath.Glob(firmware + "profiles/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("got %v, %v", names, err)
	}
	schema := compile(t)
	for _, name := range names {
		file := read(t, filepath.Join("profiles", filepath.Base(name)))
		if _, err := Parse(name, file); err != nil {
			t.Error(err)
		}
		if err := schema.Validate(instance(t, file)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a package installs lacks the two things that cannot be guessed, says so,
// and is good with them.
func TestTemplate(t *testing.T) {
	file := read(t, "template.yaml")
	_, err := Parse("agent.yaml", file)
	var problems settings.Problems
	if !errors.As(err, &problems) || len(problems) != 2 || problems[0].Path != "device" || problems[1].Path != "mqtt.url" {
		t.Errorf("got %v, want device and mqtt.url to be missing", err)
	}
	password := filepath.Join(t.TempDir(), "mqtt-password")
	if err := os.WriteFile(password, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := bytes.Replace(settingstest.Uncomment(file), []byte("/etc/telltale/mqtt-password"), []byte(password), 1)
	if c, err := Parse("agent.yaml", all); err != nil || c.MQTT.Password.Reveal() != "secret" {
		t.Errorf("with all settings: %v", err)
	}
	if err := compile(t).Validate(instance(t, all)); err != nil {
		t.Error(err)
	}
}

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(read(t, "agent.schema.json")))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("agent.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("agent.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// instance returns what a schema validates of a YAML file.
func instance(t *testing.T, file []byte) any {
	t.Helper()
	encoded, err := yaml.YAMLToJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// schemaNode is the part of JSON Schema that agent.schema.json describes a
// setting with.
type schemaNode struct {
	Ref         string                 `json:"$ref"`
	Defs        map[string]*schemaNode `json:"$defs"`
	Description string                 `json:"description"`
	Properties  map[string]*schemaNode `json:"properties"`
	Items       *schemaNode            `json:"items"`
	Enum        []any                  `json:"enum"`
	Default     any                    `json:"default"`
}

// The schema has every setting and no other, with its default and its values.
func TestSchemaIsComplete(t *testing.T) {
	var root schemaNode
	if err := json.Unmarshal(read(t, "agent.schema.json"), &root); err != nil {
		t.Fatal(err)
	}
	found := map[string]*schemaNode{}
	var walk func(path string, n *schemaNode)
	walk = func(path string, n *schemaNode) {
		if def, ok := root.Defs[strings.TrimPrefix(n.Ref, "#/$defs/")]; ok && (def.Properties != nil || def.Items != nil) {
			n = def
		}
		switch {
		case n.Properties != nil:
			for key, child := range n.Properties {
				walk(strings.TrimPrefix(path+"."+key, "."), child)
			}
		case n.Items != nil:
			found[path] = n
			if len(n.Items.Enum) == 0 { // else its elements are values, which the list tells
				walk(path+"[]", n.Items)
			}
		default:
			found[path] = n
		}
	}
	walk("", &root)

	all := documented()
	for path := range found {
		if _, ok := all[path]; !ok {
			t.Errorf("the schema has %s, which the agent has not", path)
		}
	}
	for path, d := range all {
		n := found[path]
		if n == nil {
			t.Errorf("the schema lacks %s", path)
			continue
		}
		if n.Description == "" {
			t.Errorf("the schema does not describe %s", path)
		}
		if n.Default != nil {
			if got := text(n.Default); got != d.Default {
				t.Errorf("%s: the schema's default is %s, the agent's %s", path, got, d.Default)
			}
		} else if d.Default != "" && d.Default != "[]" && path != "sensors[].chips[].address" {
			t.Errorf("%s: the schema lacks the default %s", path, d.Default)
		}
		if d.Values != nil {
			var values []string
			enum := n.Enum
			if n.Items != nil {
				enum = n.Items.Enum
			}
			for _, v := range enum {
				values = append(values, text(v))
			}
			if diff := cmp.Diff(d.Values, values); diff != "" {
				t.Errorf("%s: -agent +schema:\n%s", path, diff)
			}
		}
	}
}

func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	encoded, _ := json.Marshal(v) // it came from JSON
	return string(encoded)
}
