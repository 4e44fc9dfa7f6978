package bridge

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// message is one of a device, of frames that follow on each other.
func message(device string, seq, frames int) Message {
	batch := make([]telemetry.Frame, frames)
	for i := range batch {
		batch[i] = telemetry.Frame{ID: device, Timestamp: now, Sequenced: true, Epoch: 9, Seq: uint64(seq + i)}
	}
	return Message{Topic: telemetry.Topic(device, telemetry.Frames), Payload: telemetry.AppendBatch(nil, batch)}
}

// TestThrottle has a bridge take messages at certain times. What it does not take
// is acknowledged at once, and gets no receipt.
func TestThrottle(t *testing.T) {
	type arrival struct {
		at        time.Duration
		message   Message
		throttled string // why; "" is taken
	}
	a := func(at time.Duration, seq, frames int, throttled string) arrival {
		return arrival{at, message("a", seq, frames), throttled}
	}
	of := func(at time.Duration, topic, payload, throttled string) arrival {
		return arrival{at, Message{Topic: topic, Payload: []byte(payload)}, throttled}
	}
	topic := telemetry.Topic("a", telemetry.Frames)
	garbage := strings.Repeat("x", 1000)
	tenFrames := Limits{Rate: 10, Burst: 2 * time.Second}
	kilobyte := Limits{Bandwidth: 1000, Burst: 2 * time.Second}
	for name, test := range map[string]struct {
		limits   Limits
		arrivals []arrival
		receipts []string
	}{
		"no limits": {Limits{}, []arrival{a(0, 0, 500, ""), a(0, 500, 500, "")}, []string{"0-999"}},
		"a burst, then the rate": {tenFrames, []arrival{
			a(0, 0, 15, ""), a(0, 15, 5, ""), a(0, 20, 1, "rate"),
			a(999*time.Millisecond, 20, 1, "rate"), // it has saved up nine
			a(time.Second, 20, 1, ""), a(time.Second, 21, 9, ""), a(time.Second, 30, 1, "rate"),
		}, []string{"0-29"}},
		"within the rate": {tenFrames, []arrival{a(0, 0, 20, ""), a(time.Second, 20, 10, ""), a(2*time.Second, 30, 10, ""), a(2100*time.Millisecond, 40, 1, "")}, []string{"0-40"}},
		"a message larger than the burst": {tenFrames, []arrival{
			a(0, 0, 50, ""), a(2999*time.Millisecond, 50, 1, "rate"), // owes thirty, and once it is denied ten are to be saved up
			a(3999*time.Millisecond, 50, 1, "rate"), a(4*time.Second, 50, 1, ""),
		}, []string{"0-50"}},
		"others are not concerned": {tenFrames, []arrival{
			a(0, 0, 20, ""), a(0, 20, 5, "rate"), {0, message("b", 0, 20), ""}, {0, message("b", 20, 1), "rate"}, {0, message("c", 0, 1), ""},
		}, []string{"0-19", "0-19", "0-0"}},
		"the sensors of a device share its limit": {tenFrames, []arrival{
			a(0, 0, 20, ""), of(0, topic, `{"id":"a.roof","timestamp":1763870400000,"epoch":9,"seq":1}`, "rate"),
		}, []string{"0-19"}},
		"a client of the seed topic has none": {tenFrames, []arrival{
			of(0, telemetry.SeedTopic, seedFrame, ""), of(0, telemetry.SeedTopic, "["+strings.Repeat(seedFrame+",", 50)+seedFrame+"]", ""), of(0, telemetry.SeedTopic, seedFrame, ""),
		}, nil},
		"messages of nothing": {Limits{Rate: 1, Burst: 3 * time.Second}, []arrival{of(0, topic, "[]", ""), of(0, topic, "", ""), of(0, topic, "[]", ""), of(0, topic, "[]", "rate")}, nil},
		"garbage":             {Limits{Rate: 1, Burst: 2 * time.Second}, []arrival{of(0, topic, garbage, ""), of(0, topic, garbage, ""), of(0, topic, garbage, "rate")}, nil},
		"a message of zeros": {tenFrames, []arrival{
			of(0, topic, "["+strings.Repeat("0,", 499)+"0]", ""), of(47900*time.Millisecond, topic, "[]", "rate"), of(49100*time.Millisecond, topic, "[]", ""),
		}, nil},
		"oversize": {kilobyte, []arrival{
			of(0, topic, strings.Repeat("x", 200_000), ""), of(197*time.Second, topic, "[]", "bandwidth"), of(199*time.Second, topic, "[]", ""),
		}, nil},
		"bandwidth": {kilobyte, []arrival{of(0, topic, garbage, ""), of(0, topic, garbage, ""), of(0, topic, "[]", "bandwidth"), of(time.Second, topic, "[]", "")}, nil},
		"what a message becomes counts": {kilobyte, []arrival{
			of(0, deviceTopic, string(compress(t, ofSize(50_000))), ""), of(47*time.Second, deviceTopic, "[]", "bandwidth"), of(49*time.Second, deviceTopic, "[]", ""),
		}, []string{"70-70"}},
		"topics that are no device's share a limit": {tenFrames, []arrival{
			of(0, "telltale/v1/a b/frames", strings.Repeat("x", 20), ""), of(0, "telltale/v1//frames", "", ""), of(0, "telltale/v1/c+/frames", "", ""),
		}, nil},
		"and that holds": {Limits{Rate: 1, Burst: time.Second}, []arrival{
			of(0, "telltale/v1/a b/frames", "", ""), of(0, "telltale/v1//frames", "", "rate"), a(0, 0, 1, ""),
		}, []string{"0-0"}},
	} {
		t.Run(name, func(t *testing.T) {
			kafka, receipts := &produced{}, &receiptsSent{}
			clock := time.UnixMilli(now)
			b, registry := newBridge(t, Options{Producer: kafka, Receipts: receipts, Limits: test.limits, BatchAge: time.Hour})
			b.options.Now = func() time.Time { return clock }
			var acked []bool
			want := map[string]float64{reasonRate: 0, reasonBandwidth: 0}
			var letGo float64
			for i, arrival := range test.arrivals {
				clock = time.UnixMilli(now).Add(arrival.at)
				acked = append(acked, false)
				arrival.message.Ack = func() { acked[i] = true }
				b.Handle(t.Context(), arrival.message)
				if acked[i] != (arrival.throttled != "") {
					t.Fatalf("message %d: acknowledged without being written: %v, want %v", i, acked[i], !acked[i])
				}
				if acked[i] {
					want[arrival.throttled]++
					letGo += float64(len(arrival.message.Payload))
				}
			}
			got := map[string]float64{}
			for reason := range want {
				got[reason] = testutil.ToFloat64(b.options.Metrics.throttled[reason])
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("throttled (-want +got):\n%s", diff)
			}
			if n := testutil.ToFloat64(b.options.Metrics.throttledBytes); n != letGo {
				t.Errorf("%v bytes throttled, want %v", n, letGo)
			}
			if n := int(got[reasonRate] + got[reasonBandwidth]); b.unacknowledged != len(test.arrivals)-n {
				t.Errorf("%d messages taken of %d, of which %d are throttled", b.unacknowledged, len(test.arrivals), n)
			}
			if n, err := testutil.GatherAndCount(registry, "telltale_bridge_throttled_total"); n != 2 || err != nil {
				t.Errorf("%d series, %v: want both reasons, even without an event", n, err)
			}
			if err := b.deliver(t.Context(), b.filling); err != nil {
				t.Fatal(err)
			}
			if i := slices.Index(acked, false); i >= 0 {
				t.Errorf("message %d is not acknowledged", i)
			}
			var seqs []string
			for _, sent := range receipts.sent {
				_, payload, _ := strings.Cut(sent, " ")
				var r telemetry.Receipt
				if err := telemetry.DecodeReceipt([]byte(payload), &r); err != nil {
					t.Fatal(err)
				}
				for _, f := range r.Frames {
					for _, s := range f.Seqs {
						seqs = append(seqs, fmt.Sprintf("%d-%d", s.First, s.Last))
					}
				}
			}
			if diff := cmp.Diff(test.receipts, seqs); diff != "" {
				t.Errorf("receipts (-want +got):\n%s", diff)
			}
		})
	}
}

