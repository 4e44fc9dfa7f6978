package sample

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/telltale-iot/telltale/agent/internal/clock"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// A Chip measures. Sense does so once and sets in r what it got; with an error,
// what it got all the same. It should return soon after ctx ends, and is never
// called again before it has returned.
type Chip interface {
	Sense(ctx context.Context, r *Reading) error
}

// Reading is what a chip gave.
type Reading struct {
	Values telemetry.Payload // what is believed
	Raw    telemetry.Payload // what was measured, where Values has another value or none
}

// Source is a chip of a sensor.
type Source struct {
	Name     string // for logs, metrics and the status, unique in the agent: "bme280@1:0x76"
	Measures []telemetry.Measure
	Chip     Chip
}

// Sensor is what one schedule reads. No measure has two sources.
type Sensor struct {
	ID, Name, PlaceID string
	Interval          time.Duration
	Sources           []Source
}

// Options configure a [Sampler].
type Options struct {
	Sensors []Sensor

	// Append takes a reading and the moment at which it was begun. It numbers
	// the frame, and must not keep it. It is called from the goroutines of all
	// sensors.
	Append func(*telemetry.Frame, clock.Instant) error

	// Refusal returns the reason of an error of Append, a metric label.
	Refusal func(error) string

	// Observe, if not nil, is called after each reading that Append took. It
	// must not keep the frame.
	Observe func(*telemetry.Frame)

	Now     func() clock.Instant
	Logger  *slog.Logger
	Metrics *metrics.Set
}

// Sampler reads sensors on schedule. Its methods are safe for concurrent use.
type Sampler struct {
	opts    Options
	made    time.Time
	sensors []*sensor

	mu     sync.Mutex
	faults map[string]string
}

// New returns a Sampler for the sensors. It reads nothing before [Sampler.Run].
func New(o Options) (*Sampler, error) {
	if o.Append == nil || o.Refusal == nil || o.Now == nil || o.Logger == nil || o.Metrics == nil {
		return nil, errors.New("sample: Append, Refusal, Now, Logger and Metrics are required")
	}
	s := &Sampler{opts: o, made: time.Now(), faults: make(map[string]string)}
	for i := range o.Sensors {
		if err := validate(&o.Sensors[i]); err != nil {
			return nil, fmt.Errorf("sample: sensor %q: %w", o.Sensors[i].ID, err)
		}
		s.sensors = append(s.sensors, newSensor(s, &o.Sensors[i]))
	}
	return s, nil
}

func validate(s *Sensor) error {
	if s.Interval <= 0 {
		return fmt.Errorf("interval %v is not positive", s.Interval)
	}
	var sourced [telemetry.Measures]bool
	for _, source := range s.Sources {
		for _, m := range source.Measures {
			if sourced[m] {
				return fmt.Errorf("%v has two sources", m)
			}
			sourced[m] = true
		}
	}
	return nil
}

// Run samples until ctx ends. It then waits for transactions on the bus, which
// cannot be interrupted, but for no longer than [MaxWait].
func (s *Sampler) Run(ctx context.Context) error {
	var schedules, chips sync.WaitGroup
	for _, sensor := range s.sensors {
		for i := range sensor.workers {
			chips.Go(func() { sensor.workers[i].run(ctx, sensor.results) })
		}
		schedules.Go(func() { sensor.run(ctx) })
	}
	schedules.Wait()

	idle := make(chan struct{})
	go func() { chips.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-time.After(MaxWait):
		s.opts.Logger.Warn("chips hang at stop")
	}
	return nil
}

// Stats are the sampler's counters since it was made.
type Stats struct {
	Sampled uint64            // readings taken and appended
	Refused uint64            // readings taken that Append refused
	Missed  uint64            // ticks left out
	Faults  map[string]string // the chips that fail now, by name, with the reason
}

// Stats returns the state of now.
func (s *Sampler) Stats() Stats {
	s.mu.Lock()
	st := Stats{Faults: maps.Clone(s.faults)}
	s.mu.Unlock()
	for _, sensor := range s.sensors {
		st.Sampled += sensor.sampled.Load()
		st.Refused += sensor.refused.Load()
		st.Missed += sensor.missed.Load()
	}
	return st
}

// Stalled returns the id of a sensor whose schedule makes no progress, as the
// disk or the process hangs: no tick has begun for its interval and [MaxWait].
// It is "" if all do, and while Run is not on. Chips that hang stall nothing.
func (s *Sampler) Stalled() string {
	for _, sensor := range s.sensors {
		if sensor.stalled() {
			return sensor.ID
		}
	}
	return ""
}

// report notes whether a chip fails, and logs when that changes.
func (s *Sampler) report(chip, reason string, err error) {
	s.mu.Lock()
	before := s.faults[chip]
	if reason == "" {
		delete(s.faults, chip)
	} else {
		s.faults[chip] = reason
	}
	s.mu.Unlock()

	switch reason {
	case before:
	case "":
		s.opts.Logger.Info("chip recovered", "chip", chip)
	default:
		s.opts.Logger.Warn("chip fails", "chip", chip, "reason", reason, "error", err)
	}
}
