package sht3x

import (
	"errors"
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

// The transactions of a chip after power on that measures 25 degree Celsius, to
// which 0x6666 is exactly two fifths of the scale, and 50 %RH.
var (
	configure = []i2ctest.IO{
		{Addr: 0x44, W: []byte{0xF3, 0x2D}},
		{Addr: 0x44, R: []byte{0x80, 0x10, 0xE1}},
		{Addr: 0x44, W: []byte{0x30, 0x93}},
		{Addr: 0x44, W: []byte{0x30, 0xA2}},
		{Addr: 0x44, W: []byte{0x30, 0x41}},
		{Addr: 0x44, W: []byte{0xF3, 0x2D}},
		{Addr: 0x44, R: []byte{0x00, 0x00, 0x81}},
	}
	measure = []i2ctest.IO{
		{Addr: 0x44, W: []byte{0x24, 0x00}},
		{Addr: 0x44, R: []byte{0x66, 0x66, 0x93, 0x80, 0x00, 0xA2}},
		{Addr: 0x44, W: []byte{0xF3, 0x2D}},
		{Addr: 0x44, R: []byte{0x00, 0x00, 0x81}},
	}
	values = drivers.Measurement{
		Temperature: physic.ZeroCelsius + 25*physic.Celsius,
		Humidity:    5000076 * physic.TenthMicroRH,
		Words:       drivers.Words{Temperature: 0x6666, Humidity: 0x8000},
	}
)

const configureTime = 5500 * time.Microsecond

func open(o Options) bustest.Open[*Dev] {
	return func(bus i2c.Bus, sleep bustest.Sleep) (*Dev, error) {
		o.Sleep = sleep
		return New(bus, o)
	}
}

var reading = bustest.Reading[*Dev]{
	Open: open(Options{}), Configure: configure, Measure: measure, Values: values,
	GaveUp: func(read i2ctest.IO) []i2ctest.IO {
		if len(read.R) == 6 { // it is asked whether it was reset
			return measure[2:]
		}
		return nil
	},
}

func newDev(t testing.TB, bus i2c.Bus, o Options) (*Dev, *bustest.Slept) {
	return bustest.Dev(t, bus, open(o))
}

func TestSense(t *testing.T) { reading.SenseTwice(t, configureTime+2*16500*time.Microsecond) }

func TestRepeatability(t *testing.T) {
	for _, tt := range []struct {
		repeatability Repeatability
		command       []byte
		time          time.Duration
	}{
		{High, []byte{0x24, 0x00}, 15500 * time.Microsecond},
		{Medium, []byte{0x24, 0x0B}, 6500 * time.Microsecond},
		{Low, []byte{0x24, 0x16}, 4500 * time.Microsecond},
	} {
		t.Run(tt.repeatability.String(), func(t *testing.T) {
			ops := slices.Concat(configure, measure)
			ops[len(configure)].W = tt.command
			bustest.Sense(t, open(Options{Repeatability: tt.repeatability}), ops, values, configureTime+tt.time+time.Millisecond)
		})
	}
}

// The values are the datasheet's formulas (4.13) to the nearest unit.
func TestFormulas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.Uint16().Draw(t, "word")
		near := func(quantity string, got, unit, offset, span int64) {
			want := big.NewRat(int64(word), 65535)
			want.Mul(want, big.NewRat(span, 1)).Add(want, big.NewRat(offset, 1))
			off := big.NewRat(got, unit)
			if off.Sub(off, want).Abs(off).Cmp(big.NewRat(1, 2*unit)) > 0 {
				t.Errorf("%s of %#04x is %d: want %s", quantity, word, got, want.FloatString(10))
			}
		}
		near("temperature", int64(temperature(word)-physic.ZeroCelsius), int64(physic.Celsius), -45, 175)
		near("humidity", int64(humidity(word)), int64(physic.PercentRH), 0, 100)
	})
}

func TestFailingTransaction(t *testing.T) { reading.FailEach(t) }

func TestCancel(t *testing.T) { reading.CancelEach(t) }

func TestLate(t *testing.T) {
	chip := newChip()
	reading.CheckLate(t, chip, &chip.late, nack.Reads, 200*time.Millisecond)
}

func TestWrongChecksum(t *testing.T) {
	whole := slices.Concat(configure, measure)
	for at, last := range map[int]int{1: 1, 6: 6, 8: len(whole) - 1, 10: len(whole) - 1} {
		reading.FlipEachBit(t, at, last, drivers.ErrCRC, "")
	}
}

// Whatever somebody else has left the chip doing, it is configured from there.
func TestConfiguresFromAnyState(t *testing.T) {
	chip := newChip()
	chip.periodic = true
	chip.state = 1<<15 | 1<<13 | 1<<11 | 1<<10 | 1<<1 | 1
	d, _ := newDev(t, chip, Options{})
	var m drivers.Measurement
	if err := d.Sense(t.Context(), &m); err != nil || m != values {
		t.Errorf("got %v, %v: want %v", m, err, values)
	}
}

// A status that cannot be an SHT3x's is noticed before anything is measured or
// changed.
func TestWrongChip(t *testing.T) {
	for _, bit := range []int{14, 12, 3, 2} {
		ops := []i2ctest.IO{configure[0], {Addr: 0x44, R: withSum(1 << bit)}}
		d, _ := newDev(t, bustest.Play(t, ops), Options{})
		if err := d.Sense(t.Context(), new(drivers.Measurement)); !errors.Is(err, drivers.ErrWrongChip) {
			t.Errorf("bit %d: error %v: want %v", bit, err, drivers.ErrWrongChip)
		}
	}
}

