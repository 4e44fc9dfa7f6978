package bridge

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/telltale-iot/telltale/ingest/internal/deadletter"
	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/kafka/kafkatest"
	"github.com/telltale-iot/telltale/ingest/internal/mqtt"
	"github.com/telltale-iot/telltale/ingest/internal/mqtt/mqtttest"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// running is a bridge with its clients on real sockets.
type running struct {
	frames, seed *mqtt.Subscriber
	registry     *prometheus.Registry
	metrics      *Metrics
	stop         func()
}

// startBridge runs a bridge as the ingest service does, until stop or the end
// of the test.
func startBridge(t *testing.T, broker *mqtttest.Broker, kafkaAddrs ...string) *running {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	r := &running{registry: prometheus.NewRegistry()}
	var err error
	r.metrics, err = NewMetrics(r.registry)
	must(err)
	client, err := kafka.NewClient(kafka.Options{Brokers: kafkaAddrs})
	must(err)
	producer, err := client.NewProducer(kafka.ProducerOptions{
		Topics: Topics(), RequestTimeout: 2 * time.Second, BackoffMin: time.Millisecond, BackoffMax: 50 * time.Millisecond, Retried: r.metrics.Retried,
	})
	must(err)
	server, err := mqtt.New(mqtt.Options{URL: broker.URL(), ClientID: "ingest", Registerer: r.registry, BackoffMin: time.Millisecond, BackoffMax: 50 * time.Millisecond})
	must(err)
	receipts, err := server.Publisher("receipts")
	must(err)
	b, err := New(Options{
		Producer: producer, Receipts: receipts, SeedTopic: telemetry.SeedTopic, Metrics: r.metrics,
		MaxUnacknowledged: 400, MaxUnacknowledgedSize: 8 << 20, BatchMessages: 200, BatchAge: 3 * time.Millisecond,
		MaxFuture: 10 * time.Minute, MaxPayload: 256 << 10, Now: fixedNow,
	})
	must(err)
	handle := func(ctx context.Context, m mqtt.Message) { b.Handle(ctx, Message(m)) }
	r.frames, err = server.Subscriber(mqtt.SubscriberOptions{Name: "frames", Filter: mqtt.Shared("ingest", telemetry.FramesFilter()), Handle: handle})
	must(err)
	r.seed, err = server.Subscriber(mqtt.SubscriberOptions{Name: "seed", Filter: telemetry.SeedTopic, Persistent: true, Handle: handle})
	must(err)

	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	for _, run := range []func(context.Context) error{b.Run, receipts.Run, r.frames.Run, r.seed.Run} {
		tasks.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("a task ended with %v", err)
			}
		})
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		tasks.Wait()
		producer.Close()
		client.Close()
	})
	t.Cleanup(r.stop)
	mqtttest.WaitFor(t, "the bridge is connected", func() bool {
		return r.frames.Connected() && r.seed.Connected() && receipts.Connected()
	})
	return r
}

func send(t *testing.T, broker *mqtttest.Broker, topic, payload string) {
	t.Helper()
	if err := broker.Publish(topic, []byte(payload), false, 1); err != nil {
		t.Fatal(err)
	}
}

// receipted gathers what the receipts cover: "id/epoch/seq".
func receipted(t *testing.T, messages []mqtttest.Message) map[string]bool {
	t.Helper()
	covered := map[string]bool{}
	for _, m := range messages {
		var r telemetry.Receipt
		if err := telemetry.DecodeReceipt([]byte(m.Payload), &r); err != nil {
			t.Fatal(err)
		}
		for _, s := range r.Frames {
			for _, seqs := range s.Seqs {
				for seq := seqs.First; seq <= seqs.Last; seq++ {
					covered[fmt.Sprintf("%s/%d/%d", s.ID, s.Epoch, seq)] = true
				}
			}
		}
	}
	return covered
}

