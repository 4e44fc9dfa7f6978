package sht4x

import (
	"errors"
	"math/big"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/crc8"
	"github.com/telltale-iot/telltale/drivers/internal/bustest"
	"github.com/telltale-iot/telltale/drivers/nack"
)

// result is the transactions of one measurement.
func result(command byte, temperature, humidity uint16) []i2ctest.IO {
	return []i2ctest.IO{
		{Addr: 0x44, W: []byte{command}},
		{Addr: 0x44, R: slices.Concat(withSum(temperature), withSum(humidity))},
	}
}

func withSum(word uint16) []byte {
	b := []byte{byte(word >> 8), byte(word)}
	return append(b, crc8.Sum(0xFF, b...))
}

// example is a reading of 25 degree Celsius, to which 0x6666 is exactly two
// fifths of the scale, and 50 %RH.
var (
	example = []i2ctest.IO{
		{Addr: 0x44, W: []byte{0xFD}},
		{Addr: 0x44, R: []byte{0x66, 0x66, 0x93, 0x72, 0xB0, 0xDC}},
	}
	exampleValues = drivers.Measurement{
		Temperature: physic.ZeroCelsius + 25*physic.Celsius,
		Humidity:    5000061 * physic.TenthMicroRH,
		Words:       drivers.Words{Temperature: 0x6666, Humidity: 0x72B0},
	}
)

func open(o Options) bustest.Open[*Dev] {
	return func(bus i2c.Bus, sleep bustest.Sleep) (*Dev, error) {
		o.Sleep = sleep
		return New(bus, o)
	}
}

var reading = bustest.Reading[*Dev]{
	Open: open(Options{}), Configure: nil, Measure: example, Values: exampleValues,
	GaveUp: func(i2ctest.IO) []i2ctest.IO { return nil },
}

func newDev(t testing.TB, bus i2c.Bus, o Options) (*Dev, *bustest.Slept) {
	return bustest.Dev(t, bus, open(o))
}

func TestSense(t *testing.T) {
	for _, tt := range []struct {
		name                  string
		repeatability         Repeatability
		ops                   []i2ctest.IO
		temperature, humidity uint16
		celsius               physic.Temperature
		rh                    physic.RelativeHumidity
		time                  time.Duration
	}{
		{"high", High, example, 0x6666, 0x72B0, 25 * physic.Celsius, 5000061, 8300 * time.Microsecond},
		{"medium", Medium, result(0xF6, 0x8000, 0x8000), 0x8000, 0x8000,
			42501335164 * physic.NanoKelvin, 5650095, 4500 * time.Microsecond},
		{"low", Low, result(0xE0, 0x6666, 0x72B0), 0x6666, 0x72B0, 25 * physic.Celsius, 5000061, 1700 * time.Microsecond},
		{"humidity below 0", High, result(0xFD, 0x6666, 0x0C00), 0x6666, 0x0C00, 25 * physic.Celsius, 0, 8300 * time.Microsecond},
		{"humidity above 100", High, result(0xFD, 0x6666, 0xDA00), 0x6666, 0xDA00,
			25 * physic.Celsius, 100 * physic.PercentRH, 8300 * time.Microsecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, s := newDev(t, bustest.Play(t, tt.ops), Options{Repeatability: tt.repeatability})
			m := drivers.Measurement{Pressure: 42}
			if err := d.Sense(t.Context(), &m); err != nil {
				t.Fatal(err)
			}
			want := drivers.Measurement{
				Temperature: physic.ZeroCelsius + tt.celsius, Humidity: tt.rh, Pressure: 42,
				Words: drivers.Words{Temperature: uint32(tt.temperature), Humidity: uint32(tt.humidity)},
			}
			if diff := cmp.Diff(want, m); diff != "" {
				t.Error(diff)
			}
			if time.Duration(*s) != tt.time {
				t.Errorf("waited %v: want %v", time.Duration(*s), tt.time)
			}
		})
	}
}

// The values are the datasheet's formulas (section 4.6) to the nearest unit, cut
// to 0 and 100 %RH.
func TestFormulas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.Uint16().Draw(t, "word")
		near := func(quantity string, got, unit, offset, span int64) {
			want := big.NewRat(int64(word), 65535)
			want.Mul(want, big.NewRat(span, 1)).Add(want, big.NewRat(offset, 1))
			if quantity == "humidity" {
				if want.Sign() < 0 {
					want.SetInt64(0)
				}
				if full := big.NewRat(100, 1); want.Cmp(full) > 0 {
					want = full
				}
			}
			off := big.NewRat(got, unit)
			if off.Sub(off, want).Abs(off).Cmp(big.NewRat(1, 2*unit)) > 0 {
				t.Errorf("%s of %#04x is %d: want %s", quantity, word, got, want.FloatString(10))
			}
		}
		near("temperature", int64(temperature(word)-physic.ZeroCelsius), int64(physic.Celsius), -45, 175)
		near("humidity", int64(humidity(word)), int64(physic.PercentRH), -6, 125)
	})
}

func TestFailingTransaction(t *testing.T) { reading.FailEach(t) }

func TestCancel(t *testing.T) { reading.CancelEach(t) }

