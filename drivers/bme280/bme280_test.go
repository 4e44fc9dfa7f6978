package bme280

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

// The transactions of a BME280 with the example's calibration, and of the
// BMP280 that the example is of, at one sample each and without filter.
var (
	calibrationLow = i2ctest.IO{Addr: 0x76, W: []byte{0x88}, R: []byte{
		0x70, 0x6B, 0x43, 0x67, 0x18, 0xFC,
		0x7D, 0x8E, 0x43, 0xD6, 0xD0, 0x0B, 0x27, 0x0B, 0x8C, 0x00, 0xF9, 0xFF, 0x8C, 0x3C, 0xF8, 0xC6, 0x70, 0x17,
		0x00, 0x4B,
	}}
	calibrationHigh = i2ctest.IO{Addr: 0x76, W: []byte{0xE1}, R: []byte{0x61, 0x01, 0x00, 0x15, 0xE4, 0xFC, 0x1E}}

	configureBME280 = []i2ctest.IO{
		{Addr: 0x76, W: []byte{0xD0}, R: []byte{0x60}},
		{Addr: 0x76, W: []byte{0xE0, 0xB6}},
		{Addr: 0x76, W: []byte{0xF3}, R: []byte{0x00}},
		calibrationLow, calibrationHigh,
		calibrationLow, calibrationHigh, // for comparison
		{Addr: 0x76, W: []byte{0xF5, 0xA0, 0xF2, 0x01}},
	}
	measureBME280 = []i2ctest.IO{
		{Addr: 0x76, W: []byte{0xF4, 0x25}},
		{Addr: 0x76, W: []byte{0xF2}, R: []byte{
			0x01, 0x00, 0x24, 0xA0, 0x00, 0x65, 0x5A, 0xC0, 0x7E, 0xED, 0x00, 0x75, 0x36,
		}},
	}
	envBME280 = drivers.Measurement{
		Temperature: 25080*physic.MilliCelsius + physic.ZeroCelsius,
		Pressure:    100653253906250 * physic.NanoPascal, // 25767233/256 Pa
		Humidity:    4600391 * physic.TenthMicroRH,       // 47108/1024 %; 46.0022 by the double formula
		Words:       drivers.Words{Temperature: 519888, Humidity: 30006, Pressure: 415148},
	}

	envBMP280 = drivers.Measurement{
		Temperature: envBME280.Temperature, Pressure: envBME280.Pressure,
		Words: drivers.Words{Temperature: 519888, Pressure: 415148},
	}

	configureBMP280 = []i2ctest.IO{
		{Addr: 0x76, W: []byte{0xD0}, R: []byte{0x58}},
		{Addr: 0x76, W: []byte{0xE0, 0xB6}},
		{Addr: 0x76, W: []byte{0xF3}, R: []byte{0x00}},
		calibrationLow, calibrationLow,
		{Addr: 0x76, W: []byte{0xF5, 0xA0}},
	}
	measureBMP280 = []i2ctest.IO{
		{Addr: 0x76, W: []byte{0xF4, 0x25}},
		{Addr: 0x76, W: []byte{0xF2}, R: []byte{
			0xFF, 0x00, 0x24, 0xA0, 0x00, 0x65, 0x5A, 0xC0, 0x7E, 0xED, 0x00, 0xFF, 0xFF,
		}},
	}
)

func open(o Options) bustest.Open[*Dev] {
	return func(bus i2c.Bus, sleep bustest.Sleep) (*Dev, error) {
		o.Sleep = sleep
		return New(bus, o)
	}
}

var (
	reading       = bustest.Reading[*Dev]{Open: open(Options{}), Configure: configureBME280, Measure: measureBME280, Values: envBME280}
	readingBMP280 = bustest.Reading[*Dev]{
		Open: open(Options{Model: BMP280}), Configure: configureBMP280, Measure: measureBMP280, Values: envBMP280,
	}
)

func newDev(t testing.TB, bus i2c.Bus, o Options) (*Dev, *bustest.Slept) {
	return bustest.Dev(t, bus, open(o))
}

func TestSense(t *testing.T) {
	reading.SenseTwice(t, 2*time.Millisecond+2*9300*time.Microsecond)
	t.Run("BMP280", func(t *testing.T) { readingBMP280.SenseTwice(t, 2*time.Millisecond+2*6425*time.Microsecond) })
}

