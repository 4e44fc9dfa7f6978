package opt3001

import (
	"encoding/binary"
	"errors"
	"slices"
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

var identify = []i2ctest.IO{
	{Addr: 0x44, W: []byte{0x7E}, R: []byte{0x54, 0x49}},
	{Addr: 0x44, W: []byte{0x7F}, R: []byte{0x30, 0x01}},
}

func configuration(word uint16) i2ctest.IO {
	return i2ctest.IO{Addr: 0x44, W: []byte{0x01}, R: []byte{byte(word >> 8), byte(word)}}
}

// conversion is the transactions of one conversion of 800 ms.
func conversion(result uint16) []i2ctest.IO {
	return []i2ctest.IO{
		{Addr: 0x44, W: []byte{0x01, 0xCA, 0x11}},
		configuration(0xC891),
		{Addr: 0x44, W: []byte{0x00}, R: []byte{byte(result >> 8), byte(result)}},
		configuration(0xC811),
	}
}

func open(o Options) bustest.Open[*Dev] {
	return func(bus i2c.Bus, sleep bustest.Sleep) (*Dev, error) {
		o.Sleep = sleep
		return New(bus, o)
	}
}

var reading = bustest.Reading[*Dev]{Open: open(Options{}), Configure: identify, Measure: conversion(0x0064), Values: measurement(light.Lux, 0x64)}

func newDev(t testing.TB, bus i2c.Bus, o Options) (*Dev, *bustest.Slept) {
	return bustest.Dev(t, bus, open(o))
}

func measurement(lux light.Illuminance, result uint16) drivers.Measurement {
	return drivers.Measurement{Illuminance: lux, Words: drivers.Words{Illuminance: uint32(result)}}
}

func TestSense(t *testing.T) {
	short := conversion(0x1234)
	short[0].W = []byte{0x01, 0xC2, 0x11}
	short[1], short[3] = configuration(0xC091), configuration(0xC011)
	late := slices.Insert(conversion(0x0001), 1, slices.Repeat([]i2ctest.IO{configuration(0xCA11)}, polls-1)...)
	for _, tt := range []struct {
		name    string
		options Options
		ops     []i2ctest.IO
		want    drivers.Measurement
		time    time.Duration
	}{
		// The examples of the OPT3004's datasheet (table 8-9), which has the same register.
		{"datasheet's 0.01 lx", Options{}, conversion(0b0000_0000_0000_0001), measurement(10*light.MilliLux, 0x0001), 893 * time.Millisecond},
		{"datasheet's 40.95 lx", Options{}, conversion(0b0000_1111_1111_1111), measurement(40950*light.MilliLux, 0x0FFF), 893 * time.Millisecond},
		{"datasheet's 88.80 lx", Options{}, conversion(0b0011_0100_0101_0110), measurement(88800*light.MilliLux, 0x3456), 893 * time.Millisecond},
		{"short", Options{ConversionTime: ShortConversion}, short, measurement(11280*light.MilliLux, 0x1234), 123 * time.Millisecond},
		{"dark", Options{}, conversion(0), measurement(0, 0), 893 * time.Millisecond},
		{"the most", Options{}, conversion(0xBFFE), measurement(83845120*light.MilliLux, 0xBFFE), 893 * time.Millisecond},
		{"late", Options{}, late, measurement(10*light.MilliLux, 1), (893 + 11*80) * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bustest.Sense(t, open(tt.options), slices.Concat(identify, tt.ops), tt.want, tt.time)
		})
	}
}

// A count of each range is worth what table 8 says, and a full count what it calls
// the full scale.
func TestRanges(t *testing.T) {
	for exponent, want := range []struct{ fullScale, count light.Illuminance }{ // in hundredths of a lux
		{4095, 1}, {8190, 2}, {16380, 4}, {32760, 8}, {65520, 16}, {131040, 32},
		{262080, 64}, {524160, 128}, {1048320, 256}, {2096640, 512}, {4193280, 1024},
	} {
		const hundredth = 10 * light.MilliLux
		if got, err := illuminance(uint16(exponent)<<12 | 1); err != nil || got != want.count*hundredth {
			t.Errorf("range %d: a count is %v, %v: want %v", exponent, got, err, want.count*hundredth)
		}
		if got, err := illuminance(uint16(exponent)<<12 | 0xFFF); err != nil || got != want.fullScale*hundredth {
			t.Errorf("range %d: the full scale is %v, %v: want %v", exponent, got, err, want.fullScale*hundredth)
		}
	}
	for result, want := range map[uint16]error{
		0xBFFF: drivers.ErrSaturated, 0xC000: drivers.ErrOutOfRange, 0xFFFF: drivers.ErrOutOfRange,
	} {
		if _, err := illuminance(result); !errors.Is(err, want) {
			t.Errorf("%#04x: error %v: want %v", result, err, want)
		}
	}
}

