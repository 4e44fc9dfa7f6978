package htu21d

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"syscall"
	"testing"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/bustest"
	"github.com/telltale-iot/telltale/drivers/nack"
)

// The transactions of a Si7021 after power on.
var (
	configure = []i2ctest.IO{
		{Addr: 0x40, W: []byte{0xFE}},
		{Addr: 0x40, W: []byte{0xE7}, R: []byte{0x3A}},
		{Addr: 0x40, W: []byte{0xE6, 0x3A}},
	}
	measure = []i2ctest.IO{
		{Addr: 0x40, W: []byte{0xF3}},
		{Addr: 0x40, R: []byte{0x68, 0x38, 0x1E}},
		{Addr: 0x40, W: []byte{0xF5}},
		{Addr: 0x40, R: []byte{0x7C, 0x82, 0x97}},
		{Addr: 0x40, W: []byte{0xE7}, R: []byte{0x3A}},
	}
	values = drivers.Measurement{
		Temperature: physic.ZeroCelsius + 24686401367*physic.NanoKelvin,
		Humidity:    5479102 * physic.TenthMicroRH,
		Words:       drivers.Words{Temperature: 0x6838, Humidity: 0x7C80},
	}
)

const measureTime = 72800 * time.Microsecond

func open(o Options) bustest.Open[*Dev] {
	return func(bus i2c.Bus, sleep bustest.Sleep) (*Dev, error) {
		o.Sleep = sleep
		return New(bus, o)
	}
}

var reading = bustest.Reading[*Dev]{
	Open: open(Options{}), Configure: configure, Measure: measure, Values: values,
	GaveUp: func(i2ctest.IO) []i2ctest.IO { return measure[4:] }, // it is asked whether it was reset
}

func newDev(t testing.TB, bus i2c.Bus, o Options) (*Dev, *bustest.Slept) {
	return bustest.Dev(t, bus, open(o))
}

func TestSense(t *testing.T) { reading.SenseTwice(t, 15*time.Millisecond+2*measureTime) }

// The reserved bits, which differ between the chips, are written as they are read.
func TestResolution(t *testing.T) {
	for _, tt := range []struct {
		resolution uint8
		user       byte
		time       time.Duration
	}{
		{14, 0x00, measureTime},
		{13, 0x80, 35700 * time.Microsecond},
		{12, 0x01, 19900 * time.Microsecond},
		{11, 0x81, 16400 * time.Microsecond},
	} {
		for _, reserved := range []byte{0x02, 0x3A} {
			ops := slices.Concat(configure, measure)
			ops[1].R = []byte{reserved | 1<<2} // with the heater on, which a reset leaves
			ops[2].W = []byte{0xE6, reserved | tt.user}
			ops[7].R = []byte{reserved | tt.user}
			t.Run(fmt.Sprintf("%d/%#02x", tt.resolution, reserved), func(t *testing.T) {
				bustest.Sense(t, open(Options{Resolution: tt.resolution}), ops, values, 15*time.Millisecond+tt.time)
			})
		}
	}
}

// The values are the datasheets' formulas to the nearest unit.
func TestFormulas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.Uint16().Draw(t, "word")
		near := func(quantity string, got, unit int64, offset, span *big.Rat) {
			want := big.NewRat(int64(word), 65536)
			want.Mul(want, span).Add(want, offset)
			off := big.NewRat(got, unit)
			if off.Sub(off, want).Abs(off).Cmp(big.NewRat(1, 2*unit)) > 0 {
				t.Errorf("%s of %#04x is %d: want %s", quantity, word, got, want.FloatString(10))
			}
		}
		near("temperature", int64(temperature(word)-physic.ZeroCelsius), int64(physic.Celsius), big.NewRat(-4685, 100), big.NewRat(17572, 100))
		near("humidity", int64(humidity(word)), int64(physic.PercentRH), big.NewRat(-6, 1), big.NewRat(125, 1))
	})
}

func TestFailingTransaction(t *testing.T) { reading.FailEach(t) }

func TestCancel(t *testing.T) { reading.CancelEach(t) }

func TestLate(t *testing.T) {
	const bound = 15*time.Millisecond + measureTime + 36*time.Millisecond + slowest
	chip := newChip()
	reading.CheckLate(t, chip, &chip.late, nack.Reads, bound)
}

func TestWrongChecksum(t *testing.T) {
	reading.FlipEachBit(t, 4, 4, drivers.ErrCRC, "temperature")
	reading.FlipEachBit(t, 6, 6, drivers.ErrCRC, "humidity")
}

