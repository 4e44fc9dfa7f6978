package aht20

import (
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/crc8"
	"github.com/telltale-iot/telltale/drivers/internal/bustest"
)

func written(b ...byte) i2ctest.IO { return i2ctest.IO{Addr: 0x38, W: b} }
func status(b byte) i2ctest.IO     { return answered(b) }
func answered(b ...byte) i2ctest.IO {
	return i2ctest.IO{Addr: 0x38, R: b}
}

var (
	configure = []i2ctest.IO{written(0xBA), status(0x18)}
	start     = []i2ctest.IO{written(0xAC, 0x33, 0x00)}
	// real is what a chip answered to github.com/bilbobg/aht20, whose README takes it
	// for 23.191071 %RH and 31.674576 degree Celsius.
	real   = []byte{0x1C, 0x3B, 0x5E, 0x86, 0x88, 0xB2, 0xD2}
	sample = slices.Concat(start, []i2ctest.IO{answered(real...)})
)

var realValues = drivers.Measurement{
	Temperature: physic.ZeroCelsius + 31674575806*physic.NanoKelvin,
	Humidity:    2319107 * physic.TenthMicroRH,
	Words:       drivers.Words{Temperature: 0x688B2, Humidity: 0x3B5E8},
}

// withSum returns an answer with its checksum.
func withSum(b ...byte) []byte { return append(b, crc8.Sum(0xFF, b...)) }

func open(o Options) bustest.Open[*Dev] {
	return func(bus i2c.Bus, sleep bustest.Sleep) (*Dev, error) {
		o.Sleep = sleep
		return New(bus, o)
	}
}

var reading = bustest.Reading[*Dev]{Open: open(Options{}), Configure: configure, Measure: sample, Values: realValues}

func newDev(t testing.TB, bus i2c.Bus) (*Dev, *bustest.Slept) {
	return bustest.Dev(t, bus, open(Options{}))
}

func TestSense(t *testing.T) {
	busy := answered(0x98, 1, 2, 3, 4, 5, 6) // with a checksum that is wrong
	for _, tt := range []struct {
		name string
		ops  [][]i2ctest.IO
		time time.Duration
	}{
		{"calibrated", [][]i2ctest.IO{configure, sample}, 100 * time.Millisecond},
		{"not calibrated", [][]i2ctest.IO{
			{written(0xBA), status(0x10), written(0xBE, 0x08, 0x00), status(0x18)}, sample,
		}, 110 * time.Millisecond},
		{"late", [][]i2ctest.IO{
			configure, start, slices.Repeat([]i2ctest.IO{busy}, polls-1), {answered(real...)},
		}, 190 * time.Millisecond},
		{"reset under way", [][]i2ctest.IO{
			configure, start, {answered(withSum(0x10, 0x3B, 0x5E, 0x86, 0x88, 0xB2)...)}, configure, sample,
		}, 200 * time.Millisecond},
		{"blank", [][]i2ctest.IO{
			configure, start, {answered(withSum(0x18, 0, 0, 0, 0, 0)...)}, configure, sample,
		}, 200 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bustest.Sense(t, open(Options{}), slices.Concat(tt.ops...), realValues, tt.time)
		})
	}
}

// A reading after one that succeeded is two transactions.
func TestSteady(t *testing.T) { reading.SenseTwice(t, 180*time.Millisecond) }

