package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/telltale-iot/telltale/ingest/internal/deadletter"
	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// FramesTopic is the Kafka topic of frames and declared losses.
const FramesTopic = "iot-frames"

// Topics returns the Kafka topics that the bridge writes to.
func Topics() []string { return []string{FramesTopic, deadletter.Topic} }

// Message is an MQTT message.
type Message struct {
	Topic    string
	Payload  []byte
	Retained bool   // the broker had kept it; it is carried like any other
	Ack      func() // acknowledges it to the broker; must not block
}

// Producer writes records to Kafka.
type Producer interface {
	// Produce returns nil when all of b is safe in Kafka, and a
	// *kafka.RejectedError when all is but the records it names, which never
	// will be. Any other error leaves unknown what was written.
	Produce(ctx context.Context, b *kafka.Batch) error
}

// Publisher sends MQTT messages that may be lost.
type Publisher interface {
	// Publish reports whether payload is on its way. It must not block, nor
	// keep payload.
	Publish(topic string, payload []byte) bool
}

// Options of a bridge. All fields without a stated default are required.
type Options struct {
	Producer Producer
	Receipts Publisher // nil sends none

	// SeedTopic is the MQTT topic whose frames belong to no device; "" is none.
	SeedTopic string

	MaxUnacknowledged     int           // most messages taken and not yet acknowledged
	MaxUnacknowledgedSize int64         // most bytes of their payloads, decompressed; one more compressed one may exceed it
	BatchMessages         int           // most messages written at once
	BatchAge              time.Duration // longest time a message waits for others
	MaxFuture             time.Duration // how far ahead of the clock a timestamp may be
	MaxPayload            int64         // greatest payload that is taken, bytes, as it came and decompressed
	Limits                Limits        // of each device; the zero value is none

	Metrics *Metrics
	Logger  *slog.Logger     // nil discards
	Now     func() time.Time // stamps records and bounds timestamps; nil is time.Now
}

func (o *Options) validate() error {
	switch {
	case o.Producer == nil:
		return errors.New("no producer")
	case o.Metrics == nil:
		return errors.New("no metrics")
	case o.MaxUnacknowledged < 1:
		return fmt.Errorf("max unacknowledged %d: want 1 or more", o.MaxUnacknowledged)
	case o.MaxUnacknowledgedSize < 1:
		return fmt.Errorf("max unacknowledged size %d: want 1 or more", o.MaxUnacknowledgedSize)
	case o.BatchMessages < 1:
		return fmt.Errorf("batch messages %d: want 1 or more", o.BatchMessages)
	case o.BatchAge < 0:
		return fmt.Errorf("batch age %v is negative", o.BatchAge)
	case o.MaxFuture < 0:
		return fmt.Errorf("max future %v is negative", o.MaxFuture)
	case o.MaxPayload < 1:
		return fmt.Errorf("max payload %d: want 1 or more", o.MaxPayload)
	case o.Limits.Rate < 0 || o.Limits.Bandwidth < 0:
		return fmt.Errorf("limits of %d frames and %d bytes a second: want 0 or more", o.Limits.Rate, o.Limits.Bandwidth)
	case o.Limits.Burst < time.Millisecond && (o.Limits.Rate > 0 || o.Limits.Bandwidth > 0):
		return fmt.Errorf("limits with a burst of %v: want 1ms or more", o.Limits.Burst)
	}
	return nil
}

// Bridge carries frames from MQTT to Kafka.
type Bridge struct {
	options Options
	log     *slog.Logger
	filled  chan struct{} // tells Run that the filling batch began or is full; has room for one

	mu             sync.Mutex
	room           sync.Cond // on mu: something was acknowledged, or a wait is over
	intake         intake
	throttle       *throttle
	filling        *batch
	spare          *batch // the one not filling, when Run does not write it
	unacknowledged int    // messages
	size           int64  // of their payloads
	writing        time.Time
	stopped        bool
}

// New validates o and returns a Bridge.
func New(o Options) (*Bridge, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Bridge{
		options: o,
		log:     o.Logger,
		filled:  make(chan struct{}, 1),
		filling: &batch{},
		spare:   &batch{},
	}
	b.room.L = &b.mu
	b.intake.init(&b.options)
	b.throttle = newThrottle(o.Limits, o.Metrics, o.Logger)
	return b, nil
}

// Handle takes a message. It blocks while as much is unacknowledged as may be,
// and returns without having taken m when ctx ends or Run has returned; m is
// then not acknowledged. A message beyond its device's limits it acknowledges at
// once, and does not take. It keeps nothing of m but Ack.
func (b *Bridge) Handle(ctx context.Context, m Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped || ctx.Err() != nil {
		return
	}
	from, now := b.intake.route(m.Topic), b.options.Now()
	left := b.throttle.of(from, now)
	if b.throttle.denies(left, from, len(m.Payload), now) {
		m.Ack()
		return
	}
	if !b.fits(len(m.Payload)) {
		if !b.wait(ctx, len(m.Payload)) {
			return
		}
		now = b.options.Now()
		left = b.throttle.of(from, now) // the other may have been swept away
	}
	if b.stopped || ctx.Err() != nil {
		return
	}
	f := b.filling
	if f.messages() == 0 {
		f.began = time.Now()
		b.signal()
	}
	frames, size := b.intake.add(f, m, from, now.UnixMilli())
	left.charge(frames, size, now)
	f.size += size
	b.unacknowledged++
	b.size += size
	b.options.Metrics.unacknowledged.Set(float64(b.unacknowledged))
	if b.full(f) {
		b.signal()
	}
}