// A heater that is switched on by somebody else is switched off again, and what
// was measured with it does not count.
func TestHeater(t *testing.T) {
	chip := newChip()
	chip.user |= 1 << 2
	d, _ := newDev(t, chip, Options{})
	var m drivers.Measurement
	if err := d.Sense(t.Context(), &m); err != nil || m != values || d.Resets() != 0 || chip.user != 0x3A {
		t.Errorf("got %v, %v, %d resets, user register %#02x", m, err, d.Resets(), chip.user)
	}
	chip.user |= 1 << 2
	before := chip.count
	if err := d.Sense(t.Context(), &m); err != nil || m != values || d.Resets() != 1 || chip.user != 0x3A {
		t.Errorf("got %v, %v, %d resets, user register %#02x", m, err, d.Resets(), chip.user)
	}
	if n, want := chip.count-before, 2*len(measure)+len(configure); n != want {
		t.Errorf("%d transactions: want %d", n, want)
	}
	chip.before = func(int) { chip.user |= 1 << 2 } // whenever it is off
	m = drivers.Measurement{}
	before = chip.count
	if err := d.Sense(t.Context(), &m); !errors.Is(err, drivers.ErrReset) || m != (drivers.Measurement{}) {
		t.Errorf("got %v, %v: want %v", m, err, drivers.ErrReset)
	}
	if n, want := chip.count-before, 2*len(measure)+len(configure); n != want {
		t.Errorf("gave up after %d transactions: want %d", n, want)
	}
}

func TestLowSupply(t *testing.T) {
	chip := newChip()
	chip.lowSupply = true
	d, _ := newDev(t, chip, Options{})
	var m drivers.Measurement
	if err := d.Sense(t.Context(), &m); !errors.Is(err, drivers.ErrLowSupply) || m != (drivers.Measurement{}) {
		t.Errorf("got %v, %v: want %v", m, err, drivers.ErrLowSupply)
	}
	// The bit is a status and not written back.
	chip.lowSupply = false
	if err := d.Sense(t.Context(), &m); err != nil || m != values {
		t.Errorf("the next reading is %v, %v: want %v", m, err, values)
	}
}

// Brown-outs before any transactions of some readings give the right value or an
// error. One, once the chip is configured, does not even cost the reading, where
// the resolution tells of it.
func TestBrownOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := Options{Resolution: rapid.Uint8Range(11, 14).Draw(t, "resolution")}
		set, _ := newSettings(options.Resolution)
		chip := newChip()
		bus := &bustest.BrownOut{
			Bus: chip, Reset: chip.powerOn,
			Before: rapid.SliceOfNDistinct(rapid.IntRange(0, 40), 0, 6, rapid.ID[int]).Draw(t, "brown-outs before"),
		}
		bustest.Survive(t, bus, open(options), func(m drivers.Measurement) bool {
			return m == values && (chip.user&0x81 == set.user || slices.Contains(bus.Before, chip.count-1))
		}, func(err error, at []int, configured bool) bool {
			return (errors.Is(err, drivers.ErrNotReady) || errors.Is(err, drivers.ErrReset)) &&
				(!configured || len(at) >= 2 || options.Resolution == 14)
		})
	})
}

func TestResets(t *testing.T) {
	chip := newChip()
	d, _ := newDev(t, chip, Options{Resolution: 12})
	bustest.CountResets(t, d, chip.powerOn)
}

// A chip that was reset measures with the resolution that takes longest, and
// acknowledges nothing meanwhile. It is waited for, seen to have been reset, and
// measures again.
func TestResetWhileIdle(t *testing.T) {
	for _, resolution := range []uint8{13, 12, 11} {
		var now, done time.Duration // when the measurement ends
		chip := newChip()
		sleep := func(_ context.Context, d time.Duration) error {
			now += d
			if now >= done {
				chip.wait = 0
			}
			return nil
		}
		d, err := New(chip, Options{Resolution: resolution, Sleep: sleep})
		if err != nil {
			t.Fatal(err)
		}
		var m drivers.Measurement
		if err := d.Sense(t.Context(), &m); err != nil {
			t.Fatal(err)
		}
		chip.powerOn()
		chip.busy, chip.late = true, 1<<30
		done = now + 50*time.Millisecond
		start := now
		if err := d.Sense(t.Context(), &m); err != nil || m != values || d.Resets() != 1 {
			t.Errorf("%d bits: got %v, %v with %d resets: want %v", resolution, m, err, d.Resets(), values)
		}
		if took := now - start; took > 350*time.Millisecond {
			t.Errorf("%d bits: took %v", resolution, took)
		}
	}
}

