package agent

import (
	"context"
	"errors"
	"fmt"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

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
		name := fmt.Sprintf("%s@%s:%#02x", chip.Driver, chip.Bus, chip.Address)
		driver, err := newChip(a.bus(chip.Bus), chip)
		if err != nil {
			return sample.Sensor{}, fmt.Errorf("sensor %s: %s: %w", c.ID, name, err)
		}
		s.Sources = append(s.Sources, sample.Source{Name: name, Measures: chip.Measures(), Chip: driver})
	}
	return s, nil
}

// A kind is a kind of chip that the agent can read: how a configured one is made,
// and how one is recognised on a bus.
type kind struct {
	driver    string // its name in a configuration
	open      func(bus i2c.Bus, c *config.Chip) (sample.Chip, error)
	recognise func(bus i2c.Bus, address uint16) (m detect.Match, evidence string)
}

// kinds returns all of them. The measures and the addresses of each are in package
// config.
func kinds() []kind {
	return []kind{
		{config.BME280, newClimate, isModel(bme280.BME280)},
		{config.BMP280, newClimate, isModel(bme280.BMP280)},
		{config.BH1750, newLight, isLight},
	}
}

var errDriver = errors.New("no such driver")

// newChip returns the driver that c names.
func newChip(bus i2c.Bus, c *config.Chip) (sample.Chip, error) {
	for _, k := range kinds() {
		if k.driver == c.Driver {
			return k.open(bus, c)
		}
	}
	return nil, errDriver
}

// climate is a BME280 or a BMP280.
type climate struct {
	dev      *bme280.Dev
	humidity bool
}

func newClimate(bus i2c.Bus, c *config.Chip) (sample.Chip, error) {
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
	dev, err := bme280.New(bus, o)
	if err != nil {
		return nil, err
	}
	return &climate{dev, o.Model == bme280.BME280}, nil
}

func (c *climate) Sense(ctx context.Context, p *telemetry.Payload) error {
	var e physic.Env
	if err := c.dev.Sense(ctx, &e); err != nil {
		return fault(err)
	}
	p.Set(telemetry.Temperature, sample.Celsius(e.Temperature))
	p.Set(telemetry.Pressure, sample.Hectopascal(e.Pressure))
	if c.humidity {
		p.Set(telemetry.Humidity, sample.Percent(e.Humidity))
	}
	return nil
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

// light is a BH1750.
type light struct{ dev *bh1750.Dev }

func newLight(bus i2c.Bus, c *config.Chip) (sample.Chip, error) {
	mode, measurementTime := c.Light()
	o := bh1750.Options{Address: c.Address, MeasurementTime: uint8(measurementTime)}
	switch mode {
	case config.ModeHigh2:
		o.Mode = bh1750.HighResolution2
	case config.ModeLow:
		o.Mode = bh1750.LowResolution
	}
	dev, err := bh1750.New(bus, o)
	if err != nil {
		return nil, err
	}
	return &light{dev}, nil
}

func (l *light) Sense(ctx context.Context, p *telemetry.Payload) error {
	lux, err := l.dev.Sense(ctx)
	if err != nil {
		return fault(err)
	}
	p.Set(telemetry.Luminosity, telemetry.Micro(lux)) // both count millionths of a lux
	return nil
}

// isLight recognises a BH1750 as far as that goes.
func isLight(bus i2c.Bus, address uint16) (detect.Match, string) {
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
		{bh1750.ErrSaturated, sample.Saturated}, // before ErrOutOfRange, which it is too
		{drivers.ErrOutOfRange, sample.OutOfRange},
		{drivers.ErrNotReady, sample.NotReady},
		{drivers.ErrWrongChip, sample.WrongChip},
		{drivers.ErrBadCalibration, sample.Calibration},
		{drivers.ErrReset, sample.Reset},
	} {
		if errors.Is(err, kind.err) {
			return &sample.FaultError{Reason: kind.reason, Err: err}
		}
	}
	return err
}
