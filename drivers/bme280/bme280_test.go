package bme280

import (
	"context"
	"errors"
	"fmt"
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

func newDev(t testing.TB, bus i2c.Bus, o Options) (*Dev, *slept) {
	t.Helper()
	s := new(slept)
	o.Sleep = s.sleep
	d, err := New(bus, o)
	if err != nil {
		t.Fatal(err)
	}
	return d, s
}

func play(t *testing.T, ops ...[]i2ctest.IO) *i2ctest.Playback {
	p := &i2ctest.Playback{Ops: slices.Concat(ops...), DontPanic: true}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestSense(t *testing.T) {
	t.Run("BME280", func(t *testing.T) {
		d, s := newDev(t, play(t, configureBME280, measureBME280, measureBME280), Options{})
		for range 2 {
			var e drivers.Measurement
			if err := d.Sense(t.Context(), &e); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(envBME280, e); diff != "" {
				t.Error(diff)
			}
		}
		if want := 2*time.Millisecond + 2*9300*time.Microsecond; time.Duration(*s) != want {
			t.Errorf("waited %v: want %v", time.Duration(*s), want)
		}
	})
	t.Run("BMP280", func(t *testing.T) {
		d, s := newDev(t, play(t, configureBMP280, measureBMP280), Options{Model: BMP280})
		e := drivers.Measurement{Humidity: 42}
		if err := d.Sense(t.Context(), &e); err != nil {
			t.Fatal(err)
		}
		want := envBME280
		want.Humidity, want.Words.Humidity = 42, 0
		if diff := cmp.Diff(want, e); diff != "" {
			t.Error(diff)
		}
		if want := 2*time.Millisecond + 6425*time.Microsecond; time.Duration(*s) != want {
			t.Errorf("waited %v: want %v", time.Duration(*s), want)
		}
	})
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
			record := &i2ctest.Record{Bus: newChip(tt.options.Model, example, encodeResults(exampleRaw))}
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
			want := [][]byte{{0xE0, 0xB6}, tt.configure, {0xF4, tt.ctrlMeas | 1}}
			if diff := cmp.Diff(want, writes); diff != "" {
				t.Error(diff)
			}
			if want := tt.time + startupTime; time.Duration(*s) != want {
				t.Errorf("waited %v: want %v", time.Duration(*s), want)
			}
		})
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

// Each transaction fails in turn. The error is the bus's, nothing is stored,
// and the next reading starts anew and succeeds.
func TestFailingTransaction(t *testing.T) {
	for _, chip := range []struct {
		model              Model
		configure, measure []i2ctest.IO
	}{
		{BME280, configureBME280, measureBME280},
		{BMP280, configureBMP280, measureBMP280},
	} {
		whole := slices.Concat(chip.configure, chip.measure)
		steady := slices.Concat(whole, chip.measure)
		for at := range steady {
			for _, errno := range []error{syscall.ENXIO, syscall.EIO} {
				t.Run(fmt.Sprintf("%v/%d/%v", chip.model, at, errno), func(t *testing.T) {
					bus := &failing{Bus: play(t, steady[:at], whole), at: at, err: errno}
					d, _ := newDev(t, bus, Options{Model: chip.model})
					if at >= len(whole) {
						if err := d.Sense(t.Context(), new(drivers.Measurement)); err != nil {
							t.Fatal(err)
						}
					}
					var e drivers.Measurement
					err := d.Sense(t.Context(), &e)
					if !errors.Is(err, errno) || !strings.HasPrefix(err.Error(), chip.model.String()+" at 0x76: ") {
						t.Errorf("error %v: want one that wraps %v", err, errno)
					}
					if e != (drivers.Measurement{}) {
						t.Errorf("%v was stored", e)
					}
					if err := d.Sense(t.Context(), &e); err != nil {
						t.Errorf("the next reading: %v", err)
					}
					if e.Temperature != envBME280.Temperature || e.Pressure != envBME280.Pressure {
						t.Errorf("the next reading is %v: want %v", e, envBME280)
					}
				})
			}
		}
	}
}

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
		bus := play(t, []i2ctest.IO{{Addr: 0x76, W: []byte{0xD0}, R: []byte{tt.id}}})
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

// A bit of the calibration that flips on the bus is noticed.
func TestCalibrationReadWrong(t *testing.T) {
	for at := 3; at < 7; at++ {
		ops := slices.Clone(configureBME280[:7])
		ops[at].R = slices.Clone(ops[at].R)
		ops[at].R[5] ^= 0x10
		d, _ := newDev(t, play(t, ops, configureBME280, measureBME280), Options{})
		var e drivers.Measurement
		if err := d.Sense(t.Context(), &e); !errors.Is(err, drivers.ErrBadCalibration) {
			t.Errorf("transaction %d: error %v", at, err)
		}
		if err := d.Sense(t.Context(), &e); err != nil || e != envBME280 {
			t.Errorf("transaction %d: the next reading is %v, %v: want %v", at, e, err, envBME280)
		}
	}
}

// A chip that is late is waited for, up to the bound.
func TestLate(t *testing.T) {
	const longest = 2*time.Millisecond + polls*pollInterval + 9300*time.Microsecond + (polls-1)*pollInterval
	for _, tt := range []struct {
		name          string
		copying, late int
		ready         bool
	}{
		{name: "calibration in time", copying: polls - 1, ready: true},
		{name: "calibration too late", copying: polls},
		{name: "result in time", late: polls - 1, ready: true},
		{name: "result too late", late: polls},
		{name: "both in time", copying: polls - 1, late: polls - 1, ready: true},
		{name: "never", late: 1 << 30},
	} {
		t.Run(tt.name, func(t *testing.T) {
			chip := newChip(BME280, example, encodeResults(exampleRaw))
			chip.copying, chip.late = tt.copying, tt.late
			d, s := newDev(t, chip, Options{})
			var e drivers.Measurement
			err := d.Sense(t.Context(), &e)
			if tt.ready {
				if err != nil || e != envBME280 {
					t.Errorf("got %v, %v: want %v", e, err, envBME280)
				}
			} else if !errors.Is(err, drivers.ErrNotReady) || e != (drivers.Measurement{}) {
				t.Errorf("got %v, %v: want nothing, %v", e, err, drivers.ErrNotReady)
			}
			if time.Duration(*s) > longest {
				t.Errorf("waited %v: want at most %v", time.Duration(*s), longest)
			}
			chip.copying, chip.late = 0, 0
			if err := d.Sense(t.Context(), &e); err != nil || e != envBME280 {
				t.Errorf("the next reading is %v, %v: want %v", e, err, envBME280)
			}
		})
	}
}

// Brown-outs before any transactions of two readings give the right value or an
// error: never a value that the chip did not measure as configured. One
// brown-out, once the chip is configured, does not even cost the reading.
func TestBrownOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := Options{Model: Model(rapid.IntRange(0, 1).Draw(t, "model")), Filter: 1 << rapid.IntRange(0, 4).Draw(t, "filter")}
		at := rapid.SliceOfNDistinct(rapid.IntRange(0, 30), 1, 6, rapid.ID[int]).Draw(t, "brown-outs before")
		chip := newChip(options.Model, example, encodeResults(exampleRaw))
		chip.before = func(n int) {
			if slices.Contains(at, n) {
				chip.reset()
			}
		}
		options.Sleep = new(slept).sleep
		d, err := New(chip, options)
		if err != nil {
			t.Fatal(err)
		}
		want := envBME280
		if options.Model == BMP280 {
			want.Humidity, want.Words.Humidity = 0, 0
		}
		configured := false
		for range 4 {
			first := chip.count
			var e drivers.Measurement
			err := d.Sense(context.Background(), &e)
			switch {
			case err == nil:
				if e != want {
					t.Fatalf("got %v: want %v", e, want)
				}
			case e != (drivers.Measurement{}):
				t.Fatalf("got %v with %v", e, err)
			case !errors.Is(err, drivers.ErrReset) && !errors.Is(err, drivers.ErrNotReady):
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
	if err := d.Sense(t.Context(), new(drivers.Measurement)); !errors.Is(err, drivers.ErrReset) {
		t.Errorf("error %v: want %v", err, drivers.ErrReset)
	}
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

// A context that ends in a wait ends the reading at once, and the next one
// starts anew.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chip := newChip(BME280, example, encodeResults(exampleRaw))
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
		var e drivers.Measurement
		if err := d.Sense(t.Context(), &e); err != nil || e != envBME280 {
			t.Errorf("the next reading is %v, %v", e, err)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options Options
	}{
		{"address", Options{Address: 0x75}},
		{"model", Options{Model: 2}},
		{"no temperature", Options{Temperature: Skip}},
		{"oversampling", Options{Temperature: 3}},
		{"oversampling beyond 16", Options{Pressure: 32}},
		{"humidity of a BMP280", Options{Model: BMP280, Humidity: 1}},
		{"filter", Options{Filter: 3}},
		{"filter beyond 16", Options{Filter: 32}},
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
}

// babble is a bus that answers each read with the next bytes of itself.
type babble []byte

func (b *babble) String() string                  { return "babble" }
func (b *babble) SetSpeed(physic.Frequency) error { return nil }

func (b *babble) Tx(_ uint16, _, r []byte) error {
	if len(r) > len(*b) {
		return syscall.EIO
	}
	*b = (*b)[copy(r, *b):]
	return nil
}

// Whatever a bus answers, a reading ends within its bound, with values in range
// or an error of a kind.
func FuzzSense(f *testing.F) {
	var answers []byte
	for _, op := range slices.Concat(configureBME280, measureBME280) {
		answers = append(answers, op.R...)
	}
	f.Add(answers)
	f.Add(slices.Concat(answers[:1], slices.Repeat([]byte{1}, 20)))
	kinds := []error{
		drivers.ErrNotReady, drivers.ErrWrongChip, drivers.ErrBadCalibration, drivers.ErrReset, drivers.ErrOutOfRange,
		syscall.EIO,
	}
	f.Fuzz(func(t *testing.T, answers []byte) {
		bus := babble(answers)
		d, s := newDev(t, &bus, Options{})
		var e drivers.Measurement
		if err := d.Sense(t.Context(), &e); err == nil {
			if e.Temperature < minTemperature || e.Temperature > maxTemperature ||
				e.Pressure < minPressure || e.Pressure > maxPressure ||
				e.Humidity < 0 || e.Humidity > 100*physic.PercentRH {
				t.Errorf("out of range: %v", e)
			}
		} else if !slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) }) || e != (drivers.Measurement{}) {
			t.Errorf("got %v, %v", e, err)
		}
		if bound := 2*d.time + 100*time.Millisecond; time.Duration(*s) > bound {
			t.Errorf("waited %v: want at most %v", time.Duration(*s), bound)
		}
	})
}
