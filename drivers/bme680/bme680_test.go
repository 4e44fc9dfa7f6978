package bme680

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
		m := drivers.Measurement{Illuminance: 42}
		if err := d.Sense(t.Context(), &m); err != nil {
			t.Fatal(err)
		}
		want := values
		want.Illuminance = 42
		if diff := cmp.Diff(want, m); diff != "" {
			t.Error(diff)
		}
	}
	if want := 10*time.Millisecond + 2*sampleTime; time.Duration(*s) != want {
		t.Errorf("waited %v: want %v", time.Duration(*s), want)
	}
}

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
			record := &i2ctest.Record{Bus: newChip(example, exampleRaw)}
			d, s := newDev(t, record, tt.options)
			if err := d.Sense(t.Context(), new(drivers.Measurement)); err != nil {
				t.Fatal(err)
			}
			var writes [][]byte
			for _, op := range record.Ops {
				if op.R == nil {
					writes = append(writes, op.W)
				}
			}
			want := [][]byte{{0xE0, 0xB6}, {0x70, 0x08, 0x71, 0x00, 0x72, tt.ctrlHum, 0x75, tt.filter}, {0x74, tt.ctrlMeas | 1}}
			if diff := cmp.Diff(want, writes); diff != "" {
				t.Error(diff)
			}
			if want := tt.time + resetTime; time.Duration(*s) != want {
				t.Errorf("waited %v: want %v", time.Duration(*s), want)
			}
		})
	}
}

// Each transaction fails in turn. The error is the bus's, nothing is stored, and
// the next reading starts anew and succeeds.
func TestFailingTransaction(t *testing.T) {
	open := func(t testing.TB, bus i2c.Bus) bustest.Senser {
		d, _ := newDev(t, bus, Options{})
		return d
	}
	bustest.FailEach(t, open, slices.Concat(configure, measure), measure, values)
}

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

// A bit of the calibration that flips on the bus is noticed.
func TestCalibrationReadWrong(t *testing.T) {
	for at := 2; at < 6; at++ {
		for bit := range 8 * len(configure[at].R) {
			ops := slices.Clone(configure[:6])
			ops[at].R = slices.Clone(ops[at].R)
			ops[at].R[bit/8] ^= 1 << (bit % 8)
			d, _ := newDev(t, bustest.Play(t, ops, configure, measure), Options{})
			var m drivers.Measurement
			if err := d.Sense(t.Context(), &m); !errors.Is(err, drivers.ErrBadCalibration) {
				t.Fatalf("transaction %d, bit %d: error %v", at, bit, err)
			}
			if err := d.Sense(t.Context(), &m); err != nil || m != values {
				t.Fatalf("transaction %d, bit %d: the next reading is %v, %v: want %v", at, bit, m, err, values)
			}
		}
	}
}

// A chip that is late is waited for, up to the bound.
func TestLate(t *testing.T) {
	const longest = 10*time.Millisecond + sampleTime + 18*time.Millisecond
	for _, tt := range []struct {
		late  int
		ready bool
	}{{1, true}, {polls - 1, true}, {polls, false}, {1 << 30, false}} {
		chip := newChip(example, exampleRaw)
		chip.late = tt.late
		d, s := newDev(t, chip, Options{})
		var m drivers.Measurement
		err := d.Sense(t.Context(), &m)
		if tt.ready {
			if err != nil || m != values {
				t.Errorf("late by %d: got %v, %v: want %v", tt.late, m, err, values)
			}
		} else if !errors.Is(err, drivers.ErrNotReady) || m != (drivers.Measurement{}) {
			t.Errorf("late by %d: got %v, %v: want nothing, %v", tt.late, m, err, drivers.ErrNotReady)
		}
		if time.Duration(*s) > longest {
			t.Errorf("late by %d: waited %v: want at most %v", tt.late, time.Duration(*s), longest)
		}
		chip.late = 0
		if err := d.Sense(t.Context(), &m); err != nil || m != values {
			t.Errorf("late by %d: the next reading is %v, %v: want %v", tt.late, m, err, values)
		}
	}
}

