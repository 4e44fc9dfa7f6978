package veml7700

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/bustest"
	"github.com/telltale-iot/telltale/drivers/light"
)

var identify = []i2ctest.IO{{Addr: 0x10, W: []byte{0x07}, R: []byte{0x81, 0xC4}}}

// integration is the transactions of one integration with a configuration.
func integration(conf, count uint16) []i2ctest.IO {
	lo, hi := byte(conf), byte(conf>>8)
	return []i2ctest.IO{
		{Addr: 0x10, W: []byte{0x00, lo | 1, hi}},
		{Addr: 0x10, W: []byte{0x03, 0, 0}},
		{Addr: 0x10, W: []byte{0x00, lo, hi}},
		{Addr: 0x10, W: []byte{0x04}, R: []byte{byte(count), byte(count >> 8)}},
		{Addr: 0x10, W: []byte{0x00}, R: []byte{lo, hi}},
	}
}

// The configurations of the ranges that the driver chooses from.
const (
	eighth25  = 0x1300
	eighth100 = 0x1000
	one100    = 0x0000
	two400    = 0x0880
)

func measurement(lux light.Illuminance, conf, count uint16) drivers.Measurement {
	return drivers.Measurement{
		Illuminance: lux,
		Words:       drivers.Words{Illuminance: uint32(conf>>6)<<16 | uint32(count)},
	}
}

func open(o Options) bustest.Open[*Dev] {
	return func(bus i2c.Bus, sleep bustest.Sleep) (*Dev, error) {
		o.Sleep = sleep
		return New(bus, o)
	}
}

var reading = bustest.Reading[*Dev]{Open: open(Options{}), Configure: identify, Measure: integration(eighth25, 200), Values: measurement(430080*light.MilliLux, eighth25, 200)}

func newDev(t testing.TB, bus i2c.Bus, o Options) (*Dev, *bustest.Slept) {
	return bustest.Dev(t, bus, open(o))
}

func TestSense(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options Options
		ops     [][]i2ctest.IO // after the identity
		want    drivers.Measurement
		time    time.Duration
	}{
		{"fixed", Options{Gain: GainQuarter, IntegrationTime: 200 * time.Millisecond},
			[][]i2ctest.IO{integration(0x1840, 1480)},
			measurement(198912*light.MilliLux, 0x1840, 1480), 404 * time.Millisecond},
		{"fixed, most sensitive", Options{Gain: Gain2, IntegrationTime: 800 * time.Millisecond},
			[][]i2ctest.IO{integration(0x08C0, 1)},
			measurement(4200*light.MicroLux, 0x08C0, 1), 1604 * time.Millisecond},
		{"fixed, few counts", Options{Gain: GainEighth, IntegrationTime: 50 * time.Millisecond},
			[][]i2ctest.IO{integration(0x1200, 3)},
			measurement(3225600*light.MicroLux, 0x1200, 3), 104 * time.Millisecond},
		{"day", Options{}, [][]i2ctest.IO{integration(eighth25, 100)},
			measurement(215040*light.MilliLux, eighth25, 100), 54 * time.Millisecond},
		{"office", Options{}, [][]i2ctest.IO{integration(eighth25, 99), integration(eighth100, 400)},
			measurement(215040*light.MilliLux, eighth100, 400), 258 * time.Millisecond},
		{"night", Options{}, [][]i2ctest.IO{
			integration(eighth25, 0), integration(eighth100, 0), integration(one100, 1), integration(two400, 11),
		}, measurement(92400*light.MicroLux, two400, 11), 1266 * time.Millisecond},
		{"dark", Options{}, [][]i2ctest.IO{
			integration(eighth25, 0), integration(eighth100, 0), integration(one100, 0), integration(two400, 0),
		}, measurement(0, two400, 0), 1266 * time.Millisecond},
		{"the light is switched on", Options{}, [][]i2ctest.IO{
			integration(eighth25, 0), integration(eighth100, 0), integration(one100, 0), integration(two400, 0xFFFF),
			integration(one100, 0xFFFF), integration(eighth100, 2000),
		}, measurement(1161006592*light.MicroLux, eighth100, 2000), 1674 * time.Millisecond},
		{"and off again", Options{}, [][]i2ctest.IO{
			integration(eighth25, 99), integration(eighth100, 10001), integration(eighth25, 0),
		}, measurement(0, eighth25, 0), 312 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ops := slices.Concat(identify, slices.Concat(tt.ops...))
			bustest.Sense(t, open(tt.options), ops, tt.want, tt.time)
		})
	}
}

// The next reading begins in the range that the last one ended in.
func TestRangeIsKept(t *testing.T) {
	d, _ := newDev(t, bustest.Play(t, identify,
		integration(eighth25, 50), integration(eighth100, 200),
		integration(eighth100, 10000),
		integration(eighth100, 10001), integration(eighth25, 2500),
		integration(eighth25, 2500),
	), Options{})
	for i, want := range []uint16{200, 10000, 2500, 2500} {
		var m drivers.Measurement
		if err := d.Sense(t.Context(), &m); err != nil || uint16(m.Words.Illuminance) != want {
			t.Errorf("reading %d: count %d, %v: want %d", i, uint16(m.Words.Illuminance), err, want)
		}
	}
}

