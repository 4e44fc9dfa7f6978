package sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/telltale-iot/telltale/ingest/internal/deadletter"
	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/latency"
	"github.com/telltale-iot/telltale/ingest/internal/refusal"
	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Group is the consumer group, and FramesTopic what it reads.
const (
	Group       = "telltale-sink"
	FramesTopic = "iot-frames"
)

// commitEvery bounds how often offsets are committed: what is read again after
// a crash is there already.
const commitEvery = time.Second

// ErrDuplicate is a Store's answer for a frame that it has already.
var ErrDuplicate = errors.New("sink: stored before")

// Frame is a frame with the device that it came from; "" is a client's own.
type Frame struct {
	telemetry.Frame
	Device string
}

// Store keeps frames.
type Store interface {
	// PutFrames stores the frames that are not there yet. The answers are in
	// their order: nil, ErrDuplicate, or why this frame can never be stored.
	// The error is of the whole, and passing.
	PutFrames(ctx context.Context, frames []Frame) (answers []error, err error)

	// PutLosses keeps declarations of lost readings; those it has already are
	// not changed.
	PutLosses(ctx context.Context, losses []window.Declared) error
}

// Producer writes records, all of them or those that the topic takes at all:
// the error is then a *kafka.RejectedError.
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

// Options configures a Sink.
type Options struct {
	Store    Store
	Producer Producer // of dead letters

	Batch    int           // most frames in one write
	BatchAge time.Duration // longest time that a frame waits for others

	Registry prometheus.Registerer
	Logger   *slog.Logger     // nil discards
	Now      func() time.Time // nil is time.Now
}

// Sink writes frames to a store.
type Sink struct {
	options Options
	metrics *metrics
	log     *slog.Logger
}

