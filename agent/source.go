package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/telltale-iot/telltale/agent/internal/calibration"
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
		driver, err := a.newDriver(chip)
		if err != nil {
			return sample.Sensor{}, fmt.Errorf("sensor %s: %s: %w", c.ID, chip.Name(), err)
		}
		s.Sources = append(s.Sources, sample.Source{Name: chip.Name(), Measures: chip.Supplies(), Chip: newSource(driver, chip)})
	}
	return s, nil
}

// source is a chip as package sample wants it: what its driver measures, unless the
// converter is stuck, calibrated. It is for one goroutine.
type source struct {
	driver      driver
	measures    []telemetry.Measure
	converters  [telemetry.Measures]sample.Converter
	calibration calibration.Calibration
}

func newSource(d driver, c *config.Chip) *source {
	s := &source{driver: d, measures: c.Supplies(), calibration: c.Correction()}
	for _, m := range s.measures {
		s.converters[m].StuckAfter = c.Stuck(m)
	}
	return s
}

// Sense implements sample.Chip.
func (s *source) Sense(ctx context.Context, r *sample.Reading) error {
	var m drivers.Measurement
	if err := s.driver.Sense(ctx, &m); err != nil {
		return fault(err)
	}
	var measured, believed telemetry.Payload
	var stuck error
	now := time.Now()
	for _, measure := range s.measures {
		v := micro(measure, &m)
		measured.Set(measure, v)
		if err := s.converters[measure].Check(word(measure, &m.Words), now); err != nil {
			stuck = fmt.Errorf("%v: %w", measure, err)
			continue
		}
		believed.Set(measure, v)
	}
	r.Values = s.calibration.Apply(&believed)
	for _, measure := range s.measures {
		raw, _ := measured.Get(measure)
		if v, ok := r.Values.Get(measure); !ok || v != raw {
			r.Raw.Set(measure, raw)
		}
	}
	return stuck
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

func word(measure telemetry.Measure, w *drivers.Words) uint32 {
	switch measure {
	case telemetry.Temperature:
		return w.Temperature
	case telemetry.Humidity:
		return w.Humidity
	case telemetry.Pressure:
		return w.Pressure
	default:
		return w.Illuminance
	}
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
		{drivers.ErrLowSupply, sample.LowSupply},
	} {
		if errors.Is(err, kind.err) {
			return &sample.FaultError{Reason: kind.reason, Err: err}
		}
	}
	return err
}