// wait waits until a payload of n bytes fits and reports whether it does; b.mu
// is held.
func (b *Bridge) wait(ctx context.Context, n int) bool {
	defer context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.room.Broadcast()
	})()
	for !b.fits(n) {
		if b.stopped || ctx.Err() != nil {
			return false
		}
		b.room.Wait()
	}
	return true
}

// fits reports whether a payload of n bytes may be taken; b.mu is held. One
// that is greater than all bounds is taken alone.
func (b *Bridge) fits(n int) bool {
	if b.unacknowledged == 0 {
		return true
	}
	return b.unacknowledged < b.options.MaxUnacknowledged &&
		b.size+int64(n) <= b.options.MaxUnacknowledgedSize &&
		!b.full(b.filling)
}

// full reports whether f is to be written without waiting for more. By size it
// is when it has half of what may be unacknowledged, so that the other half is
// filled while it is written.
func (b *Bridge) full(f *batch) bool {
	return f.messages() >= b.options.BatchMessages || f.size >= b.options.MaxUnacknowledgedSize/2
}

// signal wakes Run.
func (b *Bridge) signal() {
	select {
	case b.filled <- struct{}{}:
	default:
	}
}

// Waiting returns how long the batch that is being written has waited for
// Kafka; 0 when none is.
func (b *Bridge) Waiting() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.writing.IsZero() {
		return 0
	}
	return time.Since(b.writing)
}

// Run writes what Handle takes until ctx ends, and then returns nil. What has
// not been written by then is not acknowledged. An error means that the
// producer is not fit for its purpose.
func (b *Bridge) Run(ctx context.Context) error {
	defer b.stop()
	for {
		f := b.take(ctx)
		if f == nil {
			return nil
		}
		if err := b.deliver(ctx, f); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("bridge: %w", err)
		}
		b.release(f)
	}
}

// stop lets no more messages in.
func (b *Bridge) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	b.room.Broadcast()
}

// take waits until the filling batch is due and puts an empty one in its place.
// It returns nil when ctx has ended.
func (b *Bridge) take(ctx context.Context) *batch {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		f, due := b.swap()
		if f != nil {
			return f
		}
		var aged <-chan time.Time
		if due > 0 {
			timer.Reset(due)
			aged = timer.C
		}
		select {
		case <-b.filled:
		case <-aged:
		case <-ctx.Done():
		}
	}
	return nil
}

// swap takes the filling batch if it is due, or tells when it will be; 0 is
// not known, as it is empty.
func (b *Bridge) swap() (f *batch, due time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f = b.filling
	if f.messages() == 0 {
		return nil, 0
	}
	if due := b.options.BatchAge - time.Since(f.began); due > 0 && !b.full(f) {
		return nil, due
	}
	b.filling, b.spare = b.spare, nil
	b.writing = time.Now()
	b.room.Broadcast()
	return f, 0
}

// release puts a batch that is acknowledged back.
func (b *Bridge) release(f *batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unacknowledged -= f.messages()
	b.size -= f.size
	b.options.Metrics.unacknowledged.Set(float64(b.unacknowledged))
	b.writing = time.Time{}
	f.reset()
	b.spare = f
	b.room.Broadcast()
}

// deliver writes f, then receipts its frames and acknowledges its messages.
func (b *Bridge) deliver(ctx context.Context, f *batch) error {
	started := time.Now()
	err := b.options.Producer.Produce(ctx, &f.records)
	if rejected := (*kafka.RejectedError)(nil); errors.As(err, &rejected) {
		err = b.redirect(ctx, &f.records, rejected)
	}
	if err != nil {
		return err
	}
	b.options.Metrics.produceDuration.Observe(time.Since(started).Seconds())
	now := b.options.Now().UnixMilli()
	for _, timestamp := range f.sampled {
		b.options.Metrics.latency.Sampled(timestamp, now)
	}
	b.receipt(f)
	for _, ack := range f.acks {
		ack()
	}
	return nil
}

// receipt tells each device which of its frames are safe.
func (b *Bridge) receipt(f *batch) {
	if b.options.Receipts == nil {
		return
	}
	var payload []byte
	for device, r := range f.receipts.all() {
		payload = telemetry.AppendReceipt(payload[:0], r)
		if b.options.Receipts.Publish(telemetry.Topic(device, telemetry.Receipts), payload) {
			b.options.Metrics.receipts.Inc()
		} else {
			b.options.Metrics.receiptsDropped.Inc()
		}
	}
}
