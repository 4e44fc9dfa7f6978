package bridge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/ingest/internal/deadletter"
	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// hostileKafka is a Kafka that rejects records, and that dies with some of a
// batch written, taking the bridge with it.
type hostileKafka struct {
	mu      sync.Mutex
	rand    *rand.Rand
	crashes int // left
	crash   context.CancelFunc
	records []record
	has     map[string]bool // by proof
	refused map[string]bool // values that were rejected
}

// The proofs of what Kafka has.
func frameProof(id string, epoch, seq uint64) string {
	return fmt.Sprintf("frame %s/%d/%d", id, epoch, seq)
}
func lossProof(id string, epoch, seq uint64) string {
	return fmt.Sprintf("loss %s/%d/%d", id, epoch, seq)
}
func letterProof(value string) string { return "letter " + value[:min(len(value), maxRejected)] }
func seedProof(value string) string   { return "seed " + value }

func (k *hostileKafka) write(r record) {
	k.records = append(k.records, r)
	if r.Topic == deadletter.Topic {
		k.has[letterProof(r.Value)] = true
		return
	}
	var d telemetry.Decoder
	var f telemetry.Frame
	if err := d.Decode([]byte(r.Value), &f); err != nil {
		panic("the bridge wrote a frame that cannot be decoded: " + r.Value)
	}
	switch {
	case f.IsLoss():
		for seq := f.Lost.Seqs.First; seq <= f.Lost.Seqs.Last; seq++ {
			k.has[lossProof(f.ID, f.Epoch, seq)] = true
		}
	case f.Sequenced:
		k.has[frameProof(f.ID, f.Epoch, f.Seq)] = true
	default:
		k.has[seedProof(r.Value)] = true
	}
}

func (k *hostileKafka) Produce(ctx context.Context, b *kafka.Batch) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make([]record, b.Len())
	for i := range all {
		all[i] = recordAt(b, i)
	}
	if k.crashes > 0 && k.rand.IntN(4) == 0 {
		k.crashes--
		for _, r := range all[:k.rand.IntN(len(all)+1)] {
			k.write(r)
		}
		k.crash()
		return ctx.Err()
	}
	var rejected []int
	odds := []int{0, 0, 10, 2}[k.rand.IntN(4)]
	for i, r := range all {
		// What stands for a rejected record is taken, see TestDeadLettersRejected.
		if odds > 0 && k.rand.IntN(odds) == 0 && r.Headers["reason"] != reasonRejected && !strings.Contains(r.Value, refusedPrefix) && !k.refused[r.Value] {
			k.refused[r.Value] = true
			rejected = append(rejected, i)
			continue
		}
		k.write(r)
	}
	if rejected != nil {
		return &kafka.RejectedError{Records: rejected, Err: errors.New("too large")}
	}
	return nil
}

// proven reports whether Kafka has one of the proofs.
func (k *hostileKafka) proven(anyOf []string) bool {
	return slices.ContainsFunc(anyOf, func(p string) bool { return k.has[p] })
}

// sentMessage is a message of the test, with what must be in Kafka before it is
// acknowledged: one of each set.
type sentMessage struct {
	Message
	proofs [][]string
}

// drawMessages draws messages of several sensors and of seed clients, good ones
// and bad ones.
func drawMessages(t *rapid.T) []sentMessage {
	next := map[string]uint64{}
	var messages []sentMessage
	for range rapid.IntRange(1, 60).Draw(t, "messages") {
		device := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "device")
		id := device + rapid.SampledFrom([]string{"", ".x"}).Draw(t, "sensor")
		m := sentMessage{Message: Message{Topic: telemetry.Topic(device, telemetry.Frames)}}
		switch rapid.SampledFrom([]string{"frames", "frames", "frames", "not json", "seed", "empty"}).Draw(t, "kind") {
		case "not json":
			m.Payload = fmt.Appendf(nil, "not json %d", len(messages))
			m.proofs = [][]string{{letterProof(string(m.Payload))}}
		case "seed":
			m.Topic = telemetry.SeedTopic
			m.Payload = fmt.Appendf(nil, `{"id":"s","timestamp":%d}`, now+int64(len(messages)))
			m.proofs = [][]string{{seedProof(string(m.Payload)), letterProof(string(m.Payload))}}
		case "empty":
			m.Payload = []byte("[]")
		default:
			var frames []string
			for range rapid.IntRange(1, 4).Draw(t, "frames") {
				seq := next[id]
				next[id]++
				raw := fmt.Sprintf(`{"id":%q,"timestamp":%d,"epoch":5,"seq":%d}`, id, now+int64(seq), seq)
				if rapid.IntRange(0, 9).Draw(t, "bad") == 0 {
					raw = strings.Replace(raw, fmt.Sprint(now+int64(seq)), "1", 1) // before 2000
					m.proofs = append(m.proofs, []string{letterProof(raw)}, []string{lossProof(id, 5, seq)})
				} else {
					m.proofs = append(m.proofs, []string{frameProof(id, 5, seq), lossProof(id, 5, seq)})
				}
				frames = append(frames, raw)
			}
			m.Payload = []byte("[" + strings.Join(frames, ",") + "]")
		}
		messages = append(messages, m)
	}
	return messages
}