func TestBadInputThroughTheRealProtocols(t *testing.T) {
	cluster := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(3, FramesTopic), kfake.SeedTopics(1, deadletter.Topic))
	broker := mqtttest.Start(t, mqtttest.Options{})
	r := startBridge(t, broker, cluster.ListenAddrs()...)
	reasons := map[string]float64{}
	var want, losses []string
	for _, bad := range badInput {
		send(t, broker, bad.topic, bad.payload)
		if bad.letter == "" {
			bad.letter = bad.payload
		}
		want = append(want, bad.reason+" "+bad.topic+" "+bad.letter)
		if bad.loss != "" {
			losses = append(losses, bad.loss)
		}
		reasons[bad.reason]++
	}
	send(t, broker, deviceTopic, frame)
	send(t, broker, telemetry.SeedTopic, seedFrame)
	mqtttest.WaitFor(t, "all has come", func() bool {
		return testutil.ToFloat64(r.metrics.deviceMessages)+testutil.ToFloat64(r.metrics.seedMessages) == float64(len(badInput)+2) &&
			testutil.ToFloat64(r.metrics.unacknowledged) == 0
	})
	var got []string
	for _, letter := range kafkatest.Records(t, cluster, deadletter.Topic) {
		got = append(got, letter.Headers["reason"]+" "+letter.Headers["topic"]+" "+letter.Value)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
	got = nil
	for _, r := range kafkatest.Records(t, cluster, FramesTopic) {
		got = append(got, r.Value)
	}
	want = append(losses, frame, seedFrame)
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("frames (-want +got):\n%s", diff)
	}
	for reason, n := range reasons {
		if got := testutil.ToFloat64(r.metrics.deadLetters.WithLabelValues(reason)); got != n {
			t.Errorf("%v dead letters are counted as %s, want %v", got, reason, n)
		}
	}
}

// The reference system's sensors publish retained; the frame must arrive byte
// for byte, whenever the bridge comes.
func TestRetainedSeedFrame(t *testing.T) {
	cluster := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(3, FramesTopic), kfake.SeedTopics(1, deadletter.Topic))
	broker := mqtttest.Start(t, mqtttest.Options{})
	if err := broker.Publish(telemetry.SeedTopic, []byte(seedFrame), true, 1); err != nil {
		t.Fatal(err)
	}
	r := startBridge(t, broker, cluster.ListenAddrs()...)
	mqtttest.WaitFor(t, "the frame is in Kafka", func() bool {
		return testutil.ToFloat64(r.metrics.seedMessages) == 1 && testutil.ToFloat64(r.metrics.unacknowledged) == 0
	})
	want := []kafkatest.Record{{
		Partition: int(kafka.Partition([]byte("12434345"), 3)), Time: time.UnixMilli(now), Key: "12434345", Value: seedFrame, Headers: map[string]string{"device": ""},
	}}
	if diff := cmp.Diff(want, kafkatest.Records(t, cluster, FramesTopic)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// flood publishes frames of some sensors, one at a time or in batches, and
// returns the ids of what it sent.
func flood(t *testing.T, broker *mqtttest.Broker, devices, each int) map[string]bool {
	t.Helper()
	sent := map[string]bool{}
	for seq := 0; seq < each; {
		batch := 1 + seq%3
		for d := range devices {
			device := fmt.Sprintf("device-%d", d)
			var frames []string
			for i := range batch {
				frames = append(frames, fmt.Sprintf(`{"id":%q,"timestamp":%d,"epoch":7,"seq":%d}`, device, now+int64(seq+i), seq+i))
				sent[fmt.Sprintf("%s/7/%d", device, seq+i)] = true
			}
			payload := frames[0]
			if batch > 1 {
				payload = "[" + strings.Join(frames, ",") + "]"
			}
			send(t, broker, telemetry.Topic(device, telemetry.Frames), payload)
		}
		seq += batch
	}
	return sent
}

// checkStored checks that Kafka has all that was sent, that each sensor's
// frames came in order at first sight, and that what was receipted is there.
func checkStored(t *testing.T, cluster *kfake.Cluster, sent map[string]bool, receipts []mqtttest.Message) {
	t.Helper()
	var d telemetry.Decoder
	var f telemetry.Frame
	stored := map[string]bool{}
	next := map[string]uint64{}
	for _, r := range kafkatest.Records(t, cluster, FramesTopic) {
		if err := d.Decode([]byte(r.Value), &f); err != nil {
			t.Fatal(err)
		}
		if id := telemetry.FrameID(&f); !stored[id] {
			stored[id] = true
			if f.Seq < next[f.ID] {
				t.Errorf("%s came after seq %d", id, next[f.ID]-1)
			}
			next[f.ID] = f.Seq + 1
		}
	}
	if diff := cmp.Diff(sent, stored); diff != "" {
		t.Errorf("in Kafka (-want +got):\n%s", diff)
	}
	for id := range receipted(t, receipts) {
		if !stored[id] {
			t.Errorf("%s is receipted but not in Kafka", id)
		}
	}
}

func TestKafkaComesLater(t *testing.T) {
	broker := mqtttest.Start(t, mqtttest.Options{})
	port := kafkatest.FreePort(t)
	receipts := broker.Received(t, "telltale/v1/+/receipts")
	r := startBridge(t, broker, fmt.Sprintf("127.0.0.1:%d", port))
	sent := flood(t, broker, 10, 100) // more than may be unacknowledged
	mqtttest.WaitFor(t, "it tries", func() bool { return testutil.ToFloat64(r.metrics.retries.WithLabelValues("connection")) > 3 })
	if n := len(receipts.All()); n != 0 {
		t.Errorf("%d receipts without Kafka", n)
	}
	cluster := kafkatest.Start(t, kfake.NumBrokers(1), kfake.Ports(port), kfake.SeedTopics(6, FramesTopic), kfake.SeedTopics(1, deadletter.Topic))
	mqtttest.WaitFor(t, "all is receipted", func() bool { return maps.Equal(receipted(t, receipts.All()), sent) })
	r.stop()
	checkStored(t, cluster, sent, receipts.All())
}

// Kafka answers errors, does not answer, moves leaders and drops connections
// while frames come. The MQTT connection stays, so that nothing need be sent
// again: all must arrive all the same.
func TestKafkaFailsInMidStream(t *testing.T) {
	cluster := kafkatest.Start(t, kfake.NumBrokers(3), kfake.SeedTopics(6, FramesTopic), kfake.SeedTopics(1, deadletter.Topic))
	broker := mqtttest.Start(t, mqtttest.Options{})
	receipts := broker.Received(t, "telltale/v1/+/receipts")
	r := startBridge(t, broker, cluster.ListenAddrs()...)
	produce := []kmsg.Key{kmsg.Produce}
	cluster.Fault(
		kfake.Fault{Keys: produce, Partitions: []int32{1, 4}, Err: kerr.NotLeaderForPartition, Count: 10},
		kfake.Fault{Keys: produce, Partitions: []int32{2}, Err: kerr.RequestTimedOut, Count: 5},
		kfake.Fault{Keys: produce, Partitions: []int32{3, 4}, Err: kerr.NotEnoughReplicasAfterAppend, Count: 5},
	)
	drops := 0
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if drops++; drops%7 == 3 && drops < 100 {
			return nil, fmt.Errorf("the test closes this connection"), true
		}
		return nil, nil, false
	})
	sent := flood(t, broker, 20, 50)
	cluster.ShufflePartitionLeaders()
	for id := range flood(t, broker, 30, 20) { // sent a second time, in part
		sent[id] = true
	}
	mqtttest.WaitFor(t, "all is receipted", func() bool { return maps.Equal(receipted(t, receipts.All()), sent) })
	r.stop()
	checkStored(t, cluster, sent, receipts.All())
	for _, reason := range []string{"not_leader", "request_timed_out", "connection"} {
		if testutil.ToFloat64(r.metrics.retries.WithLabelValues(reason)) == 0 {
			t.Errorf("no retry is counted as %s", reason)
		}
	}
}

