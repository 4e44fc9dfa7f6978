package agent

import (
	"context"
	"errors"
	"fmt"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/agent/internal/detect"
	"github.com/telltale-iot/telltale/agent/internal/sample"
	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/bh1750"
	"github.com/telltale-iot/telltale/drivers/bme280"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// sensor makes what the configuration says is to be sampled together.
func (a *Agent) sensor(c *config.Sensor) (sample.Sensor, error) {
	s := sample.Sensor{ID: c.ID, Name: c.Name, PlaceID: c.PlaceID, Interval: c.Interval}
	for i := range c.Chips {
		chip := &c.Chips[i]
		driver, err := newChip(a.bus(chip.Bus), chip)
		if err != nil {
			return sample.Sensor{}, fmt.Errorf("sensor %s: %s: %w", c.ID, chip.Name(), err)
		}
		s.Sources = append(s.Sources, sample.Source{Name: chip.Name(), Measures: chip.Supplies(), Chip: driver})
	}
	return s, nil
}

// A driver reads one chip, as the Dev of each package below drivers does.
type driver interface {
	Sense(ctx context.Context, m *drivers.Measurement) error
}

// chip is a driver as package sample wants it.
type chip struct {
	driver   driver
	measures []telemetry.Measure
}

// Sense implements sample.Chip.
func (c *chip) Sense(ctx context.Context, p *telemetry.Payload) error {
	var m drivers.Measurement
	if err := c.driver.Sense(ctx, &m); err != nil {
		return fault(err)
	}
	for _, measure := range c.measures {
		p.Set(measure, micro(measure, &m))
	}
	return nil
}

func micro(measure telemetry.Measure, m *drivers.Measurement) telemetry.Micro {
	switch measure {
	case telemetry.Temperature:
		return sample.Celsius(m.Temperature)
	case telemetry.Humidity:
		return sample.Percent(m.Humidity)
	case telemetry.Pressure:
		return sample.Hectopascal(m.Pressure)
	default:
		return telemetry.Micro(m.Illuminance) // both count millionths of a lux
	}
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

// newChip returns the chip that c describes.
func newChip(bus i2c.Bus, c *config.Chip) (sample.Chip, error) {
	for _, k := range kinds() {
		if k.driver != c.Driver {
			continue
		}
		d, err := k.open(bus, c)
		if err != nil {
			return nil, err
		}
		return &chip{d, c.Supplies()}, nil
	}
	return nil, errDriver
}

func newBME280(bus i2c.Bus, c *config.Chip) (driver, error) {
	samples := bme280.Oversampling(value(c.Oversampling))
	o := bme280.Options{
		Model:       bme280.BME280,
		Address:     c.Address,
		Temperature: samples,
		Pressure:    samples,
		Humidity:    samples,
		Filter:      bme280.Filter(value(c.Filter)),
	}
	if c.Driver == config.BMP280 {
		o.Model, o.Humidity = bme280.BMP280, bme280.Skip
	}
	return bme280.New(bus, o)
}

// value is that of a setting, or 0 if it is left out, which every driver takes for
// its default.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
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
	o := bh1750.Options{Address: c.Address, MeasurementTime: uint8(value(c.MeasurementTime))}
	switch value(c.Mode) {
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

// fault gives a driver's error the reason that goes with its kind. One of the
// bus has none: sample finds its errno.
func fault(err error) error {
	for _, kind := range []struct {
		err    error
		reason string
	}{
		{drivers.ErrSaturated, sample.Saturated}, // before ErrOutOfRange, which it is too
		{drivers.ErrOutOfRange, sample.OutOfRange},
		{drivers.ErrNotReady, sample.NotReady},
		{drivers.ErrWrongChip, sample.WrongChip},
		{drivers.ErrBadCalibration, sample.Calibration},
		{drivers.ErrReset, sample.Reset},
		{drivers.ErrCRC, sample.CRC},
	} {
		if errors.Is(err, kind.err) {
			return &sample.FaultError{Reason: kind.reason, Err: err}
		}
	}
	return err
}
