package uplink

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/time/rate"

	"github.com/telltale-iot/telltale/agent/internal/jitter"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Uplink empties a buffer into a broker. P is a position in the buffer.
type Uplink[P any] struct {
	opts  Options[P]
	mail  mailbox
	count counters

	// What follows belongs to Run.
	reader    Reader[P]
	window    window[P]
	draft     draft
	frame     telemetry.Frame // the one last read
	held      held            // the same, as long as it is not in the draft
	flight    []batch         // batches on their way, in order
	gen       uint64          // counts the changes of the window's numbers
	connected bool
	session   uint64
	probing   bool // one batch at a time, until a receipt comes
	paused    time.Time
	backoff   *backoff.ExponentialBackOff
	rate      *rate.Limiter
	zstd      *zstd.Encoder // nil: messages are sent as they are
	stalled   bool          // and it has been logged
	unread    bool          // reading fails, and it has been logged
}

// New returns an Uplink that does nothing before [Uplink.Run] and
// [Uplink.Connected].
func New[P any](o Options[P]) (*Uplink[P], error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	encoder, err := newEncoder(o.Compress)
	if err != nil {
		return nil, err
	}
	return &Uplink[P]{
		opts:    o,
		zstd:    encoder,
		mail:    mailbox{signal: make(chan struct{}, 1)},
		count:   newCounters(o.Metrics),
		backoff: jitter.Full(o.BackoffMin, o.BackoffMax),
		// A full batch has to fit, whatever the rate.
		rate: rate.NewLimiter(rate.Limit(o.MaxDrainRate), o.BatchFrames),
	}, nil
}

// Connected says that there is a new connection to the broker, on which
// receipts will come.
func (u *Uplink[P]) Connected() {
	u.mail.leave(func(n *news) { n.connected, n.session = true, n.session+1 })
}

// Disconnected says that the connection is gone.
func (u *Uplink[P]) Disconnected() {
	u.mail.leave(func(n *news) { n.connected = false })
}

// Receive takes the payload of a message on the receipts topic.
func (u *Uplink[P]) Receive(payload []byte) {
	u.count.receipts.Inc()
	var r telemetry.Receipt
	if err := telemetry.DecodeReceipt(payload, &r); err != nil {
		u.count.receiptsInvalid.Inc()
		return
	}
	u.mail.leave(func(n *news) {
		if len(n.receipts) == maxReceipts {
			u.count.receiptsFull.Inc()
			return
		}
		n.receipts = append(n.receipts, r)
	})
}

// Run publishes and frees until ctx ends.
func (u *Uplink[P]) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		u.read(u.mail.take())
		wake := u.send(ctx)
		if wake.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(wake))
		}
		select {
		case <-ctx.Done():
		case <-u.mail.signal:
		case <-u.opts.Updated:
		case <-timer.C:
		}
	}
	return nil
}

// read acts on the news.
func (u *Uplink[P]) read(n news) {
	u.connected = n.connected
	if n.session != u.session {
		u.session = n.session
		u.paused = time.Time{}
		u.rewind("connect")
	}
	marked := 0
	for i := range n.acks {
		marked += u.acknowledged(&n.acks[i])
	}
	for i := range n.receipts {
		m, late := u.window.receipt(&n.receipts[i])
		if m == 0 {
			u.count.unmatched.Inc()
		}
		u.count.late.Add(late)
		marked += m
	}
	if marked > 0 {
		u.progress(marked)
	}
}

// acknowledged acts on the end of a publish, and returns how many frames it
// stands for as a receipt.
func (u *Uplink[P]) acknowledged(a *ack) (marked int) {
	switch {
	case a.err != nil:
		u.count.reason("publish_errors_total", u.opts.PublishReason(a.err))
		if a.batch.session == u.session && u.connected {
			u.retreat("publish_error")
		}
	case !u.opts.Receipts && a.batch.generation == u.gen:
		marked = u.window.receiptNumbers(a.batch.first, a.batch.end)
	}
	return marked
}

// progress frees what can be freed now that frames have been receipted.
func (u *Uplink[P]) progress(marked int) {
	u.count.receipted.Add(marked)
	u.backoff.Reset()
	u.probing = false
	if u.stalled {
		u.stalled = false
		u.opts.Logger.Info("receipts resumed")
	}
	flight := u.flight[:0]
	for _, b := range u.flight {
		if !u.window.receipted(b.first, b.end) {
			flight = append(flight, b)
		}
	}
	u.flight = flight

	after, freed, overtaken := u.window.free()
	if freed {
		if err := u.opts.Free(after); err != nil {
			u.count.freeErrs.Inc()
			u.opts.Logger.Error("buffer free failed", "error", err)
		}
	}
	if overtaken {
		u.restart()
	}
}

