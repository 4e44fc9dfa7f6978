package bridge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/telltale-iot/telltale/ingest/internal/deadletter"
	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// TestMain finds what the tests leave running.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// now is the time of receipt in the tests.
const now int64 = 1763870400123

func fixedNow() time.Time { return time.UnixMilli(now) }

// produced is a Kafka in memory. Each batch waits at the gate, if there is one.
type produced struct {
	gate    chan error // what Produce returns
	mu      sync.Mutex
	records []record
	batches int
}

type record struct {
	Topic, Key, Value string
	Headers           map[string]string
	Time              int64
}

func (p *produced) Produce(ctx context.Context, b *kafka.Batch) error {
	if p.gate != nil {
		select {
		case err := <-p.gate:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.batches++
	for i := range b.Len() {
		p.records = append(p.records, recordAt(b, i))
	}
	return nil
}

func recordAt(b *kafka.Batch, i int) record {
	topic, r := b.Record(i)
	out := record{Topic: topic, Key: string(r.Key), Value: string(r.Value), Headers: map[string]string{}, Time: r.Time}
	for _, h := range r.Headers {
		out.Headers[h.Key] = string(h.Value)
	}
	return out
}

// receiptsSent keeps what is published.
type receiptsSent struct {
	mu   sync.Mutex
	sent []string
	away bool
}

func (r *receiptsSent) Publish(topic string, payload []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, topic+" "+string(payload))
	return !r.away
}

func newBridge(t *testing.T, o Options) (*Bridge, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	metrics, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	o.Metrics = metrics
	if o.MaxUnacknowledged == 0 {
		o.MaxUnacknowledged = 100
	}
	if o.MaxUnacknowledgedSize == 0 {
		o.MaxUnacknowledgedSize = 8 << 20
	}
	if o.BatchMessages == 0 {
		o.BatchMessages = 50
	}
	o.SeedTopic = telemetry.SeedTopic
	o.MaxFuture = 10 * time.Minute
	o.MaxPayload = 100_000
	o.Now = fixedNow
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b, registry
}

// TestLatency counts how long readings were under way when Kafka has them, as far
// as it is known when they were sampled.
func TestLatency(t *testing.T) {
	device := telemetry.Topic("a", telemetry.Frames)
	b, registry := newBridge(t, Options{Producer: &produced{}, BatchMessages: 1}) // a batch is used again
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	acked := make(chan struct{})
	for _, m := range []Message{
		{Topic: device, Payload: fmt.Appendf(nil, `[{"id":"a","timestamp":%d,"epoch":1,"seq":0},{"id":"a","timestamp":%d,"epoch":1,"seq":1}]`, now-200, now-7_200_000)},
		{Topic: device, Payload: fmt.Appendf(nil, `{"id":"a","timestamp":%d,"epoch":1,"seq":2}`, now+60_000)},                        // counts as no time at all
		{Topic: device, Payload: fmt.Appendf(nil, `{"id":"a","timestamp":%d,"epoch":1,"seq":3,"clock":"unsynced"}`, now-86_400_000)}, // not known
		{Topic: device, Payload: []byte(`{"id":"a","epoch":1,"lost":{"seq":[4,5],"reason":"power_cut"}}`)},
		{Topic: telemetry.SeedTopic, Payload: fmt.Appendf(nil, `{"id":"b","timestamp":%d}`, now-86_400_000), Retained: true},
		{Topic: device, Payload: fmt.Appendf(nil, `{"id":"other","timestamp":%d}`, now)}, // refused
	} {
		m.Ack = func() { acked <- struct{}{} }
		b.Handle(ctx, m)
		<-acked
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "telltale_bridge_latency_seconds" {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		if h.GetSampleCount() != 3 || h.GetSampleSum() != 7200.2 {
			t.Errorf("%d readings with %v s, want 3 with 7200.2 s", h.GetSampleCount(), h.GetSampleSum())
		}
		return
	}
	t.Error("no histogram")
}

// carry has a bridge carry the messages and returns what it wrote, receipted
// and counted.
func carry(t *testing.T, messages ...Message) ([]record, []string, *prometheus.Registry) {
	t.Helper()
	kafka, receipts := &produced{}, &receiptsSent{}
	b, registry := newBridge(t, Options{Producer: kafka, Receipts: receipts})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	acked := make(chan int, len(messages))
	for i, m := range messages {
		m.Ack = func() { acked <- i }
		b.Handle(ctx, m)
	}
	go func() { done <- b.Run(ctx) }()
	for i := range messages {
		if got := <-acked; got != i {
			t.Errorf("message %d is acknowledged after %d others", got, i)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return kafka.records, receipts.sent, registry
}

const deviceTopic = "telltale/v1/greenhouse-7/frames"

// seedFrame is what the reference system's sensors publish.
const seedFrame = `{"id":"12434345","name":"Sensor 1","place_id":"32347983","date":"2025-11-23T04:00:00.123+0000","timestamp":1763870400123,"payload":{"temperature":21,"humidity":44,"pressure":1013,"luminosity":312}}`

const frame = `{"id":"greenhouse-7","timestamp":1763870400000,"epoch":9,"seq":70,"payload":{"temperature":21.37}}`

func TestFramesAreCarriedAsTheyAre(t *testing.T) {
	for name, test := range map[string]struct {
		topic, payload string
		want           []record
		receipts       []string
	}{
		"frame": {deviceTopic, frame,
			[]record{{FramesTopic, "greenhouse-7", frame, map[string]string{"device": "greenhouse-7"}, now}},
			[]string{`telltale/v1/greenhouse-7/receipts {"frames":[{"id":"greenhouse-7","epoch":9,"seq":[[70,70]]}]}`},
		},
		"sensor of the device": {deviceTopic, `{"id":"greenhouse-7.roof","timestamp":1763870400000,"epoch":9,"seq":1}`,
			[]record{{FramesTopic, "greenhouse-7.roof", `{"id":"greenhouse-7.roof","timestamp":1763870400000,"epoch":9,"seq":1}`, map[string]string{"device": "greenhouse-7"}, now}},
			[]string{`telltale/v1/greenhouse-7/receipts {"frames":[{"id":"greenhouse-7.roof","epoch":9,"seq":[[1,1]]}]}`},
		},
		"batch": {deviceTopic, "[" + frame + `,{"id":"greenhouse-7","timestamp":1763870401000,"epoch":9,"seq":71}]`,
			[]record{
				{FramesTopic, "greenhouse-7", frame, map[string]string{"device": "greenhouse-7"}, now},
				{FramesTopic, "greenhouse-7", `{"id":"greenhouse-7","timestamp":1763870401000,"epoch":9,"seq":71}`, map[string]string{"device": "greenhouse-7"}, now},
			},
			[]string{`telltale/v1/greenhouse-7/receipts {"frames":[{"id":"greenhouse-7","epoch":9,"seq":[[70,71]]}]}`},
		},
		"empty batch": {deviceTopic, "[]", nil, nil},
		"declared loss": {deviceTopic, `{"id":"greenhouse-7","epoch":9,"lost":{"seq":[3,8],"reason":"buffer_full"}}`,
			[]record{{FramesTopic, "greenhouse-7", `{"id":"greenhouse-7","epoch":9,"lost":{"seq":[3,8],"reason":"buffer_full"}}`, map[string]string{"device": "greenhouse-7"}, now}},
			[]string{`telltale/v1/greenhouse-7/receipts {"frames":[{"id":"greenhouse-7","epoch":9,"seq":[[3,8]]}]}`},
		},
		"unknown fields are kept out": {deviceTopic, `{"id":"greenhouse-7","firmware":"x","timestamp":1763870400000,"epoch":9,"seq":70,"payload":{"temperature":21.37,"co2":400}}`,
			[]record{{FramesTopic, "greenhouse-7", frame, map[string]string{"device": "greenhouse-7"}, now}},
			[]string{`telltale/v1/greenhouse-7/receipts {"frames":[{"id":"greenhouse-7","epoch":9,"seq":[[70,70]]}]}`},
		},
		"white space is kept out": {deviceTopic, " [ " + strings.ReplaceAll(frame, ",", ", \n") + " ] ",
			[]record{{FramesTopic, "greenhouse-7", frame, map[string]string{"device": "greenhouse-7"}, now}},
			[]string{`telltale/v1/greenhouse-7/receipts {"frames":[{"id":"greenhouse-7","epoch":9,"seq":[[70,70]]}]}`},
		},
		"a clock is kept": {deviceTopic, `[{"id":"greenhouse-7","timestamp":1763870400000,"epoch":9,"seq":70,"clock":"unsynced"},` +
			`{"clock":"estimated","id":"greenhouse-7", "timestamp":1763870400000,"epoch":9,"seq":71}]`,
			[]record{
				{FramesTopic, "greenhouse-7", `{"id":"greenhouse-7","timestamp":1763870400000,"epoch":9,"seq":70,"clock":"unsynced"}`, map[string]string{"device": "greenhouse-7"}, now},
				{FramesTopic, "greenhouse-7", `{"id":"greenhouse-7","timestamp":1763870400000,"epoch":9,"seq":71,"clock":"estimated"}`, map[string]string{"device": "greenhouse-7"}, now},
			},
			[]string{`telltale/v1/greenhouse-7/receipts {"frames":[{"id":"greenhouse-7","epoch":9,"seq":[[70,71]]}]}`},
		},
		"seed frame": {telemetry.SeedTopic, seedFrame,
			[]record{{FramesTopic, "12434345", seedFrame, map[string]string{"device": ""}, now}}, nil,
		},
		"frame without epoch on a device's topic": {deviceTopic, `{"id":"greenhouse-7","timestamp":1763870400000}`,
			[]record{{FramesTopic, "greenhouse-7", `{"id":"greenhouse-7","timestamp":1763870400000}`, map[string]string{"device": "greenhouse-7"}, now}}, nil,
		},
		"as far ahead as may be": {telemetry.SeedTopic, `{"id":"a","timestamp":1763871000123}`,
			[]record{{FramesTopic, "a", `{"id":"a","timestamp":1763871000123}`, map[string]string{"device": ""}, now}}, nil,
		},
		"as old as may be": {telemetry.SeedTopic, `{"id":"a","timestamp":946684800000}`,
			[]record{{FramesTopic, "a", `{"id":"a","timestamp":946684800000}`, map[string]string{"device": ""}, now}}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			records, receipts, _ := carry(t, Message{Topic: test.topic, Payload: []byte(test.payload), Retained: test.topic == telemetry.SeedTopic})
			if diff := cmp.Diff(test.want, records); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.receipts, receipts); diff != "" {
				t.Errorf("receipts (-want +got):\n%s", diff)
			}
		})
	}
}

// badInput is what must go to the dead-letter topic; end_to_end_test.go sends it
// through the real protocols.
var badInput = []struct {
	name, topic, payload string
	reason               string
	letter               string // "" is the payload
	device               string
	loss                 string // the record of the loss that is declared
}{
	{name: "not JSON", topic: deviceTopic, payload: "temperature=21", reason: "not_json", device: "greenhouse-7"},
	{name: "empty", topic: deviceTopic, payload: "", reason: "not_json", device: "greenhouse-7"},
	{name: "cut off", topic: deviceTopic, payload: frame[:40], reason: "not_json", device: "greenhouse-7"},
	{name: "not a frame", topic: deviceTopic, payload: "7", reason: "wrong_type", device: "greenhouse-7"},
	{name: "wrong type", topic: deviceTopic, payload: `{"id":"greenhouse-7","timestamp":"now","epoch":9,"seq":1}`, reason: "wrong_type", device: "greenhouse-7",
		loss: `{"id":"greenhouse-7","epoch":9,"lost":{"seq":[1,1],"reason":"refused_wrong_type"}}`},
	{name: "NaN", topic: deviceTopic, payload: `{"id":"greenhouse-7","timestamp":1763870400000,"payload":{"temperature":NaN}}`, reason: "not_json", device: "greenhouse-7"},
	{name: "Infinity", topic: deviceTopic, payload: `{"id":"greenhouse-7","timestamp":1763870400000,"payload":{"temperature":-Infinity}}`, reason: "not_json", device: "greenhouse-7"},
	{name: "1e400", topic: deviceTopic, payload: `{"id":"greenhouse-7","timestamp":1763870400000,"epoch":9,"seq":2,"payload":{"temperature":1e400}}`, reason: "out_of_range", device: "greenhouse-7",
		loss: `{"id":"greenhouse-7","epoch":9,"lost":{"seq":[2,2],"reason":"refused_out_of_range"}}`},
	{name: "no id", topic: deviceTopic, payload: `{"timestamp":1763870400000}`, reason: "missing_id", device: "greenhouse-7"},
	{name: "no timestamp", topic: deviceTopic, payload: `{"id":"greenhouse-7","epoch":9,"seq":3}`, reason: "missing_timestamp", device: "greenhouse-7",
		loss: `{"id":"greenhouse-7","epoch":9,"lost":{"seq":[3,3],"reason":"refused_missing_timestamp"}}`},
	{name: "another device's id", topic: deviceTopic, payload: `{"id":"greenhouse-8","timestamp":1763870400000,"epoch":9,"seq":4}`, reason: "foreign_id", device: "greenhouse-7"},
	{name: "another device's loss", topic: deviceTopic, payload: `{"id":"greenhouse-77","epoch":9,"lost":{"seq":[0,9],"reason":"buffer_full"}}`, reason: "foreign_id", device: "greenhouse-7"},
	{name: "another device's bad frame", topic: deviceTopic, payload: `{"id":"greenhouse-8","epoch":9,"seq":4}`, reason: "missing_timestamp", device: "greenhouse-7"},
	{name: "an epoch on the seed topic", topic: telemetry.SeedTopic, payload: frame, reason: "foreign_id"},
	{name: "a loss on the seed topic", topic: telemetry.SeedTopic, payload: `{"id":"greenhouse-7","epoch":9,"lost":{"seq":[0,9],"reason":"buffer_full"}}`, reason: "foreign_id"},
	{name: "1 MiB", topic: deviceTopic, payload: strings.Repeat("x", 1<<20), reason: "too_large", device: "greenhouse-7", letter: strings.Repeat("x", 64<<10)},
	{name: "deep nesting", topic: telemetry.SeedTopic, payload: `{"id":"a","timestamp":1763870400000,"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}", reason: "too_deep"},
	{name: "invalid UTF-8", topic: telemetry.SeedTopic, payload: "{\"id\":\"a\xff\",\"timestamp\":1763870400000}", reason: "invalid_utf8"},
	{name: "key twice", topic: telemetry.SeedTopic, payload: `{"id":"a","id":"b","timestamp":1763870400000}`, reason: "duplicate_key"},
	{name: "far future", topic: deviceTopic, payload: `{"id":"greenhouse-7","timestamp":4102444800000,"epoch":9,"seq":5}`, reason: "in_future", device: "greenhouse-7",
		loss: `{"id":"greenhouse-7","epoch":9,"lost":{"seq":[5,5],"reason":"refused_in_future"}}`},
	{name: "before 2000", topic: deviceTopic, payload: `{"id":"greenhouse-7","timestamp":946684799999,"epoch":9,"seq":6}`, reason: "before_2000", device: "greenhouse-7",
		loss: `{"id":"greenhouse-7","epoch":9,"lost":{"seq":[6,6],"reason":"refused_before_2000"}}`},
}

func TestBadInputBecomesDeadLetters(t *testing.T) {
	for _, test := range badInput {
		t.Run(test.name, func(t *testing.T) {
			good := Message{Topic: deviceTopic, Payload: []byte(frame)}
			records, receipts, registry := carry(t, Message{Topic: test.topic, Payload: []byte(test.payload)}, good)
			if test.letter == "" {
				test.letter = test.payload
			}
			want := []record{{deadletter.Topic, test.topic, test.letter, map[string]string{"reason": test.reason, "topic": test.topic, "device": test.device}, now}}
			if len(test.letter) < len(test.payload) {
				want[0].Headers["original_length"] = fmt.Sprint(len(test.payload))
			}
			if test.loss != "" {
				want = append(want, record{FramesTopic, "greenhouse-7", test.loss, map[string]string{"device": "greenhouse-7"}, now})
			}
			want = append(want, record{FramesTopic, "greenhouse-7", frame, map[string]string{"device": "greenhouse-7"}, now})
			if records[0].Headers["detail"] == "" {
				t.Error("no detail is given")
			}
			delete(records[0].Headers, "detail")
			if diff := cmp.Diff(want, records); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
			// What was refused is receipted exactly if its loss is on record.
			var lost string
			if test.loss != "" {
				seq := strings.Split(test.loss, "[")[1][:1]
				lost = fmt.Sprintf("[%s,%s],", seq, seq)
			}
			wantReceipt := `telltale/v1/greenhouse-7/receipts {"frames":[{"id":"greenhouse-7","epoch":9,"seq":[` + lost + `[70,70]]}]}`
			if diff := cmp.Diff([]string{wantReceipt}, receipts); diff != "" {
				t.Errorf("receipts (-want +got):\n%s", diff)
			}
			exposition := fmt.Sprintf(`
				# HELP telltale_bridge_dead_letters_total Frames and messages refused, by reason.
				# TYPE telltale_bridge_dead_letters_total counter
				telltale_bridge_dead_letters_total{reason=%q} 1
			`, test.reason)
			if err := testutil.GatherAndCompare(registry, strings.NewReader(exposition), "telltale_bridge_dead_letters_total"); err != nil {
				t.Error(err)
			}
		})
	}
}

// One bad frame does not stop the others of its batch; a batch that is cut off
// gives the frames before the cut.
func TestBatchWithBadFrames(t *testing.T) {
	bad := `{"id":"greenhouse-7","timestamp":1763870400000,"epoch":9,"seq":71,"payload":{"humidity":"wet"}}`
	next := `{"id":"greenhouse-7","timestamp":1763870402000,"epoch":9,"seq":72}`
	records, receipts, registry := carry(t,
		Message{Topic: deviceTopic, Payload: []byte("[" + frame + "," + bad + "," + next + "]")},
		Message{Topic: deviceTopic, Payload: []byte("[" + frame + "," + next[:20])})
	var got []string
	for _, r := range records {
		got = append(got, r.Topic+" "+r.Headers["reason"]+" "+r.Value)
	}
	want := []string{
		"iot-frames  " + frame,
		"iot-dead-letter wrong_type " + bad,
		`iot-frames  {"id":"greenhouse-7","epoch":9,"lost":{"seq":[71,71],"reason":"refused_wrong_type"}}`,
		"iot-frames  " + next,
		"iot-frames  " + frame,
		"iot-dead-letter not_json [" + frame + "," + next[:20],
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{`telltale/v1/greenhouse-7/receipts {"frames":[{"id":"greenhouse-7","epoch":9,"seq":[[70,72]]}]}`}, receipts); diff != "" {
		t.Errorf("receipts (-want +got):\n%s", diff)
	}
	exposition := `
		# HELP telltale_bridge_frames_total Frames found in MQTT messages, refused ones included.
		# TYPE telltale_bridge_frames_total counter
		telltale_bridge_frames_total 4
		# HELP telltale_bridge_losses_declared_total Refused frames that the bridge declared lost.
		# TYPE telltale_bridge_losses_declared_total counter
		telltale_bridge_losses_declared_total 1
		# HELP telltale_bridge_messages_total MQTT messages taken, by the kind of topic: device or seed.
		# TYPE telltale_bridge_messages_total counter
		telltale_bridge_messages_total{source="device"} 2
		telltale_bridge_messages_total{source="seed"} 0
		# HELP telltale_bridge_receipts_dropped_total Receipts not sent, as the broker was away or did not keep up; the device sends again.
		# TYPE telltale_bridge_receipts_dropped_total counter
		telltale_bridge_receipts_dropped_total 0
		# HELP telltale_bridge_receipts_total Receipts sent to devices, one for each device of a batch.
		# TYPE telltale_bridge_receipts_total counter
		telltale_bridge_receipts_total 1
		# HELP telltale_bridge_unacknowledged MQTT messages taken and not yet acknowledged.
		# TYPE telltale_bridge_unacknowledged gauge
		telltale_bridge_unacknowledged 0
	`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(exposition),
		"telltale_bridge_frames_total", "telltale_bridge_losses_declared_total", "telltale_bridge_messages_total",
		"telltale_bridge_receipts_dropped_total", "telltale_bridge_receipts_total", "telltale_bridge_unacknowledged"); err != nil {
		t.Error(err)
	}
}

// A small message cannot be made to fill the topic of dead letters.
func TestDeadLettersOfOneMessageAreBounded(t *testing.T) {
	payload := "[" + frame + strings.Repeat(",1", 5000) + "]"
	records, _, registry := carry(t, Message{Topic: deviceTopic, Payload: []byte(payload)})
	reasons := make(map[string]int)
	for _, r := range records {
		reasons[r.Topic+" "+r.Headers["reason"]]++
	}
	if diff := cmp.Diff(map[string]int{"iot-frames ": 1, "iot-dead-letter wrong_type": maxLetters, "iot-dead-letter many_refused": 1}, reasons); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if last := records[len(records)-1]; last.Value != payload || last.Headers["detail"] != "5000 frames refused, of which the first 100 have dead letters of their own" {
		t.Errorf("the last record is %.100s with %v", last.Value, last.Headers)
	}
	exposition := `
		# HELP telltale_bridge_dead_letters_total Frames and messages refused, by reason.
		# TYPE telltale_bridge_dead_letters_total counter
		telltale_bridge_dead_letters_total{reason="many_refused"} 1
		telltale_bridge_dead_letters_total{reason="wrong_type"} 5000
	`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(exposition), "telltale_bridge_dead_letters_total"); err != nil {
		t.Error(err)
	}
}

// Nothing is said before Kafka has it, no more is taken than may be, and all
// goes on when Kafka does.
func TestUnacknowledgedMessagesAreBounded(t *testing.T) {
	for name, o := range map[string]Options{
		"by number": {MaxUnacknowledged: 8, BatchMessages: 4},
		"by size":   {MaxUnacknowledgedSize: 8 * int64(len(frame)), BatchMessages: 100},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gate := make(chan error)
				receipts := &receiptsSent{}
				o.Producer, o.Receipts, o.BatchAge = &produced{gate: gate}, receipts, 3*time.Millisecond
				b, _ := newBridge(t, o)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- b.Run(ctx) }()
				taken, acked := 0, 0
				handled := make(chan struct{})
				go func() {
					defer close(handled)
					for range 20 {
						b.Handle(ctx, Message{Topic: deviceTopic, Payload: []byte(frame), Ack: func() { acked++ }})
						taken++
					}
				}()
				<-time.After(time.Hour) // of the bubble's time: Kafka is away
				synctest.Wait()
				if taken != 8 || acked != 0 || len(receipts.sent) != 0 {
					t.Errorf("while Kafka is away %d are taken, %d acknowledged and %d receipts sent, want 8, 0, 0", taken, acked, len(receipts.sent))
				}
				if w := b.Waiting(); w < time.Hour-time.Minute {
					t.Errorf("says it has waited for %v", w)
				}
				for range 5 {
					gate <- nil
				}
				<-handled
				synctest.Wait()
				if taken != 20 || acked != 20 || len(receipts.sent) != 5 || b.Waiting() != 0 {
					t.Errorf("%d are taken, %d acknowledged, %d receipts sent, waiting %v", taken, acked, len(receipts.sent), b.Waiting())
				}
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A batch goes when it is full, or when its first message has waited for the
// batch age.
func TestBatchesGoInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kafka := &produced{}
		b, _ := newBridge(t, Options{Producer: kafka, BatchMessages: 10, BatchAge: 3 * time.Millisecond})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		started := time.Now()
		var acked []time.Duration
		send := func() {
			b.Handle(ctx, Message{Topic: deviceTopic, Payload: []byte(frame), Ack: func() { acked = append(acked, time.Since(started)) }})
		}
		send()
		<-time.After(2 * time.Millisecond)
		send()
		<-time.After(10 * time.Millisecond)
		for range 10 {
			send()
		}
		synctest.Wait()
		if got := fmt.Sprint(acked[:2], acked[len(acked)-1], len(acked), kafka.batches); got != "[3ms 3ms] 12ms 12 2" {
			t.Errorf("acknowledged at %s", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Handle does not outlive its context nor Run, and takes nothing then.
func TestHandleEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBridge(t, Options{Producer: &produced{gate: make(chan error)}, MaxUnacknowledged: 1})
		ack := func() { t.Error("acknowledged") }
		ctx, cancel := context.WithCancel(t.Context())
		runCtx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(runCtx) }()
		b.Handle(ctx, Message{Topic: deviceTopic, Ack: ack})
		returned := make(chan struct{}, 2)
		go func() { b.Handle(ctx, Message{Topic: deviceTopic, Ack: ack}); returned <- struct{}{} }()
		go func() { b.Handle(t.Context(), Message{Topic: deviceTopic, Ack: ack}); returned <- struct{}{} }()
		synctest.Wait()
		cancel()
		<-returned
		stop()
		<-returned
		if err := <-done; err != nil {
			t.Error(err)
		}
		b.Handle(t.Context(), Message{Topic: deviceTopic, Ack: ack})
		if b.unacknowledged != 1 {
			t.Errorf("%d messages are taken, want 1", b.unacknowledged)
		}
	})
}

func TestProducerUnfitEndsRun(t *testing.T) {
	unfit := errors.New("no such topic")
	gate := make(chan error, 1)
	gate <- unfit
	b, _ := newBridge(t, Options{Producer: &produced{gate: gate}})
	b.Handle(t.Context(), Message{Topic: deviceTopic, Ack: func() { t.Error("acknowledged") }})
	if err := b.Run(t.Context()); !errors.Is(err, unfit) {
		t.Errorf("Run returned %v, want %v", err, unfit)
	}
}

func TestOptionsAreValidated(t *testing.T) {
	good := Options{
		Producer: taker{}, Metrics: &Metrics{}, MaxUnacknowledged: 1, MaxUnacknowledgedSize: 1, BatchMessages: 1, MaxPayload: 1,
	}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Options){
		"producer":       func(o *Options) { o.Producer = nil },
		"metrics":        func(o *Options) { o.Metrics = nil },
		"unacknowledged": func(o *Options) { o.MaxUnacknowledged = 0 },
		"size":           func(o *Options) { o.MaxUnacknowledgedSize = -1 },
		"messages":       func(o *Options) { o.BatchMessages = 0 },
		"age":            func(o *Options) { o.BatchAge = -1 },
		"future":         func(o *Options) { o.MaxFuture = -1 },
		"payload":        func(o *Options) { o.MaxPayload = 0 },
	} {
		o := good
		spoil(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