// witness is the broker and the devices: it checks every acknowledgement and
// every receipt against what Kafka has at that moment.
type witness struct {
	t        *rapid.T
	kafka    *hostileKafka
	mu       sync.Mutex
	acked    []bool
	lastAck  int // in this run
	failures []string
	done     chan struct{} // closed when all is acknowledged
	left     int
}

func (w *witness) fail(format string, args ...any) {
	w.failures = append(w.failures, fmt.Sprintf(format, args...))
}

// ack is the acknowledgement of message i.
func (w *witness) ack(i int, m sentMessage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kafka.mu.Lock()
	defer w.kafka.mu.Unlock()
	for _, anyOf := range m.proofs {
		if !w.kafka.proven(anyOf) {
			w.fail("message %d is acknowledged, but Kafka has none of %v", i, anyOf)
		}
	}
	if i <= w.lastAck {
		w.fail("message %d is acknowledged after message %d", i, w.lastAck)
	}
	if w.acked[i] {
		w.fail("message %d is acknowledged twice", i)
	}
	w.lastAck = i
	w.acked[i] = true
	if w.left--; w.left == 0 {
		close(w.done)
	}
}

// Publish is where receipts go.
func (w *witness) Publish(topic string, payload []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kafka.mu.Lock()
	defer w.kafka.mu.Unlock()
	device, kind, ok := telemetry.ParseTopic(topic)
	var r telemetry.Receipt
	if err := telemetry.DecodeReceipt(payload, &r); err != nil || !ok || kind != telemetry.Receipts {
		w.fail("receipt %q on %s: %v", payload, topic, err)
	}
	for _, s := range r.Frames {
		if !telemetry.BelongsTo(s.ID, device) {
			w.fail("device %s gets a receipt for %s", device, s.ID)
		}
		for _, seqs := range s.Seqs {
			for seq := seqs.First; seq <= seqs.Last; seq++ {
				if !w.kafka.proven([]string{frameProof(s.ID, s.Epoch, seq), lossProof(s.ID, s.Epoch, seq)}) {
					w.fail("%s/%d/%d is receipted but not in Kafka", s.ID, s.Epoch, seq)
				}
			}
		}
	}
	return true
}

// Whatever Kafka rejects and whenever it dies, nothing is acknowledged or
// receipted that it does not have, all is acknowledged in the end, in the order
// it came, and no frame of a sensor overtakes another.
func TestNothingIsSaidThatKafkaDoesNotHave(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		messages := drawMessages(t)
		hostile := &hostileKafka{
			rand: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)), crashes: rapid.IntRange(0, 5).Draw(t, "crashes"), has: map[string]bool{}, refused: map[string]bool{},
		}
		w := &witness{t: t, kafka: hostile, acked: make([]bool, len(messages)), left: len(messages), done: make(chan struct{})}
		options := Options{
			Producer: hostile, Receipts: w, SeedTopic: telemetry.SeedTopic,
			MaxUnacknowledged:     rapid.IntRange(1, 30).Draw(t, "unacknowledged"),
			MaxUnacknowledgedSize: int64(rapid.IntRange(1, 3000).Draw(t, "size")),
			BatchMessages:         rapid.IntRange(1, 20).Draw(t, "batch"),
			MaxPayload:            1 << 20,
		}
		for finished := false; !finished; {
			finished = runOnce(t, options, w, messages)
		}
		for _, f := range w.failures {
			t.Error(f)
		}
		last := map[string]uint64{}
		seen := map[string]bool{}
		var d telemetry.Decoder
		for _, r := range hostile.records {
			var f telemetry.Frame
			if r.Topic != FramesTopic || d.Decode([]byte(r.Value), &f) != nil || !f.Sequenced || f.IsLoss() || seen[r.Value] {
				continue
			}
			seen[r.Value] = true
			if l, ok := last[f.ID]; ok && f.Seq < l {
				t.Errorf("%s: frame %d came first after frame %d", f.ID, f.Seq, l)
			}
			last[f.ID] = f.Seq
		}
	})
}

// runOnce runs a bridge until all is acknowledged, or until Kafka takes it
// down: then the broker delivers what was not acknowledged to the next one.
func runOnce(t *rapid.T, o Options, w *witness, messages []sentMessage) bool {
	var err error
	if o.Metrics, err = NewMetrics(prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	o.Now = fixedNow
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.kafka.crash = cancel
	w.lastAck = -1
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	for i, m := range messages {
		if w.isAcked(i) {
			continue
		}
		b.Handle(ctx, Message{Topic: m.Topic, Payload: slices.Clone(m.Payload), Ack: func() { w.ack(i, m) }})
	}
	finished := false
	select {
	case <-w.done:
		finished = true
	case <-ctx.Done():
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return finished
}

func (w *witness) isAcked(i int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acked[i]
}