// TestThrottledMessageWaitsForNobody floods a bridge that takes nothing more, as
// Kafka does not answer.
func TestThrottledMessageWaitsForNobody(t *testing.T) {
	b, _ := newBridge(t, Options{Producer: &produced{gate: make(chan error)}, MaxUnacknowledged: 1, Limits: Limits{Rate: 1, Burst: time.Second}})
	b.Handle(t.Context(), message("a", 0, 1))
	acked := 0
	for range 1000 {
		m := message("a", 1, 50)
		m.Ack = func() { acked++ }
		b.Handle(t.Context(), m)
	}
	if acked != 1000 || b.unacknowledged != 1 {
		t.Errorf("%d messages acknowledged and %d taken, want 1000 and 1", acked, b.unacknowledged)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.Handle(ctx, Message{Topic: deviceTopic, Ack: func() { t.Error("a message is acknowledged after the end") }})
}

// TestThrottleSpeaksOnceAMinute reads the log of a device that floods for an hour.
func TestThrottleSpeaksOnceAMinute(t *testing.T) {
	var log bytes.Buffer
	b, _ := newBridge(t, Options{Producer: &produced{}, Limits: Limits{Rate: 1, Burst: time.Second}, Logger: slog.New(slog.NewTextHandler(&log, nil)), BatchMessages: 1e6, MaxUnacknowledged: 1e6})
	clock := time.UnixMilli(now)
	b.options.Now = func() time.Time { return clock }
	throttled := 0
	for range 36_000 {
		m := message("a", 0, 1)
		m.Ack = func() { throttled++ }
		b.Handle(t.Context(), m)
		clock = clock.Add(100 * time.Millisecond)
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 60 || !strings.Contains(lines[0], `level=WARN msg="device throttled" device=a reason=rate messages=1`) {
		t.Errorf("%d lines, want 60, such as\n%s", len(lines), lines[0])
	}
	told := 0
	for _, line := range lines {
		var n int
		if _, err := fmt.Sscanf(line[strings.Index(line, "messages="):], "messages=%d", &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		told += n
	}
	if told < throttled-600 || told > throttled {
		t.Errorf("the log tells of %d messages, want those of 59 minutes of %d", told, throttled)
	}
}

// limitsDrawn are limits for properties, and a throttle of them.
func limitsDrawn(t *rapid.T) (Limits, *throttle) {
	l := Limits{
		Rate:      rapid.SampledFrom([]int{0, 1, 7, 200, 2000}).Draw(t, "rate"),
		Bandwidth: int64(rapid.SampledFrom([]int{0, 1, 1000, 2 << 20}).Draw(t, "bandwidth")),
		Burst:     time.Duration(rapid.IntRange(1000, 30_000).Draw(t, "burst, ms")) * time.Millisecond,
	}
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return l, newThrottle(l, metrics, slog.New(slog.DiscardHandler))
}

// leaky is a token bucket by its definition: a level that goes down at a rate.
type leaky struct {
	perSecond, level, depth float64
	at                      time.Time
}

// pour adds n at that time and returns the level before it.
func (l *leaky) pour(n float64, at time.Time) (before float64) {
	l.level = max(l.level-l.perSecond*at.Sub(l.at).Seconds(), 0)
	l.at = at
	before = l.level
	l.level += n
	return before
}

// TestNoArrivalsPassTheLimit draws arrivals of several devices. Over any interval,
// what is taken of one but for the last message is less than rate and burst allow;
// and whoever has been silent until his debt is paid, and one second more, is
// heard.
func TestNoArrivalsPassTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits, throttle := limitsDrawn(t)
		clock := time.UnixMilli(now)
		type held struct {
			frames, bytes leaky
			denied        time.Time // of the last message, if it was
		}
		devices := map[string]*held{}
		for i := range rapid.IntRange(1, 300).Draw(t, "messages") {
			clock = clock.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 40, 1000, 20_000}).Draw(t, "pause, ms")) * time.Millisecond)
			from := origin{device: rapid.SampledFrom([]string{"a", "b", ""}).Draw(t, "device")}
			frames, size := rapid.IntRange(0, 500).Draw(t, "frames"), rapid.IntRange(0, 300_000).Draw(t, "bytes")
			d := devices[from.device]
			if d == nil {
				d = &held{
					frames: leaky{perSecond: float64(limits.Rate), depth: float64(limits.Rate) * limits.Burst.Seconds(), at: clock},
					bytes:  leaky{perSecond: float64(limits.Bandwidth), depth: float64(limits.Bandwidth) * limits.Burst.Seconds(), at: clock},
				}
				devices[from.device] = d
			}
			b := throttle.of(from, clock)
			if throttle.denies(b, from, size, clock) {
				d.denied = clock
				const slack = 2 // tokens: depths are whole ones
				owed := func(l *leaky) float64 {
					if l.perSecond == 0 {
						return 0
					}
					return (l.level-l.perSecond*clock.Sub(l.at).Seconds()-l.depth+slack)/l.perSecond + recovery.Seconds()
				}
				if owed(&d.frames) <= 0 && owed(&d.bytes) <= 0 {
					t.Fatalf("message %d of %q is throttled, though more than a second is saved up", i, from.device)
				}
				continue
			}
			b.charge(frames, int64(size), clock)
			for what, l := range map[string]*leaky{"frames": &d.frames, "bytes": &d.bytes} {
				n := map[string]int{"frames": frames, "bytes": size}[what]
				if before := l.pour(float64(max(n, 1)), clock); l.perSecond > 0 && before > math.Max(l.depth, 1)+1e-6 {
					t.Fatalf("message %d of %q is taken: an interval up to it has %.3f %s beyond the rate, the burst is %.3f", i, from.device, before, what, l.depth)
				}
			}
		}
	})
}

