package bh1750

import (
	"context"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/bustest"
	"github.com/telltale-iot/telltale/drivers/light"
)

// result is the transactions of one measurement.
func result(mtHigh, mtLow, command, high, low byte) []i2ctest.IO {
	return []i2ctest.IO{
		{Addr: 0x23, W: []byte{0x01}},
		{Addr: 0x23, W: []byte{mtHigh}},
		{Addr: 0x23, W: []byte{mtLow}},
		{Addr: 0x23, W: []byte{command}},
		{Addr: 0x23, R: []byte{high, low}},
	}
}

// example is the datasheet's reading of 28067 lx (page 10).
var example = result(0x42, 0x65, 0x20, 0x83, 0x90)

const exampleLux = 28066666667 * light.MicroLux

// sense returns the illuminance, and fails if it comes with another word than it
// was computed from, or if anything is stored with an error.
func sense(ctx context.Context, t *testing.T, d *Dev) (light.Illuminance, error) {
	t.Helper()
	var m drivers.Measurement
	err := d.Sense(ctx, &m)
	want := drivers.Measurement{Illuminance: m.Illuminance, Words: drivers.Words{Illuminance: m.Words.Illuminance}}
	if m != want || d.illuminance(uint16(m.Words.Illuminance)) != m.Illuminance || err != nil && m != (drivers.Measurement{}) {
		t.Errorf("stored %+v with error %v", m, err)
	}
	return m.Illuminance, err
}

func open(o Options) bustest.Open[*Dev] {
	return func(bus i2c.Bus, sleep bustest.Sleep) (*Dev, error) {
		o.Sleep = sleep
		return New(bus, o)
	}
}

var reading = bustest.Reading[*Dev]{Open: open(Options{}), Measure: example, Values: drivers.Measurement{
	Illuminance: exampleLux, Words: drivers.Words{Illuminance: 0x8390},
}}

func TestSense(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options Options
		ops     []i2ctest.IO
		want    light.Illuminance
		time    time.Duration
	}{
		{"datasheet's example", Options{}, example, exampleLux, 180 * time.Millisecond},
		{"second high resolution mode", Options{Mode: HighResolution2},
			result(0x42, 0x65, 0x21, 0x83, 0x90), exampleLux / 2, 180 * time.Millisecond},
		{"low resolution", Options{Mode: LowResolution},
			result(0x42, 0x65, 0x23, 0x83, 0x90), exampleLux, 24 * time.Millisecond},
		{"most sensitive", Options{Mode: HighResolution2, MeasurementTime: 254},
			result(0x47, 0x7E, 0x21, 0, 1), 113189 * light.MicroLux, 662608696 * time.Nanosecond},
		{"least sensitive", Options{MeasurementTime: 31},
			result(0x40, 0x7F, 0x20, 0xFF, 0xFE), 121555 * light.Lux, 80869566 * time.Nanosecond},
		{"dark", Options{}, slices.Concat(result(0x42, 0x65, 0x20, 0, 0), result(0x42, 0x65, 0x23, 0, 0)), 0, 204 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var slept time.Duration
			tt.options.Sleep = func(_ context.Context, d time.Duration) error {
				slept += d
				return nil
			}
			d, err := New(bustest.Play(t, tt.ops), tt.options)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := sense(t.Context(), t, d); err != nil || got != tt.want {
				t.Errorf("got %v, %v: want %v", got, err, tt.want)
			}
			if slept != tt.time {
				t.Errorf("waited %v: want %v", slept, tt.time)
			}
		})
	}
}

// The illuminance is the datasheet's formula (page 11) to the nearest micro-lux.
func TestIlluminance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mode := Mode(rapid.IntRange(0, 2).Draw(t, "mode"))
		mt := rapid.Uint8Range(MinMeasurementTime, MaxMeasurementTime).Draw(t, "measurement time")
		count := rapid.Uint16Max(saturated-1).Draw(t, "count")
		d, err := New(&i2ctest.Playback{}, Options{Mode: mode, MeasurementTime: mt})
		if err != nil {
			t.Fatal(err)
		}
		want := big.NewRat(int64(count)*10, 12)
		want.Mul(want, big.NewRat(69, int64(mt)))
		if mode == HighResolution2 {
			want.Quo(want, big.NewRat(2, 1))
		}
		off := big.NewRat(int64(d.illuminance(count)), int64(light.Lux))
		off.Sub(off, want)
		if off.Abs(off).Cmp(big.NewRat(1, 2*int64(light.Lux))) > 0 {
			t.Errorf("got %v: want %s", d.illuminance(count), want.FloatString(7))
		}
	})
}

func TestSaturated(t *testing.T) {
	d, err := New(bustest.Play(t, result(0x42, 0x65, 0x20, 0xFF, 0xFF)), Options{Sleep: new(bustest.Slept).Sleep})
	if err != nil {
		t.Fatal(err)
	}
	got, err := sense(t.Context(), t, d)
	if !errors.Is(err, drivers.ErrSaturated) || !errors.Is(err, drivers.ErrOutOfRange) || got != 0 {
		t.Errorf("got %v, %v: want %v", got, err, drivers.ErrSaturated)
	}
}

// A 0 that light contradicts is no reading: the chip lost its supply between the
// command and the result, or another program's measurement took the place of ours.
func TestDarkIsConfirmed(t *testing.T) {
	d, err := New(bustest.Play(t, result(0x42, 0x65, 0x20, 0, 0), result(0x42, 0x65, 0x23, 0x01, 0x90), example), Options{Sleep: new(bustest.Slept).Sleep})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := sense(t.Context(), t, d); !errors.Is(err, drivers.ErrNotReady) || got != 0 {
		t.Errorf("got %v, %v: want %v", got, err, drivers.ErrNotReady)
	}
	if got, err := sense(t.Context(), t, d); err != nil || got != exampleLux {
		t.Errorf("the next reading is %v, %v: want %v", got, err, exampleLux)
	}
}

func TestFailingTransaction(t *testing.T) { reading.FailEach(t) }

func TestCancel(t *testing.T) { reading.CancelEach(t) }

func TestNew(t *testing.T) {
	bustest.CheckNew(t, "bh1750", New, []Options{{}, {Address: 0x5C}}, map[string]Options{
		"address":                    {Address: 0x24},
		"mode":                       {Mode: 3},
		"measurement time too short": {MeasurementTime: 30},
		"measurement time too long":  {MeasurementTime: 255},
	})
}

func FuzzSense(f *testing.F) {
	reading.Fuzz(f, 204*time.Millisecond, func(m drivers.Measurement) bool {
		return m.Illuminance >= 0 && m.Words.Illuminance < saturated
	}, make([]byte, 4))
}
