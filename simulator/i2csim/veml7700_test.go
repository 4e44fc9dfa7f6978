package i2csim_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

func newVEML7700(t testing.TB, o i2csim.ChipOptions) (rig, *i2csim.VEML7700) {
	t.Helper()
	return onBus(t, 0x10, o, i2csim.NewVEML7700)
}

// Under 100 lx a VEML7700 counts 100/0.0672 at gain 1 and 100 ms.
func TestVEML7700(t *testing.T) {
	const wake = 2500 * time.Microsecond
	als, conf := []byte{4}, []byte{0}
	hundred := []byte{0xD0, 0x05} // 1488
	for name, steps := range map[string][]step{
		"supply": {
			{0, conf, []byte{1, 0}, "shut down"},
			{time.Hour, als, []byte{0, 0}, "nothing measured"},
			{0, []byte{7}, []byte{0x81, 0xC4}, "id"},
			{0, []byte{1}, []byte{0, 0}, "high threshold"},
			{0, []byte{6}, []byte{0, 0}, "status"},
			{0, []byte{8}, []byte{0, 0}, "no such register"},
			{0, []byte{0xFF}, []byte{0, 0}, "nor this one"},
		},
		"registers": {
			{0, []byte{1, 0x34, 0x12}, []byte{0x34, 0x12}, "low byte first"},
			{0, []byte{2, 0x78, 0x56}, nil, ""},
			{0, []byte{3, 0x06, 0x00}, nil, ""},
			{0, nil, []byte{0x06, 0x00, 0xFF, 0xFF}, "the code stays; nothing after the word"},
			{0, []byte{1}, []byte{0x34}, "half a word"},
			{0, []byte{2}, []byte{0x78, 0x56}, ""},
			{0, []byte{2, 0xFF}, []byte{0x78, 0x56}, "half a word is not written"},
			{0, []byte{4, 1, 2}, []byte{0, 0}, "data cannot be written"},
			{0, []byte{7, 1, 2}, []byte{0x81, 0xC4}, "nor the id"},
		},
		"integration": {
			{0, []byte{0, 0, 0}, nil, "on"},
			{wake + 100*ms - 1, als, []byte{0, 0}, "not before it is awake and has integrated"},
			{1, als, hundred, "100 lx"},
			{0, []byte{5}, hundred, "white"},
			{0, []byte{0, 1, 0}, nil, "shut down"},
			{time.Hour, als, hundred, "keeps its data"},
			{0, []byte{0, 0, 0}, nil, ""},
			{0, als, hundred, "also when it wakes"},
		},
		"a setting works from the next integration on": {
			{0, []byte{0, 0, 0}, nil, ""},
			{wake + 50*ms, []byte{0, 0x40, 0x08}, nil, "gain 2, 200 ms"},
			{50 * ms, als, hundred, "still gain 1 and 100 ms"},
			{200*ms - 1, als, hundred, "integrating"},
			{1, als, []byte{0x40, 0x17}, "four times as much"},
		},
		"shut down stops the integration": {
			{0, []byte{0, 0, 0}, nil, ""},
			{wake + 99*ms, []byte{0, 1, 0}, nil, ""},
			{time.Hour, als, []byte{0, 0}, ""},
			{0, []byte{0, 0, 0}, nil, ""},
			{wake + 100*ms - 1, als, []byte{0, 0}, "from the beginning"},
			{1, als, hundred, ""},
		},
		"gains and times": {
			{0, []byte{0, 0x00, 0x08}, nil, "gain 2"},
			{wake + 100*ms, als, []byte{0xA0, 0x0B}, ""},
			{0, []byte{0, 1, 0x10}, nil, ""},
			{0, []byte{0, 0, 0x10}, nil, "gain 1/8"},
			{wake + 100*ms, als, []byte{0xBA, 0x00}, ""},
			{0, []byte{0, 1, 0x18}, nil, ""},
			{0, []byte{0, 0, 0x18}, nil, "gain 1/4"},
			{wake + 100*ms, als, []byte{0x74, 0x01}, ""},
			{0, []byte{0, 1, 0}, nil, ""},
			{0, []byte{0, 0x00, 0x03}, nil, "25 ms"},
			{wake + 25*ms, als, []byte{0x74, 0x01}, ""},
			{0, []byte{0, 1, 0}, nil, ""},
			{0, []byte{0, 0x00, 0x02}, nil, "50 ms"},
			{wake + 50*ms, als, []byte{0xE8, 0x02}, ""},
			{0, []byte{0, 1, 0}, nil, ""},
			{0, []byte{0, 0x80, 0x00}, nil, "400 ms"},
			{wake + 400*ms, als, []byte{0x40, 0x17}, ""},
			{0, []byte{0, 1, 0}, nil, ""},
			{0, []byte{0, 0xC0, 0x00}, nil, "800 ms"},
			{wake + 800*ms, als, []byte{0x81, 0x2E}, ""},
			{0, []byte{0, 1, 0}, nil, ""},
			{0, []byte{0, 0x40, 0x01}, nil, "reserved"},
			{wake + 100*ms, als, hundred, "as 100 ms"},
		},
		// veml6030_hw_init and a reading, as Linux 6.1 does them; its resolution
		// is then 0.5376 lx.
		"Linux": {
			{0, conf, []byte{1, 0}, ""},
			{0, []byte{0, 0x01, 0x10}, nil, "gain 1/8"},
			{0, []byte{3}, []byte{0, 0}, ""},
			{0, []byte{3, 3, 0}, nil, "power saving mode 2"},
			{0, []byte{1, 0xFF, 0xFF}, nil, ""},
			{0, []byte{2, 0, 0}, nil, ""},
			{0, conf, []byte{0x01, 0x10}, ""},
			{0, []byte{0, 0x00, 0x10}, nil, ""},
			{4 * ms, []byte{6}, []byte{0, 0}, ""},
			{99 * ms, als, []byte{0xBA, 0x00}, "186 x 0.5376 lx"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newVEML7700(t, light(100*i2csim.Lux))
			r.run(t, steps)
		})
	}
}