// The bridge dies and another takes its place; the seed clients do not send
// again, so the broker must have kept what was not acknowledged.
func TestSeedFramesOutliveTheBridge(t *testing.T) {
	cluster := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(3, FramesTopic), kfake.SeedTopics(1, deadletter.Topic))
	broker := mqtttest.Start(t, mqtttest.Options{})
	want := map[string]bool{}
	sendSeed := func(n int) {
		for range n {
			payload := fmt.Sprintf(`{"id":"s%d","timestamp":%d}`, len(want)%5, now+int64(len(want)))
			want[payload] = true
			send(t, broker, telemetry.SeedTopic, payload)
		}
	}
	// The first stands before a Kafka that does not answer.
	stalled := make(chan struct{})
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		close(stalled)
		return nil, fmt.Errorf("the test closes this connection"), true
	})
	first := startBridge(t, broker, cluster.ListenAddrs()...)
	sendSeed(300)
	<-stalled
	first.stop()
	sendSeed(100) // nobody is there
	second := startBridge(t, broker, cluster.ListenAddrs()...)
	sendSeed(100)
	mqtttest.WaitFor(t, "all is acknowledged", func() bool {
		c, ok := broker.Clients.Get("ingest-seed")
		return ok && c.State.Inflight.Len() == 0 && testutil.ToFloat64(second.metrics.unacknowledged) == 0
	})
	second.stop()
	got := map[string]bool{}
	for _, r := range kafkatest.Records(t, cluster, FramesTopic) {
		got[r.Value] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