// Brown-outs before any transactions of two readings give the right value or an
// error: never a value that the chip did not measure as configured. One
// brown-out, once the chip is configured, does not even cost the reading.
func TestBrownOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := Options{
			Pressure: 1 << rapid.IntRange(0, 4).Draw(t, "oversampling"), Filter: 1<<rapid.IntRange(0, 7).Draw(t, "filter") - 1,
		}
		at := rapid.SliceOfNDistinct(rapid.IntRange(0, 30), 1, 6, rapid.ID[int]).Draw(t, "brown-outs before")
		chip := newChip(example, exampleRaw)
		chip.before = func(n int) {
			if slices.Contains(at, n) {
				chip.reset()
			}
		}
		options.Sleep = new(bustest.Slept).Sleep
		d, err := New(chip, options)
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
				if m != values {
					t.Fatalf("got %v: want %v", m, values)
				}
			case m != (drivers.Measurement{}):
				t.Fatalf("got %v with %v", m, err)
			case !errors.Is(err, drivers.ErrReset):
				t.Fatal(err)
			case configured:
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
	for want := range uint64(3) {
		if err := d.Sense(t.Context(), new(drivers.Measurement)); err != nil {
			t.Fatal(err)
		}
		if got := d.Resets(); got != want {
			t.Errorf("resets = %d: want %d", got, want)
		}
		chip.reset()
	}
	chip.before = func(int) { chip.reset() }
	first := chip.count
	if err := d.Sense(t.Context(), new(drivers.Measurement)); !errors.Is(err, drivers.ErrReset) {
		t.Errorf("error %v: want %v", err, drivers.ErrReset)
	}
	if n, want := chip.count-first, 2*len(measure)+len(configure); n != want {
		t.Errorf("gave up after %d transactions: want %d", n, want)
	}
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

// A context that ends in a wait ends the reading at once, and the next one
// starts anew.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chip := newChip(example, exampleRaw)
		d, err := New(chip, Options{Temperature: 16})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		start := time.Now()
		if err := d.Sense(ctx, new(drivers.Measurement)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v: want %v", err, context.DeadlineExceeded)
		}
		if took := time.Since(start); took != 10*time.Millisecond {
			t.Errorf("took %v", took)
		}
		count := chip.count
		if err := d.Sense(ctx, new(drivers.Measurement)); !errors.Is(err, context.DeadlineExceeded) || chip.count != count {
			t.Errorf("error %v after %d transactions: want none", err, chip.count-count)
		}
		var m drivers.Measurement
		if err := d.Sense(t.Context(), &m); err != nil || m != values {
			t.Errorf("the next reading is %v, %v", m, err)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options Options
	}{
		{"address below", Options{Address: 0x75}},
		{"address above", Options{Address: 0x78}},
		{"oversampling", Options{Temperature: 3}},
		{"oversampling beyond 16", Options{Pressure: 32}},
		{"oversampling of humidity", Options{Humidity: 5}},
		{"filter", Options{Filter: 2}},
		{"filter beyond 127", Options{Filter: 255}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := New(&i2ctest.Playback{}, tt.options); !errors.Is(err, drivers.ErrOptions) {
				t.Errorf("error %v: want %v", err, drivers.ErrOptions)
			}
		})
	}
	if _, err := New(nil, Options{}); !errors.Is(err, drivers.ErrOptions) {
		t.Errorf("no bus: error %v", err)
	}
	if _, err := New(&i2ctest.Playback{}, Options{Address: 0x77}); err != nil {
		t.Errorf("the other address: error %v", err)
	}
}

func TestIdentify(t *testing.T) {
	for id, want := range map[byte]string{
		0x61: "",
		0x60: "wrong chip: id 0x60: want a BME680 (id 0x61)", // a BME280
		0xD0: "wrong chip: id 0xd0: want a BME680 (id 0x61)", // a multiplexer repeats what it was told
	} {
		err := Identify(bustest.Play(t, []i2ctest.IO{{Addr: 0x77, W: []byte{0xD0}, R: []byte{id}}}), 0x77)
		if want == "" && err != nil || want != "" && (!errors.Is(err, drivers.ErrWrongChip) || err.Error() != want) {
			t.Errorf("id %#02x: got %v: want %q", id, err, want)
		}
	}
	errBus := errors.New("no bus")
	if err := Identify(&bustest.Failing{Err: errBus}, 0x76); !errors.Is(err, errBus) {
		t.Errorf("got %v: want %v", err, errBus)
	}
}

// Whatever a bus answers, a reading ends within its bound, with values in range
// or an error of a kind.
func FuzzSense(f *testing.F) {
	answers := bustest.Answers(configure, measure)
	f.Add(answers)
	f.Add(slices.Concat(answers[:1], make([]byte, 80)))
	f.Fuzz(func(t *testing.T, answers []byte) {
		bus := bustest.Babble(answers)
		d, s := newDev(t, &bus, Options{})
		var m drivers.Measurement
		if bustest.Check(t, d, &m) {
			if m.Temperature < minTemperature || m.Temperature > maxTemperature || m.Pressure < minPressure || m.Pressure > maxPressure ||
				m.Humidity < 0 || m.Humidity > 100*physic.PercentRH {
				t.Errorf("out of range: %v", m)
			}
		}
		if bound := 2*d.time + 100*time.Millisecond; time.Duration(*s) > bound {
			t.Errorf("waited %v: want at most %v", time.Duration(*s), bound)
		}
	})
}
