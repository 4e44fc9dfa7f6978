package remotewrite

import (
	"fmt"
	"testing"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// BenchmarkBatch makes the request of 400 frames of 40 sensors.
func BenchmarkBatch(b *testing.B) {
	var frames []telemetry.Frame
	for i := range 400 {
		f := telemetry.Frame{ID: fmt.Sprintf("greenhouse-%d", i%40), Name: "Greenhouse", PlaceID: "house-2", Timestamp: start + int64(i)}
		for m := range telemetry.Measure(telemetry.Measures) {
			f.Payload.Set(m, telemetry.Micro(i*1000))
		}
		frames = append(frames, f)
	}
	batch := newBatch()
	samples, size := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		for i := range frames {
			batch.add(&frames[i])
		}
		batch.sort()
		samples += batch.samples
		body, err := encode(batch.series)
		if err != nil {
			b.Fatal(err)
		}
		size += len(body)
		batch.reset()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(samples), "ns/sample")
	b.ReportMetric(float64(size)/float64(samples), "bytes/sample")
}
