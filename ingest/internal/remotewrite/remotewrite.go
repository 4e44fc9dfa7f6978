package remotewrite

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	prompb "buf.build/gen/go/prometheus/prometheus/protocolbuffers/go"
	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	serverrefusal "github.com/telltale-iot/telltale/ingest/internal/refusal"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Group is the consumer group, and FramesTopic what it reads.
const (
	Group       = "telltale-remote-write"
	FramesTopic = "iot-frames"
)

// MinBatch is the least that Options.Batch may be: the samples of one frame.
const MinBatch = telemetry.Measures + 1

// commitEvery bounds how often offsets are committed: a receiver passes over a
// sample that it has already.
const commitEvery = time.Second

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
	URL     string
	Header  http.Header // of every request, such as Authorization; nil is none
	TLS     *tls.Config // nil is Go's default
	Timeout time.Duration
	Version string // of the program, for the User-Agent

	Batch    int           // most samples in one request, MinBatch or more
	BatchAge time.Duration // longest time that a sample waits for others

	Registry prometheus.Registerer
	Logger   *slog.Logger     // nil discards
	Now      func() time.Time // nil is time.Now
}

// Writer sends frames to a receiver.
type Writer struct {
	options  Options
	receiver *receiver
	metrics  *metrics
	log      *slog.Logger
	refusals *serverrefusal.Log

	mu      sync.Mutex
	failing map[int]error // by partition
}

