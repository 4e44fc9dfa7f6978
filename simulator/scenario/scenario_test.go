package scenario_test

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/simulator/scenario"
)

func shipped(t *testing.T, name string) *scenario.Scenario {
	t.Helper()
	data, err := scenario.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, name+".yaml", string(data))
}

func parse(t *testing.T, name, text string) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Parse(name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs a scenario in virtual time.
func run(t *testing.T, s *scenario.Scenario) *scenario.Report {
	t.Helper()
	var report *scenario.Report
	synctest.Test(t, func(t *testing.T) {
		r, err := s.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		report = r
	})
	return report
}

// meets runs a scenario, shows what came of it, and fails if that is not as the
// scenario expects.
func meets(t *testing.T, s *scenario.Scenario) {
	t.Helper()
	report := run(t, s)
	var text strings.Builder
	if err := report.WriteText(&text); err != nil {
		t.Error(err)
	}
	t.Log("\n" + text.String())
	if differences := s.Differences(report); differences != nil {
		t.Errorf("%s", strings.Join(differences, "\n"))
	}
}

// Every scenario that comes with the program is as it expects.
func TestShipped(t *testing.T) {
	names := scenario.Shipped()
	if len(names) < 12 {
		t.Errorf("%d scenarios: want a dozen", len(names))
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			s := shipped(t, name)
			if s.Name != name || s.Description == "" {
				t.Errorf("name %q, description %q: want the file's name, and a description", s.Name, s.Description)
			}
			meets(t, s)
		})
	}
	if _, err := scenario.Read("nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

// The scenarios in the files that the environment names, for make scenario; by
// itself it does nothing.
func TestFile(t *testing.T) {
	for _, file := range filepath.SplitList(os.Getenv("TELLTALE_TEST_SCENARIO")) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		meets(t, parse(t, file, string(data)))
	}
}

// The same file gives the same report, and another seed another one.
func TestDeterministic(t *testing.T) {
	first := run(t, shipped(t, "crc-noise"))
	if diff := cmp.Diff(first, run(t, shipped(t, "crc-noise"))); diff != "" {
		t.Errorf("once more (-first +second):\n%s", diff)
	}
	other := shipped(t, "crc-noise")
	other.Seed = 2
	if cmp.Equal(first, run(t, other)) {
		t.Error("another seed makes no difference")
	}
}

const head = `
name: test
duration: 1m
environments:
  - {name: here, temperature: {value: 20 °C}}
  - {name: there, temperature: {value: 25 °C}}
chips:
  - {kind: bme280, address: 0x76}
  - {kind: bmp280, address: 0x77, environment: there}
sensors:
  - {id: pi-1, interval: 1s, chips: [{driver: bme280, address: 0x76}]}
`

