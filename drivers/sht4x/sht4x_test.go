package sht4x

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

// reading is the transactions of one measurement.
func reading(command byte, temperature, humidity uint16) []i2ctest.IO {
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

func newDev(t testing.TB, bus i2c.Bus, o Options) (*Dev, *bustest.Slept) {
	t.Helper()
	s := new(bustest.Slept)
	o.Sleep = s.Sleep
	d, err := New(bus, o)
	if err != nil {
		t.Fatal(err)
	}
	return d, s
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
		{"medium", Medium, reading(0xF6, 0x8000, 0x8000), 0x8000, 0x8000,
			42501335164 * physic.NanoKelvin, 5650095, 4500 * time.Microsecond},
		{"low", Low, reading(0xE0, 0x6666, 0x72B0), 0x6666, 0x72B0, 25 * physic.Celsius, 5000061, 1700 * time.Microsecond},
		{"humidity below 0", High, reading(0xFD, 0x6666, 0x0C00), 0x6666, 0x0C00, 25 * physic.Celsius, 0, 8300 * time.Microsecond},
		{"humidity above 100", High, reading(0xFD, 0x6666, 0xDA00), 0x6666, 0xDA00,
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

// Each transaction fails in turn. The error is the bus's, nothing is stored, and
// the next reading succeeds.
func TestFailingTransaction(t *testing.T) {
	for at := range example {
		for _, errno := range []error{syscall.ENXIO, syscall.EIO} {
			t.Run(fmt.Sprintf("%d/%v", at, errno), func(t *testing.T) {
				times := 1
				if at > 0 && nack.Is(errno) {
					times = nack.Reads
				}
				d, _ := newDev(t, &bustest.Failing{Bus: bustest.Play(t, example[:at], example), At: at, Times: times, Err: errno}, Options{})
				var m drivers.Measurement
				err := d.Sense(t.Context(), &m)
				if !errors.Is(err, errno) || !strings.HasPrefix(err.Error(), "SHT4x at 0x44: ") {
					t.Errorf("error %v: want one that wraps %v", err, errno)
				}
				if m != (drivers.Measurement{}) {
					t.Errorf("%v was stored", m)
				}
				if err := d.Sense(t.Context(), &m); err != nil || m != exampleValues {
					t.Errorf("the next reading is %v, %v: want %v", m, err, exampleValues)
				}
			})
		}
	}
}

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

// A bit that flips on the bus, in any position of a result or its checksum, is
// noticed.
func TestWrongChecksum(t *testing.T) {
	for bit := range 48 {
		ops := slices.Clone(example)
		ops[1].R = slices.Clone(ops[1].R)
		ops[1].R[bit/8] ^= 1 << (bit % 8)
		d, _ := newDev(t, bustest.Play(t, ops, example), Options{})
		var m drivers.Measurement
		quantity := "temperature"
		if bit >= 24 {
			quantity = "humidity"
		}
		if err := d.Sense(t.Context(), &m); !errors.Is(err, drivers.ErrCRC) || !strings.Contains(err.Error(), quantity) {
			t.Errorf("bit %d: error %v: want %v of %s", bit, err, drivers.ErrCRC, quantity)
		}
		if m != (drivers.Measurement{}) {
			t.Errorf("bit %d: %v was stored", bit, m)
		}
		if err := d.Sense(t.Context(), &m); err != nil || m != exampleValues {
			t.Errorf("bit %d: the next reading is %v, %v: want %v", bit, m, err, exampleValues)
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
		d, _ := newDev(t, bustest.Play(t, reading(0xFD, tt.word, 0x72B0)), Options{})
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

// A context that ends in the wait ends the reading at once.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := New(bustest.Play(t, example[:1], example), Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		start := time.Now()
		var m drivers.Measurement
		for range 2 { // the second time before any transaction
			if err := d.Sense(ctx, &m); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v: want %v", err, context.DeadlineExceeded)
			}
		}
		if took := time.Since(start); took != 5*time.Millisecond {
			t.Errorf("took %v", took)
		}
		if err := d.Sense(t.Context(), &m); err != nil || m != exampleValues {
			t.Errorf("the next reading is %v, %v: want %v", m, err, exampleValues)
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
		{"the second address", &i2ctest.Playback{}, Options{Address: 0x45}, true},
		{"the third address", &i2ctest.Playback{}, Options{Address: 0x46}, true},
		{"no bus", nil, Options{}, false},
		{"address below", &i2ctest.Playback{}, Options{Address: 0x43}, false},
		{"address above", &i2ctest.Playback{}, Options{Address: 0x47}, false},
		{"repeatability", &i2ctest.Playback{}, Options{Repeatability: 3}, false},
	} {
		if _, err := New(tt.bus, tt.options); (err == nil) != tt.ok || !tt.ok && !errors.Is(err, drivers.ErrOptions) {
			t.Errorf("%s: error %v", tt.name, err)
		}
	}
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

// Whatever a bus answers, a reading is in range, or an error of a kind.
func FuzzSense(f *testing.F) {
	f.Add(example[1].R)
	f.Add(reading(0xFD, 0, 0)[1].R)
	f.Add(reading(0xFD, 0xFFFF, 0xFFFF)[1].R)
	f.Add([]byte{0x66})
	f.Fuzz(func(t *testing.T, answers []byte) {
		bus := bustest.Babble(answers)
		d, _ := newDev(t, &bus, Options{})
		var m drivers.Measurement
		if bustest.Check(t, d, &m) {
			if m.Temperature < minTemperature || m.Temperature > maxTemperature || m.Humidity < 0 || m.Humidity > 100*physic.PercentRH {
				t.Errorf("out of range: %v", m)
			}
			if again := reading(0, uint16(m.Words.Temperature), uint16(m.Words.Humidity))[1].R; !slices.Equal(again, answers[:6]) {
				t.Errorf("words of % x are %+v", answers, m.Words)
			}
		}
	})
}
