package tsl2591

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/bustest"
	"github.com/telltale-iot/telltale/drivers/light"
)

var identify = []i2ctest.IO{{Addr: 0x29, W: []byte{0xB2}, R: []byte{0x50}}}

func status(bits byte, all, infrared uint16) i2ctest.IO {
	return i2ctest.IO{Addr: 0x29, W: []byte{0xB3}, R: []byte{
		bits, byte(all), byte(all >> 8), byte(infrared), byte(infrared >> 8),
	}}
}

// integration is the transactions of one integration with a control register.
func integration(control byte, all, infrared uint16) []i2ctest.IO {
	return []i2ctest.IO{
		{Addr: 0x29, W: []byte{0xA0, 0x00}},
		{Addr: 0x29, W: []byte{0xA1, control}},
		{Addr: 0x29, W: []byte{0xA0, 0x03}},
		status(0x01, all, infrared),
		{Addr: 0x29, W: []byte{0xA0}, R: []byte{0x03, control}},
	}
}

// The control register of the ranges that the driver chooses from.
const (
	low, medium, high, highest = 0x00, 0x10, 0x20, 0x32
)

func measurement(lux light.Illuminance, control byte, all uint16) drivers.Measurement {
	return drivers.Measurement{Illuminance: lux, Words: drivers.Words{Illuminance: uint32(control)<<16 | uint32(all)}}
}

func open(o Options) bustest.Open[*Dev] {
	return func(bus i2c.Bus, sleep bustest.Sleep) (*Dev, error) {
		o.Sleep = sleep
		return New(bus, o)
	}
}

var reading = bustest.Reading[*Dev]{Open: open(Options{}), Configure: identify, Measure: integration(low, 1000, 0), Values: measurement(4080*light.Lux, low, 1000)}

func newDev(t testing.TB, bus i2c.Bus, o Options) (*Dev, *bustest.Slept) {
	return bustest.Dev(t, bus, open(o))
}

const ms = time.Millisecond

func TestSense(t *testing.T) {
	late := slices.Insert(integration(low, 1000, 0), 3, slices.Repeat([]i2ctest.IO{status(0x30, 7, 7)}, polls-1)...)
	for _, tt := range []struct {
		name    string
		options Options
		ops     [][]i2ctest.IO // after the identity
		want    drivers.Measurement
		time    time.Duration
	}{
		// 1000 counts, of which 200 infrared: 800 x 0.8 x 408 / (200 x 25) lx.
		{"fixed", Options{Gain: MediumGain, IntegrationTime: 200 * ms}, [][]i2ctest.IO{integration(0x11, 1000, 200)},
			measurement(52224*light.MilliLux, 0x11, 1000), 200 * ms},
		{"fixed, most sensitive", Options{Gain: MaxGain, IntegrationTime: 600 * ms}, [][]i2ctest.IO{integration(0x35, 1, 0)},
			measurement(69*light.MicroLux, 0x35, 1), 600 * ms},
		{"more than 36863 counts in a longer time", Options{Gain: LowGain, IntegrationTime: 200 * ms},
			[][]i2ctest.IO{integration(0x01, 40000, 0)},
			measurement(81600*light.Lux, 0x01, 40000), 200 * ms},
		{"late", Options{}, [][]i2ctest.IO{late}, measurement(4080*light.Lux, low, 1000), 200 * ms},
		{"day", Options{}, [][]i2ctest.IO{integration(low, 500, 0)}, measurement(2040*light.Lux, low, 500), 100 * ms},
		{"office", Options{}, [][]i2ctest.IO{integration(low, 499, 0), integration(medium, 10000, 5000)},
			measurement(408*light.Lux, medium, 10000), 200 * ms},
		{"night", Options{}, [][]i2ctest.IO{
			integration(low, 0, 0), integration(medium, 1, 0), integration(high, 20, 10), integration(highest, 1000, 500),
		}, measurement(34427*light.MicroLux, highest, 1000), 600 * ms},
		{"darkness", Options{}, [][]i2ctest.IO{
			integration(low, 0, 0), integration(medium, 0, 0), integration(high, 0, 0), integration(highest, 0, 0),
		}, measurement(0, highest, 0), 600 * ms},
		{"infrared alone", Options{}, [][]i2ctest.IO{integration(low, 600, 600)}, measurement(0, low, 600), 100 * ms},
		{"more infrared than all, as noise has it", Options{}, [][]i2ctest.IO{integration(low, 600, 700)}, measurement(0, low, 600), 100 * ms},
		{"the light is switched on", Options{}, [][]i2ctest.IO{
			integration(low, 0, 0), integration(medium, 0, 0), integration(high, 0, 0), integration(highest, 65535, 65535),
			integration(high, 36863, 20000), integration(medium, 3000, 1500),
		}, measurement(122400*light.MilliLux, medium, 3000), 800 * ms},
		{"too much infrared alone", Options{}, [][]i2ctest.IO{
			integration(low, 499, 499), integration(medium, 30000, 36863), integration(low, 400, 400),
		}, measurement(0, low, 400), 300 * ms},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ops := slices.Concat(identify, slices.Concat(tt.ops...))
			bustest.Sense(t, open(tt.options), ops, tt.want, tt.time)
		})
	}
}