// What is not as it is expected is said, each thing in a line of its own.
func TestDifferences(t *testing.T) {
	for _, tt := range []struct{ name, more, want string }{
		{"as expected", "", ""},
		{"expected in words", "expect: [{sensor: pi-1, ok: 60}]", ""},
		{
			"a fault too many", "faults: [{fault: nack, chip: bme280, from: 9500ms, to: 20500ms}]", `
pi-1 temperature: 49 readings are ok: want 60
pi-1 temperature: 11 readings have the reason nack: want 0
pi-1 humidity: 49 readings are ok: want 60
pi-1 humidity: 11 readings have the reason nack: want 0
pi-1 pressure: 49 readings are ok: want 60
pi-1 pressure: 11 readings have the reason nack: want 0`,
		},
		{
			"a fault that does not come", "expect: [{sensor: pi-1, measures: [humidity], ok: 59, faults: [{reason: crc, readings: 1}]}]", `
pi-1 humidity: 60 readings are ok: want 59
pi-1 humidity: 0 readings have the reason crc: want 1`,
		},
		{"nothing of the moment after the last reading", "faults: [{fault: nack, chip: bme280, from: 59500ms}]", ""},
		{
			"one brown-out, by transaction", `
faults: [{fault: brown_out, chip: bme280, from: 10s, to: 20s, transactions: [2]}]
expect: [{sensor: pi-1, ok: 59, faults: [{reason: nack, readings: 1}]}]`,
			"",
		},
		{
			"frozen in one transaction", `
faults: [{fault: frozen, chip: bme280, from: 10s, transactions: [2]}]
expect: [{sensor: pi-1, ok: 60, stale: 1}]`,
			"",
		},
		{
			"frozen", "faults: [{fault: frozen, chip: bme280, from: 30s, to: 33s}]", `
pi-1 temperature: 3 readings that are ok are stale: want 0
pi-1 humidity: 3 readings that are ok are stale: want 0
pi-1 pressure: 3 readings that are ok are stale: want 0`,
		},
		{
			"too far off", `
faults: [{fault: drift, chip: bme280, temperature: 60 K}]
expect: [{sensor: pi-1, measures: [temperature], ok: 60, deviation: 0.5 K}]`,
			"\npi-1 temperature: a value is 0.98 away from the surroundings: want at most 0.5 K",
		},
	} {
		s := parse(t, "test.yaml", head+tt.more)
		if diff := cmp.Diff(strings.TrimPrefix(tt.want, "\n"), strings.Join(s.Differences(run(t, s)), "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// A value that is not the chip's is wrong, however likely it looks.
func TestWrong(t *testing.T) {
	s := parse(t, "test.yaml", strings.Replace(head, "1m", "1h", 1)+"faults: [{fault: bit_flips, chip: bme280, one_in: 20}]")
	wrong := 0
	for _, q := range run(t, s).Qualities {
		wrong += q.Wrong
		if q.Wrong > 0 && !strings.Contains(q.FirstWrong, "off by ") {
			t.Errorf("%v: %q does not say by how much", q.Measure, q.FirstWrong)
		}
	}
	if wrong < 50 {
		t.Errorf("%d wrong values where some 180 answers have an inverted bit", wrong)
	}
}

// The surroundings of each shape at some moments.
func TestSeries(t *testing.T) {
	for _, tt := range []struct {
		series string
		want   map[time.Duration]float64 // degree Celsius
	}{
		{"{value: 20 °C}", map[time.Duration]float64{0: 20, time.Hour: 20}},
		{"{value: -5.5C}", map[time.Duration]float64{0: -5.5}},
		{
			"{shape: sine, value: 20 °C, amplitude: 4 K, period: 4h, peak: 1h}",
			map[time.Duration]float64{0: 20, time.Hour: 24, 2 * time.Hour: 20, 3 * time.Hour: 16, 5 * time.Hour: 24},
		},
		{
			"{shape: ramp, value: 10 °C, to: 20 °C, from: 1h, over: 2h}",
			map[time.Duration]float64{0: 10, time.Hour: 10, 2 * time.Hour: 15, 3 * time.Hour: 20, 9 * time.Hour: 20},
		},
		{
			"{shape: steps, value: 10 °C, steps: [{at: 1h, value: 20 °C}, {at: 2h, value: 15 °C}]}",
			map[time.Duration]float64{0: 10, time.Hour - 1: 10, time.Hour: 20, 3 * time.Hour: 15},
		},
	} {
		for after, want := range tt.want {
			text := strings.Replace(head, "{value: 20 °C}", tt.series, 1)
			s := parse(t, "test.yaml", text)
			begin := time.Now()
			w, err := s.World(begin)
			if err != nil {
				t.Fatal(err)
			}
			around, ok := w.Surroundings("bme280", begin.Add(after))
			got := (around.Temperature - physic.ZeroCelsius).Celsius() + 273.15
			if !ok || math.Abs(got-want) > 1e-6 {
				t.Errorf("%s after %v: %g °C, want %g", tt.series, after, got, want)
			}
		}
	}
}

// A recording is found beside the scenario, and its mistakes are named.
func TestRecording(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	write("day.csv", "Date,Temperature,Humidity,Light\n2026-01-01 00:00:00,10,50,100\n2026-01-01 01:00:00,20,60,200\n")
	write("bad.csv", "Date,Temperature,Humidity,Light\n2026-01-01 00:00:00,warm,50,100\n")
	for csv, want := range map[string]string{
		"day.csv": "", "bad.csv": `Temperature "warm": want a number from -40 to 85`, "none.csv": "no such file",
	} {
		text := strings.Replace(head, "temperature: {value: 20 °C}", "begin: 29m, recorded: "+csv, 1)
		s := parse(t, filepath.Join(dir, "test.yaml"), text)
		begin := time.Now()
		w, err := s.World(begin)
		if err == nil {
			around, _ := w.Surroundings("bme280", begin.Add(time.Minute))
			if got := (around.Temperature - physic.ZeroCelsius).Celsius() + 273.15; math.Abs(got-15) > 1e-6 {
				t.Errorf("%s: %g °C, want 15", csv, got)
			}
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", csv, err, want)
		}
	}
}

// A run that is ended early has what came until then.
func TestRunIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(t.Context(), 10500*time.Millisecond)
		defer stop()
		report, err := parse(t, "test.yaml", head).Run(ctx)
		if !errors.Is(err, ctx.Err()) || report == nil || report.Qualities[0].OK != 11 {
			t.Errorf("got %+v, %v; want 11 readings, and the context's error", report, err)
		}
	})
}