// The converter's limit is never a value, at a fixed range neither.
func TestSaturated(t *testing.T) {
	for _, o := range []Options{{}, {Gain: GainEighth, IntegrationTime: 25 * time.Millisecond}} {
		d, _ := newDev(t, bustest.Play(t, identify, integration(eighth25, 0xFFFF)), o)
		var m drivers.Measurement
		if err := d.Sense(t.Context(), &m); !errors.Is(err, drivers.ErrSaturated) || m != (drivers.Measurement{}) {
			t.Errorf("%+v: got %+v, %v: want %v", o, m, err, drivers.ErrSaturated)
		}
	}
}

// More light than the chip is specified for is an error, too.
func TestOutOfRange(t *testing.T) {
	d, _ := newDev(t, bustest.Play(t, identify, integration(eighth25, 12000)), Options{})
	var m drivers.Measurement
	err := d.Sense(t.Context(), &m)
	if errors.Is(err, drivers.ErrSaturated) || !errors.Is(err, drivers.ErrOutOfRange) || m != (drivers.Measurement{}) {
		t.Errorf("got %+v, %v: want %v", m, err, drivers.ErrOutOfRange)
	}
}

// Each count of each range is worth what the application note's table says.
func TestResolution(t *testing.T) {
	// Table "resolution and maximum detection range", from 800 to 25 ms.
	table := map[Gain][6]light.Illuminance{
		Gain2:       {4200, 8400, 16800, 33600, 67200, 134400},
		Gain1:       {8400, 16800, 33600, 67200, 134400, 268800},
		GainQuarter: {33600, 67200, 134400, 268800, 537600, 1075200},
		GainEighth:  {67200, 134400, 268800, 537600, 1075200, 2150400},
	}
	confs := map[uint16]bool{}
	for gain, row := range table {
		for i, want := range row {
			s := sensitivity{gain, 800 * time.Millisecond >> i}
			if got := s.linear(1); got != want {
				t.Errorf("%v: a count is %v: want %v", s, got, want)
			}
			confs[s.conf()] = true
		}
	}
	if len(confs) != 24 {
		t.Errorf("%d configurations for 24 ranges", len(confs))
	}
}

// The correction is the application note's in double precision, rises with the
// count, and ends in an error above what the chip is specified for.
func TestCorrection(t *testing.T) {
	note := func(x float64) float64 { return (((6.0135e-13*x-9.3924e-9)*x+8.1488e-5)*x + 1.0023) * x }
	for _, s := range autoRanges() {
		last := light.Illuminance(-1)
		for count := range 0xFFFF {
			got, err := s.illuminance(uint16(count))
			want := float64(s.linear(uint16(count))) / 1e6
			if want > 1000 {
				want = note(want)
			}
			if over := want > 140926.464; over != (err != nil) || over && !errors.Is(err, drivers.ErrOutOfRange) {
				t.Fatalf("%v: %d counts are %.1f lx: error %v", s, count, want, err)
			}
			if err != nil {
				continue
			}
			if math.Abs(float64(got)/1e6-want) > 1e-6*want+1e-6 || got <= last {
				t.Fatalf("%v: %d counts are %v: want %f, and more than %v", s, count, got, want, last)
			}
			last = got
		}
	}
	for x, want := range map[light.Illuminance]light.Illuminance{
		1000 * light.Lux:  1074996950 * light.MicroLux, // 0.60135 - 9.3924 + 81.488 + 1002.3
		10000 * light.Lux: 14792900 * light.MilliLux,   // 6013.5 - 9392.4 + 8148.8 + 10023
	} {
		if got := correct(x); got != want {
			t.Errorf("%v is corrected to %v: want %v", x, got, want)
		}
	}
	if got := correct(23970 * light.Lux); got < 140000*light.Lux || got > 140927*light.Lux {
		t.Errorf("23970 lx are corrected to %v", got)
	}
}

func TestFailingTransaction(t *testing.T) { reading.FailEach(t) }

func TestCancel(t *testing.T) { reading.CancelEach(t) }

// chip has the registers of one chip in the light x, which it measures without
// end while it is awake.
type chip struct {
	reg [8]uint16
	x   light.Illuminance
}

func (c *chip) String() string                  { return "chip" }
func (c *chip) SetSpeed(physic.Frequency) error { return nil }

func (c *chip) reset() { c.reg = [8]uint16{regConf: confShutdown, regID: 0xC481} }

func (c *chip) Tx(_ uint16, w, r []byte) error {
	if r != nil {
		binary.LittleEndian.PutUint16(r, c.reg[w[0]])
		return nil
	}
	c.reg[w[0]] = binary.LittleEndian.Uint16(w[1:])
	if conf := c.reg[regConf]; conf&confShutdown == 0 {
		for _, s := range autoRanges() {
			if s.conf() == conf {
				c.reg[regALS] = uint16(min(c.x/s.linear(1), saturated))
			}
		}
	}
	return nil
}