// What can go wrong with a conversion, and the reading after it.
func TestFaults(t *testing.T) {
	start := conversion(0)[:1]
	for _, tt := range []struct {
		name string
		ops  [][]i2ctest.IO
		want error
	}{
		{"overflow", [][]i2ctest.IO{start, {configuration(0xC991)}}, drivers.ErrSaturated},
		{"never ready", [][]i2ctest.IO{start, slices.Repeat([]i2ctest.IO{configuration(0xCA11)}, polls)}, drivers.ErrNotReady},
		{"reset twice", [][]i2ctest.IO{start, {configuration(0xC810)}, identify, start, {configuration(0xC810)}}, drivers.ErrReset},
		{"reset before the result twice", [][]i2ctest.IO{
			conversion(0)[:3], {configuration(0xC810)}, identify, conversion(0)[:3], {configuration(0xC810)},
		}, drivers.ErrReset},
		{"reads as ones", [][]i2ctest.IO{start, {configuration(0xFFFF)}, identify, start, {configuration(0xFFFF)}}, drivers.ErrReset},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reading.CheckFault(t, slices.Concat(identify, slices.Concat(tt.ops...)), tt.want, 4*893*time.Millisecond)
		})
	}
}

// A range that there is not.
func TestOutOfRange(t *testing.T) { reading.CheckOutOfRange(t, conversion(0xD000)) }

func TestFailingTransaction(t *testing.T) { reading.FailEach(t) }

func TestCancel(t *testing.T) { reading.CancelEach(t) }

// chip has the registers of one chip, which has its result as soon as a conversion
// is started.
type chip struct{ conf, result, next uint16 }

func (c *chip) String() string                  { return "chip" }
func (c *chip) SetSpeed(physic.Frequency) error { return nil }

func (c *chip) reset() { c.conf, c.result = 0xC810, 0 }

func (c *chip) Tx(_ uint16, w, r []byte) error {
	switch {
	case len(w) == 3:
		c.conf = binary.BigEndian.Uint16(w[1:])
		if c.conf&modeSingleShot != 0 {
			c.conf = c.conf&^modeSingleShot | conversionReady
			c.result = c.next
		}
	case w[0] == regConfiguration:
		binary.BigEndian.PutUint16(r, c.conf)
		c.conf &^= conversionReady
	case w[0] == regManufacturer:
		copy(r, "TI")
	case w[0] == regDevice:
		copy(r, "\x30\x01")
	default:
		binary.BigEndian.PutUint16(r, c.result)
	}
	return nil
}

// Brown-outs before any transactions give the right value or an error; one alone
// does not even cost the reading.
func TestBrownOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &chip{conf: 0xC810, next: rapid.Uint16Range(1, 0xBFFE).Draw(t, "result")}
		bus := &bustest.BrownOut{
			Bus: c, Reset: c.reset,
			Before: rapid.SliceOfNDistinct(rapid.IntRange(0, 40), 0, 6, rapid.ID[int]).Draw(t, "brown-outs before"),
		}
		options := Options{
			ConversionTime: rapid.SampledFrom([]time.Duration{ShortConversion, LongConversion}).Draw(t, "conversion time"),
		}
		bustest.Survive(t, bus, open(options), func(m drivers.Measurement) bool { return m.Words.Illuminance == uint32(c.next) }, nil)
	})
}

func TestResets(t *testing.T) {
	c := &chip{conf: 0xC810, next: 0x64}
	d, _ := newDev(t, &bustest.BrownOut{Bus: c, Reset: c.reset, Before: []int{3, 5}}, Options{})
	if err := d.Sense(t.Context(), new(drivers.Measurement)); err != nil || d.Resets() != 1 {
		t.Errorf("%d resets, %v: want 1", d.Resets(), err)
	}
}

func TestIdentify(t *testing.T) {
	for _, tt := range []struct {
		ids  [][]byte
		want string
	}{
		{[][]byte{{0x54, 0x49}, {0x30, 0x01}}, ""},
		{[][]byte{{0x54, 0x49}, {0x00, 0x40}}, "wrong chip: device id 0x0040"},
		{[][]byte{{0xFF, 0xFF}}, "wrong chip: manufacturer id 0xffff"},
		{[][]byte{{0x49, 0x54}}, "wrong chip: manufacturer id 0x4954"},
	} {
		var ops []i2ctest.IO
		for i, id := range tt.ids {
			ops = append(ops, i2ctest.IO{Addr: 0x45, W: []byte{0x7E + byte(i)}, R: id})
		}
		err := Identify(bustest.Play(t, ops), 0x45)
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, drivers.ErrWrongChip) || err.Error() != tt.want) {
			t.Errorf("ids % x: got %v: want %q", tt.ids, err, tt.want)
		}
	}
	errBus := errors.New("no bus")
	for at := range 2 {
		if err := Identify(&bustest.Failing{Bus: bustest.Play(t, identify[:at]), At: at, Err: errBus}, 0x44); !errors.Is(err, errBus) {
			t.Errorf("got %v: want %v", err, errBus)
		}
	}
}

func TestNew(t *testing.T) {
	bustest.CheckNew(t, "opt3001", New, []Options{{}, {Address: 0x47}, {ConversionTime: ShortConversion}}, map[string]Options{
		"address too low": {Address: 0x43}, "address too high": {Address: 0x48}, "conversion time": {ConversionTime: time.Second},
	})
}

func FuzzSense(f *testing.F) {
	reading.Fuzz(f, 4*893*time.Millisecond, func(m drivers.Measurement) bool {
		return m.Illuminance >= 0 && m.Illuminance < 83865600*light.MilliLux
	}, bustest.Answers(identify, []i2ctest.IO{configuration(0xCA11), configuration(0xC810)}, identify, conversion(0xBFFF)))
}
