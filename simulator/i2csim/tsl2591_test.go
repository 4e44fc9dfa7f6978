package i2csim_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

func newTSL2591(t testing.TB, o i2csim.ChipOptions) (rig, *i2csim.TSL2591) {
	t.Helper()
	return onBus(t, 0x29, o, i2csim.NewTSL2591)
}

// tslCounts are C0 and C1 under an illuminance, from the formula of the
// library: with C1 = r C0 it is C0 (1-r)(1-r) / CPL.
func tslCounts(lux, cpl, r float64) (c0, c1 float64) {
	c0 = lux * cpl / (1 - r) / (1 - r)
	return c0, c0 * r
}

func TestTSL2591(t *testing.T) {
	enable, status, data := []byte{0xA0}, []byte{0xB3}, []byte{0xB4}
	const cycle = 108 * ms
	_, chip := newTSL2591(t, i2csim.ChipOptions{})
	word := func(v float64) []byte { return []byte{byte(int(math.Round(v))), byte(int(math.Round(v)) >> 8)} }
	// At gain 1 and 100 ms a thousand lux are some 245/(1-r)² counts.
	c0, c1 := tslCounts(1000, 100./408, chip.Infrared())
	low := append(word(c0), word(c1)...)
	c0, c1 = tslCounts(1000, 200*25./408, chip.Infrared())
	medium := append(word(c0), word(c1)...)
	nothing := []byte{0, 0, 0, 0}
	for name, steps := range map[string][]step{
		"supply": {
			{0, enable, []byte{0, 0}, "powered down"},
			{0, []byte{0xB2}, []byte{0x50}, "id"},
			{0, []byte{0xB1}, []byte{0x00, 0x50, 0x00}, "package id, id, status"},
			{0, []byte{0xB8}, []byte{0, 0, 0}, "no such registers"},
			{time.Hour, data, nothing, ""},
		},
		"registers": {
			{0, []byte{0xA4, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, nil, "one after the other, to 0x0C"},
			{0, []byte{0xA4}, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 0}, ""},
			{0, []byte{0xA4, 7}, []byte{2}, "the next is read after a write"},
			{0, []byte{0xA4}, []byte{7}, ""},
			{0, []byte{0xA2, 0xFF, 0xFF}, nil, "no registers"},
			{0, []byte{0xA2}, []byte{0, 0, 7}, ""},
			{0, []byte{0xB1, 9, 9, 9, 9, 9, 9, 9}, nil, "read-only"},
			{0, []byte{0xB1}, []byte{0, 0x50, 0, 0, 0, 0, 0}, ""},
			{0, []byte{0x04, 1}, nil, "not a command"},
			{0, []byte{0x84, 1}, nil, "reserved kind"},
			{0, []byte{0xE7}, nil, "a special function"},
			{0, []byte{}, nil, "an address"},
			{0, []byte{0xA4}, []byte{7}, "change nothing"},
		},
		"integration": {
			{0, []byte{0xA0, 3}, nil, ""},
			{cycle - 1, status, []byte{0}, "108 ms at most"},
			{0, data, nothing, ""},
			{1, status, []byte{1}, "valid"},
			{0, data, low, ""},
			{0, status, []byte{1}, "still valid"},
			{0, []byte{0xA0, 1}, nil, "ALS off"},
			{time.Hour, data, low, "the data stay"},
			{0, []byte{0xA0, 3}, nil, ""},
			{0, status, []byte{0}, "not valid: no integration since it was switched on"},
			{0, data, low, ""},
		},
		"both bits are needed": {
			{0, []byte{0xA0, 2}, nil, ""},
			{time.Hour, status, []byte{0}, ""},
			{0, []byte{0xA0, 1}, nil, ""},
			{time.Hour, status, []byte{0}, ""},
			{0, []byte{0xA0, 3}, nil, ""},
			{cycle - 1, status, []byte{0}, ""},
			{0, []byte{0xA0, 0x93}, nil, "interrupts do not start it again"},
			{1, status, []byte{1}, ""},
		},
		"a setting works from the next integration on": {
			{0, []byte{0xA0, 3}, nil, ""},
			{cycle - 1, []byte{0xA1, 0x11}, nil, "gain 25, 200 ms"},
			{1, data, low, "still gain 1"},
			{2*cycle - 1, data, low, ""},
			{1, data, medium, ""},
			{0, []byte{0xA1}, []byte{0x11}, ""},
		},
		"reset": {
			{0, []byte{0xA1, 0x11, 0, 0, 5}, nil, ""},
			{0, []byte{0xA0, 3}, nil, ""},
			{time.Hour, []byte{0xA1, 0x91}, nil, ""},
			{0, enable, []byte{0, 0, 0, 0, 0}, "as when the supply comes"},
			{0, data, nothing, ""},
			{time.Hour, status, []byte{0}, ""},
		},
		// A reading of Linux' tsl2591 with its defaults of 300 ms and gain 25.
		"Linux": {
			{0, []byte{0xB2}, []byte{0x50}, ""},
			{0, []byte{0xA1, 0x12}, nil, ""},
			{0, []byte{0xA0, 0x03}, nil, ""},
			{300 * ms, status, []byte{0}, ""},
			{30 * ms, status, []byte{1}, "it asks every 10 ms, for 100"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newTSL2591(t, i2csim.ChipOptions{})
			r.run(t, steps)
		})
	}
}

