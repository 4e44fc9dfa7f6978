package climate_test

import (
	"math"
	"testing"
	"time"

	"periph.io/x/conn/v3/physic"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/simulator/climate"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func replay(t testing.TB, o climate.ReplayOptions) *climate.Replay {
	t.Helper()
	if o.Begin.IsZero() {
		o.Begin = begin
	}
	r, err := climate.NewReplay(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReplay(t *testing.T) {
	s := parse(t, small) // rows at 0, 1 and 3 minutes; the next turn is at 4.5
	if got, want := s.Period(), 4*time.Minute+30*time.Second; got != want {
		t.Fatalf("Period() = %v, want %v", got, want)
	}
	const half, sec, min = 500 * time.Millisecond, time.Second, time.Minute
	for _, tt := range []struct {
		name    string
		offset  time.Duration
		speed   float64
		at      time.Duration
		t, h, l float64
	}{
		{"first row", 0, 0, 0, 20, 40, 100},
		{"second row", 0, 1, min, 21, 50, 0},
		{"third row", 0, 1, 3 * min, 19, 30, 200},
		{"in between", 0, 1, 30 * sec, 20.5, 45, 50},
		{"in between of a longer interval", 0, 1, 90 * sec, 20.5, 45, 50},
		{"half a second", 0, 1, 60*sec + half, 21 - 2.0/240, 50 - 20.0/240, 200.0 / 240},
		{"from the last row to the first", 0, 1, 3*min + 45*sec, 19.5, 35, 150},
		{"second turn", 0, 1, 4*min + 60*sec, 20.5, 45, 50},
		{"thousandth turn", 0, 1, 999*270*sec + 30*sec, 20.5, 45, 50},
		{"before it begins", 0, 1, -45 * sec, 19.5, 35, 150},
		{"offset", min, 1, 30 * sec, 20.5, 45, 50},
		{"negative offset", -45 * sec, 1, 0, 19.5, 35, 150},
		{"offset of several turns", 10*270*sec + min, 1, 0, 21, 50, 0},
		{"fast", 0, 10, 3 * sec, 20.5, 45, 50},
		{"slow", 0, 0.5, min, 20.5, 45, 50},
		{"fast, the offset is in the series' time", min, 60, sec / 2, 20.5, 45, 50},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := replay(t, climate.ReplayOptions{Series: s, Offset: tt.offset, Speed: tt.speed})
			check(t, r.At(begin.Add(tt.at)), tt.t, tt.h, tt.l)
		})
	}
}

