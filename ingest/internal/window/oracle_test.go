package window

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/ingest/internal/window/windowtest"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

const testSize = 10 * time.Second

// drawFrame draws a frame of sensor s out of few enough identities that
// duplicates, gaps and neighbours abound. All of it is a function of the
// identity, as in life.
func drawFrame(t *rapid.T) telemetry.Frame {
	n := rapid.IntRange(0, 39).Draw(t, "n")
	f := telemetry.Frame{ID: "s", Name: fmt.Sprintf("name-%d", n/15), PlaceID: fmt.Sprintf("place-%d", n/30)}
	f.Timestamp = int64(n*700 - 5000)
	switch n % 7 {
	case 0:
		f.Sequenced = false // identity is the timestamp
	case 1, 2:
		f.Sequenced, f.Epoch, f.Seq = true, 7, uint64(n)
	default:
		f.Sequenced, f.Epoch, f.Seq = true, 3, uint64(n)
	}
	if n%11 != 0 {
		f.Payload.Set(telemetry.Temperature, telemetry.Micro(n*n-300)*1_234_567)
	}
	if n%5 != 0 {
		f.Payload.Set(telemetry.Luminosity, telemetry.MaxMicro-telemetry.Micro(n))
	}
	return f
}

// naive returns the document of the window at i by the oracle.
func naive(frames []telemetry.Frame, i Interval) string {
	sensors, _ := windowtest.Windows(frames, testSize)
	return sensors[i.ID("s")]
}

// document returns the stored form of w.
func document(t rapid.TB, w *Window) string {
	t.Helper()
	missing, lost := Explain(w.Gaps(), nil)
	d, _ := w.Document(1, missing, lost)
	b, err := json.Marshal(&Document{Fields: d.Stored()})
	if err != nil {
		t.Fatal(err)
	}
	return windowtest.Plain(b)
}

// restored stores w and loads it again.
func restored(t rapid.TB, w *Window) *Window {
	t.Helper()
	missing, lost := Explain(w.Gaps(), nil)
	d, _ := w.Document(w.Revision+1, missing, lost)
	b, err := json.Marshal(&Document{Fields: d.Stored()})
	if err != nil {
		t.Fatal(err)
	}
	var s State
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	r, err := Restore(&s)
	if err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	if r.Changed(missing, lost) {
		t.Fatal("a window just restored says that it changed")
	}
	return r
}

// TestReconcileIsUnion: windows counted apart, stored in between, and
// reconciled or counted again where they overlap, equal the naive batch.
func TestReconcileIsUnion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		i := IntervalOf(0, testSize)
		var all []telemetry.Frame
		var stored *Window
		for range rapid.IntRange(1, 6).Draw(t, "lives") {
			var frames []telemetry.Frame
			for range rapid.IntRange(1, 20).Draw(t, "frames") {
				if f := drawFrame(t); i.Start <= f.Timestamp && f.Timestamp < i.End {
					frames = append(frames, f)
				}
			}
			local := New("s", i)
			for _, f := range frames {
				if _, err := local.Count(&f); err != nil {
					t.Fatal(err)
				}
			}
			all = append(all, frames...)
			if len(frames) == 0 {
				continue
			}
			if stored == nil {
				stored = restored(t, local)
				continue
			}
			again := restored(t, stored) // Reconcile may use up its arguments
			again.Revision = stored.Revision
			merged, ok := Reconcile(again, local)
			if !ok {
				merged = restored(t, stored)
				for _, f := range frames {
					if _, err := merged.Count(&f); err != nil {
						t.Fatal(err)
					}
				}
			}
			stored = restored(t, merged)
		}
		if stored == nil {
			return
		}
		if diff := cmp.Diff(naive(all, i), document(t, stored)); diff != "" {
			t.Fatalf("-naive +window:\n%s", diff)
		}
	})
}

// TestEngineCountsEachFrameOnce: whatever the order and the moments at which
// windows close and open again, the windows equal the naive batch.
func TestEngineCountsEachFrameOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Options{Size: testSize, Reorder: 2 * time.Second, Idle: 30 * time.Second, MaxOpen: rapid.IntRange(1, 4).Draw(t, "max open")}
		e, err := NewEngine(o, 0)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Unix(1e9, 0)
		stored := make(map[Interval]*Window)
		store := func() {
			for _, w := range e.Ready() {
				if old := stored[w.Interval]; old != nil && old.Revision != w.Revision {
					t.Fatalf("window %v of revision %d closes without having been read at revision %d", w.Interval, w.Revision, old.Revision)
				}
				stored[w.Interval] = restored(t, w)
			}
			e.Done()
		}
		var all []telemetry.Frame
		for position := range int64(rapid.IntRange(1, 60).Draw(t, "frames")) {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 1, 40}).Draw(t, "pause")) * time.Second)
			e.Tick(now)
			store()
			f := drawFrame(t)
			all = append(all, f)
			if e.Add(&f, position, now) == Late {
				store()
				w := stored[IntervalOf(f.Timestamp, testSize)]
				if w == nil {
					w = New("s", IntervalOf(f.Timestamp, testSize))
				}
				e.Open(w, position, now)
				if outcome := e.Add(&f, position, now); outcome != Counted && outcome != Duplicate {
					t.Fatalf("outcome %d after Open", outcome)
				}
			}
			e.Shed()
			store()
			if e.Len() > o.MaxOpen {
				t.Fatalf("%d windows open of at most %d", e.Len(), o.MaxOpen)
			}
			if needed := e.Needed(position + 1); (needed <= position) != (e.Len() > 0) {
				t.Fatalf("needed %d with %d windows open at %d", needed, e.Len(), position)
			}
		}
		e.Tick(now.Add(o.Idle))
		store()
		if e.Len() != 0 {
			t.Fatalf("%d windows open after idle", e.Len())
		}
		for i, w := range stored {
			if diff := cmp.Diff(naive(all, i), document(t, w)); diff != "" {
				t.Fatalf("-naive +window:\n%s", diff)
			}
		}
		for _, f := range all {
			if stored[IntervalOf(f.Timestamp, testSize)] == nil {
				t.Fatalf("frame at %d is in no window", f.Timestamp)
			}
		}
	})
}
