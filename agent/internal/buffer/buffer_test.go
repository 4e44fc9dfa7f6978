package buffer

import (
	"errors"
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

func BenchmarkAppend(b *testing.B) {
	buf := mustOpen(b, Options{Dir: b.TempDir(), MaxSize: 1 << 30, BootID: "x"})
	f := frame("greenhouse-7", 1763870400123, 21_370_000)
	f.Payload.Set(telemetry.Humidity, 44_200_000)
	f.Payload.Set(telemetry.Pressure, 1013_250_000)
	f.Payload.Set(telemetry.Luminosity, 312_500_000)
	b.ReportAllocs()
	for b.Loop() {
		if err := buf.Append(f); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	s := buf.Stats()
	b.ReportMetric(float64(s.BytesWritten)/float64(b.N), "B-written/op")
	b.ReportMetric(float64(s.Syncs), "syncs")
	if err := buf.Close(); err != nil {
		b.Fatal(err)
	}
}