// Between the reading of a low and a high byte an integration may end.
func TestTSL2591ShadowRegisters(t *testing.T) {
	r, _ := newTSL2591(t, i2csim.ChipOptions{Source: ramp{}})
	r.must(t, []byte{0xA1, 0x10}, 0)
	r.must(t, []byte{0xA0, 3}, 0)
	r.Advance(time.Minute)
	low := r.must(t, []byte{0xB4}, 1)
	r.must(t, []byte{0xB6}, 1)
	whole := r.must(t, []byte{0xB4}, 4)
	r.Advance(time.Hour)
	if high := r.must(t, []byte{0xB5}, 1); low[0] != whole[0] || high[0] != whole[1] {
		t.Errorf("C0DATA by bytes %x %x, want % x", low, high, whole[:2])
	}
	if high := r.must(t, []byte{0xB7}, 1); high[0] != whole[3] {
		t.Errorf("C1DATAH %x, want %x", high, whole[3])
	}
	if again := r.must(t, []byte{0xB4}, 4); again[1] == whole[1] || again[3] == whole[3] {
		t.Errorf("an hour later % x, after % x", again, whole)
	}
}

func TestTSL2591Durations(t *testing.T) {
	for atime, n := range []int{1, 2, 3, 4, 5, 6, 6, 6} {
		for timing, each := range map[i2csim.Timing]time.Duration{i2csim.Typical: 100 * ms, i2csim.Maximum: 108 * ms} {
			d := time.Duration(n) * each
			r, _ := newTSL2591(t, i2csim.ChipOptions{Timing: timing})
			r.run(t, []step{
				{0, []byte{0xA1, byte(atime)}, nil, ""},
				{0, []byte{0xA0, 3}, nil, ""},
				{d - 1, []byte{0xB3}, []byte{0}, "integrating"},
				{1, []byte{0xB3}, []byte{1}, d.String()},
			})
		}
	}
}