// New validates o and returns a Sink.
func New(o Options) (*Sink, error) {
	switch {
	case o.Store == nil || o.Producer == nil || o.Registry == nil:
		return nil, errors.New("sink: want a store, a producer and a registry")
	case o.Batch < 1 || o.BatchAge < 0:
		return nil, fmt.Errorf("sink: batches of %d frames after %s: want 1 or more, and no negative time", o.Batch, o.BatchAge)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	metrics, err := newMetrics(o.Registry)
	if err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	return &Sink{options: o, metrics: metrics, log: o.Logger}, nil
}

// Frames stores the frames of one partition until ctx ends or the source
// fails. It returns nil when ctx has ended. It may be called for several
// partitions at once.
func (s *Sink) Frames(ctx context.Context, source Source) error {
	defer s.metrics.gone(source)
	from := source.Next()
	p := &partition{Sink: s, source: source, next: from, written: from, committed: from, committedAt: s.options.Now()}
	// A next owner finds in the store what was not committed.
	if err := kafka.Work(ctx, p.turn); err != nil {
		return fmt.Errorf("sink: %w", err)
	}
	return nil
}

// partition is the state of one partition.
type partition struct {
	*Sink
	source  Source
	decoder telemetry.Decoder

	frames  []Frame
	records []original // of the frames, for dead letters
	losses  []window.Declared
	letters kafka.Batch
	began   time.Time // when the first of them came

	next        int64 // offset after the last record read
	written     int64 // offset after the last record written
	committed   int64
	committedAt time.Time
}

// original is the record that a frame came in.
type original struct {
	key, value []byte
}

// turn reads once, and writes if it is time to.
func (p *partition) turn(ctx context.Context) error {
	messages, err := p.source.Fetch(ctx)
	if err != nil {
		return err
	}
	for i := range messages {
		p.read(&messages[i])
		if len(p.frames)+len(p.losses) >= p.options.Batch {
			if err := p.write(ctx); err != nil {
				return err
			}
		}
	}
	p.metrics.progress(p.source)
	now := p.options.Now()
	if len(messages) == 0 || now.Sub(p.began) >= p.options.BatchAge {
		if err := p.write(ctx); err != nil {
			return err
		}
	}
	return p.commit(ctx, now)
}

// read takes in one record. Frames outlive their messages, so they are copied.
func (p *partition) read(m *kafka.Message) {
	if !p.waiting() {
		p.began = p.options.Now()
	}
	p.next = m.Offset + 1
	var f Frame
	if err := p.decoder.Decode(m.Value, &f.Frame); err != nil {
		reason := "undecodable"
		var bad *telemetry.DecodeError
		if errors.As(err, &bad) {
			reason = bad.Reason
		}
		p.letter(reason, err.Error(), string(m.Header("device")), m.Key, m.Value)
		return
	}
	if f.IsLoss() {
		p.losses = append(p.losses, window.Declared{Sensor: f.ID, Epoch: f.Epoch, Loss: f.Lost})
		return
	}
	f.Device = string(m.Header("device"))
	p.frames = append(p.frames, f)
	p.records = append(p.records, original{append([]byte(nil), m.Key...), append([]byte(nil), m.Value...)})
}

func (p *partition) letter(reason, detail, device string, key, value []byte) {
	p.metrics.letters.WithLabelValues(reason).Inc()
	deadletter.Append(&p.letters, deadletter.Letter{
		Topic: FramesTopic, Device: device, Reason: reason, Detail: detail, Key: key, Payload: value, Time: p.options.Now().UnixMilli(),
	})
}

// write stores what was read, and then the dead letters.
func (p *partition) write(ctx context.Context) error {
	if err := p.put(ctx); err != nil {
		return err
	}
	p.written = p.next
	return nil
}

func (p *partition) put(ctx context.Context) error {
	if len(p.frames) > 0 {
		var answers []error
		if err := p.retry(ctx, "store", func(ctx context.Context) (err error) {
			answers, err = p.options.Store.PutFrames(ctx, p.frames)
			return err
		}); err != nil {
			return err
		}
		now := p.options.Now().UnixMilli()
		for i, answer := range answers {
			switch {
			case answer == nil:
				p.metrics.stored.Inc()
				if f := &p.frames[i].Frame; latency.Known(f) {
					p.metrics.latency.Sampled(f.Timestamp, now)
				}
			case errors.Is(answer, ErrDuplicate):
				p.metrics.duplicates.Inc()
			default:
				p.letter("rejected_by_store", answer.Error(), p.frames[i].Device, p.records[i].key, p.records[i].value)
			}
		}
		p.frames, p.records = p.frames[:0], p.records[:0]
	}
	if len(p.losses) > 0 {
		if err := p.retry(ctx, "store_losses", func(ctx context.Context) error {
			return p.options.Store.PutLosses(ctx, p.losses)
		}); err != nil {
			return err
		}
		p.metrics.losses.Add(float64(len(p.losses)))
		p.losses = p.losses[:0]
	}
	if p.letters.Len() == 0 {
		return nil
	}
	defer p.letters.Reset()
	return p.retry(ctx, "dead_letter", func(ctx context.Context) error {
		err := p.options.Producer.Produce(ctx, &p.letters)
		if rejected := (*kafka.RejectedError)(nil); errors.As(err, &rejected) {
			p.log.Error("Kafka will not take dead letters", "letters", len(rejected.Records), "error", rejected.Err)
			return nil
		}
		return err
	})
}

// waiting reports whether something read is not yet written.
func (p *partition) waiting() bool {
	return len(p.frames) > 0 || len(p.losses) > 0 || p.letters.Len() > 0
}

// commit notes that what has been written need not be read again.
func (p *partition) commit(ctx context.Context, now time.Time) error {
	if p.written <= p.committed || now.Sub(p.committedAt) < commitEvery {
		return nil
	}
	if err := p.source.Commit(ctx, p.written); err != nil {
		return err
	}
	p.committed, p.committedAt = p.written, now
	return nil
}

// retry calls op until it succeeds or ctx ends, with backoff and jitter.
func (s *Sink) retry(ctx context.Context, what string, op func(context.Context) error) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 100 * time.Millisecond
	pause.MaxInterval = 10 * time.Second
	failures := 0
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := op(ctx)
		if err != nil && ctx.Err() == nil {
			s.metrics.retries.WithLabelValues(what).Inc()
			if failures++; failures == 1 {
				s.log.Log(ctx, refusal.Level(err), "cannot write; retrying", "operation", what, "error", err)
			}
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0))
	if err == nil && failures > 0 {
		s.log.Info("writing again", "operation", what, "failures", failures)
	}
	return err
}
