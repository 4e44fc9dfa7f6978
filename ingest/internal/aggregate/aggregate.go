package aggregate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/refusal"
	"github.com/telltale-iot/telltale/ingest/internal/window"
)

// The consumer groups.
const (
	SensorsGroup = "telltale-aggregate"
	PlacesGroup  = "telltale-places"
)

// The topics.
const (
	FramesTopic  = "iot-frames"                   // read by Sensors
	SensorsTopic = "iot-aggregate-metrics-sensor" // written by Sensors
	PartsTopic   = "iot-place-parts"              // written by Sensors, read by Places
	PlacesTopic  = "iot-aggregate-metrics-place"  // written by Places
)

// MaxSensorRecord is how large a record of SensorsTopic may be: that of a window
// with window.MaxRanges gaps, each declared lost for the longest reason.
const MaxSensorRecord = 8 << 20

// Source is one assigned partition of a topic.
type Source interface {
	ID() int
	Next() int64         // offset that Fetch begins with; negative before anything is known
	SeekTo(offset int64) // what Next gave, or an offset
	Lag() int64          // negative before anything is known

	// Fetch returns the next records, none after a while without any. They
	// are good until the next Fetch. Its error ends the work.
	Fetch(ctx context.Context) ([]kafka.Message, error)

	// Commit sets where the partition's next owner begins. Nil proves that
	// there was no other owner until then; kafka.ErrNotOwner says that there may be.
	Commit(ctx context.Context, offset int64) error
}

// Producer writes records, all of them or those that the topic takes at all:
// the error is then a *kafka.RejectedError.
type Producer interface {
	Produce(ctx context.Context, b *kafka.Batch) error
}

// Store keeps the windows. Its errors are taken to be passing.
type Store interface {
	SensorStore
	PlaceStore
}

// SensorStore keeps the windows of sensors, and the losses that agents declare.
type SensorStore interface {
	// Sensors returns those of the named windows that are stored.
	Sensors(ctx context.Context, ids []string) ([]window.State, error)

	// PutSensors stores each document if the store has the revision before it,
	// or none if it is the first. The answers are in the order of the documents: nil,
	// window.ErrConflict, or why this document can never be stored.
	PutSensors(ctx context.Context, documents []*window.Document) ([]error, error)

	// PutLosses keeps declarations; those it has already are not changed.
	PutLosses(ctx context.Context, losses []window.Declared) error

	// Losses returns the declarations that touch the span of any of the
	// given ones, of the same sensor and epoch.
	Losses(ctx context.Context, spans []window.Declared) ([]window.Declared, error)

	// SensorsSpanning returns the stored windows that have frames of the
	// sensor's epoch both before the end and after the start of any of the losses.
	SensorsSpanning(ctx context.Context, losses []window.Declared) ([]window.State, error)
}

// PlaceStore keeps the windows of places.
type PlaceStore interface {
	// Places returns those of the named windows that are stored.
	Places(ctx context.Context, ids []string) ([]window.PlaceState, error)

	// PutPlaces is like PutSensors.
	PutPlaces(ctx context.Context, documents []*window.Document) ([]error, error)

	// SensorsAt returns the stored windows of the sensors that were at the
	// place in the interval.
	SensorsAt(ctx context.Context, place string, i window.Interval) ([]window.State, error)
}

// Options configures an Aggregate.
type Options struct {
	Window    window.Options // for each partition
	Retention time.Duration  // frames received later than this after their timestamp are dead letters

	Store    Store
	Producer Producer

	Now      func() time.Time // nil is time.Now
	Logger   *slog.Logger     // nil discards
	Registry prometheus.Registerer
}

// Aggregate computes the windows of sensors and of places.
type Aggregate struct {
	options Options
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics
}

// New validates o and returns an Aggregate.
func New(o Options) (*Aggregate, error) {
	if err := o.Window.Validate(); err != nil {
		return nil, fmt.Errorf("aggregate: %w", err)
	}
	switch {
	case o.Retention <= 0:
		return nil, fmt.Errorf("aggregate: retention %v: want more than 0", o.Retention)
	case o.Store == nil || o.Producer == nil || o.Registry == nil:
		return nil, errors.New("aggregate: want a store, a producer and a registry")
	}
	a := &Aggregate{options: o, now: o.Now, log: o.Logger}
	if a.now == nil {
		a.now = time.Now
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if a.metrics, err = newMetrics(o.Registry); err != nil {
		return nil, fmt.Errorf("aggregate: %w", err)
	}
	return a, nil
}

// retry calls op until it succeeds or ctx ends, with backoff and jitter. what
// names it in the log and the metrics.
func (a *Aggregate) retry(ctx context.Context, what string, op func(ctx context.Context) error) error {
	pause := newPause()
	for failures := 0; ; failures++ {
		err := op(ctx)
		if err == nil {
			if failures > 0 {
				a.log.Info("succeeds again", "operation", what, "failures", failures)
			}
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		a.metrics.retries.WithLabelValues(what).Inc()
		if failures == 0 {
			a.log.Log(ctx, refusal.Level(err), "fails; retrying", "operation", what, "error", err)
		}
		if err := sleep(ctx, pause.NextBackOff()); err != nil {
			return err
		}
	}
}

func newPause() *backoff.ExponentialBackOff {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 100 * time.Millisecond
	pause.MaxInterval = 10 * time.Second
	return pause
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