func TestTSL2591Saturation(t *testing.T) {
	for _, tt := range []struct {
		lux     i2csim.Illuminance
		control byte
		want    []byte
	}{
		{1_000_000 * i2csim.Lux, 0x00, []byte{0xFF, 0x8F, 0xFF, 0x8F}},
		{1_000_000 * i2csim.Lux, 0x01, []byte{0xFF, 0xFF, 0xFF, 0xFF}},
		{100_000 * i2csim.Lux, 0x05, []byte{0xFF, 0xFF}},
		{100 * i2csim.Lux, 0x30, []byte{0xFF, 0x8F}},
		{0, 0x35, []byte{0, 0, 0, 0}},
		{-i2csim.Lux, 0x35, []byte{0, 0, 0, 0}},
	} {
		t.Run(fmt.Sprintf("%v %#02x", tt.lux, tt.control), func(t *testing.T) {
			r, _ := newTSL2591(t, light(tt.lux))
			r.run(t, []step{
				{0, []byte{0xA1, tt.control}, nil, ""},
				{0, []byte{0xA0, 3}, nil, ""},
				{time.Second, []byte{0xB4}, tt.want, "counts"},
			})
		})
	}
}

// The formula of Adafruit's library (and of Linux' tsl2591.c) gives the
// source's illuminance to half a count, whatever light the chip is under.
func TestTSL2591ReadsTheSource(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := math.Exp(rapid.Float64Range(math.Log(0.001), math.Log(120_000)).Draw(rt, "ln lx"))
		gain := rapid.SampledFrom([]float64{1, 25, 428, 9876}).Draw(rt, "gain")
		atime := rapid.ByteRange(0, 5).Draw(rt, "atime")
		o := light(i2csim.Illuminance(want * 1e6))
		o.Seed = rapid.Uint64().Draw(rt, "seed")
		r, chip := newTSL2591(t, o)
		control := atime | map[float64]byte{1: 0, 25: 1, 428: 2, 9876: 3}[gain]<<4
		r.must(rt, []byte{0xA1, control}, 0)
		r.must(rt, []byte{0xA0, 3}, 0)
		r.Advance(time.Second)
		b := r.must(rt, []byte{0xB4}, 4)
		c0, c1 := float64(b[0])+float64(b[1])*256, float64(b[2])+float64(b[3])*256
		cpl := float64(atime+1) * 100 * gain / 408
		full := 65535.
		if atime == 0 {
			full = 36863
		}
		if c0 == full {
			if real0, _ := tslCounts(want, cpl, chip.Infrared()); real0 < full-2 {
				rt.Errorf("saturated where %g counts are due", real0)
			}
			return
		}
		got := 0.
		if c0 > 0 {
			got = (c0 - c1) * (1 - c1/c0) / cpl
		}
		// A microlux is the source's own resolution.
		if math.Abs(got-want) > 0.5/cpl+2e-6 {
			rt.Errorf("C0 %g, C1 %g: %g lx, want %g within %g", c0, c1, got, want, 0.5/cpl)
		}
		if c0 > 1000 && math.Abs(c1/c0-chip.Infrared()) > 0.002 {
			rt.Errorf("C1/C0 is %g, want %g", c1/c0, chip.Infrared())
		}
	})
}

func TestTSL2591Infrared(t *testing.T) {
	seen := make(map[float64]bool)
	for seed := range uint64(100) {
		chip, err := i2csim.NewTSL2591(i2csim.ChipOptions{Source: room, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		ratio := chip.Infrared()
		if ratio < 0.1 || ratio > 0.4 {
			t.Errorf("seed %d: %g", seed, ratio)
		}
		seen[ratio] = true
	}
	if len(seen) != 100 {
		t.Errorf("%d ratios of 100 seeds", len(seen))
	}
}

func TestTSL2591Truth(t *testing.T) {
	source := ramp{newClock().now}
	r, chip := newTSL2591(t, i2csim.ChipOptions{Source: source})
	r.must(t, []byte{0xA0, 3}, 0)
	r.Advance(108*ms - 1)
	noTruth(t, chip, "before the first has ended")
	r.Advance(1 + 1000*108*ms + 50*ms)
	start := source.from.Add(1000 * 108 * ms)
	wantTruth(t, chip, source, start, 108*ms)
	brownOut(t, chip)
	r.run(t, []step{
		{time.Hour, nil, []byte{0, 0}, "powered down, enable selected"},
		{0, []byte{0xB3}, []byte{0, 0, 0, 0, 0}, "status and data"},
	})
}