// send publishes what may be published now. It returns when there will be
// something to do without news; the zero time is never.
func (u *Uplink[P]) send(ctx context.Context) (wake time.Time) {
	now := time.Now()
	defer func() { u.count.unreceipted.Set(float64(len(u.window.entries))) }()
	if !u.connected {
		return time.Time{}
	}
	if len(u.flight) > 0 && !now.Before(u.flight[0].deadline) {
		if !u.stalled {
			u.stalled = true
			u.opts.Logger.Warn("receipts overdue", "frames", len(u.window.entries), "timeout", u.opts.ReceiptTimeout)
		}
		u.retreat("receipt_timeout")
	}
	if now.Before(u.paused) {
		return u.paused
	}
	for len(u.flight) < u.inFlight() {
		full, err := u.fill(now)
		if err != nil {
			u.readFailed(err)
			return u.paused
		}
		if u.draft.frames == 0 {
			break
		}
		if u.window.receipted(u.draft.first, u.draft.end) {
			u.draft.reset()
			continue
		}
		if due := u.draft.due(u.opts.BatchAge); !full && now.Before(due) {
			wake = due
			break
		}
		if wait := u.throttle(now); wait > 0 {
			wake = now.Add(wait)
			break
		}
		if err := u.publish(ctx); err != nil {
			u.count.reason("publish_errors_total", u.opts.PublishReason(err))
			u.retreat("publish_error")
			return u.paused
		}
	}
	if len(u.flight) > 0 && (wake.IsZero() || u.flight[0].deadline.Before(wake)) {
		wake = u.flight[0].deadline
	}
	return wake
}

// inFlight returns how many batches may be on their way.
func (u *Uplink[P]) inFlight() int {
	if u.probing {
		return 1
	}
	return u.opts.InFlight
}

// fill reads frames into the draft until it is full or nothing more is to be
// read. It passes over those that have their receipt.
func (u *Uplink[P]) fill(now time.Time) (full bool, err error) {
	if u.reader == nil {
		u.reader = u.opts.Read()
	}
	for {
		if u.held.frame != nil {
			if !u.draft.add(&u.held, u.opts.BatchSize, now) {
				return true, nil
			}
			u.held.frame = nil
		}
		if u.draft.frames == u.opts.BatchFrames || u.window.next == u.opts.InFlight*u.opts.BatchFrames {
			return true, nil
		}
		after, err := u.reader.Next(&u.frame)
		if errors.Is(err, u.opts.End) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		u.unread = false
		number := u.window.number()
		e, changed := u.window.pass(&u.frame, after)
		if changed {
			u.gen++
		}
		if !e.receipted {
			u.held = held{&u.frame, number, e.sent}
		}
	}
}

// throttle takes the draft's frames from what may be sent now, or returns how
// long it has to wait until that is enough.
func (u *Uplink[P]) throttle(now time.Time) (wait time.Duration) {
	reserved := u.rate.ReserveN(now, u.draft.frames)
	if wait = reserved.DelayFrom(now); wait > 0 {
		reserved.CancelAt(now) // by then the draft may hold more
		if !u.draft.throttled {
			u.draft.throttled = true
			u.count.throttled.Inc()
		}
	}
	return wait
}

// publish sends the draft.
func (u *Uplink[P]) publish(ctx context.Context) error {
	b := batch{
		first:      u.draft.first,
		end:        u.draft.end,
		generation: u.gen,
		session:    u.session,
		deadline:   time.Now().Add(u.opts.ReceiptTimeout),
	}
	payload := u.pack(u.draft.text())
	err := u.opts.Publisher.Publish(ctx, payload, func(err error) {
		u.mail.leave(func(n *news) { n.acks = append(n.acks, ack{b, err}) })
	})
	if err != nil {
		return err
	}
	u.count.batches.Inc()
	u.count.bytes.Add(len(payload))
	u.count.frames.Add(u.draft.frames)
	u.count.retransmitted.Add(u.draft.again)
	u.window.markSent(b.first, b.end)
	u.flight = append(u.flight, b)
	u.draft.reset()
	return nil
}

// pack returns the message in memory of its own, compressed if it is to be and
// becomes smaller.
func (u *Uplink[P]) pack(text []byte) []byte {
	if u.zstd != nil {
		if packed := u.zstd.EncodeAll(text, nil); len(packed) < len(text) {
			return packed
		}
	}
	return slices.Clone(text)
}

// retreat goes back to the first frame not freed, after a pause.
func (u *Uplink[P]) retreat(reason string) {
	u.paused = time.Now().Add(u.backoff.NextBackOff())
	u.rewind(reason)
}

// rewind goes back to the first frame not freed.
func (u *Uplink[P]) rewind(reason string) {
	u.count.reason("rewinds_total", reason)
	u.probing = true
	u.restart()
}

// restart reads from the first frame not freed, and forgets what is on its way
// but for its identities.
func (u *Uplink[P]) restart() {
	u.reader = nil
	u.window.next = 0
	u.flight = u.flight[:0]
	u.draft.restart()
	u.held.frame = nil
}

// readFailed backs off from a buffer that cannot be read.
func (u *Uplink[P]) readFailed(err error) {
	u.count.readErrs.Inc()
	if !u.unread {
		u.unread = true
		u.opts.Logger.Error("buffer unreadable", "error", err)
	}
	u.retreat("read_error")
}
