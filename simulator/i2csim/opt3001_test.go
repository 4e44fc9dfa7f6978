package i2csim_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

func newOPT3001(t testing.TB, o i2csim.ChipOptions) (rig, *i2csim.OPT3001) {
	t.Helper()
	return onBus(t, 0x44, o, i2csim.NewOPT3001)
}

// Under 1000 lx an OPT3001 gives 0x5C35: 3125 times 0.32 lx.
func TestOPT3001(t *testing.T) {
	result, config := []byte{0}, []byte{1}
	nothing, thousand := []byte{0, 0}, []byte{0x5C, 0x35}
	for name, steps := range map[string][]step{
		"supply": {
			{0, nil, nothing, "the result register is selected"},
			{0, config, []byte{0xC8, 0x10}, "reset values"},
			{0, []byte{2}, []byte{0xC0, 0x00}, ""},
			{0, []byte{3}, []byte{0xBF, 0xFF}, ""},
			{0, []byte{0x7E}, []byte{0x54, 0x49}, "TI"},
			{0, []byte{0x7F}, []byte{0x30, 0x01}, ""},
			{0, []byte{0x04}, nothing, "no such register"},
			{time.Hour, result, nothing, "shut down"},
		},
		"registers": {
			{0, []byte{2, 0x12, 0x34}, []byte{0x12, 0x34, 0xFF, 0xFF}, "high byte first; nothing after the word"},
			{0, []byte{3, 0x56, 0x78}, nil, ""},
			{0, nil, []byte{0x56}, "half a word"},
			{0, []byte{2, 0xFF}, []byte{0x12, 0x34}, "half a word is not written"},
			{0, []byte{0, 1, 2}, nothing, "the result cannot be written"},
			{0, []byte{0x7E, 1, 2}, []byte{0x54, 0x49}, "nor the id"},
			{0, []byte{1, 0x01, 0xE0}, []byte{0x00, 0x00}, "nor the flags"},
		},
		"single shot": {
			{0, []byte{1, 0xCA, 0x10}, []byte{0xCA, 0x10}, "reads as single shot while it converts"},
			{893*ms - 1, config, []byte{0xCA, 0x10}, "880 ms, 3 ms, and 10 ms to find the range"},
			{0, result, nothing, ""},
			{1, result, thousand, "done"},
			{0, config, []byte{0xC8, 0x90}, "ready, and shut down"},
			{0, config, []byte{0xC8, 0x10}, "reading clears ready"},
			{time.Hour, result, thousand, "the result stays"},
			{0, config, []byte{0xC8, 0x10}, "no other conversion"},
		},
		"ready": {
			{0, []byte{1, 0xC2, 0x10}, nil, "100 ms"},
			{123 * ms, []byte{1, 0xC0, 0x10}, []byte{0xC0, 0x90}, "shutdown does not clear it"},
			{0, []byte{1, 0xC2, 0x10}, nil, ""},
			{123 * ms, []byte{1, 0xC2, 0x10}, []byte{0xC2, 0x10}, "another mode does"},
		},
		"continuous": {
			{0, []byte{1, 0xC4, 0x10}, nil, ""},
			{123*ms - 1, config, []byte{0xC4, 0x10}, "110 ms, 3 ms and 10 ms"},
			{1, config, []byte{0xC4, 0x90}, "the first"},
			{113*ms - 1, config, []byte{0xC4, 0x10}, ""},
			{1, config, []byte{0xC4, 0x90}, "the second, which has its range"},
			{0, []byte{1, 0xC6, 0x10}, []byte{0xC6, 0x10}, "11 is continuous, too"},
			{time.Hour, config, []byte{0xC6, 0x90}, ""},
			{0, result, []byte{0x5C, 0x36}, "even numbers only after 100 ms in this range"},
		},
		"a write aborts the conversion": {
			{0, []byte{1, 0xC2, 0x10}, nil, ""},
			{122 * ms, []byte{1, 0xC2, 0x10}, nil, "and this starts another"},
			{123*ms - 1, result, nothing, ""},
			{1, result, []byte{0x5C, 0x36}, ""},
			{0, []byte{1, 0xC2, 0x10}, nil, ""},
			{122 * ms, []byte{1, 0xC0, 0x10}, nil, "and this none"},
			{time.Hour, config, []byte{0xC0, 0x10}, "never ready"},
		},
		"range by hand": {
			{0, []byte{1, 0x7A, 0x10}, nil, "5241.60 lx"},
			{883 * ms, result, []byte{0x73, 0x0D}, "781 x 1.28 lx, 10 ms earlier"},
			{0, []byte{1, 0x7A, 0x14}, nil, "without the exponent"},
			{883 * ms, result, []byte{0x03, 0x0D}, ""},
			{0, []byte{1, 0xCA, 0x14}, nil, ""},
			{893 * ms, result, thousand, "the range that it finds is always said"},
			{0, []byte{1, 0xFA, 0x10}, nil, "reserved range"},
			{893 * ms, result, thousand, "finds it, too"},
			{0, []byte{1, 0x4A, 0x10}, nil, "655.20 lx"},
			{883 * ms, result, []byte{0x4F, 0xFF}, "full scale"},
			{0, config, []byte{0x49, 0x90}, "overflow"},
			{0, config, []byte{0x49, 0x10}, "is not cleared by reading"},
			{0, []byte{1, 0x0A, 0x10}, nil, "40.95 lx"},
			{883 * ms, result, []byte{0x07, 0xFF}, "far above it the result may be anything"},
			{0, config, []byte{0x09, 0x90}, "but overflow says so"},
			{0, []byte{1, 0x5A, 0x10}, nil, "1310.40 lx"},
			{883 * ms, result, thousand, ""},
			{0, config, []byte{0x58, 0x90}, "no overflow any more"},
		},
		// Probe and reading of Linux 6.1's opt3001.
		"Linux": {
			{0, []byte{0x7E}, []byte{0x54, 0x49}, ""},
			{0, []byte{0x7F}, []byte{0x30, 0x01}, ""},
			{0, config, []byte{0xC8, 0x10}, ""},
			{0, []byte{1, 0xC8, 0x10}, nil, ""},
			{0, []byte{2}, []byte{0xC0, 0x00}, ""},
			{0, []byte{3}, []byte{0xBF, 0xFF}, ""},
			{0, config, []byte{0xC8, 0x10}, ""},
			{0, []byte{1, 0xCA, 0x10}, nil, ""},
			{time.Second, config, []byte{0xC8, 0x90}, "OPT3001_RESULT_READY_LONG"},
			{0, result, thousand, "10 x (3125 << 5) mlx"},
			{0, []byte{1, 0xC2, 0x10}, nil, ""},
			{150 * ms, config, []byte{0xC0, 0x90}, "OPT3001_RESULT_READY_SHORT"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newOPT3001(t, i2csim.ChipOptions{})
			r.run(t, steps)
		})
	}
}

