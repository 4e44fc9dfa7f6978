package bridge

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// taker is a Kafka that has everything at once.
type taker struct{}

func (taker) Produce(context.Context, *kafka.Batch) error { return nil }

// sender is a broker that takes every receipt.
type sender struct{}

func (sender) Publish(string, []byte) bool { return true }

// benchFrame returns a frame of 214 bytes or so.
func benchFrame(device string, seq uint64) telemetry.Frame {
	f := telemetry.Frame{ID: device, Name: "Greenhouse 7", PlaceID: "house-2", Timestamp: 1763870400123 + int64(seq), Sequenced: true, Epoch: 6218342198345, Seq: seq}
	f.Payload.Set(telemetry.Temperature, 21_370_000)
	f.Payload.Set(telemetry.Humidity, 44_200_000)
	f.Payload.Set(telemetry.Pressure, 1013_250_000)
	f.Payload.Set(telemetry.Luminosity, 312_500_000)
	return f
}

// BenchmarkBridge is the bridge without networks: taking messages apart,
// checking, batching, receipts, acknowledgements and metrics.
func BenchmarkBridge(b *testing.B) {
	for _, c := range []struct {
		frames int
		limits Limits
	}{
		{1, Limits{}}, {1, Limits{Rate: 1e9, Bandwidth: 1e12, Burst: 20 * time.Second}},
		{50, Limits{}}, {50, Limits{Rate: 1e9, Bandwidth: 1e12, Burst: 20 * time.Second}},
	} {
		frames := c.frames
		b.Run(fmt.Sprintf("frames=%d/limits=%v", frames, c.limits.Rate > 0), func(b *testing.B) {
			metrics, err := NewMetrics(prometheus.NewRegistry())
			if err != nil {
				b.Fatal(err)
			}
			bridge, err := New(Options{
				Producer: taker{}, Receipts: sender{}, Metrics: metrics, SeedTopic: telemetry.SeedTopic,
				MaxUnacknowledged: 4000, MaxUnacknowledgedSize: 8 << 20, BatchMessages: 2000, BatchAge: 3 * time.Millisecond,
				MaxFuture: 100 * 365 * 24 * time.Hour, MaxPayload: 256 << 10, Limits: c.limits,
			})
			if err != nil {
				b.Fatal(err)
			}
			const devices = 100
			var messages []Message
			for i := range 10 * devices {
				device := fmt.Sprintf("greenhouse-%d", i%devices)
				batch := make([]telemetry.Frame, frames)
				for j := range batch {
					batch[j] = benchFrame(device, uint64(i/devices*frames+j))
				}
				messages = append(messages, Message{Topic: telemetry.Topic(device, telemetry.Frames), Payload: telemetry.AppendBatch(nil, batch), Ack: func() {}})
			}
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- bridge.Run(ctx) }()
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				bridge.Handle(ctx, messages[i%len(messages)])
			}
			b.StopTimer()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(frames), "ns/frame")
			cancel()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}