func TestSettings(t *testing.T) {
	for _, tt := range []struct {
		name      string
		options   Options
		configure []byte // the pairs written
		ctrlMeas  byte
		time      time.Duration
	}{
		{"the most samples", Options{Temperature: 16, Pressure: 16, Humidity: 16, Filter: 16},
			[]byte{0xF5, 0xB0, 0xF2, 5}, 5<<5 | 5<<2, 112800 * time.Microsecond},
		{"all different", Options{Temperature: 2, Pressure: 4, Humidity: 8, Filter: 2},
			[]byte{0xF5, 0xA4, 0xF2, 4}, 2<<5 | 3<<2, 34600 * time.Microsecond},
		{"temperature only", Options{Pressure: Skip, Humidity: Skip, Filter: 8},
			[]byte{0xF5, 0xAC, 0xF2, 0}, 1 << 5, 3550 * time.Microsecond},
		{"a BMP280's filter", Options{Model: BMP280, Pressure: 16, Temperature: 2, Filter: 4},
			[]byte{0xF5, 0xA8}, 2<<5 | 5<<2, 43225 * time.Microsecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := [][]byte{{0xE0, 0xB6}, tt.configure, {0xF4, tt.ctrlMeas | 1}}
			bustest.SenseWrites(t, open(tt.options), newChip(tt.options.Model, example, encodeResults(exampleRaw)), want, tt.time+startupTime)
		})
	}
}

func TestFailingTransaction(t *testing.T) {
	reading.FailEach(t)
	t.Run("BMP280", readingBMP280.FailEach)
}

func TestCancel(t *testing.T) { reading.CancelEach(t) }

func TestWrongChip(t *testing.T) {
	for _, tt := range []struct {
		want Model
		id   byte
		text string
	}{
		{BME280, 0x58, "found a BMP280 (id 0x58): want a BME280"},
		{BMP280, 0x60, "found a BME280 (id 0x60): want a BMP280"},
		{BME280, 0x61, "id 0x61: want a BME280"},
		{BME280, 0xFF, "id 0xff: want a BME280"},
	} {
		bus := bustest.Play(t, []i2ctest.IO{{Addr: 0x76, W: []byte{0xD0}, R: []byte{tt.id}}})
		d, _ := newDev(t, bus, Options{Model: tt.want})
		err := d.Sense(t.Context(), new(drivers.Measurement))
		if !errors.Is(err, drivers.ErrWrongChip) || !strings.HasSuffix(err.Error(), tt.text) {
			t.Errorf("error %q: want %q", err, tt.text)
		}
	}
}

func TestBMP280Samples(t *testing.T) {
	for _, id := range []byte{0x56, 0x57, 0x58} {
		chip := newChip(BMP280, example, encodeResults(exampleRaw))
		chip.reg[regID] = id
		d, _ := newDev(t, chip, Options{Model: BMP280})
		if err := d.Sense(t.Context(), new(drivers.Measurement)); err != nil {
			t.Errorf("id %#x: %v", id, err)
		}
	}
}

func TestBadCalibration(t *testing.T) {
	chip := newChip(BME280, calibration{}, encodeResults(exampleRaw))
	d, _ := newDev(t, chip, Options{})
	if err := d.Sense(t.Context(), new(drivers.Measurement)); !errors.Is(err, drivers.ErrBadCalibration) {
		t.Errorf("error %v", err)
	}
}

func TestCalibrationReadWrong(t *testing.T) {
	for at := 3; at < 7; at++ {
		reading.FlipEachBit(t, at, 6, drivers.ErrBadCalibration, "read twice")
	}
}

func TestLate(t *testing.T) {
	const bound = 2*time.Millisecond + polls*pollInterval + 9300*time.Microsecond + (polls-1)*pollInterval
	chip := newChip(BME280, example, encodeResults(exampleRaw))
	reading.CheckLate(t, chip, &chip.copying, polls, bound)
	chip.copying = polls - 1
	reading.CheckLate(t, chip, &chip.late, polls, bound)
}

