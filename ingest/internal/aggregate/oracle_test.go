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

	"github.com/telltale-iot/telltale/ingest/internal/deadletter"
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
	if n%13 == 0 {
		f.PlaceID = "" // in no window of a place
	}
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

// TestWindowsEqualTheNaiveBatch is the oracle property: whatever the order, the
// duplicates, the faults, and wherever owners are killed, replaced or go on for a
// while as zombies, the windows stored, and the last record of each key on
// Kafka, are those of the set of distinct frames.
func TestWindowsEqualTheNaiveBatch(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) { bubble(t, func() { checkOracle(r) }) })
}

// FuzzWindowsEqualTheNaiveBatch looks for the same with the fuzzer's guidance.
func FuzzWindowsEqualTheNaiveBatch(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		rapid.MakeFuzz(func(r *rapid.T) { bubble(t, func() { checkOracle(r) }) })(t, data)
	})
}

// bubble runs f in a bubble of synctest, and panics as f does: so rapid's
// checks fail.
func bubble(t *testing.T, f func()) {
	var failure any
	synctest.Test(t, func(*testing.T) {
		defer func() { failure = recover() }()
		f()
	})
	if failure != nil {
		panic(failure)
	}
}

func checkOracle(t *rapid.T) {
	w := newWorld(t)
	defer w.end()
	frames := make([]telemetry.Frame, rapid.IntRange(1, 80).Draw(t, "frames"))
	for i := range frames {
		if rapid.IntRange(0, 9).Draw(t, "is loss") == 0 {
			frames[i] = loss(t)
		} else {
			frames[i] = reading(t)
		}
	}
	w.chaos(rapid.IntRange(0, 500).Draw(t, "steps"), frames)
	w.settle()
	wantSensors, wantPlaces := windowtest.Windows(frames, size)
	if diff := cmp.Diff(wantSensors, plainAll(w.store.sensors)); diff != "" {
		t.Fatalf("sensors: -naive +stored:\n%s", diff)
	}
	if diff := cmp.Diff(wantPlaces, plainAll(w.store.places)); diff != "" {
		t.Fatalf("places: -naive +stored:\n%s", diff)
	}
	if diff := cmp.Diff(records(w.store.sensors), w.topics.last(SensorsTopic)); diff != "" {
		t.Fatalf("sensors: -stored +last on Kafka:\n%s", diff)
	}
	if diff := cmp.Diff(records(w.store.places), w.topics.last(PlacesTopic)); diff != "" {
		t.Fatalf("places: -stored +last on Kafka:\n%s", diff)
	}
	if n := len(w.topics.last(deadletter.Topic)); n > 0 {
		t.Fatalf("%d dead letters", n)
	}
}