func TestReplayOptions(t *testing.T) {
	s := parse(t, small)
	for name, tt := range map[string]struct {
		options climate.ReplayOptions
		err     string
	}{
		"no series":       {climate.ReplayOptions{Begin: begin}, "climate: ReplayOptions.Series is nil"},
		"no begin":        {climate.ReplayOptions{Series: s}, "climate: ReplayOptions.Begin is not set"},
		"backwards":       {climate.ReplayOptions{Series: s, Begin: begin, Speed: -1}, "climate: speed -1: want more than 0, up to 86400"},
		"not a number":    {climate.ReplayOptions{Series: s, Begin: begin, Speed: math.NaN()}, "climate: speed NaN: want more than 0, up to 86400"},
		"infinitely":      {climate.ReplayOptions{Series: s, Begin: begin, Speed: math.Inf(1)}, "climate: speed +Inf: want more than 0, up to 86400"},
		"as it was meant": {climate.ReplayOptions{Series: s, Begin: begin}, ""},
	} {
		if _, err := climate.NewReplay(tt.options); text(err) != tt.err {
			t.Errorf("%s: error %v, want %q", name, err, tt.err)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestSensorsDiffer holds a sensor's deviation between what makes it look like
// a sensor of its own and what a chip's data sheet allows.
func TestSensorsDiffer(t *testing.T) {
	office := climate.Office()
	perfect := replay(t, climate.ReplayOptions{Series: office})
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64Min(1).Draw(rt, "seed")
		at := begin.Add(time.Duration(rapid.Int64Range(-1e15, 1e15).Draw(rt, "at")))
		one := replay(t, climate.ReplayOptions{Series: office, Seed: seed})
		want, got := perfect.At(at), one.At(at)
		within(rt, got)
		limit := func(name string, d, limit float64) {
			if math.Abs(d) > limit {
				rt.Errorf("%s deviates by %g, want %g at most", name, d, limit)
			}
		}
		limit("temperature in K", float64(got.Temperature-want.Temperature)/1e9, 0.6)
		limit("humidity in %", float64(got.Humidity-want.Humidity)/1e5, 2.5)
		limit("pressure in Pa", float64(got.Pressure-want.Pressure)/1e9, 50)
		limit("light in lx", float64(got.Illuminance-want.Illuminance)/1e6, 0.16*float64(want.Illuminance)/1e6)

		next := one.At(at.Add(time.Second))
		wantNext := perfect.At(at.Add(time.Second))
		limit("temperature in a second, in K", float64((next.Temperature-got.Temperature)-(wantNext.Temperature-want.Temperature))/1e9, 0.002)
		limit("humidity in a second, in %", float64((next.Humidity-got.Humidity)-(wantNext.Humidity-want.Humidity))/1e5, 0.01)

		if again := replay(t, climate.ReplayOptions{Series: office, Seed: seed}).At(at); again != got {
			rt.Errorf("the same seed and time: %+v and %+v", got, again)
		}
		if other := replay(t, climate.ReplayOptions{Series: office, Seed: seed ^ 1<<40}).At(at); other.Temperature == got.Temperature {
			rt.Errorf("another seed: the same temperature %s", got.Temperature)
		}
	})
}

func TestReplayAtNight(t *testing.T) {
	office := climate.Office()
	for seed := range uint64(50) {
		r := replay(t, climate.ReplayOptions{Series: office, Seed: seed})
		if got := r.At(begin.Add(8 * time.Hour)); got.Illuminance != 0 { // 2 a.m. in the office
			t.Fatalf("seed %d: %v at night", seed, got.Illuminance)
		}
	}
}

// TestWeatherIsShared says that sensors under one sky see one pressure, and
// that another sky is another.
func TestWeatherIsShared(t *testing.T) {
	at := begin.Add(12345 * time.Second)
	office := climate.Office()
	pressure := func(weather, seed uint64) physic.Pressure {
		return replay(t, climate.ReplayOptions{Series: office, Weather: weather, Seed: seed}).At(at).Pressure
	}
	if d := pressure(1, 5) - pressure(1, 6); d == 0 || d < -100*physic.Pascal || d > 100*physic.Pascal {
		t.Errorf("two sensors under one sky differ by %s", d)
	}
	if a, b := pressure(1, 0), pressure(2, 0); a == b {
		t.Errorf("two skies have the same pressure, %s", a)
	}
}

// TestSpeedScalesEverything compares a fast replay with one at its own time.
func TestSpeedScalesEverything(t *testing.T) {
	office := climate.Office()
	fast := replay(t, climate.ReplayOptions{Series: office, Speed: 60, Weather: 3, Seed: 4})
	slow := replay(t, climate.ReplayOptions{Series: office, Weather: 3, Seed: 4})
	for s := range 5000 {
		d := time.Duration(s) * 7 * time.Second
		if got, want := fast.At(begin.Add(d)), slow.At(begin.Add(60*d)); got != want {
			t.Fatalf("after %v: %+v, want %+v", d, got, want)
		}
	}
}

var _ i2csim.Source = (*climate.Replay)(nil)

// TestFastForEver runs past what a Duration has room for.
func TestFastForEver(t *testing.T) {
	r := replay(t, climate.ReplayOptions{Series: climate.Office(), Speed: 86400, Seed: 1})
	seen := map[physic.Temperature]bool{}
	for h := range 1000 {
		e := r.At(begin.Add(time.Duration(h)*time.Hour + time.Duration(h)*time.Millisecond))
		within(t, e)
		seen[e.Temperature] = true
	}
	if len(seen) < 900 {
		t.Errorf("%d different temperatures in 1000 hours", len(seen))
	}
}
