//go:build integration

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator"
	"github.com/telltale-iot/telltale/simulator/i2csim"
	"github.com/telltale-iot/telltale/simulator/verify"
)

// The limits of a device in TestFlood.
const (
	floodRate      = 1000
	floodBandwidth = "512KiB"
	floodBurst     = 2 * time.Second
	floodFor       = 10 * time.Second
)

// runAgent runs one real agent, which samples every interval, until the test ends.
func runAgent(t *testing.T, device string, interval time.Duration, uplink map[string]any, observe func(*telemetry.Frame)) *simulator.Fleet {
	t.Helper()
	fleet, err := simulator.New(simulator.Options{
		Devices: 1, Places: 1, Prefix: device, Interval: interval, Seed: 1, Dir: t.TempDir(), MQTT: simulator.MQTT{URL: "tcp://" + mqttAddr},
		Source: func(int) (i2csim.Source, error) {
			return i2csim.Constant{Temperature: physic.ZeroCelsius + 21*physic.Celsius, Humidity: 40 * physic.PercentRH, Pressure: 101325 * physic.Pascal}, nil
		},
		Uplink: uplink, Observe: observe, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- fleet.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the agent ended with %v", err)
		}
	})
	return fleet
}

// quietDevice is an agent, and how long each of its readings was under way from
// its sampling to its receipt.
type quietDevice struct {
	fleet   *simulator.Fleet
	mu      sync.Mutex
	sampled map[uint64]time.Time // by seq
	took    map[uint64]time.Duration
}

func startQuiet(t *testing.T) *quietDevice {
	t.Helper()
	q := &quietDevice{sampled: map[uint64]time.Time{}, took: map[uint64]time.Duration{}}
	client := mustDialMQTT(t, "tcp://"+mqttAddr, nil, func(o *paho.ClientOptions) { o.SetClientID("listener") })
	token := client.Subscribe(telemetry.Topic("quiet-1", telemetry.Receipts), 1, func(_ paho.Client, m paho.Message) {
		now := time.Now()
		var r telemetry.Receipt
		if err := telemetry.DecodeReceipt(m.Payload(), &r); err != nil {
			t.Errorf("receipt %q: %v", m.Payload(), err)
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		for _, frames := range r.Frames {
			for _, seqs := range frames.Seqs {
				for seq := seqs.First; seq <= seqs.Last; seq++ {
					if at, ok := q.sampled[seq]; ok && q.took[seq] == 0 {
						q.took[seq] = max(now.Sub(at), 1)
					}
				}
			}
		}
	})
	if !token.WaitTimeout(30*time.Second) || token.Error() != nil {
		t.Fatalf("subscribe: %v", token.Error())
	}
	q.fleet = runAgent(t, "quiet", 20*time.Millisecond, map[string]any{"batch_age": "0s"}, func(f *telemetry.Frame) {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.sampled[f.Seq] = time.UnixMilli(f.Timestamp)
	})
	return q
}

// latencies returns the median and the 95th percentile of the readings sampled
// between two times, all of which have their receipt.
func (q *quietDevice) latencies(t *testing.T, from, to time.Time) (n int, median, p95 time.Duration) {
	t.Helper()
	var took []time.Duration
	await.True(t, time.Minute, "receipts for all readings", func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		took = took[:0]
		for seq, at := range q.sampled {
			if at.Before(from) || !at.Before(to) {
				continue
			}
			if q.took[seq] == 0 {
				return false
			}
			took = append(took, q.took[seq])
		}
		return len(took) > 0
	})
	slices.Sort(took)
	return len(took), took[len(took)/2], took[len(took)*95/100]
}

