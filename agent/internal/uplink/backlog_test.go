package uplink_test

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/telltale-iot/telltale/agent/internal/buffer"
	"github.com/telltale-iot/telltale/agent/internal/uplink"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

const (
	backlogFrames = 260_000 // three days at one a second
	drainRate     = 1000
	batchFrames   = 50
	inFlight      = 8
	latency       = 40 * time.Millisecond // from a message to its receipt
	heapGrowth    = 8 << 20               // the most that draining may take
)

// receiver is a broker and an ingest service that lose nothing. It keeps only
// what it checks: the sequence number that comes next, and the rate.
type receiver struct {
	t      *testing.T
	ctx    context.Context
	uplink *uplink.Uplink[buffer.Position]

	mu      sync.Mutex
	decoder telemetry.Decoder
	next    uint64  // the sequence number of the next frame
	level   float64 // frames beyond the rate, by the token bucket's definition
	at      time.Time
}

func (r *receiver) Publish(_ context.Context, payload []byte, acked func(error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var receipt telemetry.Receipt
	err := r.decoder.Each(payload, func(_ []byte, f *telemetry.Frame, err error) {
		if err != nil || f.Seq != r.next {
			r.t.Errorf("got frame %d, %v; want %d", f.Seq, err, r.next)
		}
		r.next = f.Seq + 1
		r.level++
		receipt.Add(f.ID, f.Epoch, telemetry.SeqRange{First: f.Seq, Last: f.Seq})
	})
	if err != nil {
		r.t.Errorf("message: %v", err)
	}
	now := time.Now()
	r.level = max(r.level-drainRate*now.Sub(r.at).Seconds(), 0)
	r.at = now
	if r.level > batchFrames+1e-6 {
		r.t.Errorf("%.3f frames beyond the rate at frame %d, want at most %d", r.level, r.next, batchFrames)
	}
	answer := telemetry.AppendReceipt(nil, &receipt)
	time.AfterFunc(latency, func() {
		if r.ctx.Err() == nil {
			acked(nil)
			r.uplink.Receive(answer)
		}
	})
	return nil
}

func (r *receiver) received() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

func reading(n int) *telemetry.Frame {
	f := &telemetry.Frame{ID: "greenhouse-7", Name: "Greenhouse 7", PlaceID: "house-2", Timestamp: 1763870400123 + int64(n)*1000}
	f.Payload.Set(telemetry.Temperature, telemetry.Micro(21_370_000+n%100*10_000))
	f.Payload.Set(telemetry.Humidity, 44_200_000)
	f.Payload.Set(telemetry.Pressure, 1_013_250_000)
	f.Payload.Set(telemetry.Luminosity, telemetry.Micro(312_500_000+n%7*833_333))
	return f
}

// TestBacklog drains three days of readings from a real buffer, while new ones
// come: oldest first, at MaxDrainRate, and in memory that does not grow with the
// backlog.
func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := buffer.Open(buffer.Options{Dir: t.TempDir(), BootID: "1"})
		if err != nil {
			t.Fatal(err)
		}
		appended := 0
		add := func() {
			if err := b.Append(reading(appended)); err != nil {
				t.Fatal(err)
			}
			appended++
		}
		for range backlogFrames {
			add()
		}
		ctx, cancel := context.WithCancel(t.Context())
		r := &receiver{t: t, ctx: ctx, at: time.Now()}
		set := metrics.NewSet()
		r.uplink, err = uplink.New(uplink.Options[buffer.Position]{
			Read: func() uplink.Reader[buffer.Position] { return b.Reader() }, End: buffer.ErrEnd, Free: b.Free, Updated: b.Updated(),
			Publisher: r, PublishReason: func(error) string { return "other" }, Receipts: true,
			BatchFrames: batchFrames, BatchSize: 64 << 10, BatchAge: time.Second, MaxDrainRate: drainRate, InFlight: inFlight,
			ReceiptTimeout: 10 * time.Second, BackoffMin: 500 * time.Millisecond, BackoffMax: time.Minute,
			Logger: slog.New(slog.DiscardHandler), Metrics: set,
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- r.uplink.Run(ctx) }()

		began, before, most := time.Now(), heap(), uint64(0)
		unreceipted := set.GetOrCreateGauge("telltale_agent_uplink_unreceipted_frames", nil)
		r.uplink.Connected()
		for b.Stats().Frames > 0 && time.Since(began) < time.Hour {
			<-time.After(time.Second)
			if b.Stats().Frames > batchFrames {
				add()
			}
			if n := unreceipted.Get(); n > inFlight*batchFrames {
				t.Fatalf("remembers %g frames, want at most %d", n, inFlight*batchFrames)
			}
			if appended%20 == 0 {
				if err := b.Commit(); err != nil {
					t.Fatal(err)
				}
				most = max(most, heap())
			}
		}
		took := time.Since(began)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := r.received(); got != uint64(appended) {
			t.Errorf("received %d frames of %d", got, appended)
		}
		if least := time.Duration(appended-batchFrames) * time.Second / drainRate; took < least || took > least+5*time.Second {
			t.Errorf("took %v, want %v and at most 5 s more", took, least)
		}
		if most > before+heapGrowth {
			t.Errorf("the heap grew from %d to %d bytes, want at most %d more", before, most, heapGrowth)
		}
		t.Logf("%d frames in %v of the bubble's time; heap before %d KiB, at most %d KiB", appended, took, before>>10, most>>10)
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}

// heap returns the bytes of live objects.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