// The application note gives refresh times of 600, 1100, 2100 and 4100 ms at
// 100 ms of integration.
func TestVEML7700PowerSaving(t *testing.T) {
	for mode, refresh := range []time.Duration{600 * ms, 1100 * ms, 2100 * ms, 4100 * ms} {
		source := ramp{newClock().now}
		r, chip := newVEML7700(t, i2csim.ChipOptions{Source: source})
		r.must(t, []byte{3, byte(mode)<<1 | 1, 0}, 0)
		r.must(t, []byte{0, 0, 0}, 0)
		first := r.now.Add(2500 * time.Microsecond)
		for _, n := range []int{0, 1, 2, 9, 1000} {
			start := first.Add(time.Duration(n) * refresh)
			r.now = start.Add(100*ms - 1)
			if truth, _ := chip.LastConversion(); n > 0 && !truth.Start.Equal(start.Add(-refresh)) {
				t.Errorf("mode %d, before integration %d: the last began at %v, want %v", mode, n, truth.Start, start.Add(-refresh))
			}
			r.Advance(1)
			wantTruth(t, chip, source, start, 100*ms)
		}
	}
}

func TestVEML7700Counts(t *testing.T) {
	for _, tt := range []struct {
		lux    i2csim.Illuminance
		config uint16
		want   uint16
	}{
		{-i2csim.Lux, 0, 0},
		{33_599, 0, 0},
		{33_601, 0, 1},
		{2_099, 0x08C0, 0}, // gain 2, 800 ms: 0.0042 lx
		{2_101, 0x08C0, 1},
		{1000 * i2csim.Lux, 0x1000, 1860},            // 999.936 lx
		{1037 * i2csim.Lux, 0x1000, 1860},            // nearer to 1000 than to 1075
		{1038 * i2csim.Lux, 0x1000, 1861},            // the other way round
		{275 * i2csim.Lux, 0x08C0, 65476},            // nothing to correct
		{276 * i2csim.Lux, 0x08C0, 0xFFFF},           // 275.2 lx at most
		{120_000 * i2csim.Lux, 0x1000, 42767},        // 22991.5 lx before correction
		{120_000 * i2csim.Lux, 0x1300, 10692},        // the same, a fourth of the time
		{1_000_000_000 * i2csim.Lux, 0x1000, 0xFFFF}, // no overflow
	} {
		t.Run(fmt.Sprintf("%v %#04x", tt.lux, tt.config), func(t *testing.T) {
			r, _ := newVEML7700(t, light(tt.lux))
			r.must(t, []byte{0, byte(tt.config), byte(tt.config >> 8)}, 0)
			r.Advance(time.Second)
			got := r.must(t, []byte{4}, 2)
			if count := uint16(got[0]) | uint16(got[1])<<8; count != tt.want {
				t.Errorf("counts %d, want %d", count, tt.want)
			}
		})
	}
}

