package bmp3

import (
	"errors"
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
)

// The transactions of a BMP388 with the example's calibration and measurement, at
// one sample each and without filter.
var (
	calibrationRead = i2ctest.IO{Addr: 0x76, W: []byte{0x31}, R: []byte{
		0x23, 0x6B, 0x58, 0x49, 0xF6, 0x5C, 0xFF, 0xCE, 0xF4, 0x23, 0x00,
		0xEA, 0x63, 0x6E, 0x79, 0xF3, 0xF6, 0xAA, 0x43, 0x12, 0xC4,
	}}
	configure = []i2ctest.IO{
		{Addr: 0x76, W: []byte{0x00}, R: []byte{0x50}},
		{Addr: 0x76, W: []byte{0x7E, 0xB6}},
		{Addr: 0x76, W: []byte{0x03}, R: []byte{0x10}},
		calibrationRead, calibrationRead, // for comparison
		{Addr: 0x76, W: []byte{0x1C, 0x00, 0x1F, 0x00}},
	}
	measure = []i2ctest.IO{
		{Addr: 0x76, W: []byte{0x1B, 0x13}},
		{Addr: 0x76, W: []byte{0x03}, R: []byte{0x70, 0x97, 0x9F, 0x6D, 0x73, 0xD8, 0x85}},
		{Addr: 0x76, W: []byte{0x1B}, R: []byte{0x03, 0x00, 0x00, 0x00, 0x00}},
	}
	values = drivers.Measurement{
		Temperature: physic.ZeroCelsius + 30499314427*physic.NanoKelvin,
		Pressure:    100876006286621 * physic.NanoPascal,
		Words:       drivers.Words{Temperature: 0x85D873, Pressure: 0x6D9F97},
	}
)

const sampleTime = 4979 * time.Microsecond

func open(o Options) bustest.Open[*Dev] {
	return func(bus i2c.Bus, sleep bustest.Sleep) (*Dev, error) {
		o.Sleep = sleep
		return New(bus, o)
	}
}

var reading = bustest.Reading[*Dev]{Open: open(Options{}), Configure: configure, Measure: measure, Values: values}

func newDev(t testing.TB, bus i2c.Bus, o Options) (*Dev, *bustest.Slept) {
	return bustest.Dev(t, bus, open(o))
}

func TestSense(t *testing.T) {
	reading.SenseTwice(t, 2*time.Millisecond+2*sampleTime)
	t.Run("BMP390", func(t *testing.T) {
		ops := slices.Concat(configure, measure)
		ops[0].R = []byte{0x60}
		bustest.Sense(t, open(Options{Model: BMP390}), ops, values, 2*time.Millisecond+sampleTime)
	})
}

func TestSettings(t *testing.T) {
	for _, tt := range []struct {
		name      string
		options   Options
		configure []byte // the pairs written
		time      time.Duration
	}{
		{"the most samples", Options{Temperature: 32, Pressure: 32, Filter: 127},
			[]byte{0x1C, 5<<3 | 5, 0x1F, 7 << 1}, 130219 * time.Microsecond},
		{"all different", Options{Temperature: 2, Pressure: 16, Filter: 3}, []byte{0x1C, 1<<3 | 4, 0x1F, 2 << 1}, 37299 * time.Microsecond},
		{"least filter", Options{Pressure: 8, Filter: 1}, []byte{0x1C, 3, 0x1F, 1 << 1}, 19119 * time.Microsecond},
		{"defaults", Options{Model: BMP390}, []byte{0x1C, 0, 0x1F, 0}, sampleTime},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := [][]byte{{0x7E, 0xB6}, tt.configure, {0x1B, 0x13}}
			bustest.SenseWrites(t, open(tt.options), newChip(tt.options.Model, example, exampleRaw), want, tt.time+startupTime)
		})
	}
}

func TestFailingTransaction(t *testing.T) { reading.FailEach(t) }

func TestCancel(t *testing.T) { reading.CancelEach(t) }

