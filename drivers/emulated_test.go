package drivers_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"syscall"
	"testing"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/aht20"
	"github.com/telltale-iot/telltale/drivers/bh1750"
	"github.com/telltale-iot/telltale/drivers/bme280"
	"github.com/telltale-iot/telltale/drivers/bme680"
	"github.com/telltale-iot/telltale/drivers/bmp3"
	"github.com/telltale-iot/telltale/drivers/htu21d"
	"github.com/telltale-iot/telltale/drivers/lps22hb"
	"github.com/telltale-iot/telltale/drivers/opt3001"
	"github.com/telltale-iot/telltale/drivers/sht3x"
	"github.com/telltale-iot/telltale/drivers/sht4x"
	"github.com/telltale-iot/telltale/drivers/tca9548a"
	"github.com/telltale-iot/telltale/drivers/tsl2591"
	"github.com/telltale-iot/telltale/drivers/veml7700"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

type sleep = func(context.Context, time.Duration) error

type senser interface {
	Sense(ctx context.Context, m *drivers.Measurement) error
}

// emulated is a driver and what its readings may differ by from the environment of
// the emulated chip.
type emulated struct {
	chip string // its name in i2csim
	addr uint16
	open func(bus i2c.Bus, s sleep) (senser, error)
	// off returns how far m is from e, in steps of the chip.
	off func(m *drivers.Measurement, e i2csim.Environment) float64
}

func all() []emulated {
	// counts returns the difference of an illuminance in counts, of which one is worth
	// what the whole is divided by them, or perCount times as much.
	counts := func(m *drivers.Measurement, e i2csim.Environment, count uint32, perCount float64) float64 {
		off := math.Abs(float64(m.Illuminance) - float64(e.Illuminance))
		if count == 0 {
			return float64(e.Illuminance) / 140 // one count of the finest, the TSL2591's
		}
		return (off - 1) / (perCount * float64(m.Illuminance) / float64(count))
	}
	return []emulated{
		{"aht20", 0x38, func(bus i2c.Bus, s sleep) (senser, error) {
			return aht20.New(bus, aht20.Options{Sleep: s})
		}, climate(200./(1<<20), 100./(1<<20), 0)},
		// One sample has 16 bits: half a step of Bosch's pressures is 1.3 Pa. And the
		// integer formulas, which the drivers use, differ from the others, which the
		// emulators use, by up to 0.008 K, 0.01 %RH and 0.53 Pa (BME280).
		{"bme280", 0x76, func(bus i2c.Bus, s sleep) (senser, error) {
			return bme280.New(bus, bme280.Options{Sleep: s})
		}, climate(0.015, 0.02, 2)},
		{"bmp280", 0x77, func(bus i2c.Bus, s sleep) (senser, error) {
			return bme280.New(bus, bme280.Options{Model: bme280.BMP280, Address: 0x77, Pressure: 16, Sleep: s})
		}, climate(0.015, 0, 2)},
		{"bme680", 0x76, func(bus i2c.Bus, s sleep) (senser, error) {
			return bme680.New(bus, bme680.Options{Sleep: s})
		}, climate(0.015, 0.02, 2)},
		{"bmp388", 0x76, func(bus i2c.Bus, s sleep) (senser, error) {
			return bmp3.New(bus, bmp3.Options{Pressure: 16, Sleep: s})
		}, climate(0.01, 0, 2)},
		{"bmp390", 0x77, func(bus i2c.Bus, s sleep) (senser, error) {
			return bmp3.New(bus, bmp3.Options{Model: bmp3.BMP390, Address: 0x77, Pressure: 8, Sleep: s})
		}, climate(0.01, 0, 2)},
		{"htu21d", 0x40, func(bus i2c.Bus, s sleep) (senser, error) {
			return htu21d.New(bus, htu21d.Options{Sleep: s})
		}, climate(175.72/(1<<14), 125./(1<<12), 0)},
		{"si7021", 0x40, func(bus i2c.Bus, s sleep) (senser, error) {
			return htu21d.New(bus, htu21d.Options{Resolution: 12, Sleep: s})
		}, climate(175.72/(1<<12), 125./(1<<8), 0)},
		{"sht3x", 0x44, func(bus i2c.Bus, s sleep) (senser, error) {
			return sht3x.New(bus, sht3x.Options{Sleep: s})
		}, climate(175./65535, 100./65535, 0)},
		{"sht4x", 0x44, func(bus i2c.Bus, s sleep) (senser, error) {
			return sht4x.New(bus, sht4x.Options{Sleep: s})
		}, climate(175./65535, 125./65535, 0)},
		{"lps22hb", 0x5C, func(bus i2c.Bus, s sleep) (senser, error) {
			return lps22hb.New(bus, lps22hb.Options{Sleep: s})
		}, climate(0.01, 0, 100./4096)},
		{"lps22hb", 0x5D, func(bus i2c.Bus, s sleep) (senser, error) {
			return lps22hb.New(bus, lps22hb.Options{Address: 0x5D, Filter: 20, Sleep: s})
		}, climate(0.01, 0, 100./4096)},
		{"bh1750", 0x23, func(bus i2c.Bus, s sleep) (senser, error) {
			return bh1750.New(bus, bh1750.Options{Sleep: s})
		}, func(m *drivers.Measurement, e i2csim.Environment) float64 {
			return math.Abs(float64(m.Illuminance)-float64(e.Illuminance)) * 1.2 / 1e6
		}},
		{"opt3001", 0x44, func(bus i2c.Bus, s sleep) (senser, error) {
			return opt3001.New(bus, opt3001.Options{Sleep: s})
		}, func(m *drivers.Measurement, e i2csim.Environment) float64 {
			return counts(m, e, m.Words.Illuminance&0xFFF, 1)
		}},
		{"tsl2591", 0x29, func(bus i2c.Bus, s sleep) (senser, error) {
			return tsl2591.New(bus, tsl2591.Options{Sleep: s})
		}, func(m *drivers.Measurement, e i2csim.Environment) float64 {
			// One count of each channel, with up to four tenths of it infrared.
			return counts(m, e, m.Words.Illuminance&0xFFFF, 4.5)
		}},
		{"veml7700", 0x10, func(bus i2c.Bus, s sleep) (senser, error) {
			return veml7700.New(bus, veml7700.Options{Sleep: s})
		}, func(m *drivers.Measurement, e i2csim.Environment) float64 {
			if e.Illuminance > 1000*i2csim.Lux {
				if e.Illuminance < 1080*i2csim.Lux {
					return 0 // the step of the correction
				}
				return counts(m, e, m.Words.Illuminance&0xFFFF, 4) // where it is steepest
			}
			return counts(m, e, m.Words.Illuminance&0xFFFF, 1)
		}},
	}
}