// What the application note makes of the counts is the source's illuminance to
// half a count.
func TestVEML7700ReadsTheSource(t *testing.T) {
	correct := func(x float64) float64 {
		if x > 1000 {
			return 6.0135e-13*x*x*x*x - 9.3924e-9*x*x*x + 8.1488e-5*x*x + 1.0023*x
		}
		return x
	}
	rapid.Check(t, func(rt *rapid.T) {
		want := rapid.Float64Range(0, 140_000).Draw(rt, "lx")
		gain := rapid.SampledFrom([]struct {
			bits   uint16
			factor float64
		}{{0, 1}, {1, 2}, {2, 0.125}, {3, 0.25}}).Draw(rt, "gain")
		it := rapid.SampledFrom([]struct {
			bits uint16
			ms   float64
		}{{12, 25}, {8, 50}, {0, 100}, {1, 200}, {2, 400}, {3, 800}}).Draw(rt, "it")
		r, _ := newVEML7700(t, light(i2csim.Illuminance(want*1e6)))
		config := gain.bits<<11 | it.bits<<6
		r.must(rt, []byte{0, byte(config), byte(config >> 8)}, 0)
		r.Advance(time.Second)
		b := r.must(rt, []byte{4}, 2)
		count := float64(b[0]) + float64(b[1])*256
		lux := func(count float64) float64 { return correct(count * 0.0042 * (2 / gain.factor) * (800 / it.ms)) }
		if count == 0xFFFF {
			if want < lux(count-1) {
				rt.Errorf("saturated at %g lx", want)
			}
			return
		}
		below, above := (lux(count-1)+lux(count))/2, (lux(count)+lux(count+1))/2
		if count == 0 {
			below = 0
		}
		if want < below-1e-6*want-1e-6 || want > above+1e-6*want+1e-6 {
			rt.Errorf("%g lx was read as %g lx: want that of %g to %g lx", want, lux(count), below, above)
		}
	})
}

func TestVEML7700PowerCycle(t *testing.T) {
	r, chip := newVEML7700(t, i2csim.ChipOptions{})
	r.must(t, []byte{1, 5, 5}, 0)
	r.must(t, []byte{3, 7, 0}, 0)
	r.must(t, []byte{0, 0, 0}, 0)
	r.Advance(time.Second)
	if _, ok := chip.LastConversion(); !ok {
		t.Error("no conversion in a second")
	}
	brownOut(t, chip)
	r.run(t, []step{
		{0, nil, []byte{1, 0}, "shut down, and the code is 0"},
		{0, []byte{1}, []byte{0, 0}, "threshold"},
		{0, []byte{3}, []byte{0, 0}, "power saving"},
		{time.Hour, []byte{4}, []byte{0, 0}, "data"},
	})
}