func TestWrongChip(t *testing.T) {
	for _, tt := range []struct {
		want Model
		id   byte
		text string
	}{
		{BMP388, 0x60, "found a BMP390 (id 0x60): want a BMP388"},
		{BMP390, 0x50, "found a BMP388 (id 0x50): want a BMP390"},
		{BMP388, 0x00, "id 0x00: want a BMP388"},
		{BMP390, 0xFF, "id 0xff: want a BMP390"},
	} {
		// Nothing else is asked of the chip, and nothing written.
		d, _ := newDev(t, bustest.Play(t, []i2ctest.IO{{Addr: 0x76, W: []byte{0x00}, R: []byte{tt.id}}}), Options{Model: tt.want})
		err := d.Sense(t.Context(), new(drivers.Measurement))
		if !errors.Is(err, drivers.ErrWrongChip) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("error %v: want %q", err, tt.text)
		}
	}
}

func TestBadCalibration(t *testing.T) {
	d, _ := newDev(t, newChip(BMP388, calibration{}, exampleRaw), Options{})
	if err := d.Sense(t.Context(), new(drivers.Measurement)); !errors.Is(err, drivers.ErrBadCalibration) {
		t.Errorf("error %v", err)
	}
}

func TestCalibrationReadWrong(t *testing.T) {
	for at := 3; at < 5; at++ {
		reading.FlipEachBit(t, at, 4, drivers.ErrBadCalibration, "read twice")
	}
}

func TestLate(t *testing.T) {
	const bound = 2*time.Millisecond + 20*time.Millisecond + sampleTime + 18*time.Millisecond
	chip := newChip(BMP388, example, exampleRaw)
	reading.CheckLate(t, chip, &chip.busy, polls, bound)
	chip.busy = polls - 1
	reading.CheckLate(t, chip, &chip.late, polls, bound)
}

// One quantity is ready before the other: its bit is cleared by the burst that
// shows it, and both results are taken from the last one.
func TestReadyOneByOne(t *testing.T) {
	for first, second := range map[byte]byte{0x20: 0x40, 0x40: 0x20} {
		partly := measure[1]
		partly.R = []byte{first, 1, 2, 3, 4, 5, 6}
		rest := measure[1]
		rest.R = slices.Clone(rest.R)
		rest.R[0] = second
		ops := slices.Concat(configure, measure[:1], []i2ctest.IO{partly, measure[2], rest, measure[2]})
		d, _ := newDev(t, bustest.Play(t, ops), Options{})
		var m drivers.Measurement
		if err := d.Sense(t.Context(), &m); err != nil || m != values {
			t.Errorf("first %#x: got %v, %v: want %v", first, m, err, values)
		}
	}
}

// Brown-outs before any transactions give the right value or an error: never a value
// that the chip did not measure as configured. One does not even cost the reading.
func TestBrownOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := Options{
			Model:    Model(rapid.IntRange(0, 1).Draw(t, "model")),
			Pressure: 1 << rapid.IntRange(0, 5).Draw(t, "oversampling"), Filter: 1<<rapid.IntRange(0, 7).Draw(t, "filter") - 1,
		}
		chip := newChip(options.Model, example, exampleRaw)
		bus := &bustest.BrownOut{
			Bus: chip, Reset: chip.reset,
			Before: rapid.SliceOfNDistinct(rapid.IntRange(0, 40), 1, 6, rapid.ID[int]).Draw(t, "brown-outs before"),
		}
		bustest.Survive(t, bus, open(options), func(m drivers.Measurement) bool { return m == values }, nil)
	})
}

