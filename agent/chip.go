package agent

import (
	"context"
	"errors"
	"fmt"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/agent/internal/sample"
	"github.com/telltale-iot/telltale/drivers"
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
