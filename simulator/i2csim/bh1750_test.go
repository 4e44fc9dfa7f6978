package i2csim_test

import (
	"errors"
	"fmt"
	"math"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// Instructions.
const (
	powerDown   = 0x00
	powerOn     = 0x01
	clearData   = 0x07
	continuousH = 0x10
	continuous2 = 0x11
	continuousL = 0x13
	oneTimeH    = 0x20
	oneTime2    = 0x21
	oneTimeL    = 0x23
)

var (
	dark     = []byte{0, 0}
	thousand = []byte{0x04, 0xB0} // 1000 lx x 1.2
)

func TestBH1750(t *testing.T) {
	for name, steps := range map[string][]step{
		"supply": {
			{0, nil, dark, "nothing measured yet"},
			{time.Hour, nil, dark, "powered down"},
			{0, []byte{powerOn}, nil, ""},
			{time.Hour, nil, dark, "powered, but not told to measure"},
		},
		"continuous": {
			{0, []byte{continuousH}, nil, "power on may be left out"},
			{180*ms - 1, nil, dark, "not before the longest time of the data sheet"},
			{1, nil, thousand, "1000 lx"},
			{0, nil, append(thousand, 0xFF, 0xFF), "nothing after the two bytes"},
			{0, nil, thousand[:1], "high byte first"},
			{0, []byte{powerDown}, nil, ""},
			{time.Hour, nil, thousand, "the data register stays"},
			{0, []byte{clearData}, thousand, "reset is not acceptable in power down mode"},
			{0, []byte{powerOn}, thousand, ""},
			{0, []byte{clearData}, dark, "now it is"},
			{time.Hour, nil, dark, "nor does it measure again"},
		},
		"reset does not stop measuring": {
			{0, []byte{continuousH}, nil, ""},
			{200 * ms, []byte{clearData}, dark, "cleared"},
			{160*ms - 1, nil, dark, "the second measurement still runs"},
			{1, nil, thousand, "and ends in its time"},
		},
		"a new instruction starts again": {
			{0, []byte{continuousH}, nil, ""},
			{179 * ms, []byte{continuousH}, nil, ""},
			{180*ms - 1, nil, dark, "the first was given up"},
			{1, nil, thousand, "the second was not"},
		},
		"one time": {
			{0, []byte{oneTimeH}, nil, ""},
			{180*ms - 1, nil, dark, "measuring"},
			{1, nil, thousand, "done"},
			{0, []byte{clearData}, thousand, "powered down by itself"},
			{0, []byte{powerOn}, nil, ""},
			{0, []byte{clearData}, dark, ""},
			{time.Hour, nil, dark, "it does not measure again"},
		},
		"mode 2": {
			{0, []byte{continuous2}, nil, ""},
			{180*ms - 1, nil, dark, ""},
			{1, nil, []byte{0x09, 0x60}, "half a lux a count"},
			{0, []byte{oneTime2}, nil, ""},
			{180 * ms, nil, []byte{0x09, 0x60}, ""},
		},
		"low resolution": {
			{0, []byte{continuousL}, nil, ""},
			{24*ms - 1, nil, dark, ""},
			{1, nil, thousand, "24 ms"},
			{0, []byte{powerOn}, nil, ""},
			{0, []byte{clearData}, dark, ""},
			{0, []byte{oneTimeL}, nil, ""},
			{24 * ms, nil, thousand, ""},
		},
		"measurement time": {
			// 138, twice the default.
			{0, []byte{0b01000_100}, nil, "bits 7 to 5"},
			{0, []byte{0b011_01010}, nil, "bits 4 to 0"},
			{0, []byte{continuousH}, nil, ""},
			{360*ms - 1, nil, dark, "twice the time"},
			{1, nil, []byte{0x09, 0x60}, "twice the counts"},
			{0, []byte{0b01000_010}, nil, "69 again,"},
			{0, []byte{0b011_00101}, nil, "but not for the instruction being carried out"},
			{time.Second, nil, []byte{0x09, 0x60}, "still twice the counts"},
			{0, []byte{continuousH}, nil, ""},
			{180 * ms, nil, thousand, "as by default"},
			{0, []byte{powerDown}, nil, ""},
			{0, []byte{0b01000_100}, nil, ""},
			{0, []byte{0b011_01010}, nil, ""},
			{0, []byte{oneTimeH}, nil, ""},
			{360 * ms, nil, []byte{0x09, 0x60}, "power down does not reset it"},
			{0, []byte{oneTimeH}, nil, ""},
			{360 * ms, nil, []byte{0x09, 0x60}, "nor does one-time's"},
		},
		"measurement time beyond its range": {
			{0, []byte{0b01000_000}, nil, ""},
			{0, []byte{0b011_00000}, nil, "0"},
			{0, []byte{continuousH}, nil, ""},
			{80869565 - 1, nil, dark, ""},
			{1, nil, []byte{0x02, 0x1B}, "taken as 31: 1200 x 31/69 counts in 180 x 31/69 ms"},
			{0, []byte{0b01000_111}, nil, ""},
			{0, []byte{0b011_11111}, nil, "255"},
			{0, []byte{continuousH}, nil, ""},
			{662608695, nil, []byte{0x11, 0x41}, "taken as 254"},
		},
		"unknown instructions": {
			{0, []byte{continuousH}, nil, ""},
			{180 * ms, []byte{0x02}, nil, ""},
			{0, []byte{0x12}, nil, ""},
			{0, []byte{0x22}, nil, ""},
			{0, []byte{0x14}, nil, ""},
			{0, []byte{0x80}, nil, ""},
			{0, []byte{0xFF}, thousand, "are acknowledged and ignored"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newBH1750(t, i2csim.ChipOptions{})
			r.run(t, steps)
		})
	}
}

func TestBH1750TypicalDuration(t *testing.T) {
	r, _ := newBH1750(t, i2csim.ChipOptions{Timing: i2csim.Typical})
	r.run(t, []step{
		{0, []byte{continuousH}, nil, ""},
		{120*ms - 1, nil, dark, ""},
		{1, nil, thousand, "120 ms"},
		{0, []byte{powerOn}, nil, ""},
		{0, []byte{clearData}, dark, ""},
		{0, []byte{continuousL}, nil, ""},
		{16*ms - 1, nil, dark, ""},
		{1, nil, thousand, "16 ms"},
	})
}

func TestBH1750AcceptsOneInstructionAMessage(t *testing.T) {
	r, _ := newBH1750(t, i2csim.ChipOptions{})
	if err := r.bus.Tx(r.addr, []byte{continuousH, clearData}, nil); !errors.Is(err, syscall.ENXIO) {
		t.Errorf("two instructions: %v, want ENXIO", err)
	}
	r.run(t, []step{{180 * ms, nil, thousand, "the first was carried out"}})
}

func TestBH1750Counts(t *testing.T) {
	for _, tt := range []struct {
		lux  i2csim.Illuminance
		op   byte
		want uint16
	}{
		{28066_666_667, continuousH, 0x8390}, // the data sheet's example (page 10)
		{0, continuousH, 0},
		{-i2csim.Lux, continuousH, 0},
		{416_666, continuousH, 0},
		{416_667, continuousH, 1},
		{416_667, continuous2, 1},
		{416_667, continuousL, 0},
		{1_666_667, continuousL, 4},
		{54612_500_000, continuousH, 0xFFFF},
		{54611 * i2csim.Lux, continuousH, 0xFFFD},
		{54613 * i2csim.Lux, continuousH, 0xFFFF},
		{120_000 * i2csim.Lux, continuousH, 0xFFFF},
		{27307 * i2csim.Lux, continuous2, 0xFFFF},
		{120_000 * i2csim.Lux, continuousL, 0xFFFF},
	} {
		t.Run(fmt.Sprintf("%v %#x", tt.lux, tt.op), func(t *testing.T) {
			r, _ := newBH1750(t, i2csim.ChipOptions{Source: i2csim.Constant{Illuminance: tt.lux}})
			r.run(t, []step{
				{0, []byte{tt.op}, nil, ""},
				{180 * ms, nil, []byte{byte(tt.want >> 8), byte(tt.want)}, "count"},
			})
		})
	}
}

func TestBH1750ReadsTheSource(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := rapid.Int64Range(0, 120_000_000_000).Draw(rt, "µlx")
		mt := rapid.ByteRange(31, 254).Draw(rt, "mt")
		op := rapid.SampledFrom([]byte{continuousH, continuous2, continuousL, oneTimeH, oneTime2, oneTimeL}).Draw(rt, "op")
		r, _ := newBH1750(t, i2csim.ChipOptions{Source: i2csim.Constant{Illuminance: i2csim.Illuminance(want)}})
		for _, op := range []byte{0b01000_000 | mt>>5, 0b011_00000 | mt&0b11111, op} {
			r.must(rt, []byte{op}, 0)
		}
		r.Advance(time.Second)
		b := r.must(rt, nil, 2)
		count := float64(b[0])*256 + float64(b[1])
		lux := func(count float64) float64 {
			lux := count / 1.2 * 69 / float64(mt)
			if op&3 == 1 {
				lux /= 2
			}
			return lux
		}
		half := 0.5
		if op&3 == 3 {
			half = 2
		}
		switch got := lux(count); {
		case count == 0xFFFF:
			if float64(want)/1e6 < lux(count-half)-1e-6 {
				rt.Errorf("saturated at %g lx", float64(want)/1e6)
			}
		case math.Abs(got-float64(want)/1e6) > lux(half)+1e-6:
			rt.Errorf("%g lx, want %g within %g", got, float64(want)/1e6, lux(half))
		}
	})
}

