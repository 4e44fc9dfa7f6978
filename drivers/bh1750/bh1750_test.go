package bh1750

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/light"
)

// reading is the transactions of one measurement.
func reading(mtHigh, mtLow, command, high, low byte) []i2ctest.IO {
	return []i2ctest.IO{
		{Addr: 0x23, W: []byte{0x01}},
		{Addr: 0x23, W: []byte{mtHigh}},
		{Addr: 0x23, W: []byte{mtLow}},
		{Addr: 0x23, W: []byte{command}},
		{Addr: 0x23, R: []byte{high, low}},
	}
}

// example is the datasheet's reading of 28067 lx (page 10).
var example = reading(0x42, 0x65, 0x20, 0x83, 0x90)

const exampleLux = 28066666667 * light.MicroLux

func play(t *testing.T, ops ...[]i2ctest.IO) *i2ctest.Playback {
	p := &i2ctest.Playback{Ops: slices.Concat(ops...), DontPanic: true}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

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

func noSleep(ctx context.Context, _ time.Duration) error { return ctx.Err() }

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
			reading(0x42, 0x65, 0x21, 0x83, 0x90), exampleLux / 2, 180 * time.Millisecond},
		{"low resolution", Options{Mode: LowResolution},
			reading(0x42, 0x65, 0x23, 0x83, 0x90), exampleLux, 24 * time.Millisecond},
		{"most sensitive", Options{Mode: HighResolution2, MeasurementTime: 254},
			reading(0x47, 0x7E, 0x21, 0, 1), 113189 * light.MicroLux, 662608696 * time.Nanosecond},
		{"least sensitive", Options{MeasurementTime: 31},
			reading(0x40, 0x7F, 0x20, 0xFF, 0xFE), 121555 * light.Lux, 80869566 * time.Nanosecond},
		{"dark", Options{}, slices.Concat(reading(0x42, 0x65, 0x20, 0, 0), reading(0x42, 0x65, 0x23, 0, 0)), 0, 204 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var slept time.Duration
			tt.options.Sleep = func(_ context.Context, d time.Duration) error {
				slept += d
				return nil
			}
			d, err := New(play(t, tt.ops), tt.options)
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
	d, err := New(play(t, reading(0x42, 0x65, 0x20, 0xFF, 0xFF)), Options{Sleep: noSleep})
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
	d, err := New(play(t, reading(0x42, 0x65, 0x20, 0, 0), reading(0x42, 0x65, 0x23, 0x01, 0x90), example), Options{Sleep: noSleep})
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

// failing is a bus on which the transaction of a number fails.
type failing struct {
	i2c.Bus
	at    int
	err   error
	count int
}

func (b *failing) Tx(addr uint16, w, r []byte) error {
	b.count++
	if b.count-1 == b.at {
		return b.err
	}
	return b.Bus.Tx(addr, w, r)
}

// Each transaction fails in turn. The error is the bus's, and the next reading
// succeeds.
func TestFailingTransaction(t *testing.T) {
	for at := range example {
		for _, errno := range []error{syscall.ENXIO, syscall.EIO} {
			t.Run(fmt.Sprintf("%d/%v", at, errno), func(t *testing.T) {
				bus := &failing{Bus: play(t, example[:at], example), at: at, err: errno}
				d, err := New(bus, Options{Sleep: noSleep})
				if err != nil {
					t.Fatal(err)
				}
				got, err := sense(t.Context(), t, d)
				if !errors.Is(err, errno) || !strings.HasPrefix(err.Error(), "BH1750 at 0x23: ") || got != 0 {
					t.Errorf("got %v, %v: want an error that wraps %v", got, err, errno)
				}
				if got, err := sense(t.Context(), t, d); err != nil || got != exampleLux {
					t.Errorf("the next reading is %v, %v: want %v", got, err, exampleLux)
				}
			})
		}
	}
}

// A context that ends in the wait ends the reading at once.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := New(play(t, example[:4], example), Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		for range 2 { // the second time before any transaction
			if _, err := sense(ctx, t, d); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v: want %v", err, context.DeadlineExceeded)
			}
		}
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if got, err := sense(t.Context(), t, d); err != nil || got != exampleLux {
			t.Errorf("the next reading is %v, %v: want %v", got, err, exampleLux)
		}
	})
}

func TestNew(t *testing.T) {
	for _, tt := range []struct {
		name    string
		bus     i2c.Bus
		options Options
		ok      bool
	}{
		{"defaults", &i2ctest.Playback{}, Options{}, true},
		{"the other address", &i2ctest.Playback{}, Options{Address: 0x5C}, true},
		{"no bus", nil, Options{}, false},
		{"address", &i2ctest.Playback{}, Options{Address: 0x24}, false},
		{"mode", &i2ctest.Playback{}, Options{Mode: 3}, false},
		{"measurement time too short", &i2ctest.Playback{}, Options{MeasurementTime: 30}, false},
		{"measurement time too long", &i2ctest.Playback{}, Options{MeasurementTime: 255}, false},
	} {
		if _, err := New(tt.bus, tt.options); (err == nil) != tt.ok || !tt.ok && !errors.Is(err, drivers.ErrOptions) {
			t.Errorf("%s: error %v", tt.name, err)
		}
	}
}
