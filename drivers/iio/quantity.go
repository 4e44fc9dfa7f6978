package iio

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/big"
	"path"
	"strings"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/light"
)

// quantity is what a device can measure.
type quantity uint8

const (
	temperature quantity = iota
	humidity
	pressure
	illuminance
)

// String returns the quantity's name.
func (q quantity) String() string {
	return [...]string{"temperature", "humidity", "pressure", "illuminance"}[q]
}

// channels returns the names that the quantity's channel can have in the directory of
// an IIO device or, if hwmon, of one of hwmon. The first is also that of what several
// channels share.
func (q quantity) channels(hwmon bool) []string {
	switch {
	case hwmon && q == temperature:
		return []string{"temp1"}
	case hwmon && q == humidity:
		return []string{"humidity1"}
	case hwmon:
		return nil
	}
	name := [...]string{"in_temp", "in_humidityrelative", "in_pressure", "in_illuminance"}[q]
	return []string{name, name + "0"}
}

// perUnit returns one unit of the kernel's, in that of package physic or light: a
// milli degree Celsius, a milli percent, a kilopascal, a lux.
func (q quantity) perUnit() int64 {
	switch q {
	case temperature:
		return int64(physic.MilliCelsius)
	case humidity:
		return int64(physic.PercentRH) / 1000
	case pressure:
		return int64(physic.KiloPascal)
	default:
		return int64(light.Lux)
	}
}

// read returns the quantity in the kernel's unit, and its word: the digits of what was
// read of the converter. The error wraps the kernel's, or is a drivers.ErrWrongChip if
// the device does not measure the quantity, or another kind of package drivers if the
// value is none.
func (q quantity) read(root fs.FS, dir string) (*big.Rat, uint32, error) {
	names := q.channels(strings.HasPrefix(path.Base(dir), "hwmon"))
	for _, name := range names {
		c := channel{root, dir, name}
		fault, _, err := c.attribute("fault")
		switch {
		case err == nil && fault.Sign() != 0:
			return nil, 0, fmt.Errorf("%s_fault is set: %w", name, drivers.ErrNotReady)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return nil, 0, err
		}
		value, word, err := c.attribute("input")
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return value, word, err
		}
		value, word, err = c.attribute("raw")
		if err == nil {
			value, err = c.scaled(value, names[0])
		} else if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return value, word, err
	}
	return nil, 0, fmt.Errorf("%w: it does not measure that", drivers.ErrWrongChip)
}

// store stores a value in the kernel's unit, rounded to the nearest of the driver's, or
// returns a drivers.ErrOutOfRange.
func (q quantity) store(m *drivers.Measurement, value *big.Rat, word uint32) error {
	scaled := new(big.Rat).SetInt64(q.perUnit())
	rounded := round(scaled.Mul(scaled, value))
	if q == temperature {
		rounded.Add(rounded, big.NewInt(int64(physic.ZeroCelsius)))
	}
	// None of them can be negative; humidity is clipped, as far as formulas go.
	least, most := big.NewInt(0), big.NewInt(math.MaxInt64)
	if q == humidity {
		least, most = big.NewInt(-10*int64(physic.PercentRH)), big.NewInt(120*int64(physic.PercentRH))
	}
	if rounded.Cmp(least) < 0 || rounded.Cmp(most) > 0 {
		return fmt.Errorf("%s of the kernel's units: %w", value.FloatString(3), drivers.ErrOutOfRange)
	}
	switch v := rounded.Int64(); q {
	case temperature:
		m.Temperature, m.Words.Temperature = physic.Temperature(v), word
	case humidity:
		m.Humidity, m.Words.Humidity = max(0, min(physic.RelativeHumidity(v), 100*physic.PercentRH)), word
	case pressure:
		m.Pressure, m.Words.Pressure = physic.Pressure(v), word
	default:
		m.Illuminance, m.Words.Illuminance = light.Illuminance(v), word
	}
	return nil
}
