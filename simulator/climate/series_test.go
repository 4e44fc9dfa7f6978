package climate_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/simulator/climate"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

const small = `Date,Temperature,Humidity,Light
2015-02-04 17:51:00,20,40,100
2015-02-04 17:52:00,21,50,0
2015-02-04 17:54:00,19,30,200
`

func parse(t testing.TB, text string) *climate.Series {
	t.Helper()
	s, err := climate.ParseCSV("test.csv", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseCSVRefuses(t *testing.T) {
	const header = "Date,Temperature,Humidity,Light\n"
	const first = header + "2015-02-04 17:51:00,20,40,100\n"
	for name, tt := range map[string]struct{ text, err string }{
		"nothing":           {"", "test.csv:1: want a header"},
		"no header":         {"2015-02-04 17:51:00,20,40,100\n", `test.csv:1: want a column "Date"`},
		"no light":          {"Date,Temperature,Humidity\n", `test.csv:1: want a column "Light"`},
		"wrong case":        {"date,Temperature,Humidity,Light\n", `test.csv:1: want a column "Date"`},
		"light twice":       {"Date,Light,Temperature,Humidity,Light\n", `test.csv:1:33: want one column "Light" only`},
		"header only":       {header, "test.csv:1: want two rows or more"},
		"one row":           {first, "test.csv:2: want two rows or more"},
		"a field less":      {first + "2015-02-04 17:52:00,20,40\n", "test.csv:3:1: wrong number of fields"},
		"a field more":      {first + "2015-02-04 17:52:00,20,40,100,1\n", "test.csv:3:1: wrong number of fields"},
		"bad quote":         {first + "2015-02-04 17:52:00,2\"0,40,100\n", `test.csv:3:22: bare " in non-quoted-field`},
		"no time":           {first + "2015-02-04,20,40,100\n", `test.csv:3:1: Date "2015-02-04": want a time like "2006-01-02 15:04:05"`},
		"no such day":       {first + "2015-02-30 17:51:00,20,40,100\n", `test.csv:3:1: Date "2015-02-30 17:51:00": want a time like "2006-01-02 15:04:05"`},
		"same time":         {first + "2015-02-04 17:51:00,20,40,100\n", `test.csv:3:1: Date "2015-02-04 17:51:00": want a time after the row before`},
		"earlier":           {first + "2014-02-04 17:51:00,20,40,100\n", `test.csv:3:1: Date "2014-02-04 17:51:00": want a time after the row before`},
		"centuries":         {first + "2115-02-05 17:52:00,20,40,100\n", `test.csv:3:1: Date "2115-02-05 17:52:00": want a time within 100 years`},
		"beyond a Duration": {first + "9999-12-31 23:59:59,20,40,100\n", `test.csv:3:1: Date "9999-12-31 23:59:59": want a time within 100 years`},
		"empty temperature": {first + "2015-02-04 17:52:00,,40,100\n", `test.csv:3:21: Temperature "": want a number from -40 to 85`},
		"no number":         {first + "2015-02-04 17:52:00,20°C,40,100\n", `test.csv:3:21: Temperature "20°C": want a number from -40 to 85`},
		"too hot":           {first + "2015-02-04 17:52:00,85.01,40,100\n", `test.csv:3:21: Temperature "85.01": want a number from -40 to 85`},
		"NaN":               {first + "2015-02-04 17:52:00,NaN,40,100\n", `test.csv:3:21: Temperature "NaN": want a number from -40 to 85`},
		"infinite":          {first + "2015-02-04 17:52:00,20,-Inf,100\n", `test.csv:3:24: Humidity "-Inf": want a number from 0 to 100`},
		"too damp":          {first + "2015-02-04 17:52:00,20,101,100\n", `test.csv:3:24: Humidity "101": want a number from 0 to 100`},
		"darker than dark":  {first + "2015-02-04 17:52:00,20,40,-1\n", `test.csv:3:27: Light "-1": want a number from 0 to 100000`},
		"beyond a float":    {first + "2015-02-04 17:52:00,20,40,1e999\n", `test.csv:3:27: Light "1e999": want a number from 0 to 100000`},
	} {
		_, err := climate.ParseCSV("test.csv", strings.NewReader(tt.text))
		var e *climate.ParseError
		if !errors.As(err, &e) || err.Error() != tt.err {
			t.Errorf("%s: error %v, want %q", name, err, tt.err)
		}
	}
}

func TestParseCSVReader(t *testing.T) {
	broken := errors.New("broken")
	r := io.MultiReader(strings.NewReader(small), &failing{broken})
	if _, err := climate.ParseCSV("test.csv", r); !errors.Is(err, broken) {
		t.Errorf("error %v, want the reader's", err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func TestParseCSVColumnsInAnyOrder(t *testing.T) {
	s := parse(t, "CO2,Light,Humidity,\"Date\",Temperature\n700,1,2,2015-02-04 17:51:00,3\n,4,5,\"2015-02-04 17:51:30\",6\n")
	r := replay(t, climate.ReplayOptions{Series: s})
	for _, tt := range []struct {
		at      time.Duration
		t, h, l float64
	}{{0, 3, 2, 1}, {30 * time.Second, 6, 5, 4}} {
		check(t, r.At(begin.Add(tt.at)), tt.t, tt.h, tt.l)
	}
	if got, want := s.Len(), 2; got != want {
		t.Errorf("Len() = %d, want %d", got, want)
	}
	if got, want := s.Period(), time.Minute; got != want {
		t.Errorf("Period() = %v, want %v", got, want)
	}
}

// TestOffice compares every row of the recording, read in another way, with
// what its replay says at that time.
func TestOffice(t *testing.T) {
	s := climate.Office()
	if got, want := s.Len(), 8143; got != want {
		t.Errorf("Len() = %d, want %d", got, want)
	}
	if got, want := s.Start(), time.Date(2015, 2, 4, 17, 51, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("Start() = %v, want %v", got, want)
	}
	if got, want := s.Period(), 135*time.Hour+43*time.Minute; got != want {
		t.Errorf("Period() = %v, want %v", got, want)
	}
	file, err := os.ReadFile("data/occupancy-office.csv")
	if err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	r := replay(t, climate.ReplayOptions{Series: s})
	for _, record := range records[1:] {
		at, err := time.Parse(time.DateTime, record[0])
		if err != nil {
			t.Fatal(err)
		}
		var v [3]float64
		for i := range v {
			if v[i], err = strconv.ParseFloat(record[i+1], 64); err != nil {
				t.Fatal(err)
			}
		}
		check(t, r.At(begin.Add(at.Sub(s.Start()))), v[0], v[1], v[2])
	}
}

// check compares all but the pressure, to the last unit.
func check(t *testing.T, got i2csim.Environment, celsius, percent, lux float64) {
	t.Helper()
	near := func(name string, got, want int64) {
		if d := got - want; d < -1 || d > 1 {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	near("temperature", int64(got.Temperature-physic.ZeroCelsius), int64(celsius*1e9))
	near("humidity", int64(got.Humidity), int64(percent*1e5))
	near("light", int64(got.Illuminance), int64(lux*1e6))
}

func FuzzParseCSV(f *testing.F) {
	f.Add(small)
	f.Add("Date,Temperature,Humidity,Light,CO2\n\"2015-02-04 17:51:00\",2e1,0x10,1_0,\n")
	f.Add("Light,Light\r\n\r\n\"\n")
	f.Add("Date,Temperature,Humidity,Light\n0000-01-01 00:00:00,1,1,1\n9999-12-31 23:59:59,1,1,1\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := climate.ParseCSV("f", strings.NewReader(text))
		if err != nil {
			var e *climate.ParseError
			if !errors.As(err, &e) || e.Line < 1 || e.Want == "" {
				t.Fatalf("error %#v: want a *ParseError with a line", err)
			}
			return
		}
		r := replay(t, climate.ReplayOptions{Series: s, Seed: 1, Speed: 10})
		for _, d := range []time.Duration{-time.Hour, 0, s.Period() / 20, s.Period() / 10, 1000 * time.Hour} {
			within(t, r.At(begin.Add(d)))
		}
	})
}

// within checks what chips can be given.
func within(t interface {
	Helper()
	Errorf(string, ...any)
}, e i2csim.Environment) {
	t.Helper()
	if e.Temperature < physic.ZeroCelsius-42*physic.Kelvin || e.Temperature > physic.ZeroCelsius+87*physic.Kelvin ||
		e.Humidity < 0 || e.Humidity > 100*physic.PercentRH ||
		e.Pressure < 97000*physic.Pascal || e.Pressure > 105700*physic.Pascal ||
		e.Illuminance < 0 || e.Illuminance > 150_000*i2csim.Lux {
		t.Errorf("environment %+v", e)
	}
}