// The quantities are the manual's formulas to the nearest unit; temperatures that the
// chip is not specified for are an error.
func TestStore(t *testing.T) {
	nearest := func(word uint32, scale int64) int64 {
		r := new(big.Rat).SetFrac64(int64(word)*scale, 1<<20)
		r.Add(r, big.NewRat(1, 2))
		return new(big.Int).Div(r.Num(), r.Denom()).Int64()
	}
	rapid.Check(t, func(t *rapid.T) {
		h := rapid.Uint32Range(0, 1<<20-1).Draw(t, "humidity")
		c := rapid.OneOf(rapid.Uint32Range(0, 1<<20-1), rapid.Uint32Range(52420, 52440), rapid.Uint32Range(707780, 707800)).
			Draw(t, "temperature")
		a := answer{0x18, byte(h >> 12), byte(h >> 4), byte(h<<4) | byte(c>>16), byte(c >> 8), byte(c)}
		var m drivers.Measurement
		err := a.store(&m)
		celsius := physic.Temperature(nearest(c, 200_000_000_000)) - 50*physic.Celsius
		if celsius < -40*physic.Celsius || celsius > 85*physic.Celsius {
			if !errors.Is(err, drivers.ErrOutOfRange) || m != (drivers.Measurement{}) {
				t.Fatalf("got %+v, %v: want %v", m, err, drivers.ErrOutOfRange)
			}
			return
		}
		want := drivers.Measurement{
			Temperature: celsius + physic.ZeroCelsius, Humidity: physic.RelativeHumidity(nearest(h, 10_000_000)),
			Words: drivers.Words{Temperature: c, Humidity: h},
		}
		if err != nil || m != want {
			t.Fatalf("got %+v, %v: want %+v", m, err, want)
		}
	})
}

// Each bit of the answer that flips on the bus is noticed.
func TestWrongChecksum(t *testing.T) {
	for bit := range 7 * 8 {
		flipped := slices.Clone(real)
		flipped[bit/8] ^= 1 << (bit % 8)
		ops := slices.Concat(configure, start, []i2ctest.IO{answered(flipped...)})
		want := drivers.ErrCRC
		if flipped[0]&statusBusy != 0 {
			ops = slices.Concat(ops, slices.Repeat([]i2ctest.IO{answered(flipped...)}, polls-1))
			want = drivers.ErrNotReady
		}
		d, _ := newDev(t, bustest.Play(t, ops, configure, sample))
		var m drivers.Measurement
		if err := d.Sense(t.Context(), &m); !errors.Is(err, want) || m != (drivers.Measurement{}) {
			t.Errorf("bit %d: got %+v, %v: want %v", bit, m, err, want)
		}
		if err := d.Sense(t.Context(), &m); err != nil || m != realValues {
			t.Errorf("bit %d: the next reading is %+v, %v", bit, m, err)
		}
	}
}

func TestFailingTransaction(t *testing.T) {
	reading.FailEach(t)
	t.Run("not calibrated", func(t *testing.T) {
		uncalibrated := reading
		uncalibrated.Configure = []i2ctest.IO{written(0xBA), status(0x10), written(0xBE, 0x08, 0x00), status(0x18)}
		uncalibrated.FailEach(t)
	})
}

func TestCancel(t *testing.T) { reading.CancelEach(t) }

// What can go wrong with a reading, and the reading after it.
func TestFaults(t *testing.T) {
	lost := []i2ctest.IO{answered(withSum(0x10, 0x3B, 0x5E, 0x86, 0x88, 0xB2)...)}
	for _, tt := range []struct {
		name   string
		ops    [][]i2ctest.IO
		want   error
		resets uint64
	}{
		{"never calibrated", [][]i2ctest.IO{
			{written(0xBA), status(0), written(0xBE, 0x08, 0x00), status(0)},
		}, drivers.ErrBadCalibration, 0},
		{"busy for good", [][]i2ctest.IO{
			configure, start, slices.Repeat([]i2ctest.IO{answered(withSum(0x98, 0, 0, 0, 0, 0)...)}, polls),
		}, drivers.ErrNotReady, 0},
		{"lost twice", [][]i2ctest.IO{configure, start, lost, configure, start, lost}, drivers.ErrReset, 2},
		{"line stuck high", [][]i2ctest.IO{
			configure, start, slices.Repeat([]i2ctest.IO{answered(255, 255, 255, 255, 255, 255, 255)}, polls),
		}, drivers.ErrNotReady, 0},
		{"line stuck low", [][]i2ctest.IO{configure, start, {answered(0, 0, 0, 0, 0, 0, 0)}}, drivers.ErrCRC, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := reading.CheckFault(t, slices.Concat(tt.ops...), tt.want, 580*time.Millisecond)
			if d.Resets() != tt.resets {
				t.Errorf("%d resets: want %d", d.Resets(), tt.resets)
			}
		})
	}
}

