package climate

import (
	"math"
	"strings"
	"testing"
	"time"

	"periph.io/x/conn/v3/physic"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

func TestRelativeHumidity(t *testing.T) {
	// Dew points of the usual psychrometric tables.
	for _, tt := range []struct{ temperature, dewPoint, want float64 }{
		{20, 20, 100},
		{20, 9.3, 50},
		{30, 18.4, 50},
		{0, -9.2, 50},
		{25, 0, 19.3},
		{10, 15, 100}, // it condenses
	} {
		if got := relativeHumidity(tt.temperature, tt.dewPoint); math.Abs(got-tt.want) > 0.5 {
			t.Errorf("%g °C with dew point %g °C: %.2f %%, want %g", tt.temperature, tt.dewPoint, got, tt.want)
		}
	}
}

func TestSunElevation(t *testing.T) {
	day := func(month time.Month, day, hour int) time.Time {
		return time.Date(2026, month, day, hour, 0, 0, 0, time.UTC)
	}
	for _, tt := range []struct {
		name     string
		at       time.Time
		latitude float64
		want     float64 // degree
	}{
		{"equinox, equator, noon", day(3, 21, 12), 0, 90},
		{"equinox, equator, sunrise", day(3, 21, 6), 0, 0},
		{"equinox, 50° N, noon", day(3, 21, 12), 50, 40},
		{"equinox, 50° N, midnight", day(3, 21, 0), 50, -40},
		{"summer solstice, tropic, noon", day(6, 21, 12), 23.44, 90},
		{"summer solstice, 50° N, noon", day(6, 21, 12), 50, 63.44},
		{"winter solstice, 50° N, noon", day(12, 21, 12), 50, 16.56},
		{"winter solstice, 50° S, noon", day(12, 21, 12), -50, 63.44},
		{"summer solstice, pole, midnight", day(6, 21, 0), 90, 23.44},
		{"winter solstice, pole, noon", day(12, 21, 12), 90, -23.44},
	} {
		got := math.Asin(min(1, sunElevation(tt.at, tt.latitude*degree))) / degree
		if math.Abs(got-tt.want) > 1 {
			t.Errorf("%s: %.2f°, want %g°", tt.name, got, tt.want)
		}
	}
}

func TestDaylight(t *testing.T) {
	for _, tt := range []struct{ elevation, clouds, want float64 }{
		{90, 0, 120_055}, // 800 + 15500 + 128000 exp(-0.21)
		{90, 1, 21_300},
		{90, 0.5, 70_678},
		{30, 1, 10_800},
		{0, 0, 800},
		{0, 1, 300},
		{-3, 1, 75},
		{-6, 0, 0},
		{-90, 0, 0},
	} {
		if got := daylight(math.Sin(tt.elevation*degree), tt.clouds); math.Abs(got-tt.want) > 1 {
			t.Errorf("%g° under %g of clouds: %.1f lx, want %g", tt.elevation, tt.clouds, got, tt.want)
		}
	}
	for clouds := range 2 {
		last := 0.0
		for e := -90.0; e <= 90; e += 0.01 {
			got := daylight(math.Sin(e*degree), float64(clouds))
			if got < last || got-last > 300 {
				t.Fatalf("%g°: %.1f lx after %.1f", e, got, last)
			}
			last = got
		}
	}
}

func model(t testing.TB, o ModelOptions) *Model {
	t.Helper()
	m, err := NewModel(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestDay follows a summer's day by the hour, local solar time.
func TestDay(t *testing.T) {
	for weather := range uint64(20) {
		m := model(t, ModelOptions{Latitude: 48 * physic.Degree, Longitude: 90 * physic.Degree, Weather: weather})
		midnight := time.Date(2026, 6, 20, 18, 0, 0, 0, time.UTC) // 90° east is six hours ahead
		var day [24]i2csim.Environment
		for h := range day {
			day[h] = m.At(midnight.Add(time.Duration(h) * time.Hour))
		}
		if day[15].Temperature < day[3].Temperature+5*physic.Kelvin {
			t.Errorf("weather %d: %s at 3 h, %s at 15 h", weather, day[3].Temperature, day[15].Temperature)
		}
		if day[15].Humidity > day[3].Humidity-10*physic.PercentRH {
			t.Errorf("weather %d: %s at 3 h, %s at 15 h", weather, day[3].Humidity, day[15].Humidity)
		}
		if day[0].Illuminance != 0 || day[12].Illuminance < 5000*i2csim.Lux {
			t.Errorf("weather %d: %s at midnight, %s at noon", weather, day[0].Illuminance, day[12].Illuminance)
		}
	}
}

func TestSeasons(t *testing.T) {
	mean := func(latitude physic.Angle, month time.Month) float64 {
		var sum float64
		for weather := range uint64(50) {
			m := model(t, ModelOptions{Latitude: latitude, Weather: weather})
			for h := range 24 {
				sum += float64(m.At(time.Date(2026, month, 21, h, 0, 0, 0, time.UTC)).Temperature-physic.ZeroCelsius) / 1e9
			}
		}
		return sum / 50 / 24
	}
	for _, tt := range []struct {
		latitude physic.Angle
		month    time.Month
		want     float64
	}{
		{50 * physic.Degree, time.July, 15 + 14*0.766},
		{50 * physic.Degree, time.January, 15 - 14*0.766},
		{-50 * physic.Degree, time.January, 15 + 14*0.766},
		{0, time.July, 15},
	} {
		if got := mean(tt.latitude, tt.month); math.Abs(got-tt.want) > 1 {
			t.Errorf("%s in %s: mean %.1f °C, want %.1f", tt.latitude, tt.month, got, tt.want)
		}
	}
}

func TestModelAnywhereAnytime(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := ModelOptions{
			Latitude:  physic.Angle(rapid.Int64Range(-90, 90).Draw(rt, "latitude")) * physic.Degree,
			Longitude: physic.Angle(rapid.Int64Range(-180, 180).Draw(rt, "longitude")) * physic.Degree,
			Daylight:  rapid.Float64Range(0.01, 1).Draw(rt, "daylight"),
			Weather:   rapid.Uint64().Draw(rt, "weather"),
			Seed:      rapid.Uint64().Draw(rt, "seed"),
		}
		m := model(t, o)
		at := time.Unix(rapid.Int64Range(0, 4e9).Draw(rt, "at"), rapid.Int64Range(0, 1e9-1).Draw(rt, "ns"))
		e := m.At(at)
		if e.Temperature < physic.ZeroCelsius-40*physic.Kelvin || e.Temperature > physic.ZeroCelsius+85*physic.Kelvin ||
			e.Humidity < 0 || e.Humidity > 100*physic.PercentRH ||
			e.Pressure < 97000*physic.Pascal || e.Pressure > 105700*physic.Pascal ||
			e.Illuminance < 0 || e.Illuminance > 145_000*i2csim.Lux {
			rt.Errorf("environment %+v", e)
		}
		if again := model(t, o).At(at.In(time.FixedZone("", 7200))); again != e {
			rt.Errorf("the same seeds and moment: %+v and %+v", e, again)
		}
		if next := m.At(at.Add(time.Second)); absolute(next.Temperature-e.Temperature) > 10*physic.MilliKelvin {
			rt.Errorf("temperature %s, a second later %s", e.Temperature, next.Temperature)
		}
	})
}

func absolute(t physic.Temperature) physic.Temperature { return max(t, -t) }

func TestModelSpeed(t *testing.T) {
	begin := time.Date(2026, 6, 21, 0, 0, 0, 0, time.UTC)
	o := ModelOptions{Latitude: 48 * physic.Degree, Weather: 1, Seed: 1}
	slow := model(t, o)
	o.Begin, o.Speed = begin, 144
	fast := model(t, o)
	for m := range 60 {
		d := time.Duration(m) * time.Minute
		if got, want := fast.At(begin.Add(d)), slow.At(begin.Add(144*d)); got != want {
			t.Fatalf("after %v: %+v, want %+v", d, got, want)
		}
	}
}

func TestModelOptions(t *testing.T) {
	for _, tt := range []struct {
		options ModelOptions
		err     string // a part of it
	}{
		{ModelOptions{}, ""},
		{ModelOptions{Latitude: 91 * physic.Degree}, "climate: latitude"},
		{ModelOptions{Latitude: -91 * physic.Degree}, "climate: latitude"},
		{ModelOptions{Longitude: 181 * physic.Degree}, "climate: longitude"},
		{ModelOptions{Mean: 20 * physic.Kelvin}, "climate: mean"},
		{ModelOptions{Swing: -physic.Kelvin}, "climate: swing of -1 K: want 0 to 20"},
		{ModelOptions{Daylight: 1.5}, "climate: daylight 1.5: want more than 0, up to 1"},
		{ModelOptions{Daylight: math.NaN()}, "climate: daylight NaN"},
		{ModelOptions{Speed: -1}, "climate: speed -1"},
		{ModelOptions{Speed: 2}, "climate: ModelOptions.Begin is not set, but Speed is"},
	} {
		_, err := NewModel(tt.options)
		if (err == nil) != (tt.err == "") || err != nil && !strings.HasPrefix(err.Error(), tt.err) {
			t.Errorf("%+v: error %v, want %q", tt.options, err, tt.err)
		}
	}
}
