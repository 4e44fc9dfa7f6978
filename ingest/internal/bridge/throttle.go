package bridge

import (
	"log/slog"
	"math"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// The reasons for which messages are throttled.
const (
	reasonRate      = "rate"      // more frames than Limits.Rate and Limits.Burst allow
	reasonBandwidth = "bandwidth" // more bytes than Limits.Bandwidth and Limits.Burst allow
)

// Limits is what one device may have taken of its messages. What is beyond is
// throttled: it is acknowledged to the broker, but neither written nor receipted,
// so that the device sends it again.
type Limits struct {
	Rate      int           // frames a second, refused ones included; a message without one counts as one. 0 is no limit
	Bandwidth int64         // bytes of payloads a second, decompressed; 0 is no limit
	Burst     time.Duration // how much of both may come at once; at least a millisecond if there is a limit
}

const (
	// maxBuckets bounds the devices that have buckets of their own, some 400 bytes
	// each. Only devices that sent within the last Burst or so need one.
	maxBuckets = 50_000

	// fewBuckets are kept even if they are not needed.
	fewBuckets = 5000

	// sweepPause is the least time between two searches for buckets that are not
	// needed any more.
	sweepPause = time.Second

	// recovery is how much of its rate a device that is throttled must have saved up
	// before its messages are taken again. An agent that waits for receipts has sent
	// all that it will by then, so that what it is denied is the end of its stream
	// and not every other message of it: frames stay in order.
	recovery = time.Second

	// sayPause is the least time between two lines in the log about one device.
	sayPause = time.Minute
)

// throttle keeps the token buckets of devices. A device without one has full
// buckets. It is not safe for concurrent use.
type throttle struct {
	limits  Limits
	metrics *Metrics
	log     *slog.Logger
	most    int                // buckets, but for the shared one
	buckets map[string]*bucket // by device; "" is shared by all that have none of their own
	due     int                // sweep when there are so many
	swept   time.Time
}

// bucket is what is left to one device.
type bucket struct {
	frames, bytes *rate.Limiter
	until         time.Time // its messages are throttled until then
	reason        string    // and why
	denied        int       // messages throttled that the log has not told of
	said          time.Time // when it last did
}

func newThrottle(l Limits, m *Metrics, log *slog.Logger) *throttle {
	return &throttle{limits: l, metrics: m, log: log, most: maxBuckets, due: fewBuckets, buckets: map[string]*bucket{}}
}

// of returns the bucket of whom a message is from; nil is without limits. Invalid
// topics share one.
func (t *throttle) of(from origin, now time.Time) *bucket {
	if from.seed || t.limits.Rate == 0 && t.limits.Bandwidth == 0 {
		return nil
	}
	device := from.device
	b, ok := t.buckets[device]
	if !ok && len(t.buckets) >= min(t.due, t.most) {
		t.sweep(now)
		if len(t.buckets) >= t.most {
			device = ""
			b, ok = t.buckets[device]
		}
	}
	if !ok {
		b = &bucket{
			frames: limiter(float64(t.limits.Rate), t.limits.Burst),
			bytes:  limiter(float64(t.limits.Bandwidth), t.limits.Burst),
		}
		t.buckets[strings.Clone(device)] = b // not a part of the whole topic
		t.metrics.buckets.Set(float64(len(t.buckets)))
	}
	return b
}

// limiter returns a bucket that is full, of a rate a second; 0 is no limit.
func limiter(perSecond float64, burst time.Duration) *rate.Limiter {
	if perSecond == 0 {
		return rate.NewLimiter(rate.Inf, 1)
	}
	depth := math.Min(math.Max(perSecond*burst.Seconds(), 1), math.MaxInt32)
	return rate.NewLimiter(rate.Limit(perSecond), int(depth))
}

// sweep takes away the buckets that are full: they are as good as none.
func (t *throttle) sweep(now time.Time) {
	if now.Sub(t.swept) < sweepPause {
		return
	}
	t.swept = now
	for device, b := range t.buckets {
		if device != "" && b.full(now) {
			delete(t.buckets, device)
		}
	}
	t.due = max(fewBuckets, 2*len(t.buckets))
	t.metrics.buckets.Set(float64(len(t.buckets)))
}

// full reports whether b does not differ from a new one, but for the log.
func (b *bucket) full(now time.Time) bool {
	return !now.Before(b.until) &&
		b.frames.TokensAt(now) >= float64(b.frames.Burst()) && b.bytes.TokensAt(now) >= float64(b.bytes.Burst())
}

// denies reports whether a message of n bytes is not to be taken, and counts it.
// As long as something is left in both buckets a message is taken, however large:
// what it takes beyond that, the next ones wait for.
func (t *throttle) denies(b *bucket, from origin, n int, now time.Time) bool {
	if b == nil {
		return false
	}
	if !now.Before(b.until) {
		frames, bytes := wait(b.frames, now), wait(b.bytes, now)
		if frames == 0 && bytes == 0 {
			return false
		}
		b.reason = reasonRate
		if bytes > frames {
			b.reason = reasonBandwidth
		}
		b.until = now.Add(max(frames, bytes))
	}
	t.metrics.throttled[b.reason].Inc()
	t.metrics.throttledBytes.Add(float64(n))
	b.denied++
	if now.Sub(b.said) >= sayPause {
		t.log.Warn("device throttled", "device", from.device, "reason", b.reason, "messages", b.denied)
		b.said, b.denied = now, 0
	}
	return true
}

// wait returns for how long nothing more is to be taken; 0 if there is something
// left in l.
func wait(l *rate.Limiter, now time.Time) time.Duration {
	left := l.TokensAt(now)
	if left > 0 {
		return 0
	}
	perSecond := float64(l.Limit())
	goal := math.Min(perSecond*recovery.Seconds(), float64(l.Burst()))
	return time.Duration(math.Ceil((goal - left) / perSecond * float64(time.Second)))
}

// charge takes a message's frames and bytes from the buckets, into debt if it must
// be; of an empty message, one of each.
func (b *bucket) charge(frames int, bytes int64, now time.Time) {
	if b == nil {
		return
	}
	spend(b.frames, int64(max(frames, 1)), now)
	spend(b.bytes, max(bytes, 1), now)
}

func spend(l *rate.Limiter, n int64, now time.Time) {
	if l.Limit() == rate.Inf {
		return
	}
	for depth := int64(l.Burst()); n > 0; n -= depth { // one reservation is of the depth at most
		l.ReserveN(now, int(min(n, depth)))
	}
}