// No humidity at all is a result, if there is a temperature.
func TestDry(t *testing.T) {
	d, _ := newDev(t, bustest.Play(t, configure, start, []i2ctest.IO{answered(withSum(0x18, 0, 0, 0x08, 0, 0)...)}))
	var m drivers.Measurement
	want := drivers.Measurement{Temperature: physic.ZeroCelsius + 50*physic.Celsius, Words: drivers.Words{Temperature: 0x80000}}
	if err := d.Sense(t.Context(), &m); err != nil || m != want {
		t.Errorf("got %+v, %v: want %+v", m, err, want)
	}
}

func TestOutOfRange(t *testing.T) {
	reading.CheckOutOfRange(t, slices.Concat(start, []i2ctest.IO{answered(withSum(0x18, 0x80, 0, 0, 0, 1)...)}))
}

// chip is a chip that has its results as soon as a measurement is started. After a
// brown-out it has none and is not calibrated.
type chip struct {
	calibrated, measured bool
}

func (c *chip) String() string                  { return "chip" }
func (c *chip) SetSpeed(physic.Frequency) error { return nil }

func (c *chip) reset() { c.calibrated, c.measured = false, false }

func (c *chip) Tx(_ uint16, w, r []byte) error {
	a := slices.Clone(real)
	if !c.measured {
		a = make([]byte, 6, 7)
	}
	a[0] = 0x10
	if c.calibrated {
		a[0] = 0x18
	}
	copy(r, withSum(a[:6]...))
	switch {
	case w == nil:
	case w[0] == cmdReset:
		c.measured = false
	case w[0] == cmdInitialize:
		c.calibrated = true
	case w[0] == cmdMeasure:
		c.measured = true
	}
	return nil
}

// Brown-outs before any transactions give the right value or an error; one alone,
// once the chip is configured, does not even cost the reading.
func TestBrownOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := new(chip)
		bus := &bustest.BrownOut{
			Bus: c, Reset: c.reset,
			Before: rapid.SliceOfNDistinct(rapid.IntRange(0, 40), 0, 6, rapid.ID[int]).Draw(t, "brown-outs before"),
		}
		bustest.Survive(t, bus, open(Options{}), func(m drivers.Measurement) bool { return m == realValues },
			func(err error, at []int, _ bool) bool { // between initialization and status
				return errors.Is(err, drivers.ErrBadCalibration) && len(at) > 0
			})
	})
}

func TestResembles(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer []byte
		want   bool
	}{
		{"measured", real, true},
		{"not yet calibrated", withSum(0x10, 0, 0, 0, 0, 0), true},
		{"measuring", withSum(0x98, 1, 2, 3, 4, 5), false},
		{"wrong checksum", []byte{0x18, 1, 2, 3, 4, 5, 6}, false},
	} {
		// The playback fails if anything is written.
		got, err := Resembles(bustest.Play(t, []i2ctest.IO{answered(tt.answer...)}), 0x38)
		if err != nil || got != tt.want {
			t.Errorf("%s: got %v, %v: want %v", tt.name, got, err, tt.want)
		}
	}
	// A PCF8574A repeats the state of its pins.
	for pins := range 256 {
		bus := bustest.Babble(slices.Repeat([]byte{byte(pins)}, 7))
		if got, err := Resembles(&bus, 0x38); err != nil || got {
			t.Errorf("pins %#02x: got %v, %v: want false", pins, got, err)
		}
	}
	errBus := errors.New("no bus")
	if _, err := Resembles(&bustest.Failing{Err: errBus}, 0x38); !errors.Is(err, errBus) {
		t.Errorf("got %v: want %v", err, errBus)
	}
}

func TestNew(t *testing.T) {
	bustest.CheckNew(t, "aht20", New, []Options{{}, {Address: 0x38}}, map[string]Options{"address": {Address: 0x39}})
}

func FuzzSense(f *testing.F) {
	reading.Fuzz(f, 580*time.Millisecond, func(m drivers.Measurement) bool {
		return m.Temperature >= minTemperature && m.Temperature <= maxTemperature &&
			m.Humidity >= 0 && m.Humidity <= 100*physic.PercentRH
	}, bustest.Answers(configure, []i2ctest.IO{answered(withSum(0x10, 1, 2, 3, 4, 5)...)}, configure, sample))
}