// floodOf makes the messages of a device that floods.
func floodOf(kind string) (packets [][]byte) {
	topic := telemetry.Topic("flood", telemetry.Frames)
	switch kind {
	case "frames":
		list := make([]telemetry.Frame, 50)
		for i := range 1000 {
			for j := range list {
				seq := i*len(list) + j
				list[j] = telemetry.Frame{ID: "flood", Timestamp: time.Now().UnixMilli(), Sequenced: true, Epoch: 1, Seq: uint64(seq)}
				list[j].Payload.Set(telemetry.Temperature, telemetry.Micro(seq))
			}
			packets = append(packets, packet(topic, telemetry.AppendBatch(nil, list)))
		}
	case "single frames":
		for seq := range 20_000 {
			packets = append(packets, packet(topic, fmt.Appendf(nil, `{"id":"flood","timestamp":%d,"epoch":2,"seq":%d}`, time.Now().UnixMilli(), seq)))
		}
	case "oversize":
		for range 100 {
			packets = append(packets, packet(topic, bytes.Repeat([]byte("x"), 300<<10)))
		}
	case "garbage":
		for i := range 20_000 {
			packets = append(packets, packet(topic, fmt.Appendf(nil, "temperature=%d", i)))
		}
	case "refused frames":
		for range 1000 {
			packets = append(packets, packet(topic, []byte("["+string(bytes.Repeat([]byte("0,"), 5000))+"0]")))
		}
	}
	return packets
}

// TestFlood has one device publish as fast as the broker takes it, messages of
// several kinds, while another is at work as ever. What goes to Kafka of the first
// is bounded, and the second does not notice much.
func TestFlood(t *testing.T) {
	startServers(t, "mosquitto", "kafka")
	start(t, "telltale-ingest", "run", "--roles", "[bridge]",
		"--mqtt-url", "tcp://"+mqttAddr, "--kafka-brokers", "["+kafkaAddr+"]", "--kafka-partitions", "4", "--metrics-listen", metricsAddr,
		"--bridge-device-rate", strconv.Itoa(floodRate), "--bridge-device-bandwidth", floodBandwidth, "--bridge-device-burst", floodBurst.String())
	await.True(t, 2*time.Minute, "ingest is ready", ready)
	quiet := startQuiet(t)
	await.True(t, 2*time.Minute, "receipts of the quiet device", func() bool { return quiet.fleet.Stats().Sampled > 100 && quiet.fleet.Stats().Buffered < 10 })
	metric := func(name string) float64 { return metricAt(t, metricsAddr, name) }
	throttled := func() float64 {
		return metric(`telltale_bridge_throttled_total{reason="rate"}`) + metric(`telltale_bridge_throttled_total{reason="bandwidth"}`)
	}

	began := time.Now()
	<-time.After(floodFor)
	n, calmMedian, calmP95 := quiet.latencies(t, began, time.Now())
	t.Logf("without a flood: %d readings, median %v, 95th percentile %v", n, calmMedian, calmP95)
	for _, kind := range []string{"frames", "single frames", "oversize", "garbage", "refused frames"} {
		packets := floodOf(kind)
		flood, err := dialPublisher(t.Context(), mqttAddr, "flood")
		if err != nil {
			t.Fatal(err)
		}
		framesBefore, throttledBefore, bytesBefore := metric("telltale_bridge_frames_total"), throttled(), metric("telltale_bridge_throttled_bytes_total")
		lettersBefore := deadLetters(t)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), floodFor)
		sent := 0
		for ctx.Err() == nil {
			if err := flood.send(ctx, packets, 0); err != nil && ctx.Err() == nil {
				t.Fatal(err)
			}
			sent += len(packets)
		}
		cancel()
		flood.close()
		end := time.Now()
		n, median, p95 := quiet.latencies(t, began, end)
		took := time.Since(began)
		frames, letters := metric("telltale_bridge_frames_total")-framesBefore-float64(n), deadLetters(t)-lettersBefore
		denied := throttled() - throttledBefore
		t.Logf("%s: up to %d messages in %v, %.0f throttled with %.0f MB; of it %.0f frames and %d dead letters taken; quiet: %d readings, median %v (%.1f times), 95th percentile %v (%.1f times)",
			kind, sent, took.Round(time.Millisecond), denied, (metric("telltale_bridge_throttled_bytes_total")-bytesBefore)/1e6, frames, letters, n,
			median, ratio(median, calmMedian), p95, ratio(p95, calmP95))
		if denied < float64(sent)/10 {
			t.Errorf("%s: %.0f messages of about %d are throttled", kind, denied, sent)
		}
		// The last message may exceed the limit by all that is in it. Readings of the
		// quiet device that came after the end are among the frames.
		if most := floodRate*(took+floodBurst).Seconds() + 10_000; frames > most || float64(letters) > most {
			t.Errorf("%s: %.0f frames and %d dead letters are taken in %v, want at most %.0f", kind, frames, letters, took, most)
		}
		if median > max(20*calmMedian, 500*time.Millisecond) || p95 > max(20*calmP95, 2*time.Second) { // others may be busy, too
			t.Errorf("%s: the quiet device's readings took %v, 95th percentile %v; without the flood %v and %v", kind, median, p95, calmMedian, calmP95)
		}
	}

	quiet.fleet.StopSampling()
	await.True(t, time.Minute, "all readings of the quiet device receipted", func() bool { return quiet.fleet.Stats().Buffered == 0 })
	records := map[uint64]int{}
	var decoder telemetry.Decoder
	for _, record := range readTopic(t, kafkaAddr, "iot-frames") {
		var f telemetry.Frame
		if err := decoder.Decode(record.Value, &f); err != nil {
			t.Fatal(err)
		}
		if f.ID == "quiet-1" && !f.IsLoss() {
			records[f.Seq]++
		}
	}
	sampled := quiet.fleet.Stats().Sampled
	missing := 0
	for seq := range sampled {
		if records[seq] == 0 {
			missing++
		}
	}
	t.Logf("quiet: %d readings sampled, %d missing in Kafka", sampled, missing)
	if missing > 0 {
		t.Errorf("%d readings of the quiet device are not in Kafka", missing)
	}
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// deadLetters returns how many dead letters Kafka has.
func deadLetters(t *testing.T) int {
	t.Helper()
	return topicRecords(t, "iot-dead-letter")
}