func TestBH1750Truth(t *testing.T) {
	r, chip := newBH1750(t, i2csim.ChipOptions{Source: ramp{}})
	began := r.now
	r.must(t, []byte{continuousH}, 0)
	r.Advance(180*ms - 1)
	noTruth(t, chip, "before the first has ended")
	r.Advance(1 + 10*180*ms + 100*ms)
	start := began.Add(10 * 180 * ms)
	wantTruth(t, chip, ramp{began}, start, 180*ms)
	if got := r.must(t, nil, 2); got[0] != 0 || got[1] != 22 { // 18 lx x 1.2
		t.Errorf("read % x, want 00 16", got)
	}
	brownOut(t, chip)
	r.run(t, []step{{time.Second, nil, dark, "powered down, data reset"}})
}

func TestBH1750PowerCycleResetsMeasurementTime(t *testing.T) {
	r, chip := newBH1750(t, i2csim.ChipOptions{})
	r.run(t, []step{{0, []byte{0b01000_100}, nil, ""}, {0, []byte{0b011_01010}, nil, ""}})
	chip.PowerCycle()
	r.run(t, []step{{0, []byte{continuousH}, nil, ""}, {180 * ms, nil, thousand, "69 again"}})
}

func TestChipOptions(t *testing.T) {
	for name, tt := range map[string]struct {
		options i2csim.ChipOptions
		err     string
	}{
		"no source":      {i2csim.ChipOptions{}, "i2csim: bh1750: Source is nil"},
		"no such timing": {i2csim.ChipOptions{Source: room, Timing: 9}, "i2csim: bh1750: Timing is 9: want Maximum or Typical"},
		"the wall clock": {i2csim.ChipOptions{Source: room}, ""},
	} {
		if _, err := i2csim.NewBH1750(tt.options); errorText(err) != tt.err {
			t.Errorf("%s: error %v, want %q", name, err, tt.err)
		}
	}
}
