package bme680

import (
	"errors"
	"fmt"
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

// The transactions of a chip with the example's calibration and measurement, at one
// sample each and without filter.
var (
	calibrationLow = i2ctest.IO{Addr: 0x76, W: []byte{0x8A}, R: []byte{
		0xB2, 0x66, 0x03, 0x00, 0x43, 0x8A, 0x5B, 0xD7, 0x58, 0x00, 0xE4, 0x12,
		0x8A, 0xFF, 0x1A, 0x1E, 0x00, 0x00, 0x03, 0xFD, 0xD9, 0xF2, 0x1E,
	}}
	calibrationHigh = i2ctest.IO{Addr: 0x76, W: []byte{0xE1}, R: []byte{
		0x3F, 0xDD, 0x2C, 0x00, 0x2D, 0x14, 0x78, 0x9C, 0x53, 0x66,
	}}
	configure = []i2ctest.IO{
		{Addr: 0x76, W: []byte{0xD0}, R: []byte{0x61}},
		{Addr: 0x76, W: []byte{0xE0, 0xB6}},
		calibrationLow, calibrationHigh,
		calibrationLow, calibrationHigh, // for comparison
		{Addr: 0x76, W: []byte{0x70, 0x08, 0x71, 0x00, 0x72, 0x01, 0x75, 0x00}},
	}
	measure = []i2ctest.IO{
		{Addr: 0x76, W: []byte{0x74, 0x25}},
		{Addr: 0x76, W: []byte{0x1D}, R: []byte{0x80, 0x00, 0x60, 0x1E, 0x90, 0x75, 0x5D, 0xC0, 0x41, 0xB4}},
		{Addr: 0x76, W: []byte{0x70}, R: []byte{0x08, 0x00, 0x01, 0x00, 0x24, 0x00}},
	}
	values = drivers.Measurement{
		Temperature: physic.ZeroCelsius + 19311328125*physic.NanoKelvin,
		Pressure:    100977515625000 * physic.NanoPascal,
		Humidity:    2520410 * physic.TenthMicroRH,
		Words:       drivers.Words{Temperature: 480732, Pressure: 393705, Humidity: 16820},
	}
)

const sampleTime = 11182 * time.Microsecond

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

func TestSense(t *testing.T) { reading.SenseTwice(t, 10*time.Millisecond+2*sampleTime) }

func TestSettings(t *testing.T) {
	for _, tt := range []struct {
		name     string
		options  Options
		ctrlHum  byte
		filter   byte
		ctrlMeas byte
		time     time.Duration
	}{
		{"the most samples", Options{Temperature: 16, Pressure: 16, Humidity: 16, Filter: 127}, 5, 7 << 2, 5<<5 | 5<<2, 99517 * time.Microsecond},
		{"all different", Options{Temperature: 2, Pressure: 4, Humidity: 8, Filter: 3}, 4, 2 << 2, 2<<5 | 3<<2, 32775 * time.Microsecond},
		{"least filter", Options{Filter: 1}, 1, 1 << 2, 1<<5 | 1<<2, sampleTime},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := [][]byte{{0xE0, 0xB6}, {0x70, 0x08, 0x71, 0x00, 0x72, tt.ctrlHum, 0x75, tt.filter}, {0x74, tt.ctrlMeas | 1}}
			bustest.SenseWrites(t, open(tt.options), newChip(example, exampleRaw), want, tt.time+resetTime)
		})
	}
}

func TestFailingTransaction(t *testing.T) { reading.FailEach(t) }

func TestCancel(t *testing.T) { reading.CancelEach(t) }

func TestWrongChip(t *testing.T) {
	for _, id := range []byte{0x60, 0x58, 0x00, 0xFF} { // the first is a BME280's
		// Nothing else is asked of the chip, and nothing written.
		d, _ := newDev(t, bustest.Play(t, []i2ctest.IO{{Addr: 0x76, W: []byte{0xD0}, R: []byte{id}}}), Options{})
		err := d.Sense(t.Context(), new(drivers.Measurement))
		if want := fmt.Sprintf("id %#02x: want a BME680 (id 0x61)", id); !errors.Is(err, drivers.ErrWrongChip) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v: want %q", err, want)
		}
	}
}

func TestBadCalibration(t *testing.T) {
	d, _ := newDev(t, newChip(calibration{}, exampleRaw), Options{})
	if err := d.Sense(t.Context(), new(drivers.Measurement)); !errors.Is(err, drivers.ErrBadCalibration) {
		t.Errorf("error %v", err)
	}
}