// Brown-outs before any transactions give the right value or an error: never a value
// that the chip did not measure as configured. One, once the chip is configured, does
// not even cost the reading.
func TestBrownOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := Options{Model: Model(rapid.IntRange(0, 1).Draw(t, "model")), Filter: 1 << rapid.IntRange(0, 4).Draw(t, "filter")}
		chip := newChip(options.Model, example, encodeResults(exampleRaw))
		want := envBME280
		if options.Model == BMP280 {
			want = envBMP280
		}
		bus := &bustest.BrownOut{
			Bus: chip, Reset: chip.reset,
			Before: rapid.SliceOfNDistinct(rapid.IntRange(0, 40), 1, 6, rapid.ID[int]).Draw(t, "brown-outs before"),
		}
		bustest.Survive(t, bus, open(options), func(m drivers.Measurement) bool { return m == want }, func(err error, at []int, configured bool) bool {
			return errors.Is(err, drivers.ErrNotReady) && (!configured || len(at) >= 2)
		})
	})
}

// A result beside any other configuration than the one written does not count,
// nor one beside a status that says it is not complete.
func TestResultsBesideOtherRegisters(t *testing.T) {
	for _, tt := range []struct {
		name  string
		model Model
		reg   byte
		value byte
		want  error
	}{
		{"no humidity", BME280, regCtrlHum, 0, drivers.ErrReset},
		{"other oversampling", BME280, regCtrlMeas, 2<<5 | 1<<2, drivers.ErrReset},
		{"other filter", BME280, regConfig, standby | 4, drivers.ErrReset},
		{"no standby", BMP280, regConfig, 0, drivers.ErrReset},
		{"still measuring", BMP280, regStatus, statusMeasuring, drivers.ErrNotReady},
		{"calibration on its way", BMP280, regStatus, statusCopying, drivers.ErrNotReady},
		{"still in forced mode", BMP280, regCtrlMeas, 1<<5 | 1<<2 | modeForced, drivers.ErrNotReady},
		{"a bit that is not ours", BME280, regCtrlHum, 0xF9, nil},
		{"a register that it has not", BMP280, regCtrlHum, 0xFF, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			chip := newChip(tt.model, example, encodeResults(exampleRaw))
			d, _ := newDev(t, chip, Options{Model: tt.model})
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
	chip := newChip(BMP280, example, encodeResults(exampleRaw))
	d, _ := newDev(t, chip, Options{Model: BMP280})
	bustest.CountResets(t, d, chip.reset)
}

// The reset value of a result is a value if it stands alone, and none if all
// have it.
func TestBlank(t *testing.T) {
	const t26, p800, h50 = 0x80000, 0x80000, 0x8000
	for _, tt := range []struct {
		name  string
		raw   raw
		blank bool
	}{
		{"temperature", raw{temperature: t26, pressure: 415148, humidity: 30000}, false},
		{"pressure", raw{temperature: 519888, pressure: p800, humidity: 30000}, false},
		{"humidity", raw{temperature: 519888, pressure: 415148, humidity: h50}, false},
		{"all", raw{temperature: t26, pressure: p800, humidity: h50}, true},
	} {
		d, _ := newDev(t, newChip(BME280, example, encodeResults(tt.raw)), Options{})
		err := d.Sense(t.Context(), new(drivers.Measurement))
		if errors.Is(err, drivers.ErrNotReady) != tt.blank || !tt.blank && err != nil {
			t.Errorf("%s: error %v", tt.name, err)
		}
	}
}

func TestNew(t *testing.T) {
	bustest.CheckNew(t, "bme280", New, []Options{{}, {Address: 0x77}}, map[string]Options{
		"address":                {Address: 0x75},
		"model":                  {Model: 2},
		"no temperature":         {Temperature: Skip},
		"oversampling":           {Temperature: 3},
		"oversampling beyond 16": {Pressure: 32},
		"humidity of a BMP280":   {Model: BMP280, Humidity: 1},
		"filter":                 {Filter: 3},
		"filter beyond 16":       {Filter: 32},
	})
}

func FuzzSense(f *testing.F) {
	const bound = 2*9300*time.Microsecond + 100*time.Millisecond
	reading.Fuzz(f, bound, func(m drivers.Measurement) bool {
		return m.Temperature >= minTemperature && m.Temperature <= maxTemperature &&
			m.Pressure >= minPressure && m.Pressure <= maxPressure &&
			m.Humidity >= 0 && m.Humidity <= 100*physic.PercentRH
	}, slices.Concat(configureBME280[0].R, slices.Repeat([]byte{1}, 20)))
}
