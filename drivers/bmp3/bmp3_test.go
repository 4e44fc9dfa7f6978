package bmp3

import (
	"context"
	"errors"
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
	for id, model := range map[byte]Model{0x50: BMP388, 0x60: BMP390} {
		t.Run(model.String(), func(t *testing.T) {
			ops := slices.Concat(configure, measure, measure)
			ops[0].R = []byte{id}
			d, s := newDev(t, bustest.Play(t, ops), Options{Model: model})
			for range 2 {
				m := drivers.Measurement{Humidity: 42}
				if err := d.Sense(t.Context(), &m); err != nil {
					t.Fatal(err)
				}
				want := values
				want.Humidity = 42
				if diff := cmp.Diff(want, m); diff != "" {
					t.Error(diff)
				}
			}
			if want := 2*time.Millisecond + 2*sampleTime; time.Duration(*s) != want {
				t.Errorf("waited %v: want %v", time.Duration(*s), want)
			}
		})
	}
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
			record := &i2ctest.Record{Bus: newChip(tt.options.Model, example, exampleRaw)}
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
			if diff := cmp.Diff([][]byte{{0x7E, 0xB6}, tt.configure, {0x1B, 0x13}}, writes); diff != "" {
				t.Error(diff)
			}
			if want := tt.time + startupTime; time.Duration(*s) != want {
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

// A bit of the calibration that flips on the bus is noticed.
func TestCalibrationReadWrong(t *testing.T) {
	for at := 3; at < 5; at++ {
		for bit := range 8 * calibrationSize {
			ops := slices.Clone(configure[:5])
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
	const longest = 2*time.Millisecond + 20*time.Millisecond + sampleTime + 18*time.Millisecond
	for _, tt := range []struct {
		name       string
		busy, late int
		ready      bool
	}{
		{name: "command in time", busy: polls - 1, ready: true},
		{name: "command too late", busy: polls},
		{name: "result in time", late: polls - 1, ready: true},
		{name: "result too late", late: polls},
		{name: "both in time", busy: polls - 1, late: polls - 1, ready: true},
		{name: "never", late: 1 << 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			chip := newChip(BMP388, example, exampleRaw)
			chip.busy, chip.late = tt.busy, tt.late
			d, s := newDev(t, chip, Options{})
			var m drivers.Measurement
			err := d.Sense(t.Context(), &m)
			if tt.ready {
				if err != nil || m != values {
					t.Errorf("got %v, %v: want %v", m, err, values)
				}
			} else if !errors.Is(err, drivers.ErrNotReady) || m != (drivers.Measurement{}) {
				t.Errorf("got %v, %v: want nothing, %v", m, err, drivers.ErrNotReady)
			}
			if time.Duration(*s) > longest {
				t.Errorf("waited %v: want at most %v", time.Duration(*s), longest)
			}
			chip.busy, chip.late = 0, 0
			if err := d.Sense(t.Context(), &m); err != nil || m != values {
				t.Errorf("the next reading is %v, %v: want %v", m, err, values)
			}
		})
	}
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

// Brown-outs before any transactions of two readings give the right value or an
// error: never a value that the chip did not measure as configured. One
// brown-out, once the chip is configured, does not even cost the reading.
func TestBrownOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := Options{
			Model:    Model(rapid.IntRange(0, 1).Draw(t, "model")),
			Pressure: 1 << rapid.IntRange(0, 5).Draw(t, "oversampling"), Filter: 1<<rapid.IntRange(0, 7).Draw(t, "filter") - 1,
		}
		at := rapid.SliceOfNDistinct(rapid.IntRange(0, 30), 1, 6, rapid.ID[int]).Draw(t, "brown-outs before")
		chip := newChip(options.Model, example, exampleRaw)
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
	for want := range uint64(3) {
		if err := d.Sense(t.Context(), new(drivers.Measurement)); err != nil {
			t.Fatal(err)
		}
		if got := d.Resets(); got != want {
			t.Errorf("resets = %d: want %d", got, want)
		}
		chip.reset()
		chip.reg[0x1B] = 0 // as it is after the command, too
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

// A context that ends in a wait ends the reading at once, and the next one
// starts anew.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chip := newChip(BMP388, example, exampleRaw)
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
		{"model", Options{Model: 2}},
		{"oversampling", Options{Temperature: 3}},
		{"oversampling beyond 32", Options{Pressure: 64}},
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

// Whatever a bus answers, a reading ends within its bound, with values in range
// or an error of a kind.
func FuzzSense(f *testing.F) {
	answers := bustest.Answers(configure, measure)
	f.Add(answers)
	f.Add(slices.Concat(answers[:1], make([]byte, 20)))
	f.Fuzz(func(t *testing.T, answers []byte) {
		bus := bustest.Babble(answers)
		d, s := newDev(t, &bus, Options{})
		var m drivers.Measurement
		if bustest.Check(t, d, &m) {
			if m.Temperature < minTemperature || m.Temperature > maxTemperature || m.Pressure < minPressure || m.Pressure > maxPressure {
				t.Errorf("out of range: %v", m)
			}
		}
		if bound := 2*d.time + 100*time.Millisecond; time.Duration(*s) > bound {
			t.Errorf("waited %v: want at most %v", time.Duration(*s), bound)
		}
	})
}