// TestWhoKeepsToTheLimitIsNotThrottled draws arrivals of one device, of which
// those are left out that rate and burst do not allow, among those of another that
// floods.
func TestWhoKeepsToTheLimitIsNotThrottled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits, throttle := limitsDrawn(t)
		clock := time.UnixMilli(now)
		whole := func(perSecond float64) leaky { // depths are whole tokens
			return leaky{perSecond: perSecond, depth: math.Floor(perSecond * limits.Burst.Seconds()), at: clock}
		}
		frames, size := whole(float64(limits.Rate)), whole(float64(limits.Bandwidth))
		good, flood := origin{device: "good"}, origin{device: "flood"}
		for i := range rapid.IntRange(1, 200).Draw(t, "messages") {
			clock = clock.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "pause, ms")) * time.Millisecond)
			for range 3 {
				if b := throttle.of(flood, clock); !throttle.denies(b, flood, 1000, clock) {
					b.charge(500, 1000, clock)
				}
			}
			n, bytes := rapid.IntRange(1, 100).Draw(t, "frames"), rapid.IntRange(1, 20_000).Draw(t, "bytes")
			f, s := frames, size
			if f.pour(float64(n), clock); f.perSecond > 0 && f.level > f.depth {
				continue
			}
			if s.pour(float64(bytes), clock); s.perSecond > 0 && s.level > s.depth {
				continue
			}
			frames, size = f, s
			b := throttle.of(good, clock)
			if throttle.denies(b, good, bytes, clock) {
				t.Fatalf("message %d is throttled for its %s: %d frames and %d bytes", i, b.reason, n, bytes)
			}
			b.charge(n, int64(bytes), clock)
		}
	})
}

