package timeseries

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Group is the consumer group, FramesTopic what it reads and Topic what it
// writes.
const (
	Group       = "telltale-time-series"
	FramesTopic = "iot-frames"
	Topic       = "iot-metrics-time-series"
)

// commitEvery bounds how often offsets are committed.
const commitEvery = time.Second

// Producer writes records, all of them or those that the topic takes at all:
// the error is then a *kafka.RejectedError. Any other error is the context's.
type Producer interface {
	Produce(ctx context.Context, b *kafka.Batch) error
}

// Source is one assigned partition of iot-frames.
type Source interface {
	ID() int
	Next() int64
	Lag() int64 // negative before anything is known
	// Fetch returns the next records, none after a while without any. They
	// are good until the next Fetch. Its error ends the work.
	Fetch(ctx context.Context) ([]kafka.Message, error)
	Commit(ctx context.Context, offset int64) error
}

// Options configures a Writer.
type Options struct {
	Producer Producer
	Registry prometheus.Registerer
	Logger   *slog.Logger     // nil discards
	Now      func() time.Time // stamps records; nil is time.Now
}

// Writer makes records of frames.
type Writer struct {
	options Options
	written prometheus.Counter
	skipped *prometheus.CounterVec // reason
	lag     *prometheus.GaugeVec   // partition
	log     *slog.Logger
}

// New validates o and returns a Writer.
func New(o Options) (*Writer, error) {
	if o.Producer == nil || o.Registry == nil {
		return nil, errors.New("timeseries: want a producer and a registry")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Writer{
		options: o,
		log:     o.Logger,
		written: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "telltale_time_series_records_total", Help: "Records written to iot-metrics-time-series.",
		}),
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "telltale_time_series_skipped_total", Help: "Records of iot-frames that none was written for, by reason.",
		}, []string{"reason"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "telltale_time_series_lag_records", Help: "Records of iot-frames after the last one read.",
		}, []string{"partition"}),
	}
	for _, c := range []prometheus.Collector{w.written, w.skipped, w.lag} {
		if err := o.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("timeseries: %w", err)
		}
	}
	return w, nil
}

// Frames writes the records of one partition's frames until ctx ends or the
// source fails. It returns nil when ctx has ended. It may be called for several
// partitions at once.
func (w *Writer) Frames(ctx context.Context, source Source) error {
	defer w.lag.DeleteLabelValues(strconv.Itoa(source.ID()))
	if err := kafka.Work(ctx, func(ctx context.Context) error { return w.frames(ctx, source) }); err != nil {
		return fmt.Errorf("timeseries: %w", err)
	}
	return nil
}

func (w *Writer) frames(ctx context.Context, source Source) error {
	p := partition{Writer: w}
	committed, committedAt := source.Next(), w.options.Now()
	for {
		messages, err := source.Fetch(ctx)
		if err != nil {
			return err
		}
		if err := p.write(ctx, messages); err != nil {
			return err
		}
		if lag := source.Lag(); lag >= 0 {
			w.lag.WithLabelValues(strconv.Itoa(source.ID())).Set(float64(lag))
		}
		if now := w.options.Now(); source.Next() != committed && now.Sub(committedAt) >= commitEvery {
			if err := source.Commit(ctx, source.Next()); err != nil {
				return err
			}
			committed, committedAt = source.Next(), now
		}
	}
}

// partition is what one partition's work reuses.
type partition struct {
	*Writer
	decoder telemetry.Decoder
	encoder encoder
	batch   kafka.Batch
}

// write writes the records of frames. When it returns nil, Kafka has them.
func (p *partition) write(ctx context.Context, messages []kafka.Message) error {
	p.batch.Reset()
	now := p.options.Now().UnixMilli()
	for i := range messages {
		var f telemetry.Frame
		switch err := p.decoder.Decode(messages[i].Value, &f); {
		case err != nil: // the sink accounts for it
			p.skipped.WithLabelValues("undecodable").Inc()
			continue
		case f.IsLoss():
			p.skipped.WithLabelValues("loss").Inc()
			continue
		}
		value, err := p.encoder.encode(&f)
		if err != nil {
			return err
		}
		p.batch.Append(Topic, kafka.Record{Key: []byte(f.ID), Value: value, Time: now})
	}
	err := p.options.Producer.Produce(ctx, &p.batch)
	written := p.batch.Len()
	if rejected := (*kafka.RejectedError)(nil); errors.As(err, &rejected) {
		written -= len(rejected.Records)
		p.skipped.WithLabelValues("rejected_by_kafka").Add(float64(len(rejected.Records)))
		p.log.Error("Kafka will not take records of iot-metrics-time-series", "records", len(rejected.Records), "error", rejected.Err)
		err = nil
	}
	if err != nil {
		return err
	}
	p.written.Add(float64(written))
	return nil
}