func TestRange(t *testing.T) {
	for _, tt := range []struct {
		name                  string
		temperature, humidity uint16
		quantity              string // empty: it is in range
		rh                    physic.RelativeHumidity
	}{
		{"-40.009", 0x09F8, 0x7C82, "temperature", 0},
		{"-39.998", 0x09FC, 0x7C82, "", 5479102},
		{"124.99", 0xFA5C, 0x7C82, "", 5479102},
		{"125.003", 0xFA60, 0x7C82, "temperature", 0},
		{"greatest temperature", 0xFFFC, 0x7C82, "temperature", 0},
		{"humidity below 0", 0x6838, 0x0042, "", 0},
		{"0.01 %RH", 0x6838, 0x0C52, "", 1196},
		{"humidity above 100", 0x6838, 0xFFFE, "", 100 * physic.PercentRH},
		{"line held low at temperature", 0, 0x7C82, "temperature", 0},
		{"line held low at humidity", 0x6838, 0, "humidity", 0},
	} {
		chip := newChip()
		chip.temperature, chip.humidity = tt.temperature, tt.humidity
		d, _ := newDev(t, chip, Options{})
		var m drivers.Measurement
		err := d.Sense(t.Context(), &m)
		if tt.quantity == "" {
			if err != nil || m.Temperature != temperature(tt.temperature) || m.Humidity != tt.rh || m.Words.Humidity != uint32(tt.humidity&^3) {
				t.Errorf("%s: got %v, %v: want %v", tt.name, m, err, tt.rh)
			}
			continue
		}
		var out *drivers.RangeError
		if !errors.As(err, &out) || out.Quantity != tt.quantity || m != (drivers.Measurement{}) {
			t.Errorf("%s: got %v, %v: want a range error", tt.name, m, err)
		}
	}
}

func TestNew(t *testing.T) {
	bustest.CheckNew(t, "htu21d", New, []Options{{}, {Address: 0x40, Resolution: 11}}, map[string]Options{
		"address": {Address: 0x41}, "resolution too small": {Resolution: 10}, "resolution too large": {Resolution: 15},
	})
}

func TestIdentify(t *testing.T) {
	id := func(b ...byte) i2ctest.IO { return i2ctest.IO{Addr: 0x40, W: []byte{0xFC, 0xC9}, R: b} }
	for _, tt := range []struct {
		name string
		ops  []i2ctest.IO // after the command to measure
		want Model
		err  string
	}{
		{"Si7021", []i2ctest.IO{measure[1], id(0x15, 0xFF, 0xB5, 0xFF, 0xFF, 0xCB)}, Si7021, ""},
		{"HTU21D", []i2ctest.IO{measure[1], id(0x32, 0x00, 0x6B, 0x48, 0x54, 0x06)}, HTU21D, ""},
		{"Si7020", []i2ctest.IO{measure[1], id(0x14, 0x00, 0xED, 0, 0, 0)}, 0, "wrong chip: electronic id 14 00 ed 00 00 00"},
		{"no checksum", []i2ctest.IO{measure[1], id(0x15, 0xFF, 0xB4, 0, 0, 0)}, 0,
			"wrong chip: electronic id 15 ff b4 00 00 00 is without its checksum"},
		{"registers of 0", []i2ctest.IO{{Addr: 0x40, R: []byte{0, 0, 0}}}, 0, "wrong chip: it measures no temperature"},
		{"registers", []i2ctest.IO{{Addr: 0x40, R: []byte{0x68, 0x38, 0x1F}}}, 0, "wrong chip: it measures no temperature"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Identify(bustest.Play(t, measure[:1], tt.ops), 0x40)
			if tt.err == "" && (err != nil || got != tt.want) {
				t.Errorf("got %v, %v: want %v", got, err, tt.want)
			}
			if tt.err != "" && (!errors.Is(err, drivers.ErrWrongChip) || err.Error() != tt.err) {
				t.Errorf("got %v: want %q", err, tt.err)
			}
		})
	}
	ops := []i2ctest.IO{measure[0], measure[1], id()}
	for at := range ops {
		_, err := Identify(&bustest.Failing{Bus: bustest.Play(t, ops[:at]), At: at, Err: syscall.EIO}, 0x40)
		if !errors.Is(err, syscall.EIO) || errors.Is(err, drivers.ErrWrongChip) {
			t.Errorf("transaction %d: got %v: want %v", at, err, syscall.EIO)
		}
	}
	_, err := Identify(&bustest.Failing{Bus: bustest.Play(t, ops[:1]), At: 1, Times: nack.Reads, Err: syscall.ENXIO}, 0x40)
	if !errors.Is(err, drivers.ErrWrongChip) {
		t.Errorf("no answer: got %v: want %v", err, drivers.ErrWrongChip)
	}
}

func FuzzSense(f *testing.F) {
	answers := bustest.Answers(configure, measure)
	reading.Fuzz(f, 350*time.Millisecond, func(m drivers.Measurement) bool {
		return m.Temperature >= minTemperature && m.Temperature <= maxTemperature &&
			m.Humidity >= 0 && m.Humidity <= 100*physic.PercentRH
	}, slices.Concat(answers[:7], []byte{0xBA}, answers), make([]byte, 30))
}