// TestBucketsAreBounded has more devices come than there are buckets.
func TestBucketsAreBounded(t *testing.T) {
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	const most = fewBuckets + 1000
	throttle := newThrottle(Limits{Rate: 10, Burst: 2 * time.Second}, metrics, slog.New(slog.DiscardHandler))
	throttle.most = most
	clock := time.UnixMilli(now)
	take := func(device string, frames int) (taken bool) {
		t.Helper()
		from := origin{device: device}
		b := throttle.of(from, clock)
		if throttle.denies(b, from, 100, clock) {
			return false
		}
		b.charge(frames, 100, clock)
		if n := len(throttle.buckets); n > most+1 || float64(n) != testutil.ToFloat64(metrics.buckets) {
			t.Fatalf("%d buckets, and the metric says %v; want at most %d", n, testutil.ToFloat64(metrics.buckets), most+1)
		}
		return true
	}
	for i := range most {
		if !take(fmt.Sprintf("flood-%d", i), 20) {
			t.Fatalf("device %d has no bucket of its own", i)
		}
	}
	if !take("new-1", 20) || take("new-2", 1) {
		t.Error("two devices that come when there are no more buckets do not share one")
	}
	if take("flood-7", 1) {
		t.Error("a device that has used up its limit got a new bucket")
	}
	clock = clock.Add(1500 * time.Millisecond) // fifteen of twenty
	if !take("flood-7", 15) || !take("new-3", 15) || take("new-4", 1) {
		t.Error("buckets that are not full are taken away")
	}
	clock = clock.Add(1500 * time.Millisecond)
	if !take("new-5", 20) || take("new-5", 1) || !take("new-6", 20) {
		t.Error("devices have no buckets of their own when those of others are full again")
	}
	if n := len(throttle.buckets); n > 10 {
		t.Errorf("%d buckets, want those of devices that have not all of their burst", n)
	}
	if !take("flood-7", 15) || take("flood-7", 1) {
		t.Error("the bucket that was kept is not that of the device")
	}
}

// BenchmarkThrottled is a message that is not taken.
func BenchmarkThrottled(b *testing.B) {
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	bridge, err := New(Options{
		Producer: taker{}, Metrics: metrics, SeedTopic: telemetry.SeedTopic, MaxUnacknowledged: 4000, MaxUnacknowledgedSize: 8 << 20, BatchMessages: 2000,
		MaxPayload: 256 << 10, Limits: Limits{Rate: 1, Bandwidth: 1000, Burst: time.Second},
	})
	if err != nil {
		b.Fatal(err)
	}
	m := message("a", 0, 50)
	m.Ack = func() {}
	bridge.Handle(b.Context(), message("a", 0, 5_000))
	b.ReportAllocs()
	for b.Loop() {
		bridge.Handle(b.Context(), m)
	}
	if bridge.unacknowledged != 1 {
		b.Fatalf("%d messages taken, want 1", bridge.unacknowledged)
	}
}
