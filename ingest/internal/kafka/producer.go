package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	kafkago "github.com/segmentio/kafka-go"
)

// Defaults of [ProducerOptions].
const (
	DefaultRequestTimeout = 15 * time.Second
	DefaultBackoffMin     = 100 * time.Millisecond
	DefaultBackoffMax     = 10 * time.Second
)

// ProducerOptions says what a producer writes and how it retries.
type ProducerOptions struct {
	Topics []string // those written to; metadata is fetched for these alone

	RequestTimeout time.Duration // of one request; 0 is DefaultRequestTimeout
	BackoffMin     time.Duration // first pause after a failure, ±50 %; 0 is DefaultBackoffMin
	BackoffMax     time.Duration // longest pause, ±50 %; 0 is DefaultBackoffMax

	// Retried, if not nil, is called for each failed request, or for each
	// partition of a request that failed alone, with a label of [Reason].
	// It may be called from several goroutines at once.
	Retried func(reason string)

	Logger *slog.Logger     // nil discards
	Now    func() time.Time // stamps the records of Send; nil is time.Now
}

// RejectedError says that Kafka has all records of a batch but those that it
// will never take, being too large or invalid alone.
type RejectedError struct {
	Records []int // indexes in the batch, ascending
	Err     error // what the broker said of the last of them
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("kafka: %d records rejected: %v", len(e.Records), e.Err)
}

// Unwrap returns the broker's answer.
func (e *RejectedError) Unwrap() error { return e.Err }

// Producer writes batches of records with acks=all. It is safe for concurrent
// use: batches are written one after another, so that one request at a time is
// under way to each leader, which keeps the order of every partition.
type Producer struct {
	options   ProducerOptions
	client    *Client
	transport *kafkago.Transport
	log       *slog.Logger
	failures  *failures

	turn chan struct{} // holds a token while a batch is being written
	free []*chunk      // to reuse; owned by whoever has the turn
}

// NewProducer validates o and returns a Producer. Nothing is dialled yet.
func (c *Client) NewProducer(o ProducerOptions) (*Producer, error) {
	if len(o.Topics) == 0 || slices.Contains(o.Topics, "") {
		return nil, errors.New("kafka: a producer needs the names of its topics")
	}
	if o.RequestTimeout < 0 || o.BackoffMin < 0 || o.BackoffMax < 0 {
		return nil, errors.New("kafka: negative duration in the producer's options")
	}
	setDefault(&o.RequestTimeout, DefaultRequestTimeout)
	setDefault(&o.BackoffMin, DefaultBackoffMin)
	setDefault(&o.BackoffMax, max(DefaultBackoffMax, o.BackoffMin))
	if o.BackoffMax < o.BackoffMin {
		return nil, fmt.Errorf("kafka: longest backoff %v is less than the first, %v", o.BackoffMax, o.BackoffMin)
	}
	if o.Retried == nil {
		o.Retried = func(string) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Producer{
		options:   o,
		client:    c,
		transport: c.newTransport(o.Topics...),
		log:       o.Logger,
		failures:  c.newFailures(o.Logger),
		turn:      make(chan struct{}, 1),
	}, nil
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// Ready returns nil, or why the batch that is being written was not taken yet.
func (p *Producer) Ready(context.Context) error { return p.failures.err() }

// Close closes the producer's idle connections. A Produce under way goes on.
func (p *Producer) Close() { p.transport.CloseIdleConnections() }

// Send writes records to topic, stamped with the present time where they have
// none. It returns as Produce does.
func (p *Producer) Send(ctx context.Context, topic string, records []Record) error {
	var b Batch
	for _, r := range records {
		if r.Time == 0 {
			r.Time = p.options.Now().UnixMilli()
		}
		b.Append(topic, r)
	}
	return p.Produce(ctx, &b)
}

// Produce writes b and returns nil when every record is acknowledged by all
// in-sync replicas. It retries without end, with backoff and jitter, what fails
// in a way that may pass; only those partitions, each in its order. It returns
// a [*RejectedError] when all is acknowledged but the records it names, and the
// context's error when ctx ends first: what was written by then is unknown.
//
// A retry may write records twice. Records of one key never overtake each
// other, but after such a retry earlier ones may be seen again after later.
func (p *Producer) Produce(ctx context.Context, b *Batch) error {
	if b.Len() == 0 {
		return nil
	}
	for _, topic := range b.topics {
		if !slices.Contains(p.options.Topics, topic) {
			return fmt.Errorf("kafka: topic %q is not one of the producer's", topic)
		}
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return fmt.Errorf("kafka: produce: %w", context.Cause(ctx))
	}

	pause := &backoff.ExponentialBackOff{
		InitialInterval: p.options.BackoffMin, MaxInterval: p.options.BackoffMax,
		Multiplier: backoff.DefaultMultiplier, RandomizationFactor: backoff.DefaultRandomizationFactor,
	}
	d := delivery{producer: p, batch: b}
	defer d.release()
	for {
		err := d.round(ctx)
		if err == nil && d.done() {
			scopes := make([]string, len(b.topics))
			for i, topic := range b.topics {
				scopes[i] = topicScope(topic)
			}
			if p.failures.over("produce", scopes...) {
				p.log.Info("kafka takes records again")
			}
			return d.verdict()
		}
		if ctx.Err() != nil {
			p.failures.forget("produce")
			return fmt.Errorf("kafka: produce: %w", context.Cause(ctx))
		}
		if err == nil {
			pause.Reset()
			continue
		}
		p.failures.failed("produce", p.client.explain(err, "", ""), "kafka does not take records; retrying")
		// kafka-go has no way to ask for fresh metadata but a fresh pool, and
		// a connection that failed is not worth keeping either.
		p.transport.CloseIdleConnections()
		if err := sleep(ctx, pause.NextBackOff()); err != nil {
			p.failures.forget("produce")
			return fmt.Errorf("kafka: produce: %w", err)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