// The next reading begins in the range that the last one ended in.
func TestRangeIsKept(t *testing.T) {
	d, _ := newDev(t, bustest.Play(t, identify,
		integration(low, 100, 0), integration(medium, 2500, 0),
		integration(medium, 33174, 0), // nine tenths of the limit
		integration(medium, 33175, 0), integration(low, 1327, 0),
		integration(low, 1327, 0),
	), Options{})
	for i, want := range []uint16{2500, 33174, 1327, 1327} {
		var m drivers.Measurement
		if err := d.Sense(t.Context(), &m); err != nil || uint16(m.Words.Illuminance) != want {
			t.Errorf("reading %d: count %d, %v: want %d", i, uint16(m.Words.Illuminance), err, want)
		}
	}
}

// The converter's limit is never a value, whichever channel reaches it, and it
// depends on the integration time.
func TestSaturated(t *testing.T) {
	for _, tt := range []struct {
		options       Options
		control       byte
		all, infrared uint16
	}{
		{Options{}, low, 36863, 0},
		{Options{}, low, 36863, 36863},
		{Options{}, low, 36864, 0},
		{Options{Gain: MaxGain, IntegrationTime: 100 * ms}, 0x30, 36863, 100},
		{Options{Gain: MaxGain, IntegrationTime: 100 * ms}, 0x30, 36862, 36863},
		{Options{Gain: MaxGain, IntegrationTime: 600 * ms}, 0x35, 0xFFFF, 0},
		{Options{Gain: MaxGain, IntegrationTime: 600 * ms}, 0x35, 0, 0xFFFF},
	} {
		d, _ := newDev(t, bustest.Play(t, identify, integration(tt.control, tt.all, tt.infrared)), tt.options)
		var m drivers.Measurement
		if err := d.Sense(t.Context(), &m); !errors.Is(err, drivers.ErrSaturated) || m != (drivers.Measurement{}) {
			t.Errorf("%+v: got %+v, %v: want %v", tt, m, err, drivers.ErrSaturated)
		}
	}
}

// The illuminance is the formula in double precision.
func TestIlluminance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := sensitivity{
			gain: Gain(rapid.IntRange(1, 4).Draw(t, "gain")),
			time: time.Duration(rapid.IntRange(1, 6).Draw(t, "time")) * shortest,
		}
		c := counts{rapid.Uint16().Draw(t, "all"), rapid.Uint16().Draw(t, "infrared")}
		c0, c1 := float64(c.all), float64(c.infrared)
		cpl := float64(s.time.Milliseconds()) * []float64{1, 25, 428, 9876}[s.gain-1] / 408
		want := 0.0
		if c1 < c0 {
			want = (c0 - c1) * (1 - c1/c0) / cpl
		}
		if got := s.illuminance(c); math.Abs(float64(got)/1e6-want) > 0.51e-6+1e-9*want {
			t.Fatalf("%v, %+v: got %v: want %f lx", s, c, got, want)
		}
	})
}

func TestControl(t *testing.T) {
	for want, s := range map[byte]sensitivity{
		0x00: {LowGain, 100 * ms}, 0x15: {MediumGain, 600 * ms}, 0x21: {HighGain, 200 * ms}, 0x32: {MaxGain, 300 * ms},
	} {
		if got := s.control(); got != want {
			t.Errorf("%v: %#02x: want %#02x", s, got, want)
		}
	}
}

func TestFailingTransaction(t *testing.T) { reading.FailEach(t) }

func TestCancel(t *testing.T) { reading.CancelEach(t) }

// chip has the registers of one chip in light of which it counts a number in 100 ms
// with low gain, a quarter of it infrared. It has its result as soon as it is
// started.
type chip struct {
	reg   [0x18]byte
	light uint64
}

func (c *chip) String() string                  { return "chip" }
func (c *chip) SetSpeed(physic.Frequency) error { return nil }

func (c *chip) reset() { c.reg = [0x18]byte{regID: deviceID} }

func (c *chip) Tx(_ uint16, w, r []byte) error {
	reg := w[0] &^ command
	if r != nil {
		copy(r, c.reg[reg:])
		return nil
	}
	c.reg[reg] = w[1]
	switch {
	case reg == regEnable && w[1] == 0:
		c.reg[regStatus] = 0
	case reg == regEnable:
		control := c.reg[regControl]
		all := c.light * []uint64{1, 25, 428, 9876}[control>>4] * uint64(control&7+1)
		limit := uint64(65535)
		if control&7 == 0 {
			limit = 36863
		}
		c.reg[regStatus] = statusValid
		binary.LittleEndian.PutUint16(c.reg[0x14:], uint16(min(all, limit)))
		binary.LittleEndian.PutUint16(c.reg[0x16:], uint16(min(all/4, limit)))
	}
	return nil
}

