package lps22hb

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
	"github.com/telltale-iot/telltale/drivers/internal/bustest"
)

func register(reg byte, values ...byte) i2ctest.IO {
	return i2ctest.IO{Addr: 0x5C, W: []byte{reg}, R: values}
}
func written(reg, value byte) i2ctest.IO { return i2ctest.IO{Addr: 0x5C, W: []byte{reg, value}} }

// configure is the transactions that configure the chip with a control register.
func configure(ctrl1 byte) []i2ctest.IO {
	return []i2ctest.IO{
		register(0x0F, 0xB1),
		written(0x11, 0x14),
		register(0x11, 0x10),
		{Addr: 0x5C, W: []byte{0x18, 0, 0, 0}},
		written(0x10, ctrl1),
		register(0x33, 0x00),
	}
}

var stale = register(0x28, 1, 2, 3, 4, 5)

// oneShot is the transactions of one reading without filter.
func oneShot(result ...byte) []i2ctest.IO {
	return []i2ctest.IO{
		stale,
		written(0x11, 0x11),
		register(0x27, 0x03),
		register(0x28, result...),
		register(0x10, 0x02),
	}
}

// example is 0x3FF58D, 4191629/4096 hPa, the example of AN4450 (4.3) for the LPS25H,
// which has the same pressure registers; and 25.07 degree Celsius.
var example = []byte{0x8D, 0xF5, 0x3F, 0xCB, 0x09}

var exampleValues = drivers.Measurement{
	Pressure:    102334692382813 * physic.NanoPascal, // 1023.346923828125 hPa
	Temperature: physic.ZeroCelsius + 25070*physic.MilliCelsius,
	Words:       drivers.Words{Pressure: 0x3FF58D, Temperature: 2507},
}

func open(o Options) bustest.Open[*Dev] {
	return func(bus i2c.Bus, sleep bustest.Sleep) (*Dev, error) {
		o.Sleep = sleep
		return New(bus, o)
	}
}

var reading = bustest.Reading[*Dev]{Open: open(Options{}), Configure: configure(0x02), Measure: oneShot(example...), Values: exampleValues}

func newDev(t testing.TB, bus i2c.Bus, o Options) (*Dev, *bustest.Slept) {
	return bustest.Dev(t, bus, open(o))
}

func TestSense(t *testing.T) {
	continuous := func(ctrl1 byte) []i2ctest.IO {
		return []i2ctest.IO{stale, register(0x27, 0x03), register(0x28, example...), register(0x10, ctrl1)}
	}
	late := oneShot(example...)
	late[2] = register(0x27, 0x33) // overrun flags tell nothing
	late = slices.Insert(late, 2, register(0x27, 0x00), register(0x27, 0x01), register(0x27, 0x02))
	resetting := slices.Insert(configure(0x02), 2, register(0x11, 0x14))
	for _, tt := range []struct {
		name    string
		options Options
		ops     [][]i2ctest.IO
		time    time.Duration
	}{
		{"one shot", Options{}, [][]i2ctest.IO{configure(0x02), oneShot(example...)}, 18333 * time.Microsecond},
		{"filter of 9", Options{Filter: 9}, [][]i2ctest.IO{configure(0x5A), continuous(0x5A)}, 18333 * time.Microsecond},
		{"filter of 20", Options{Filter: 20}, [][]i2ctest.IO{configure(0x5E), continuous(0x5E)}, 18333 * time.Microsecond},
		{"late", Options{}, [][]i2ctest.IO{resetting, late}, 38333 * time.Microsecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bustest.Sense(t, open(tt.options), slices.Concat(tt.ops...), exampleValues, tt.time)
		})
	}
}

// A reading after one that succeeded does not configure the chip.
func TestSteady(t *testing.T) { reading.SenseTwice(t, 5*time.Millisecond+2*conversionTime) }

// The quantities are the registers divided by 4096 and 100, to the nearest unit and
// with their signs; what the chip is not specified for is an error.
func TestStore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Around the specified ranges, 260 to 1260 hPa and -40 to 85 degree Celsius.
		p := rapid.OneOf(rapid.Int32Range(260*4096-9, 1260*4096+9), rapid.Int32Range(-1<<23, 1<<23-1)).Draw(t, "pressure")
		c := rapid.OneOf(rapid.Int16Range(-4009, 8509), rapid.Int16()).Draw(t, "temperature")
		r := result{byte(p), byte(p >> 8), byte(p >> 16), byte(c), byte(c >> 8)}
		var m drivers.Measurement
		err := r.store(&m)
		specified := p >= 260*4096 && p <= 1260*4096 && c >= -4000 && c <= 8500
		if specified != (err == nil) || !specified && (!errors.Is(err, drivers.ErrOutOfRange) || m != (drivers.Measurement{})) {
			t.Fatalf("got %+v, %v", m, err)
		}
		if err != nil {
			return
		}
		off := big.NewRat(int64(p), 4096)
		off.Mul(off, big.NewRat(100*int64(physic.Pascal), 1))
		off.Sub(off, big.NewRat(int64(m.Pressure), 1))
		if off.Abs(off).Cmp(big.NewRat(1, 2)) > 0 || m.Temperature != physic.ZeroCelsius+physic.Temperature(c)*10*physic.MilliKelvin {
			t.Fatalf("got %+v", m)
		}
	})
}

// The bounds of the ranges are in them.
func TestBounds(t *testing.T) {
	for _, r := range []result{
		{0x00, 0x40, 0x10, 0x60, 0xF0}, // 260 hPa, -40 degree Celsius
		{0x00, 0xC0, 0x4E, 0x34, 0x21}, // 1260 hPa, 85 degree Celsius
	} {
		if err := r.store(new(drivers.Measurement)); err != nil {
			t.Errorf("% x: %v", r, err)
		}
	}
}

