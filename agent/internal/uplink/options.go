package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Reader reads frames, declared losses among them, in the buffer's order. Next
// reads one into f and returns the position just after it.
type Reader[P any] interface {
	Next(f *telemetry.Frame) (P, error)
}

// Publisher hands messages to the broker.
type Publisher interface {
	// Publish sends payload at QoS 1, and keeps it. It blocks until the message
	// is handed over, not until it is acknowledged. Unless it returns an error
	// it will call acked, once and from any goroutine: with nil at the broker's
	// PUBACK, or with the reason why there will be none.
	Publish(ctx context.Context, payload []byte, acked func(error)) error
}

// Options configure an [Uplink]. P is a position in the buffer.
type Options[P any] struct {
	// Read returns a new reader, at the first frame not freed.
	Read func() Reader[P]
	// End is what readers return while nothing is left, for errors.Is.
	End error
	// Free tells the buffer that all frames before p are done with.
	Free func(p P) error
	// Updated is signalled when there is something to read again.
	Updated <-chan struct{}

	Publisher Publisher
	// PublishReason returns the reason of an error of Publish or acked, a
	// metric label.
	PublishReason func(error) string

	Receipts       bool // free on receipts; else on PUBACKs
	BatchFrames    int  // frames in a batch, at most
	BatchSize      int  // bytes in a batch of more than one frame, at most
	BatchAge       time.Duration
	MaxDrainRate   int  // frames sent in a second, at most, after a burst of BatchFrames
	Compress       bool // send a message as a zstd frame where that is shorter
	InFlight       int  // batches on their way, at most
	ReceiptTimeout time.Duration
	BackoffMin     time.Duration
	BackoffMax     time.Duration

	Logger  *slog.Logger
	Metrics *metrics.Set
}

func (o *Options[P]) validate() error {
	switch {
	case o.Read == nil || o.End == nil || o.Free == nil || o.Updated == nil:
		return errors.New("uplink: Read, End, Free and Updated are required")
	case o.Publisher == nil || o.PublishReason == nil || o.Logger == nil || o.Metrics == nil:
		return errors.New("uplink: Publisher, PublishReason, Logger and Metrics are required")
	case o.BatchFrames < 1 || o.BatchSize < 1 || o.InFlight < 1:
		return fmt.Errorf("uplink: BatchFrames %d, BatchSize %d and InFlight %d must be positive", o.BatchFrames, o.BatchSize, o.InFlight)
	case o.MaxDrainRate < 1:
		return fmt.Errorf("uplink: MaxDrainRate %d must be positive", o.MaxDrainRate)
	case o.BatchAge < 0 || o.ReceiptTimeout <= 0:
		return fmt.Errorf("uplink: BatchAge %v must not be negative, ReceiptTimeout %v must be positive", o.BatchAge, o.ReceiptTimeout)
	case o.BackoffMin <= 0 || o.BackoffMax < o.BackoffMin:
		return fmt.Errorf("uplink: BackoffMin %v must be positive and at most BackoffMax %v", o.BackoffMin, o.BackoffMax)
	}
	return nil
}

// counters are the uplink's metrics; README.md of the agent says what they
// count.
type counters struct {
	set                                   *metrics.Set
	frames, batches, bytes, retransmitted *metrics.Counter
	throttled                             *metrics.Counter
	receipts, receipted, late, unmatched  *metrics.Counter
	receiptsInvalid, receiptsFull         *metrics.Counter
	readErrs, freeErrs                    *metrics.Counter
	unreceipted                           *metrics.Gauge
}

const prefix = "telltale_agent_uplink_"

func newCounters(set *metrics.Set) counters {
	counter := func(name string) *metrics.Counter { return set.GetOrCreateCounter(prefix + name) }
	return counters{
		set:             set,
		frames:          counter("published_frames_total"),
		batches:         counter("published_batches_total"),
		bytes:           counter("published_bytes_total"),
		retransmitted:   counter("retransmitted_frames_total"),
		throttled:       counter("throttled_batches_total"),
		receipts:        counter("receipts_total"),
		receipted:       counter("receipted_frames_total"),
		late:            counter("receipted_late_frames_total"),
		unmatched:       counter("receipts_unmatched_total"),
		receiptsInvalid: counter(`receipts_discarded_total{reason="invalid"}`),
		receiptsFull:    counter(`receipts_discarded_total{reason="queue_full"}`),
		readErrs:        counter("read_errors_total"),
		freeErrs:        counter("free_errors_total"),
		unreceipted:     set.GetOrCreateGauge(prefix+"unreceipted_frames", nil),
	}
}

// reason counts an event that has a reason.
func (c *counters) reason(name, reason string) {
	c.set.GetOrCreateCounter(fmt.Sprintf("%s%s{reason=%q}", prefix, name, reason)).Inc()
}