func TestOPT3001TypicalDuration(t *testing.T) {
	r, _ := newOPT3001(t, i2csim.ChipOptions{Timing: i2csim.Typical})
	r.run(t, []step{
		{0, []byte{1, 0x5A, 0x10}, nil, ""},
		{803*ms - 1, []byte{0}, []byte{0, 0}, ""},
		{1, nil, []byte{0x5C, 0x35}, "800 ms and 3 ms"},
		{0, []byte{1, 0xC4, 0x10}, nil, ""},
		{113*ms - 1, []byte{1}, []byte{0xC4, 0x10}, ""},
		{1, nil, []byte{0xC4, 0x90}, "100 ms, 3 ms and 10 ms"},
	})
}

func TestOPT3001Results(t *testing.T) {
	for _, tt := range []struct {
		lux      i2csim.Illuminance
		config   uint16
		want     uint16
		overflow bool
	}{
		// Data sheet, table 7-4.
		{10_000, 0x0A10, 0x0001, false},
		{40_950_000, 0x0A10, 0x0FFF, false},
		{88_800_000, 0x3A10, 0x3456, false},
		{2818_560_000, 0x7A10, 0x789A, false},
		{5242_880_000, 0x8A10, 0x8800, false},
		{5242_880_000, 0x9A10, 0x9400, false},
		// The edges.
		{40_950_000, 0xCA10, 0x0FFF, false},
		{40_956_000, 0xCA10, 0x1800, false},
		{40_940_000, 0xC210, 0x1800, false}, // after 100 ms in steps of 0.08 lx
		{40_910_000, 0xC210, 0x0FF8, false},
		{39_000, 0xC210, 0x0000, false},
		{41_000, 0xC210, 0x0008, false},
		{81_900_000, 0xC210, 0x2800, false},
		{81_860_000, 0xC210, 0x1FFC, false},
		{1310_400_000, 0xC210, 0x6800, false},
		{1309_700_000, 0xC210, 0x5FFC, false},
		{83865_600_000, 0xCA10, 0xBFFF, false},
		{83870 * i2csim.Lux, 0xCA10, 0xBFFF, false},
		{83876 * i2csim.Lux, 0xCA10, 0xBFFF, true},
		{120_000 * i2csim.Lux, 0xCA10, 0xBFFF, true},
		{200_000 * i2csim.Lux, 0xCA10, 0xB7FF, true},
		{-i2csim.Lux, 0xCA10, 0, false},
	} {
		t.Run(fmt.Sprintf("%v %#04x", tt.lux, tt.config), func(t *testing.T) {
			r, _ := newOPT3001(t, light(tt.lux))
			r.must(t, []byte{1, byte(tt.config >> 8), byte(tt.config)}, 0)
			r.Advance(time.Second)
			got := r.must(t, []byte{0}, 2)
			if word := uint16(got[0])<<8 | uint16(got[1]); word != tt.want {
				t.Errorf("result %#04x, want %#04x", word, tt.want)
			}
			if overflow := r.must(t, []byte{1}, 2)[0]&1 != 0; overflow != tt.overflow {
				t.Errorf("overflow %t, want %t", overflow, tt.overflow)
			}
		})
	}
}