// Brown-outs before any transactions give the right value, in one of the ranges, or
// an error; one alone does not even cost the reading.
func TestBrownOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &chip{x: light.Illuminance(rapid.Int64Range(0, int64(20000*light.Lux)).Draw(t, "light"))}
		c.reset()
		bus := &bustest.BrownOut{
			Bus: c, Reset: c.reset,
			Before: rapid.SliceOfNDistinct(rapid.IntRange(0, 40), 0, 6, rapid.ID[int]).Draw(t, "brown-outs before"),
		}
		bustest.Survive(t, bus, open(Options{}), func(m drivers.Measurement) bool {
			for _, s := range autoRanges() {
				if count := c.x / s.linear(1); m.Words.Illuminance == s.word(uint16(count)) {
					want, err := s.illuminance(uint16(count))
					return err == nil && m.Illuminance == want && count < saturated
				}
			}
			return false
		}, nil)
	})
}

func TestResets(t *testing.T) {
	c := &chip{x: 1000 * light.Lux}
	c.reset()
	bus := &bustest.BrownOut{Bus: c, Reset: c.reset, Before: []int{4}}
	d, _ := newDev(t, bus, Options{})
	if err := d.Sense(t.Context(), new(drivers.Measurement)); err != nil || d.Resets() != 1 {
		t.Errorf("%d resets, %v: want 1", d.Resets(), err)
	}
	for n := range 100 {
		bus.Before = append(bus.Before, n)
	}
	if err := d.Sense(t.Context(), new(drivers.Measurement)); !errors.Is(err, drivers.ErrReset) || d.Resets() != 3 {
		t.Errorf("%d resets, %v: want 3", d.Resets(), err)
	}
}

// Another chip's registers in place of the configuration are not taken for it.
func TestConfigurationReadBack(t *testing.T) {
	for _, tt := range []struct {
		conf uint16
		ok   bool
	}{
		{eighth25, true}, {eighth25 | 0xE40C, true}, // reserved bits
		{eighth25 | 1, false}, {eighth25 | 2, false}, {eighth25 | 0x10, false}, {eighth100, false}, {0, false}, {0xFFFF, false},
	} {
		ops := integration(eighth25, 200)
		ops[4].R = []byte{byte(tt.conf), byte(tt.conf >> 8)}
		all := [][]i2ctest.IO{identify, ops}
		if !tt.ok {
			all = [][]i2ctest.IO{identify, ops, identify, ops}
		}
		d, _ := newDev(t, bustest.Play(t, all...), Options{})
		err := d.Sense(t.Context(), new(drivers.Measurement))
		if (err == nil) != tt.ok || !tt.ok && !errors.Is(err, drivers.ErrReset) {
			t.Errorf("configuration %#04x: error %v", tt.conf, err)
		}
	}
}

func TestIdentify(t *testing.T) {
	bustest.CheckIdentify(t, Identify, i2ctest.IO{Addr: 0x10, W: []byte{0x07}}, map[string]string{
		"\x81\xC4": "",
		"\x81\x00": "",
		"\x00\x00": "wrong chip: id 0x0000", // a VEML6040
		"\xFF\xFF": "wrong chip: id 0xffff",
	})
}

func TestWrongChip(t *testing.T) {
	wrong := []i2ctest.IO{{Addr: 0x10, W: []byte{0x07}, R: []byte{0, 0}}}
	reading.CheckFault(t, wrong, drivers.ErrWrongChip, 0)
}

func TestNew(t *testing.T) {
	good := []Options{{}, {Address: 0x10}}
	for _, after := range []int{25, 50, 100, 200, 400, 800} {
		good = append(good, Options{Gain: Gain1, IntegrationTime: time.Duration(after) * time.Millisecond})
	}
	bustest.CheckNew(t, "veml7700", New, good, map[string]Options{
		"address":       {Address: 0x48},
		"gain alone":    {Gain: Gain1},
		"time alone":    {IntegrationTime: 100 * time.Millisecond},
		"unknown gain":  {Gain: 5, IntegrationTime: 100 * time.Millisecond},
		"unknown time":  {Gain: Gain1, IntegrationTime: 101 * time.Millisecond},
		"negative time": {Gain: Gain1, IntegrationTime: -1},
	})
	if _, err := New(&i2ctest.Playback{}, Options{Gain: Gain1}); err == nil || !strings.HasSuffix(err.Error(), "want both or neither") {
		t.Errorf("gain alone: error %v", err)
	}
}

func FuzzSense(f *testing.F) {
	reading.Fuzz(f, 2*1800*time.Millisecond, func(m drivers.Measurement) bool {
		return m.Illuminance >= 0 && m.Illuminance <= maxIlluminance && uint16(m.Words.Illuminance) != saturated
	}, bustest.Answers(identify, integration(eighth25, 99), integration(eighth100, 400)),
		bustest.Answers(identify, integration(eighth25, 0), integration(eighth100, 0), integration(one100, 0),
			integration(two400, 0xFFFF), integration(one100, 0xFFFF), integration(eighth100, 0xFFFF), integration(eighth25, 0xFFFF)))
}
