package agent

import (
	"context"
	"errors"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/iio"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// A driver reads one chip, as the Dev of each package below drivers does.
type driver interface {
	Sense(ctx context.Context, m *drivers.Measurement) error
}

var errDriver = errors.New("no such driver")

// newDriver returns the driver of the chip that c describes.
func (a *Agent) newDriver(c *config.Chip) (driver, error) {
	if c.Kernel() {
		return iio.New(a.opts.Sysfs, iioOptions(c))
	}
	bus, err := a.busOf(c)
	if err != nil {
		return nil, err
	}
	for _, k := range kinds() {
		if k.driver == c.Driver {
			return k.open(bus, c)
		}
	}
	return nil, errDriver
}

func iioOptions(c *config.Chip) iio.Options {
	o := iio.Options{Device: c.Device}
	for _, m := range c.Supplies() {
		switch m {
		case telemetry.Temperature:
			o.Temperature = true
		case telemetry.Humidity:
			o.Humidity = true
		case telemetry.Pressure:
			o.Pressure = true
		case telemetry.Luminosity:
			o.Illuminance = true
		}
	}
	return o
}