// A result beside any other configuration than the one written does not count,
// nor one that the chip does not say is new.
func TestResultsBesideOtherRegisters(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reg   byte
		value byte
		want  error
	}{
		{"no temperature", 0x1B, 0x01, drivers.ErrReset},
		{"no pressure", 0x1B, 0x02, drivers.ErrReset},
		{"other oversampling of pressure", 0x1C, 1<<3 | 2, drivers.ErrReset},
		{"other oversampling of temperature", 0x1C, 2<<3 | 3, drivers.ErrReset},
		{"other filter", 0x1F, 0, drivers.ErrReset},
		{"pressure is not new", 0x03, 0x50, drivers.ErrNotReady},
		{"temperature is not new", 0x03, 0x30, drivers.ErrNotReady},
		{"mode", 0x1B, 0x13, nil}, // it shows its own end otherwise
		{"bits that are not ours", 0x1C, 0xC0 | 1<<3 | 3, nil},
		{"other registers", 0x1D, 0xFF, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			chip := newChip(BMP388, example, exampleRaw)
			d, _ := newDev(t, chip, Options{Temperature: 2, Pressure: 8, Filter: 3})
			if err := d.Sense(t.Context(), new(drivers.Measurement)); err != nil {
				t.Fatal(err)
			}
			chip.stuck = map[byte]byte{tt.reg: tt.value}
			if err := d.Sense(t.Context(), new(drivers.Measurement)); !errors.Is(err, tt.want) {
				t.Errorf("error %v: want %v", err, tt.want)
			}
		})
	}
}

func TestResets(t *testing.T) {
	chip := newChip(BMP388, example, exampleRaw)
	d, _ := newDev(t, chip, Options{})
	bustest.CountResets(t, d, chip.reset)
}

// The calibration of a chip that was replaced is read anew.
func TestReplaced(t *testing.T) {
	chip := newChip(BMP388, example, exampleRaw)
	d, _ := newDev(t, chip, Options{})
	var m drivers.Measurement
	if err := d.Sense(t.Context(), &m); err != nil {
		t.Fatal(err)
	}
	other := example
	other.P5 += 100 // 800 Pa
	*chip = *newChip(BMP388, other, exampleRaw)
	if err := d.Sense(t.Context(), &m); err != nil || m.Pressure != values.Pressure+800*physic.Pascal {
		t.Errorf("got %v, %v", m.Pressure, err)
	}
}

func TestNew(t *testing.T) {
	bustest.CheckNew(t, "bmp3", New, []Options{{}, {Address: 0x77}}, map[string]Options{
		"address below":          {Address: 0x75},
		"address above":          {Address: 0x78},
		"model":                  {Model: 2},
		"oversampling":           {Temperature: 3},
		"oversampling beyond 32": {Pressure: 64},
		"filter":                 {Filter: 2},
		"filter beyond 127":      {Filter: 255},
	})
}

func TestIdentify(t *testing.T) {
	for _, tt := range []struct {
		id   byte
		want Model
		err  string
	}{
		{0x50, BMP388, ""},
		{0x60, BMP390, ""},
		{0x58, 0, "wrong chip: id 0x58"}, // a BMP280 has that, in another register
		{0x00, 0, "wrong chip: id 0x00"}, // a multiplexer repeats what it was told
		{0xFF, 0, "wrong chip: id 0xff"},
	} {
		got, err := Identify(bustest.Play(t, []i2ctest.IO{{Addr: 0x77, W: []byte{0x00}, R: []byte{tt.id}}}), 0x77)
		if tt.err == "" && (err != nil || got != tt.want) {
			t.Errorf("id %#02x: got %v, %v: want %v", tt.id, got, err, tt.want)
		}
		if tt.err != "" && (!errors.Is(err, drivers.ErrWrongChip) || err.Error() != tt.err) {
			t.Errorf("id %#02x: got %v: want %q", tt.id, err, tt.err)
		}
	}
	errBus := errors.New("no bus")
	if _, err := Identify(&bustest.Failing{Err: errBus}, 0x76); !errors.Is(err, errBus) {
		t.Errorf("got %v: want %v", err, errBus)
	}
}

func FuzzSense(f *testing.F) {
	const bound = 2*sampleTime + 100*time.Millisecond
	reading.Fuzz(f, bound, func(m drivers.Measurement) bool {
		return m.Temperature >= minTemperature && m.Temperature <= maxTemperature &&
			m.Pressure >= minPressure && m.Pressure <= maxPressure
	}, slices.Concat(configure[0].R, make([]byte, 20)))
}