// A chip that is late is waited for, up to the bound.
func TestLate(t *testing.T) {
	for _, tt := range []struct {
		nacks int
		ready bool
	}{{1, true}, {nack.Reads - 1, true}, {nack.Reads, false}} {
		ops := example
		if !tt.ready {
			ops = example[:1]
		}
		d, s := newDev(t, &bustest.Failing{Bus: bustest.Play(t, ops), At: 1, Times: tt.nacks, Err: syscall.ENXIO}, Options{})
		var m drivers.Measurement
		err := d.Sense(t.Context(), &m)
		if tt.ready && (err != nil || m != exampleValues) {
			t.Errorf("after %d: got %v, %v: want %v", tt.nacks, m, err, exampleValues)
		}
		if !tt.ready && (!errors.Is(err, drivers.ErrNotReady) || m != (drivers.Measurement{})) {
			t.Errorf("after %d: got %v, %v: want %v", tt.nacks, m, err, drivers.ErrNotReady)
		}
		if bound := 8300*time.Microsecond + 18*time.Millisecond; time.Duration(*s) > bound {
			t.Errorf("waited %v: want at most %v", time.Duration(*s), bound)
		}
	}
}

func TestWrongChecksum(t *testing.T) {
	reading.FlipEachBit(t, 1, 1, drivers.ErrCRC, "")
}

// The error tells whose checksum is wrong.
func TestWhoseChecksum(t *testing.T) {
	for at, quantity := range map[int]string{2: "temperature", 5: "humidity"} {
		ops := slices.Clone(example)
		ops[1].R = slices.Clone(ops[1].R)
		ops[1].R[at] ^= 1
		d, _ := newDev(t, bustest.Play(t, ops), Options{})
		if err := d.Sense(t.Context(), new(drivers.Measurement)); !errors.Is(err, drivers.ErrCRC) || !strings.Contains(err.Error(), quantity) {
			t.Errorf("error %v: want %v of %s", err, drivers.ErrCRC, quantity)
		}
	}
}

func TestOutOfRange(t *testing.T) {
	for _, tt := range []struct {
		name string
		word uint16
		ok   bool
	}{
		{"-40.0008", 0x0750, false},
		{"-39.9982", 0x0751, true},
		{"124.9989", 0xF8AE, true},
		{"125.0015", 0xF8AF, false},
		{"the least", 0, false},
		{"the greatest", 0xFFFF, false},
	} {
		d, _ := newDev(t, bustest.Play(t, result(0xFD, tt.word, 0x72B0)), Options{})
		var m drivers.Measurement
		err := d.Sense(t.Context(), &m)
		if tt.ok {
			if err != nil {
				t.Errorf("%s: error %v", tt.name, err)
			}
			continue
		}
		var out *drivers.RangeError
		if !errors.As(err, &out) || out.Quantity != "temperature" || out.Value != temperature(tt.word) || m != (drivers.Measurement{}) {
			t.Errorf("%s: got %v, %v: want a range error", tt.name, m, err)
		}
	}
}

func TestNew(t *testing.T) {
	bustest.CheckNew(t, "sht4x", New, []Options{{}, {Address: 0x45}, {Address: 0x46}}, map[string]Options{
		"address below": {Address: 0x43}, "address above": {Address: 0x47}, "repeatability": {Repeatability: 3},
	})
}

func TestIdentify(t *testing.T) {
	ask := i2ctest.IO{Addr: 0x46, W: []byte{0x89}}
	for _, tt := range []struct {
		name   string
		answer []byte
		serial uint32
		err    string
	}{
		{"an SHT4x", []byte{0x0F, 0x12, 0x39, 0x33, 0x44, 0xE7}, 0x0F123344, ""},
		{"an OPT3001", []byte{0, 0, 0, 0, 0, 0}, 0, "wrong chip: serial number 00 00 00 00 00 00 is without its checksums"},
		{"nothing drives the line", []byte{255, 255, 255, 255, 255, 255}, 0,
			"wrong chip: serial number ff ff ff ff ff ff is without its checksums"},
		{"the first checksum", []byte{0x0F, 0x12, 0x38, 0x33, 0x44, 0xE7}, 0,
			"wrong chip: serial number 0f 12 38 33 44 e7 is without its checksums"},
		{"the second checksum", []byte{0x0F, 0x12, 0x39, 0x33, 0x44, 0xE6}, 0,
			"wrong chip: serial number 0f 12 39 33 44 e6 is without its checksums"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Identify(bustest.Play(t, []i2ctest.IO{ask, {Addr: 0x46, R: tt.answer}}), 0x46)
			if tt.err == "" && (err != nil || got != tt.serial) {
				t.Errorf("got %#x, %v: want %#x", got, err, tt.serial)
			}
			if tt.err != "" && (!errors.Is(err, drivers.ErrWrongChip) || err.Error() != tt.err) {
				t.Errorf("got %v: want %q", err, tt.err)
			}
		})
	}

	t.Run("an SHT3x", func(t *testing.T) { // it knows no such command
		_, err := Identify(&bustest.Failing{Bus: bustest.Play(t, []i2ctest.IO{ask}), At: 1, Times: nack.Reads, Err: syscall.ENXIO}, 0x46)
		if !errors.Is(err, drivers.ErrWrongChip) {
			t.Errorf("got %v: want %v", err, drivers.ErrWrongChip)
		}
	})
	for at := range 2 {
		_, err := Identify(&bustest.Failing{Bus: bustest.Play(t, []i2ctest.IO{ask}[:at]), At: at, Err: syscall.EIO}, 0x46)
		if !errors.Is(err, syscall.EIO) || errors.Is(err, drivers.ErrWrongChip) {
			t.Errorf("transaction %d: got %v: want %v", at, err, syscall.EIO)
		}
	}
}

func FuzzSense(f *testing.F) {
	const bound = 8300*time.Microsecond + 18*time.Millisecond
	reading.Fuzz(f, bound, func(m drivers.Measurement) bool {
		return m.Temperature >= minTemperature && m.Temperature <= maxTemperature &&
			m.Humidity >= 0 && m.Humidity <= 100*physic.PercentRH
	}, result(0xFD, 0, 0)[1].R, result(0xFD, 0xFFFF, 0xFFFF)[1].R, []byte{0x66})
}
