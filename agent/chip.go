package agent

import (
	"context"
	"errors"
	"fmt"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/agent/internal/detect"
	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/bh1750"
	"github.com/telltale-iot/telltale/drivers/bme280"
)

// A driver reads one chip, as the Dev of each package below drivers does.
type driver interface {
	Sense(ctx context.Context, m *drivers.Measurement) error
}

// A kind is a kind of chip that the agent can read: how a configured one is made,
// and how one is recognised on a bus.
type kind struct {
	driver    string // its name in a configuration
	open      func(bus i2c.Bus, c *config.Chip) (driver, error)
	recognise func(bus i2c.Bus, address uint16) (m detect.Match, evidence string)
}

// kinds returns all of them. The measures and the addresses of each are in package
// config.
func kinds() []kind {
	return []kind{
		{config.BME280, newBME280, isModel(bme280.BME280)},
		{config.BMP280, newBME280, isModel(bme280.BMP280)},
		{config.BH1750, newBH1750, isBH1750},
	}
}

var errDriver = errors.New("no such driver")

// newDriver returns the driver of the chip that c describes.
func newDriver(bus i2c.Bus, c *config.Chip) (driver, error) {
	for _, k := range kinds() {
		if k.driver != c.Driver {
			continue
		}
		return k.open(bus, c)
	}
	return nil, errDriver
}

func newBME280(bus i2c.Bus, c *config.Chip) (driver, error) {
	samples, filter := c.Climate()
	o := bme280.Options{
		Model:       bme280.BME280,
		Address:     c.Address,
		Temperature: bme280.Oversampling(samples),
		Pressure:    bme280.Oversampling(samples),
		Humidity:    bme280.Oversampling(samples),
		Filter:      bme280.Filter(filter),
	}
	if c.Driver == config.BMP280 {
		o.Model, o.Humidity = bme280.BMP280, bme280.Skip
	}
	return bme280.New(bus, o)
}

// isModel recognises a BME280 or a BMP280 by its id.
func isModel(want bme280.Model) func(i2c.Bus, uint16) (detect.Match, string) {
	return func(bus i2c.Bus, address uint16) (detect.Match, string) {
		switch found, err := bme280.Identify(bus, address); {
		case err != nil:
			return detect.No, err.Error()
		case found != want:
			return detect.No, fmt.Sprintf("its id is that of a %v", found)
		}
		return detect.Certain, "by its id"
	}
}

func newBH1750(bus i2c.Bus, c *config.Chip) (driver, error) {
	mode, measurementTime := c.Light()
	o := bh1750.Options{Address: c.Address, MeasurementTime: uint8(measurementTime)}
	switch mode {
	case config.ModeHigh2:
		o.Mode = bh1750.HighResolution2
	case config.ModeLow:
		o.Mode = bh1750.LowResolution
	}
	return bh1750.New(bus, o)
}

// isBH1750 recognises a BH1750 as far as that goes.
func isBH1750(bus i2c.Bus, address uint16) (detect.Match, string) {
	switch like, err := bh1750.Resembles(bus, address); {
	case err != nil:
		return detect.No, err.Error()
	case !like:
		return detect.No, "it repeats one byte, as a BH1750 seldom does"
	}
	return detect.Probable, "the chip has no identity, and what answers could be one"
}
