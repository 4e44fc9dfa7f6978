package buffer

import (
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

func frame(id string, ts int64, v telemetry.Micro) *telemetry.Frame {
	f := &telemetry.Frame{ID: id, Name: "Sensor " + id, PlaceID: "house-2", Timestamp: ts}
	f.Payload.Set(telemetry.Temperature, v)
	return f
}

// drain returns all that r has.
func drain(t testing.TB, r *Reader) []telemetry.Frame {
	t.Helper()
	var frames []telemetry.Frame
	for {
		var f telemetry.Frame
		_, err := r.Next(&f)
		if errors.Is(err, ErrEnd) {
			return frames
		}
		if err != nil {
			t.Fatalf("Next: %v", err)
		}
		frames = append(frames, f)
	}
}

func mustOpen(t testing.TB, o Options) *Buffer {
	t.Helper()
	b, err := Open(o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return b
}

func mustAppend(t testing.TB, b *Buffer, f *telemetry.Frame) telemetry.Frame {
	t.Helper()
	if err := b.Append(f); err != nil {
		t.Fatalf("Append: %v", err)
	}
	return *f
}

func TestReopen(t *testing.T) {
	o := Options{Dir: t.TempDir(), BootID: "one"}
	b := mustOpen(t, o)
	var want []telemetry.Frame
	for i := range 100 {
		want = append(want, mustAppend(t, b, frame("a", int64(i), telemetry.Micro(i))))
		want = append(want, mustAppend(t, b, frame("b", int64(i), telemetry.Micro(-i))))
	}
	cmpFrames(t, drain(t, b.Reader()), want)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	o.BootID = "two"
	b = mustOpen(t, o)
	want = append(want, mustAppend(t, b, frame("a", 100, 5)))
	cmpFrames(t, drain(t, b.Reader()), want)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func cmpFrames(t testing.TB, got, want []telemetry.Frame) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(telemetry.Payload{})); diff != "" {
		t.Errorf("frames (-want +got):\n%s", diff)
	}
}

// TestConcurrent has all methods called at once.
func TestConcurrent(t *testing.T) {
	const perSensor = 2000
	b := mustOpen(t, Options{Dir: t.TempDir(), SegmentSize: MinSegmentSize, MaxSize: 64 << 20, ReserveAhead: 4, BootID: "1"})
	var writers, others sync.WaitGroup
	done := make(chan struct{})
	for _, id := range sensorIDs {
		writers.Go(func() {
			for i := range int64(perSensor) {
				f := frame(id, i, 1)
				if err := b.Append(f); err != nil {
					t.Error(err)
				}
				if f.Seq != uint64(i) {
					t.Errorf("%s/%d, want %d", id, f.Seq, i)
				}
			}
		})
	}
	others.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if err := b.Commit(); err != nil {
				t.Error(err)
			}
			b.Stats()
		}
	})
	next := map[string]uint64{}
	r := b.Reader()
	for n := 0; n < perSensor*len(sensorIDs); {
		var f telemetry.Frame
		p, err := r.Next(&f)
		if errors.Is(err, ErrEnd) {
			<-b.Updated()
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if f.Seq != next[f.ID] {
			t.Fatalf("%s/%d, want %d", f.ID, f.Seq, next[f.ID])
		}
		next[f.ID]++
		n++
		if err := b.Free(p); err != nil {
			t.Fatal(err)
		}
	}
	writers.Wait()
	close(done)
	others.Wait()
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	if s := b.Stats(); s.Frames != 0 || s.Segments > 2 {
		t.Errorf("stats %+v, want no frames in two segments at most", s)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestStats frees reading by reading, over several segments.
func TestStats(t *testing.T) {
	b := mustOpen(t, Options{FS: newDisk(), SegmentSize: MinSegmentSize, BootID: "1"})
	const n = 2000
	for i := range int64(n) {
		mustAppend(t, b, frame(sensorIDs[i%3], i+1, 1))
	}
	r := b.Reader()
	for i := range n {
		s := b.Stats()
		if s.Frames != uint64(n-i) || s.Oldest != int64(i+1) || s.Appended != n {
			t.Fatalf("stats %+v after %d were freed", s, i)
		}
		var f telemetry.Frame
		p, err := r.Next(&f)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Free(p); err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			if err := b.Commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s := b.Stats(); s.Frames != 0 || s.Oldest != 0 {
		t.Errorf("stats %+v, want nothing", s)
	}
}