func TestRangeError(t *testing.T) {
	for quantity, r := range map[string]result{
		"pressure":    {0, 0, 0, 0xCB, 0x09},
		"temperature": {0x8D, 0xF5, 0x3F, 0x35, 0x21}, // 85.01
	} {
		var out *drivers.RangeError
		if err := r.store(new(drivers.Measurement)); !errors.As(err, &out) || out.Quantity != quantity {
			t.Errorf("error %v: want one of the range of %s", err, quantity)
		}
	}
}

func TestOutOfRange(t *testing.T) { reading.CheckOutOfRange(t, oneShot(0, 0, 0, 0xCB, 0x09)) }

func TestFailingTransaction(t *testing.T) { reading.FailEach(t) }

func TestCancel(t *testing.T) { reading.CancelEach(t) }

// What can go wrong with a reading, and the reading after it.
func TestFaults(t *testing.T) {
	conf, sample := configure(0x02), oneShot(example...)
	started := sample[:2]
	never := slices.Repeat([]i2ctest.IO{register(0x27, 0x00)}, polls)
	lost := slices.Concat(started, never, []i2ctest.IO{stale, register(0x10, 0x00)})
	for _, tt := range []struct {
		name string
		ops  [][]i2ctest.IO
		want error
	}{
		{"wrong chip", [][]i2ctest.IO{{register(0x0F, 0xBD)}}, drivers.ErrWrongChip}, // an LPS25H
		{"reset without end", [][]i2ctest.IO{conf[:2], slices.Repeat([]i2ctest.IO{register(0x11, 0x14)}, polls)}, drivers.ErrNotReady},
		{"conversion without end", [][]i2ctest.IO{conf, started, never, {stale, register(0x10, 0x02)}}, drivers.ErrNotReady},
		{"lost twice", [][]i2ctest.IO{conf, lost, conf, lost}, drivers.ErrReset},
		{"lost after the result twice", [][]i2ctest.IO{
			conf, sample[:4], {register(0x10, 0x00)}, conf, sample[:4], {register(0x10, 0x00)},
		}, drivers.ErrReset},
		{"reads as ones", [][]i2ctest.IO{{register(0x0F, 0xFF)}}, drivers.ErrWrongChip},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reading.CheckFault(t, slices.Concat(tt.ops...), tt.want, 220*time.Millisecond)
		})
	}
}

// chip has the registers of one chip, which has its result as soon as a conversion
// is started, and in continuous mode whenever it is asked.
type chip struct{ reg [0x40]byte }

func newChip() *chip {
	c := new(chip)
	c.reset()
	return c
}

func (c *chip) String() string                  { return "chip" }
func (c *chip) SetSpeed(physic.Frequency) error { return nil }

func (c *chip) reset() { c.reg = [0x40]byte{regWhoAmI: deviceID, regCtrl2: ctrl2Increment} }

func (c *chip) measure() {
	c.reg[regStatus] = statusBoth
	copy(c.reg[regResult:], example)
}

func (c *chip) Tx(_ uint16, w, r []byte) error {
	if r != nil {
		copy(r, c.reg[w[0]:])
		if w[0] == regResult {
			c.reg[regStatus] = 0
			if c.reg[regCtrl1]&ctrl1Rate75 != 0 {
				c.measure()
			}
		}
		return nil
	}
	switch copy(c.reg[w[0]:], w[1:]); {
	case w[0] == regCtrl2 && w[1]&ctrl2Reset != 0:
		c.reset()
	case w[0] == regCtrl2 && w[1]&ctrl2OneShot != 0:
		c.reg[regCtrl2] &^= ctrl2OneShot
		c.measure()
	}
	return nil
}

// Brown-outs before any transactions give the right value or an error; one alone does
// not even cost the reading.
func TestBrownOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newChip()
		bus := &bustest.BrownOut{
			Bus: c, Reset: c.reset,
			Before: rapid.SliceOfNDistinct(rapid.IntRange(0, 40), 0, 6, rapid.ID[int]).Draw(t, "brown-outs before"),
		}
		options := Options{Filter: rapid.SampledFrom([]Filter{0, 9, 20}).Draw(t, "filter")}
		bustest.Survive(t, bus, open(options), func(m drivers.Measurement) bool { return m == exampleValues }, nil)
	})
}

func TestResets(t *testing.T) {
	c := newChip()
	d, _ := newDev(t, c, Options{})
	bustest.CountResets(t, d, c.reset)
}

func TestIdentify(t *testing.T) {
	bustest.CheckIdentify(t, Identify, i2ctest.IO{Addr: 0x5D, W: []byte{0x0F}}, map[string]string{
		"\xB1": "",
		"\xB3": "wrong chip: id 0xb3", // an LPS22HH
		"\xBD": "wrong chip: id 0xbd", // an LPS25H
		"\x83": "wrong chip: id 0x83", // a BH1750, which has the address, too
	})
}

func TestNew(t *testing.T) {
	bustest.CheckNew(t, "lps22hb", New, []Options{{}, {Address: 0x5D}, {Filter: 9}, {Filter: 20}}, map[string]Options{
		"address": {Address: 0x5B}, "filter": {Filter: 2},
	})
}

func FuzzSense(f *testing.F) {
	reading.Fuzz(f, 220*time.Millisecond, func(m drivers.Measurement) bool {
		return m.Pressure >= minPressure && m.Pressure <= maxPressure &&
			m.Temperature >= minTemperature && m.Temperature <= maxTemperature
	}, bustest.Answers(configure(0x02), oneShot(example...)[:4], []i2ctest.IO{register(0x10, 0)}, configure(0x02), oneShot(0, 0, 0, 0, 0)))
}
