package htu21d

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
	d, s := newDev(t, bustest.Play(t, configure, measure, measure), Options{})
	for range 2 {
		m := drivers.Measurement{Pressure: 42}
		if err := d.Sense(t.Context(), &m); err != nil {
			t.Fatal(err)
		}
		want := values
		want.Pressure = 42
		if diff := cmp.Diff(want, m); diff != "" {
			t.Error(diff)
		}
	}
	if want := 15*time.Millisecond + 2*measureTime; time.Duration(*s) != want {
		t.Errorf("waited %v: want %v", time.Duration(*s), want)
	}
}

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
			d, s := newDev(t, bustest.Play(t, ops), Options{Resolution: tt.resolution})
			var m drivers.Measurement
			if err := d.Sense(t.Context(), &m); err != nil || m != values {
				t.Errorf("%d bits: got %v, %v: want %v", tt.resolution, m, err, values)
			}
			if want := 15*time.Millisecond + tt.time; time.Duration(*s) != want {
				t.Errorf("%d bits: waited %v: want %v", tt.resolution, time.Duration(*s), want)
			}
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

// Each transaction fails in turn. The error is the bus's, nothing is stored, and
// the next reading starts anew and succeeds.
func TestFailingTransaction(t *testing.T) {
	whole := slices.Concat(configure, measure)
	steady := slices.Concat(whole, measure)
	for at := range steady {
		for _, errno := range []error{syscall.ENXIO, syscall.EIO} {
			t.Run(fmt.Sprintf("%d/%v", at, errno), func(t *testing.T) {
				times, after := 1, whole
				if nack.Is(errno) && steady[at].W == nil {
					times = nack.Reads
					after = slices.Concat(measure[4:], whole) // it is asked whether it was reset
				}
				d, _ := newDev(t, &bustest.Failing{Bus: bustest.Play(t, steady[:at], after), At: at, Times: times, Err: errno}, Options{})
				if at >= len(whole) {
					if err := d.Sense(t.Context(), new(drivers.Measurement)); err != nil {
						t.Fatal(err)
					}
				}
				var m drivers.Measurement
				err := d.Sense(t.Context(), &m)
				if !errors.Is(err, errno) || !strings.HasPrefix(err.Error(), "HTU21D at 0x40: ") {
					t.Errorf("error %v: want one that wraps %v", err, errno)
				}
				if errors.Is(err, drivers.ErrNotReady) != (times > 1) {
					t.Errorf("error %v: is it %v?", err, drivers.ErrNotReady)
				}
				if m != (drivers.Measurement{}) {
					t.Errorf("%v was stored", m)
				}
				if err := d.Sense(t.Context(), &m); err != nil || m != values {
					t.Errorf("the next reading is %v, %v: want %v", m, err, values)
				}
			})
		}
	}
}

// A chip that is late is waited for, up to the bound.
func TestLate(t *testing.T) {
	for _, tt := range []struct {
		late  int
		ready bool
	}{{1, true}, {nack.Reads - 1, true}, {nack.Reads, false}} {
		chip := newChip()
		chip.late = tt.late
		d, s := newDev(t, chip, Options{})
		var m drivers.Measurement
		err := d.Sense(t.Context(), &m)
		if tt.ready && (err != nil || m != values) {
			t.Errorf("late by %d: got %v, %v: want %v", tt.late, m, err, values)
		}
		if !tt.ready && (!errors.Is(err, drivers.ErrNotReady) || m != (drivers.Measurement{})) {
			t.Errorf("late by %d: got %v, %v: want %v", tt.late, m, err, drivers.ErrNotReady)
		}
		if bound := 15*time.Millisecond + measureTime + 36*time.Millisecond + slowest; time.Duration(*s) > bound {
			t.Errorf("late by %d: waited %v: want at most %v", tt.late, time.Duration(*s), bound)
		}
		chip.late = 0
		if err := d.Sense(t.Context(), &m); err != nil || m != values {
			t.Errorf("late by %d: the next reading is %v, %v: want %v", tt.late, m, err, values)
		}
	}
}

