package aggregate

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/ingest/internal/window/windowtest"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

const (
	size  = 10 * time.Second
	epoch = 1_700_000_000_000 // Unix ms, the start of a window
)

// clock is the wall clock of a test; each Fetch advances it.
type clock struct{ now time.Time }

func newAggregate(t interface{ Fatal(...any) }, store Store, producer Producer, c *clock, maxOpen int) *Aggregate {
	a, err := New(Options{
		Window:    window.Options{Size: size, Reorder: 2 * time.Second, Idle: 30 * time.Second, MaxOpen: maxOpen},
		Retention: 24 * time.Hour,
		Store:     store, Producer: producer,
		Now:      func() time.Time { return c.now },
		Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// run works on p until everything is read and has been idle, or ctx ends.
func run(ctx context.Context, c *clock, p *partition, work func(context.Context, Source) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := 0
	p.fetched = func() {
		c.now = c.now.Add(10 * time.Millisecond)
		if p.next < int64(len(p.messages)) {
			idle = 0
			return
		}
		c.now = c.now.Add(5 * time.Second)
		if idle++; idle > 10 {
			cancel()
		}
	}
	return work(ctx, p)
}

// reading draws a frame out of few enough identities that duplicates, gaps and
// late ones abound. All of it follows from the identity.
func reading(t *rapid.T) telemetry.Frame {
	n := rapid.IntRange(0, 49).Draw(t, "n")
	s := rapid.IntRange(0, 2).Draw(t, "sensor")
	f := telemetry.Frame{ID: fmt.Sprintf("s%d", s), Name: fmt.Sprintf("name-%d", n/20), PlaceID: fmt.Sprintf("p%d", (s+n/30)%2)}
	f.Timestamp = epoch + int64(n)*800
	if n%9 == 0 {
		f.Timestamp -= 25_000 // a clock that jumps
	}
	if s > 0 || n%3 > 0 {
		f.Sequenced, f.Epoch, f.Seq = true, uint64(1+n/35), uint64(n)
	}
	if n%7 > 0 {
		f.Payload.Set(telemetry.Temperature, telemetry.Micro((n*n-300)*1_234_567))
	}
	f.Payload.Set(telemetry.Pressure, telemetry.MaxMicro-telemetry.Micro(n))
	return f
}

func loss(t *rapid.T) telemetry.Frame {
	first := rapid.Uint64Range(0, 49).Draw(t, "first")
	return telemetry.Frame{
		ID:    fmt.Sprintf("s%d", rapid.IntRange(0, 2).Draw(t, "sensor")),
		Epoch: rapid.Uint64Range(1, 2).Draw(t, "epoch"),
		Lost: telemetry.Loss{
			Seqs:   telemetry.SeqRange{First: first, Last: first + rapid.Uint64Range(0, 4).Draw(t, "more")},
			Reason: rapid.SampledFrom([]string{"buffer_full", "power_cut"}).Draw(t, "reason"),
		},
	}
}

func message(offset int, f *telemetry.Frame) kafka.Message {
	return kafka.Message{Offset: int64(offset), Record: kafka.Record{
		Key: []byte(f.ID), Value: telemetry.AppendFrame(nil, f), Time: epoch + 3_600_000,
	}}
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// plainAll returns what is stored without the revisions.
func plainAll(stored map[string][]byte) map[string]string {
	all := map[string]string{}
	for id, data := range stored {
		all[id] = windowtest.Plain(data)
	}
	return all
}

// records returns what is to be published of what is stored.
func records(stored map[string][]byte) map[string]string {
	all := map[string]string{}
	for id, data := range stored {
		all[id] = windowtest.Record(data)
	}
	return all
}

const never = 1 << 30

// faults makes operations fail, some after having been done, and ends a life
// at one of them: from then on all of them fail.
type faults struct {
	t       *rapid.T
	crashAt int // operation at which the life ends
	n       int
	often   int // one operation in so many fails and is tried again
	end     context.CancelFunc
}

func (f *faults) fault() (done bool, err error) {
	f.n++
	if f.n >= f.crashAt {
		f.end()
		// The one at which it ends may have been done.
		return f.n == f.crashAt && rapid.Bool().Draw(f.t, "done before the crash"), errAway
	}
	if rapid.IntRange(0, f.often).Draw(f.t, "fails") == 0 {
		return rapid.Bool().Draw(f.t, "done"), errAway
	}
	return true, nil
}

// TestWindowsEqualTheNaiveBatch is the oracle property: whatever the order,
// the duplicates, and wherever the processes crash, the windows stored, and the
// last record of each key on Kafka, are those of the set of distinct frames.
func TestWindowsEqualTheNaiveBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Hidden behind testing.TB, the test's deadline, which has no meaning
		// in a bubble, is not asked for.
		rapid.Check(struct{ testing.TB }{t}, checkOracle)
	})
}

func checkOracle(t *rapid.T) {
	store, kafkaTwin := newTwin(), newTopics()
	c := &clock{now: time.UnixMilli(epoch + 3_600_000)}
	maxOpen := rapid.IntRange(1, 8).Draw(t, "max open")
	frames := make([]telemetry.Frame, rapid.IntRange(1, 80).Draw(t, "frames"))
	source := &partition{batch: rapid.IntRange(1, 20).Draw(t, "batch")}
	for i := range frames {
		if rapid.IntRange(0, 9).Draw(t, "is loss") == 0 {
			frames[i] = loss(t)
		} else {
			frames[i] = reading(t)
		}
		source.messages = append(source.messages, message(i, &frames[i]))
	}
	parts := &partition{batch: source.batch}
	live := func(p *partition, work func(*Aggregate) func(context.Context, Source) error, crashAt int) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		f := &faults{t: t, crashAt: crashAt, often: rapid.IntRange(3, 30).Draw(t, "often"), end: cancel}
		store.fault = func(string) (bool, error) { return f.fault() }
		kafkaTwin.fault = f.fault
		p.fault = func() error {
			_, err := f.fault()
			if err != nil && crashAt != never {
				cancel() // as the group's heartbeat does
				return fmt.Errorf("%w: %w", kafka.ErrNotOwner, err)
			}
			return nil // it has been tried again
		}
		if err := run(ctx, c, p, work(newAggregate(t, store, kafkaTwin, c, maxOpen))); err != nil {
			t.Fatal(err)
		}
		store.fault, kafkaTwin.fault = nil, nil
	}
	lives := rapid.IntRange(0, 5).Draw(t, "crashes")
	for life := range lives + 1 {
		crashAt := never
		if life < lives {
			crashAt = rapid.IntRange(1, 25).Draw(t, "crash at")
		}
		source = source.reassigned()
		live(source, func(a *Aggregate) func(context.Context, Source) error { return a.Sensors }, crashAt)
		parts = parts.reassigned()
		parts.messages = nil
		for i, r := range kafkaTwin.records[PartsTopic] {
			parts.messages = append(parts.messages, kafka.Message{Offset: int64(i), Record: r})
		}
		if life < lives {
			crashAt = rapid.IntRange(1, 25).Draw(t, "crash of places at")
		}
		live(parts, func(a *Aggregate) func(context.Context, Source) error { return a.Places }, crashAt)
	}
	wantSensors, wantPlaces := windowtest.Windows(frames, size)
	if diff := cmp.Diff(wantSensors, plainAll(store.sensors)); diff != "" {
		t.Fatalf("sensors: -naive +stored:\n%s", diff)
	}
	if diff := cmp.Diff(wantPlaces, plainAll(store.places)); diff != "" {
		t.Fatalf("places: -naive +stored:\n%s", diff)
	}
	if diff := cmp.Diff(records(store.sensors), kafkaTwin.last(SensorsTopic)); diff != "" {
		t.Fatalf("sensors: -stored +last on Kafka:\n%s", diff)
	}
	if diff := cmp.Diff(records(store.places), kafkaTwin.last(PlacesTopic)); diff != "" {
		t.Fatalf("places: -stored +last on Kafka:\n%s", diff)
	}
}