// A heater that is switched on by somebody else is switched off again, and what
// was measured with it does not count.
func TestHeater(t *testing.T) {
	chip := newChip()
	d, _ := newDev(t, chip, Options{})
	var m drivers.Measurement
	if err := d.Sense(t.Context(), &m); err != nil {
		t.Fatal(err)
	}
	chip.state |= 1 << 13
	before := chip.count
	if err := d.Sense(t.Context(), &m); err != nil || m != values || d.Resets() != 1 || chip.state != 0 {
		t.Errorf("got %v, %v, %d resets, status %#x", m, err, d.Resets(), chip.state)
	}
	if n, want := chip.count-before, 2*len(measure)+len(configure); n != want {
		t.Errorf("%d transactions: want %d", n, want)
	}
	chip.before = func(int) { // during each measurement
		if len(chip.pending) == 6 {
			chip.state |= 1 << 13
		}
	}
	m = drivers.Measurement{}
	before = chip.count
	if err := d.Sense(t.Context(), &m); !errors.Is(err, drivers.ErrReset) || m != (drivers.Measurement{}) {
		t.Errorf("got %v, %v: want %v", m, err, drivers.ErrReset)
	}
	if n, want := chip.count-before, 2*len(measure)+len(configure); n != want {
		t.Errorf("gave up after %d transactions: want %d", n, want)
	}
}

// Brown-outs before any transactions of some readings give the right value or an
// error. One, once the chip is configured, does not even cost the reading, unless
// it comes between the question for the status and the answer.
func TestBrownOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chip := newChip()
		bus := &bustest.BrownOut{
			Bus: chip, Reset: chip.reset,
			Before: rapid.SliceOfNDistinct(rapid.IntRange(0, 40), 0, 6, rapid.ID[int]).Draw(t, "brown-outs before"),
		}
		bustest.Survive(t, bus, open(Options{}), func(m drivers.Measurement) bool { return m == values },
			func(err error, at []int, configured bool) bool {
				const answer = 3 // of the reading's transactions
				return (errors.Is(err, drivers.ErrNotReady) || errors.Is(err, drivers.ErrReset)) &&
					(!configured || len(at) >= 2 || slices.Contains(at, answer))
			})
	})
}

func TestResets(t *testing.T) {
	chip := newChip()
	d, _ := newDev(t, chip, Options{})
	bustest.CountResets(t, d, chip.reset)
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
		chip := newChip()
		chip.temperature = tt.word
		d, _ := newDev(t, chip, Options{})
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
	bustest.CheckNew(t, "sht3x", New, []Options{{}, {Address: 0x45}}, map[string]Options{
		"address": {Address: 0x46}, "repeatability": {Repeatability: 3},
	})
}

func TestResembles(t *testing.T) {
	ask := i2ctest.IO{Addr: 0x44, W: []byte{0xF3, 0x2D}}
	for _, tt := range []struct {
		name  string
		nacks []int // the transactions that are not acknowledged
		ops   []i2ctest.IO
		want  bool
	}{
		{"after power on", []int{0}, []i2ctest.IO{ask, {Addr: 0x44, R: withSum(0x8010)}}, true},
		{"cleared", []int{0}, []i2ctest.IO{ask, {Addr: 0x44, R: withSum(0)}}, true},
		{"a bit that it has not", []int{0}, []i2ctest.IO{ask, {Addr: 0x44, R: withSum(0x4000)}}, false},
		{"a wrong checksum", []int{0}, []i2ctest.IO{ask, {Addr: 0x44, R: []byte{0x80, 0x10, 0xE0}}}, false},
		{"registers", nil, []i2ctest.IO{{Addr: 0x44, R: []byte{0}}}, false}, // and nothing is written
		{"an SHT4x", []int{0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, []i2ctest.IO{ask}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bus := &nacking{Bus: bustest.Play(t, tt.ops), at: tt.nacks}
			if got, err := Resembles(bus, 0x44); err != nil || got != tt.want {
				t.Errorf("got %v, %v: want %v", got, err, tt.want)
			}
		})
	}
	for at, nacks := range [][]int{nil, {0}, {0}} {
		bus := &bustest.Failing{Bus: &nacking{Bus: bustest.Play(t, []i2ctest.IO{ask}[:max(0, at-1)]), at: nacks}, At: at, Err: syscall.EIO}
		if _, err := Resembles(bus, 0x44); !errors.Is(err, syscall.EIO) {
			t.Errorf("transaction %d: got %v: want %v", at, err, syscall.EIO)
		}
	}
}

// nacking is a bus on which some transactions are not acknowledged.
type nacking struct {
	i2c.Bus
	at    []int
	count int
}

func (b *nacking) Tx(addr uint16, w, r []byte) error {
	b.count++
	if slices.Contains(b.at, b.count-1) {
		return syscall.ENXIO
	}
	return b.Bus.Tx(addr, w, r)
}

func FuzzSense(f *testing.F) {
	answers := bustest.Answers(configure, measure)
	reading.Fuzz(f, 200*time.Millisecond, func(m drivers.Measurement) bool {
		return m.Temperature >= minTemperature && m.Temperature <= maxTemperature &&
			m.Humidity >= 0 && m.Humidity <= 100*physic.PercentRH
	}, slices.Concat(answers[:len(answers)-3], withSum(statusReset), answers), answers[:6])
}