// A bit that flips on the bus, in any position of a result or its checksum, is
// noticed.
func TestWrongChecksum(t *testing.T) {
	whole := slices.Concat(configure, measure)
	for quantity, at := range map[string]int{"temperature": 4, "humidity": 6} {
		for bit := range 24 {
			ops := slices.Clone(whole[:at+1])
			ops[at].R = slices.Clone(ops[at].R)
			ops[at].R[bit/8] ^= 1 << (bit % 8)
			d, _ := newDev(t, bustest.Play(t, ops, whole), Options{})
			var m drivers.Measurement
			err := d.Sense(t.Context(), &m)
			if !errors.Is(err, drivers.ErrCRC) || !strings.Contains(err.Error(), quantity) || m != (drivers.Measurement{}) {
				t.Fatalf("bit %d: got %v, %v: want %v of %s", bit, m, err, drivers.ErrCRC, quantity)
			}
			if err := d.Sense(t.Context(), &m); err != nil || m != values {
				t.Fatalf("bit %d: the next reading is %v, %v: want %v", bit, m, err, values)
			}
		}
	}
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
		resolution := rapid.Uint8Range(11, 14).Draw(t, "resolution")
		at := rapid.SliceOfNDistinct(rapid.IntRange(0, 40), 1, 6, rapid.ID[int]).Draw(t, "brown-outs before")
		chip := newChip()
		chip.before = func(n int) {
			if slices.Contains(at, n) {
				chip.powerOn()
			}
		}
		d, err := New(chip, Options{Resolution: resolution, Sleep: new(bustest.Slept).Sleep})
		if err != nil {
			t.Fatal(err)
		}
		configured := false
		for range 4 {
			first := chip.count
			var m drivers.Measurement
			err := d.Sense(context.Background(), &m)
			switch {
			case err == nil:
				if m != values || chip.user&0x81 != d.set.user && !slices.Contains(at, chip.count-1) {
					t.Fatalf("got %v with user register %#02x: want %v", m, chip.user, values)
				}
			case m != (drivers.Measurement{}):
				t.Fatalf("got %v with %v", m, err)
			case !errors.Is(err, drivers.ErrReset) && !errors.Is(err, drivers.ErrNotReady):
				t.Fatal(err)
			case configured && resolution != 14:
				under := 0
				for _, n := range at {
					if n >= first && n < chip.count {
						under++
					}
				}
				if under < 2 {
					t.Fatalf("%v after %d brown-outs", err, under)
				}
			}
			configured = err == nil
		}
	})
}

func TestResets(t *testing.T) {
	chip := newChip()
	d, _ := newDev(t, chip, Options{Resolution: 12})
	for want := range uint64(3) {
		if err := d.Sense(t.Context(), new(drivers.Measurement)); err != nil {
			t.Fatal(err)
		}
		if got := d.Resets(); got != want {
			t.Errorf("resets = %d: want %d", got, want)
		}
		chip.powerOn()
	}
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

// A context that ends in a wait ends the reading at once, and the next one starts
// anew.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chip := newChip()
		d, err := New(chip, Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 70*time.Millisecond)
		defer cancel()
		start := time.Now()
		var m drivers.Measurement
		if err := d.Sense(ctx, &m); !errors.Is(err, context.DeadlineExceeded) || m != (drivers.Measurement{}) {
			t.Errorf("got %v, %v: want %v", m, err, context.DeadlineExceeded)
		}
		if took := time.Since(start); took != 70*time.Millisecond {
			t.Errorf("took %v", took)
		}
		count := chip.count
		if err := d.Sense(ctx, &m); !errors.Is(err, context.DeadlineExceeded) || chip.count != count {
			t.Errorf("error %v after %d transactions: want none", err, chip.count-count)
		}
		if err := d.Sense(t.Context(), &m); err != nil || m != values {
			t.Errorf("the next reading is %v, %v: want %v", m, err, values)
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
		{"least resolution", &i2ctest.Playback{}, Options{Address: 0x40, Resolution: 11}, true},
		{"no bus", nil, Options{}, false},
		{"address", &i2ctest.Playback{}, Options{Address: 0x41}, false},
		{"resolution too small", &i2ctest.Playback{}, Options{Resolution: 10}, false},
		{"resolution too large", &i2ctest.Playback{}, Options{Resolution: 15}, false},
	} {
		if _, err := New(tt.bus, tt.options); (err == nil) != tt.ok || !tt.ok && !errors.Is(err, drivers.ErrOptions) {
			t.Errorf("%s: error %v", tt.name, err)
		}
	}
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

// Whatever a bus answers, a reading ends within its bound, in range or with an
// error of a kind.
func FuzzSense(f *testing.F) {
	answers := bustest.Answers(configure, measure)
	f.Add(answers)
	f.Add(slices.Concat(answers[:7], []byte{0xBA}, answers))
	f.Add(make([]byte, 30))
	f.Fuzz(func(t *testing.T, answers []byte) {
		bus := bustest.Babble(answers)
		d, s := newDev(t, &bus, Options{})
		var m drivers.Measurement
		if bustest.Check(t, d, &m) {
			if m.Temperature < minTemperature || m.Temperature > maxTemperature || m.Humidity < 0 || m.Humidity > 100*physic.PercentRH {
				t.Errorf("out of range: %v", m)
			}
		}
		if bound := 350 * time.Millisecond; time.Duration(*s) > bound {
			t.Errorf("waited %v: want at most %v", time.Duration(*s), bound)
		}
	})
}