// The result is the source's illuminance to half of a step, which is 1/4096 of
// the range or, after 100 ms, up to 1/512; and the range is not larger than it
// has to be.
func TestOPT3001ReadsTheSource(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := math.Exp(rapid.Float64Range(math.Log(0.001), math.Log(83_865)).Draw(rt, "ln lx"))
		short := rapid.Bool().Draw(rt, "100 ms")
		r, _ := newOPT3001(t, light(i2csim.Illuminance(want*1e6)))
		config := byte(0xCA)
		steps := 4096.0
		if short {
			config, steps = 0xC2, 512
		}
		r.must(rt, []byte{1, config, 0x10}, 0)
		r.Advance(time.Second)
		b := r.must(rt, []byte{0}, 2)
		exponent, mantissa := b[0]>>4, float64(b[0]&0xF)*256+float64(b[1])
		lsb := 0.01 * math.Exp2(float64(exponent))
		switch {
		case exponent >= 5: // 12 or 11 bits
			steps = max(steps, 2048)
		case exponent >= 1:
			steps = max(steps, 1024)
		}
		if got := lsb * mantissa; math.Abs(got-want) > 4096*lsb/steps/2+1e-6 {
			rt.Errorf("%#x: %g lx, want %g", b, got, want)
		}
		if exponent > 0 && mantissa < 2046 {
			rt.Errorf("%#x: a lower range would do", b)
		}
	})
}

func TestOPT3001Truth(t *testing.T) {
	source := ramp{newClock().now}
	r, chip := newOPT3001(t, i2csim.ChipOptions{Source: source})
	r.must(t, []byte{1, 0xC4, 0x10}, 0)
	r.Advance(123*ms - 1)
	noTruth(t, chip, "before the first has ended")
	r.Advance(1)
	wantTruth(t, chip, source, source.from, 123*ms)
	r.Advance(1000*113*ms + 50*ms)
	start := source.from.Add(123*ms + 999*113*ms)
	wantTruth(t, chip, source, start, 113*ms)
	r.must(t, []byte{2, 0, 0}, 0)
	brownOut(t, chip)
	r.run(t, []step{
		{time.Hour, nil, []byte{0, 0}, "shut down, the result selected and reset"},
		{0, []byte{1}, []byte{0xC8, 0x10}, ""},
		{0, []byte{2}, []byte{0xC0, 0x00}, ""},
	})
}