// Brown-outs before any transactions give the right value, in one of the ranges, or
// an error; one alone does not even cost the reading.
func TestBrownOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &chip{light: rapid.Uint64Range(1, 36000).Draw(t, "light")}
		c.reset()
		bus := &bustest.BrownOut{
			Bus: c, Reset: c.reset,
			Before: rapid.SliceOfNDistinct(rapid.IntRange(0, 40), 0, 6, rapid.ID[int]).Draw(t, "brown-outs before"),
		}
		bustest.Survive(t, bus, open(Options{}), func(m drivers.Measurement) bool {
			for _, s := range autoRanges() {
				all := c.light * uint64(s.gain.factor()) * uint64(s.time/shortest)
				if m.Words.Illuminance == uint32(s.control())<<16|uint32(all) {
					return all <= uint64(s.limit())
				}
			}
			return false
		}, nil)
	})
}

// What can go wrong with an integration.
func TestFaults(t *testing.T) {
	configuration := func(enable, control byte) []i2ctest.IO {
		return []i2ctest.IO{{Addr: 0x29, W: []byte{0xA0}, R: []byte{enable, control}}}
	}
	started := integration(low, 1000, 0)[:3]
	ready := integration(low, 1000, 0)[:4]
	never := slices.Repeat([]i2ctest.IO{status(0, 1000, 0)}, polls)
	for _, tt := range []struct {
		name string
		ops  [][]i2ctest.IO
		want error
	}{
		{"late for good", [][]i2ctest.IO{started, never, configuration(0x03, 0)}, drivers.ErrNotReady},
		{"off", [][]i2ctest.IO{started, never, configuration(0, 0), identify, started, never, configuration(0, 0)}, drivers.ErrReset},
		{"another gain", [][]i2ctest.IO{ready, configuration(3, 0x10), identify, ready, configuration(3, 0x10)}, drivers.ErrReset},
		{"another time", [][]i2ctest.IO{ready, configuration(3, 1), identify, ready, configuration(3, 1)}, drivers.ErrReset},
		{"an interrupt", [][]i2ctest.IO{ready, configuration(0x13, 0), identify, ready, configuration(0x13, 0)}, drivers.ErrReset},
		{"reserved bits", [][]i2ctest.IO{ready, configuration(0x2F, 0x48)}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, slept := newDev(t, bustest.Play(t, identify, slices.Concat(tt.ops...)), Options{})
			var m drivers.Measurement
			if err := d.Sense(t.Context(), &m); !errors.Is(err, tt.want) || err != nil && m != (drivers.Measurement{}) {
				t.Errorf("got %+v, %v: want %v", m, err, tt.want)
			}
			if errors.Is(tt.want, drivers.ErrReset) && d.Resets() != 2 {
				t.Errorf("%d resets", d.Resets())
			}
			if time.Duration(*slept) > 400*ms {
				t.Errorf("waited %v", time.Duration(*slept))
			}
		})
	}
}

func TestIdentify(t *testing.T) {
	bustest.CheckIdentify(t, Identify, i2ctest.IO{Addr: 0x29, W: []byte{0xB2}}, map[string]string{
		"\x50": "",
		"\x0A": "wrong chip: id 0x0a", // a TSL2561, which has the address too
		"\xEE": "wrong chip: id 0xee", // a VL53L0X
	})
}

func TestNew(t *testing.T) {
	good := []Options{{}, {Address: 0x29}, {Gain: MaxGain, IntegrationTime: 600 * ms}}
	for _, after := range []int{100, 200, 300, 400, 500, 600} {
		good = append(good, Options{Gain: LowGain, IntegrationTime: time.Duration(after) * ms})
	}
	bustest.CheckNew(t, "tsl2591", New, good, map[string]Options{
		"address":      {Address: 0x28},
		"gain alone":   {Gain: LowGain},
		"time alone":   {IntegrationTime: 100 * ms},
		"unknown gain": {Gain: 5, IntegrationTime: 100 * ms},
		"too short":    {Gain: LowGain, IntegrationTime: -100 * ms},
		"too long":     {Gain: LowGain, IntegrationTime: 700 * ms},
		"between":      {Gain: LowGain, IntegrationTime: 150 * ms},
	})
	if _, err := New(&i2ctest.Playback{}, Options{Gain: LowGain}); err == nil || !strings.HasSuffix(err.Error(), "want both or neither") {
		t.Errorf("gain alone: error %v", err)
	}
}

func FuzzSense(f *testing.F) {
	reading.Fuzz(f, 2*1700*ms, func(m drivers.Measurement) bool {
		return m.Illuminance >= 0 && m.Illuminance < 150402*light.Lux
	}, bustest.Answers(identify, integration(low, 499, 0), integration(medium, 10000, 5000)),
		bustest.Answers(identify, integration(low, 0, 0), integration(medium, 0, 0), integration(high, 0, 0),
			integration(highest, 65535, 0), integration(high, 36863, 0), integration(medium, 36863, 0), integration(low, 36863, 0)))
}