// New validates o and returns a Writer. Nothing is dialled yet.
func New(o Options) (*Writer, error) {
	switch {
	case o.URL == "" || o.Registry == nil:
		return nil, errors.New("remotewrite: want a URL and a registry")
	case o.Batch < MinBatch || o.BatchAge < 0 || o.Timeout <= 0:
		return nil, fmt.Errorf("remotewrite: batches of %d samples after %s, with a timeout of %s: want %d or more, no negative time, and a timeout",
			o.Batch, o.BatchAge, o.Timeout, MinBatch)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	metrics, err := newMetrics(o.Registry)
	if err != nil {
		return nil, fmt.Errorf("remotewrite: %w", err)
	}
	return &Writer{
		options: o, receiver: newReceiver(&o), metrics: metrics, log: o.Logger,
		refusals: serverrefusal.NewLog("remote write", o.Logger, o.Now), failing: map[int]error{},
	}, nil
}

// Ready returns why the receiver takes no samples at present; nil: it does, as
// far as is known.
func (w *Writer) Ready(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, err := range w.failing {
		return err
	}
	return nil
}

// Frames sends the frames of one partition until ctx ends or the source fails.
// It returns nil when ctx has ended. It may be called for several partitions at
// once.
func (w *Writer) Frames(ctx context.Context, source Source) error {
	defer w.metrics.gone(source)
	from := source.Next()
	p := &partition{Writer: w, source: source, batch: newBatch(), next: from, delivered: from, committed: from, committedAt: w.options.Now()}
	if err := kafka.Work(ctx, p.turn); err != nil {
		return fmt.Errorf("remotewrite: %w", err)
	}
	return nil
}

// partition is the state of one partition.
type partition struct {
	*Writer
	source  Source
	decoder telemetry.Decoder

	batch batch
	began time.Time // when the first of the batch came

	next        int64 // offset after the last record read
	delivered   int64 // offset after the last record delivered
	committed   int64
	committedAt time.Time
}

// turn reads once, and sends if it is time to.
func (p *partition) turn(ctx context.Context) error {
	messages, err := p.source.Fetch(ctx)
	if err != nil {
		return err
	}
	p.metrics.progress(p.source)
	for i := range messages {
		if p.batch.samples+MinBatch > p.options.Batch {
			if err := p.send(ctx); err != nil {
				return err
			}
		}
		p.read(&messages[i])
	}
	if now := p.options.Now(); len(messages) == 0 || now.Sub(p.began) >= p.options.BatchAge {
		if err := p.send(ctx); err != nil {
			return err
		}
	}
	return p.commit(ctx)
}

// read takes in one record. The bridge writes none that cannot be decoded, and
// the sink accounts for those of others.
func (p *partition) read(m *kafka.Message) {
	p.next = m.Offset + 1
	var f telemetry.Frame
	if err := p.decoder.Decode(m.Value, &f); err != nil {
		p.metrics.skipped.WithLabelValues("undecodable").Inc()
		return
	}
	if f.IsLoss() {
		p.metrics.skipped.WithLabelValues("loss").Inc()
		return
	}
	if p.batch.samples == 0 {
		p.began = p.options.Now()
	}
	p.batch.add(&f)
}

// send delivers the batch.
func (p *partition) send(ctx context.Context) error {
	if p.batch.samples > 0 {
		p.batch.sort()
		if _, err := p.deliver(ctx, p.batch.series); err != nil {
			return err
		}
		p.batch.reset()
	}
	p.delivered = p.next
	return nil
}

// deliver sends series until each of their samples is taken or refused. It
// reports whether, of a single series, the oldest sample was refused for being
// before a sliding window. The error is the context's, or of the code.
func (p *partition) deliver(ctx context.Context, series []*prompb.TimeSeries) (beforeWindow bool, err error) {
	err = p.attempt(ctx, series)
	var no *refusal
	switch {
	case err == nil:
		p.metrics.taken(series)
		return false, nil
	case !errors.As(err, &no):
		return false, err
	case len(series) > 1:
		half := len(series) / 2
		if _, err := p.deliver(ctx, series[:half]); err != nil {
			return false, err
		}
		_, err := p.deliver(ctx, series[half:])
		return false, err
	}
	return p.divide(ctx, series[0], no)
}

// divide delivers a series that was refused as a whole. Where refusals are by a
// sliding window the newer half goes first: if its oldest sample is before the
// window then so is all of the older half, which an outage's backlog may be by
// the million. Anyone else gets samples in their order.
func (p *partition) divide(ctx context.Context, s *prompb.TimeSeries, no *refusal) (beforeWindow bool, err error) {
	n := len(s.Samples)
	if n == 1 {
		p.refuse(s, no)
		return no.sliding, nil
	}
	older := []*prompb.TimeSeries{{Labels: s.Labels, Samples: s.Samples[:n/2]}}
	newer := []*prompb.TimeSeries{{Labels: s.Labels, Samples: s.Samples[n/2:]}}
	if !no.sliding {
		if beforeWindow, err = p.deliver(ctx, older); err == nil {
			_, err = p.deliver(ctx, newer)
		}
		return beforeWindow, err
	}
	beforeWindow, err = p.deliver(ctx, newer)
	switch {
	case err != nil:
		return false, err
	case beforeWindow:
		p.refuse(older[0], no)
		return true, nil
	}
	return p.deliver(ctx, older)
}

// refuse counts the samples of a series as refused.
func (p *partition) refuse(s *prompb.TimeSeries, no *refusal) {
	p.metrics.refused.WithLabelValues(no.reason).Add(float64(len(s.Samples)))
	p.log.Debug("samples refused", "reason", no.reason, "samples", len(s.Samples), "first", s.Samples[0].Timestamp, "answer", no.detail)
}

// attempt sends series until there is an answer to them, with backoff and
// jitter, and without end. The error is a *refusal, the context's, or of the code.
func (p *partition) attempt(ctx context.Context, series []*prompb.TimeSeries) error {
	body, err := encode(series)
	if err != nil {
		return err
	}
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 100 * time.Millisecond
	pause.MaxInterval = 10 * time.Second
	failures, said := 0, false
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		err := p.receiver.post(ctx, body)
		var failed *failure
		if !errors.As(err, &failed) {
			return struct{}{}, backoff.Permanent(err)
		}
		if ctx.Err() == nil {
			failures++
			said = p.failed(failed, said)
		}
		if failed.after > 0 {
			return struct{}{}, errors.Join(failed, &backoff.RetryAfterError{Duration: failed.after})
		}
		return struct{}{}, failed
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0))
	if failures > 0 {
		p.mu.Lock()
		delete(p.failing, p.source.ID())
		p.mu.Unlock()
		if ctx.Err() == nil && said {
			p.log.Info("the receiver answers again", "partition", p.source.ID(), "failures", failures)
		}
	}
	if err == nil {
		p.refusals.Served()
	}
	return err
}

// failed notes that a request is sent again. It says so once: said is whether it
// did, and what it returns whether it has. What the receiver refuses is said once
// for all partitions.
func (p *partition) failed(f *failure, said bool) bool {
	p.metrics.retries.WithLabelValues(f.reason).Inc()
	err := p.explain(f)
	if refused := (*serverrefusal.Error)(nil); errors.As(err, &refused) {
		p.refusals.Refused(refused)
	} else if !said {
		said = true
		p.log.Warn("the receiver takes no samples; retrying", "partition", p.source.ID(), "error", f.err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failing[p.source.ID()] = err
	return said
}

// commit notes that what has been delivered need not be read again.
func (p *partition) commit(ctx context.Context) error {
	now := p.options.Now()
	if p.delivered <= p.committed || now.Sub(p.committedAt) < commitEvery {
		return nil
	}
	if err := p.source.Commit(ctx, p.delivered); err != nil {
		return err
	}
	p.committed, p.committedAt = p.delivered, now
	return nil
}
