package window

import (
	"fmt"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// BenchmarkEngine counts frames of 500 sensors at 1 Hz into 5-minute windows;
// the windows that close are discarded.
func BenchmarkEngine(b *testing.B) {
	const sensors = 500
	e, err := NewEngine(Options{Size: 5 * time.Minute, Reorder: 2 * time.Second, Idle: 30 * time.Second, MaxOpen: 10_000}, 0)
	if err != nil {
		b.Fatal(err)
	}
	frames := make([]telemetry.Frame, sensors)
	for i := range frames {
		f := telemetry.Frame{ID: fmt.Sprintf("sensor-%d", i), Name: "Sensor", PlaceID: "place", Sequenced: true, Epoch: 1}
		for m := range telemetry.Measure(telemetry.Measures) {
			f.Payload.Set(m, telemetry.Micro(21_370_000+i))
		}
		frames[i] = f
	}
	now := time.Unix(1e9, 0)
	b.ReportAllocs()
	position := int64(0)
	for b.Loop() {
		f := &frames[position%sensors]
		f.Timestamp = 1e12 + position/sensors*1000
		f.Seq = uint64(position / sensors)
		if outcome := e.Add(f, position, now); outcome != Counted {
			b.Fatalf("outcome %d", outcome)
		}
		if len(e.Ready()) > 0 {
			e.Done()
		}
		position++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
}