// climate returns an emulated.off by the steps of a chip in kelvin, percent and pascal,
// which are 0 for what it does not measure.
func climate(kelvin, percent, pascal float64) func(*drivers.Measurement, i2csim.Environment) float64 {
	return func(m *drivers.Measurement, e i2csim.Environment) float64 {
		off := math.Abs(float64(m.Temperature-e.Temperature)) / float64(physic.Kelvin) / kelvin
		if percent > 0 { // the last digit is rounded
			off = max(off, (math.Abs(float64(m.Humidity-e.Humidity))-1)/float64(physic.PercentRH)/percent)
		}
		if pascal > 0 {
			off = max(off, math.Abs(float64(m.Pressure-e.Pressure))/float64(physic.Pascal)/pascal)
		}
		return off
	}
}

// bench is an emulated chip, alone or behind a multiplexer, and its driver.
type bench struct {
	now  time.Time
	env  i2csim.Environment
	bus  *i2csim.Bus
	chip i2csim.Chip
	dev  senser
}

// At implements i2csim.Source.
func (b *bench) At(time.Time) i2csim.Environment { return b.env }

func newBench(t *rapid.T, e *emulated, behind bool) *bench {
	b := &bench{now: time.Unix(1e9, 0)}
	chip, err := i2csim.NewChip(e.chip, i2csim.ChipOptions{
		Source: b, Now: func() time.Time { return b.now },
		Seed:   rapid.Uint64().Draw(t, "seed"),
		Timing: i2csim.Timing(rapid.IntRange(0, 1).Draw(t, "timing")),
		Sleep:  func(time.Duration) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.chip, b.bus = chip, i2csim.NewBus(i2csim.BusOptions{Sleep: func(d time.Duration) { b.now = b.now.Add(d) }})
	b.now = b.now.Add(time.Second) // it is up
	var bus i2c.Bus = b.bus
	if behind {
		mux := i2csim.NewTCA9548A()
		err = errors.Join(b.bus.Attach(0x70, mux), mux.Attach(6, e.addr, chip))
		dev, errMux := tca9548a.New(b.bus, tca9548a.Options{})
		if err := errors.Join(err, errMux); err != nil {
			t.Fatal(err)
		}
		bus = dev.Channel(6)
	} else if err := b.bus.Attach(e.addr, chip); err != nil {
		t.Fatal(err)
	}
	b.dev, err = e.open(bus, func(_ context.Context, d time.Duration) error {
		b.now = b.now.Add(d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// environment draws one in which every chip is specified, and in which no infrared
// that comes with the light saturates a TSL2591.
func environment(t *rapid.T) i2csim.Environment {
	return i2csim.Environment{
		Temperature: physic.ZeroCelsius + physic.Temperature(rapid.Int64Range(-39900, 84900).Draw(t, "milli degree Celsius"))*physic.MilliCelsius,
		Humidity:    physic.RelativeHumidity(rapid.IntRange(0, 9_999_000).Draw(t, "humidity")),
		Pressure:    physic.Pressure(rapid.Int64Range(300_100, 1_099_900).Draw(t, "tenth pascal")) * physic.Pascal / 10,
		Illuminance: i2csim.Illuminance(1e6 * math.Pow(10, rapid.Float64Range(-2, 4.7).Draw(t, "log of lux"))),
	}
}

// What a driver reads of an emulated chip is the environment that the chip is in, to
// one step of the chip, whatever it was before.
func TestEmulated(t *testing.T) {
	for _, e := range all() {
		t.Run(e.chip, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				b := newBench(t, &e, rapid.Bool().Draw(t, "behind a multiplexer"))
				for range 5 {
					b.env = environment(t)
					b.now = b.now.Add(time.Duration(rapid.IntRange(0, 1e9).Draw(t, "pause")))
					var m drivers.Measurement
					if err := b.dev.Sense(context.Background(), &m); err != nil {
						t.Fatalf("%+v: %v", b.env, err)
					}
					if off := e.off(&m, b.env); off > 1 {
						t.Fatalf("got %+v of %+v: %.2f steps off", m, b.env, off)
					}
				}
			})
		})
	}
}

// Brown-outs at any transactions give the right value or an error, and the reading
// after them succeeds.
func TestEmulatedBrownOut(t *testing.T) {
	for _, e := range all() {
		if e.chip == "bh1750" { // it reads 0 after one, as its package says
			continue
		}
		t.Run(e.chip, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				b := newBench(t, &e, false)
				b.env = environment(t)
				at := rapid.SliceOfNDistinct(rapid.Uint64Range(1, 40), 1, 4, rapid.ID[uint64]).Draw(t, "brown-outs before")
				b.bus.SetFaults(i2csim.If(i2csim.Nth(at...), i2csim.Do(b.chip.PowerCycle)))
				for range 8 {
					b.now = b.now.Add(time.Second)
					before := b.bus.Stats().Transactions
					var m drivers.Measurement
					err := b.dev.Sense(context.Background(), &m)
					if err == nil {
						if off := e.off(&m, b.env); off > 1 {
							t.Fatalf("got %+v of %+v: %.2f steps off", m, b.env, off)
						}
						continue
					}
					under := slices.ContainsFunc(at, func(n uint64) bool {
						return n > before && n <= b.bus.Stats().Transactions
					})
					known := slices.ContainsFunc([]error{
						drivers.ErrReset, drivers.ErrNotReady, drivers.ErrBadCalibration, drivers.ErrCRC, syscall.ENXIO,
					}, func(kind error) bool { return errors.Is(err, kind) })
					if !under || !known || m != (drivers.Measurement{}) {
						t.Fatalf("got %+v, %v", m, err)
					}
				}
			})
		})
	}
}