func TestCalibrationReadWrong(t *testing.T) {
	for at := 2; at < 6; at++ {
		reading.FlipEachBit(t, at, 5, drivers.ErrBadCalibration, "read twice")
	}
}

func TestLate(t *testing.T) {
	const bound = 10*time.Millisecond + sampleTime + 18*time.Millisecond
	chip := newChip(example, exampleRaw)
	reading.CheckLate(t, chip, &chip.late, polls, bound)
}

// Brown-outs before any transactions give the right value or an error: never a value
// that the chip did not measure as configured. One does not even cost the reading.
func TestBrownOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := Options{
			Pressure: 1 << rapid.IntRange(0, 4).Draw(t, "oversampling"), Filter: 1<<rapid.IntRange(0, 7).Draw(t, "filter") - 1,
		}
		chip := newChip(example, exampleRaw)
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
		{"other oversampling of humidity", 0x72, 2, drivers.ErrReset},
		{"other oversampling of temperature", 0x74, 3<<5 | 4<<2, drivers.ErrReset},
		{"other oversampling of pressure", 0x74, 2<<5 | 1<<2, drivers.ErrReset},
		{"other filter", 0x75, 0, drivers.ErrReset},
		{"heater on", 0x70, 0, drivers.ErrReset},
		{"gas measured", 0x71, 1 << 4, drivers.ErrReset},
		{"gas measured by a BME688", 0x71, 1 << 5, drivers.ErrReset},
		{"results are not new", 0x1D, 0, drivers.ErrNotReady},
		{"still measuring", 0x1D, 0xA0, drivers.ErrNotReady},
		{"still measuring gas", 0x1D, 0xC0, drivers.ErrNotReady},
		{"mode", 0x74, 2<<5 | 4<<2 | 1, nil}, // the status says when it ends
		{"bits of the status that are not ours", 0x1D, 0x9F, nil},
		{"bits of the filter's register that are not ours", 0x75, 0xE3 | 2<<2, nil},
		{"bits of humidity's register that are not ours", 0x72, 0xF9, nil},
		{"another register", 0x73, 0xFF, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			chip := newChip(example, exampleRaw)
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
	chip := newChip(example, exampleRaw)
	d, _ := newDev(t, chip, Options{})
	bustest.CountResets(t, d, chip.reset)
}

// The calibration of a chip that was replaced is read anew.
func TestReplaced(t *testing.T) {
	chip := newChip(example, exampleRaw)
	d, _ := newDev(t, chip, Options{})
	var m drivers.Measurement
	if err := d.Sense(t.Context(), &m); err != nil {
		t.Fatal(err)
	}
	other := example
	other.P7 += 100 // 800 Pa
	*chip = *newChip(other, exampleRaw)
	if err := d.Sense(t.Context(), &m); err != nil || m.Pressure != values.Pressure+800*physic.Pascal {
		t.Errorf("got %v, %v", m.Pressure, err)
	}
}

func TestNew(t *testing.T) {
	bustest.CheckNew(t, "bme680", New, []Options{{}, {Address: 0x77}}, map[string]Options{
		"address below":            {Address: 0x75},
		"address above":            {Address: 0x78},
		"oversampling of humidity": {Humidity: 5},
		"oversampling":             {Temperature: 3},
		"oversampling beyond 16":   {Pressure: 32},
		"filter":                   {Filter: 2},
		"filter beyond 127":        {Filter: 255},
	})
}

func TestIdentify(t *testing.T) {
	bustest.CheckIdentify(t, Identify, i2ctest.IO{Addr: 0x77, W: []byte{0xD0}}, map[string]string{
		"\x61": "",
		"\x60": "wrong chip: id 0x60: want a BME680 (id 0x61)", // a BME280
		"\xD0": "wrong chip: id 0xd0: want a BME680 (id 0x61)", // a multiplexer repeats what it was told
	})
}

func FuzzSense(f *testing.F) {
	const bound = 2*sampleTime + 100*time.Millisecond
	reading.Fuzz(f, bound, func(m drivers.Measurement) bool {
		return m.Temperature >= minTemperature && m.Temperature <= maxTemperature &&
			m.Pressure >= minPressure && m.Pressure <= maxPressure &&
			m.Humidity >= 0 && m.Humidity <= 100*physic.PercentRH
	}, slices.Concat(configure[0].R, make([]byte, 80)))
}