// TestThrottledBacklog has a real agent, which may send five times as fast as its
// limit allows, deliver a backlog: at about the limit, in full, and nothing twice.
func TestThrottledBacklog(t *testing.T) {
	const (
		rate    = 200 // frames a second
		burst   = 4 * time.Second
		backlog = 4000
		window  = 5 * time.Second
	)
	startServers(t, "mosquitto", "kafka", "mongo")
	dropDatabase(t)
	journal := verify.NewJournal(nil)
	agent := runAgent(t, "large", 10*time.Millisecond, map[string]any{"receipt_timeout": "2s"}, journal.Record)
	await.True(t, 8*time.Minute, "a backlog", func() bool { return agent.Stats().Buffered >= backlog })
	agent.StopSampling()
	start(t, "telltale-ingest", "run",
		"--mqtt-url", "tcp://"+mqttAddr, "--kafka-brokers", "["+kafkaAddr+"]", "--kafka-partitions", "4",
		"--mongo-uri", mongoURI(), "--mongo-database", databaseName, "--aggregate-window", window.String(), "--aggregate-idle", "5s",
		"--metrics-listen", metricsAddr, "--bridge-device-rate", strconv.Itoa(rate), "--bridge-device-burst", burst.String())
	await.True(t, 2*time.Minute, "the first receipt", func() bool { return agent.Stats().Buffered < backlog })
	began, first := time.Now(), agent.Stats().Buffered
	await.True(t, 5*time.Minute, "all receipted", func() bool { return agent.Stats().Buffered == 0 })
	took := time.Since(began)
	throttled := metricAt(t, metricsAddr, `telltale_bridge_throttled_total{reason="rate"}`)
	least := time.Duration(float64(first)/rate*float64(time.Second)) - burst
	taken := metricAt(t, metricsAddr, "telltale_bridge_frames_total")
	t.Logf("%d readings in %v, of which the limit asks for %v; %v messages throttled, %v frames taken", first, took.Round(time.Millisecond), least.Round(time.Millisecond), throttled, taken)
	if throttled == 0 {
		t.Error("no message was throttled")
	}
	if took < least-time.Second || took > 2*least {
		t.Errorf("the backlog took %v, want %v, and not twice that", took, least)
	}
	report := awaitEqual(t, journal, []string{kafkaAddr}, verify.Rules{Window: window})
	if report.Sampled != journal.Len() || report.Missing != 0 || report.Duplicate != 0 {
		t.Errorf("%d readings were sampled: %s", journal.Len(), report)
	}
}
