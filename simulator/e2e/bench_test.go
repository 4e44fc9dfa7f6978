//go:build integration

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/telltale-iot/telltale/internal/await"
)

// BenchmarkBridge measures the built ingest in the role of the bridge, with
// headers, receipts and metrics on, on real Mosquitto and Kafka.
//
// "queued" stops the process while Mosquitto queues everything, so that the
// load does not take the bridge's share of the processors; "live" offers the
// same at full speed while the bridge runs. The figures are medians over the
// passes after one that warms Kafka up.
func BenchmarkBridge(b *testing.B) {
	startServers(b, "mosquitto", "kafka")
	for _, c := range []struct {
		name            string
		messages, batch int
		queued          bool
	}{
		{"single/queued", 200_000, 1, true},
		{"single/live", 200_000, 1, false},
		{"batch50/queued", 16_000, 50, true},
		{"batch50/live", 16_000, 50, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			ingest := start(b, "telltale-ingest", "run", "--roles", "[bridge]",
				"--mqtt-url", "tcp://"+mqttAddr, "--kafka-brokers", "["+kafkaAddr+"]", "--kafka-partitions", "12", "--metrics-listen", metricsAddr)
			await.True(b, 30*time.Second, "ingest is ready", ready)
			packets := frames(b, c.messages, c.batch, 500)
			pass(b, ingest, packets, c.batch, c.queued)
			var passes []figures
			for b.Loop() {
				passes = append(passes, pass(b, ingest, packets, c.batch, c.queued))
			}
			frames := float64(c.messages * c.batch)
			b.ReportMetric(median(passes, func(f figures) float64 { return float64(c.messages) / f.elapsed.Seconds() }), "msg/s")
			b.ReportMetric(median(passes, func(f figures) float64 { return frames / f.elapsed.Seconds() }), "frames/s")
			b.ReportMetric(median(passes, func(f figures) float64 { return float64(c.messages) / f.offered.Seconds() }), "offered-msg/s")
			b.ReportMetric(median(passes, func(f figures) float64 { return float64(f.cpu.Microseconds()) / float64(c.messages) }), "cpu-ms/1000msg")
			b.ReportMetric(median(passes, func(f figures) float64 { return float64(f.cpu.Microseconds()) / frames }), "cpu-ms/1000frames")
			b.ReportMetric(float64(ingest.usage().peak)/(1<<20), "peak-MB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// figures are those of one pass.
type figures struct {
	elapsed time.Duration // until Kafka had all
	offered time.Duration // until the broker had all
	cpu     time.Duration // of ingest
}

// pass publishes the packets and waits until Kafka has all their frames.
func pass(b *testing.B, ingest *program, packets [][]byte, batch int, queued bool) (f figures) {
	b.Helper()
	load, err := dialPublisher(b.Context(), mqttAddr, "bench")
	if err != nil {
		b.Fatal(err)
	}
	defer load.close()
	want := kafkaRecords(b) + len(packets)*batch
	before := ingest.usage()
	begin := time.Now()
	if queued {
		ingest.signal(syscall.SIGSTOP)
	}
	if err := load.send(b.Context(), packets, 0); err != nil {
		b.Fatal(err)
	}
	f.offered = time.Since(begin)
	if queued {
		begin = time.Now()
		ingest.signal(syscall.SIGCONT)
	}
	await.True(b, 60*time.Second, "all frames in Kafka", func() bool { return kafkaRecords(b) >= want })
	f.elapsed = time.Since(begin)
	f.cpu = ingest.usage().cpu - before.cpu
	return f
}

func ready() bool { return readyAt(metricsAddr) }

// readyAt reports whether the ingest that serves its metrics there can do its
// work.
func readyAt(addr string) bool {
	response, err := http.Get("http://" + addr + "/readyz")
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// kafkaRecords returns how many records the topic of frames has.
func kafkaRecords(tb testing.TB) int {
	tb.Helper()
	return topicRecords(tb, "iot-frames")
}

// topicRecords returns how many records a topic has.
func topicRecords(tb testing.TB, topic string) int {
	tb.Helper()
	client := &kafka.Client{Addr: kafka.TCP(kafkaAddr)}
	metadata, err := client.Metadata(tb.Context(), &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return 0
	}
	var requests []kafka.OffsetRequest
	for _, p := range metadata.Topics[0].Partitions {
		requests = append(requests, kafka.LastOffsetOf(p.ID))
	}
	offsets, err := client.ListOffsets(tb.Context(), &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: requests}})
	if err != nil {
		return 0
	}
	n := int64(0)
	for _, p := range offsets.Topics[topic] {
		n += p.LastOffset
	}
	return int(n)
}

// BenchmarkDemo measures how long a person waits for the demonstration.
func BenchmarkDemo(b *testing.B) {
	for b.Loop() {
		ctx, cancel := context.WithTimeout(b.Context(), 60*time.Second)
		command := exec.CommandContext(ctx, filepath.Join(root, "bin", "telltale-simulator"), "lab", "--for", "25s",
			"--listen-mqtt", "127.0.0.1:0", "--listen-kafka", "127.0.0.1:0", "--listen-mongo", "127.0.0.1:0", "--listen-metrics", "127.0.0.1:0")
		out, err := command.CombinedOutput()
		cancel()
		if err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		for what, unit := range map[string]string{"reading in MongoDB": "s-to-reading", "closed window": "s-to-window"} {
			_, after, ok := bytes.Cut(out, []byte("first "+what+" after "))
			var seconds float64
			if _, err := fmt.Sscan(string(after), &seconds); !ok || err != nil {
				b.Fatalf("no %s in\n%s", what, out)
			}
			b.ReportMetric(seconds, unit)
		}
		b.ReportMetric(0, "ns/op")
	}
}
