package agent

import (
	"context"
	"log/slog"

	"github.com/VictoriaMetrics/metrics"
	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/agent/internal/clock"
	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/agent/internal/sample"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Sensor is what a configuration says of one sensor.
type Sensor = config.Sensor

// SensorChip is what a configuration says of one of a sensor's chips.
type SensorChip = config.Chip

// Watch samples the sensors that o.Config names as a running agent does, on
// schedule and with the reason of each measure that is missing, until ctx ends. It
// hands each reading to each, from the goroutines that sample; each must not keep
// the frame. There is neither buffer nor broker, so a frame has no epoch and no
// number. Of o.Config only the sensors and the clock count. The error is that of a
// configuration no agent could be made of.
func Watch(ctx context.Context, o Options, each func(*telemetry.Frame)) error {
	o.setHost()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	a := &Agent{opts: o, buses: make(map[string]i2c.Bus)}
	var sensors []sample.Sensor
	for i := range o.Config.Sensors {
		s, err := a.sensor(&o.Config.Sensors[i])
		if err != nil {
			return err
		}
		sensors = append(sensors, s)
	}
	sampler, err := sample.New(sample.Options{
		Sensors: sensors,
		Append:  func(f *telemetry.Frame, _ clock.Instant) error { each(f); return nil },
		Refusal: refusal,
		Now:     newClock(&o).Now,
		Logger:  o.Logger,
		Metrics: o.Metrics,
	})
	if err != nil {
		return err
	}
	return sampler.Run(ctx)
}
