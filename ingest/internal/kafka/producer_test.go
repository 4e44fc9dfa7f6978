package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/telltale-iot/telltale/ingest/internal/kafka/kafkatest"
	"github.com/telltale-iot/telltale/internal/await"
)

const frames = "iot-frames"

// counts counts labels; it is safe for concurrent use.
type counts struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counts) add(label string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[label]++
}

func (c *counts) all() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.n)
}

func newProducer(t *testing.T, o Options, p ProducerOptions) (*Producer, *counts) {
	t.Helper()
	client, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	retries := &counts{}
	if p.Topics == nil {
		p.Topics = []string{frames}
	}
	p.BackoffMin, p.BackoffMax = time.Millisecond, 20*time.Millisecond
	p.Retried = retries.add
	producer, err := client.NewProducer(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(producer.Close)
	t.Cleanup(client.Close)
	return producer, retries
}

// numbered returns a batch with the values n, n+1, … of each key.
func numbered(keys, n, count int) *Batch {
	b := &Batch{}
	for i := range count {
		for k := range keys {
			b.Append(frames, Record{Key: fmt.Appendf(nil, "sensor-%d", k), Value: fmt.Appendf(nil, "%d", n+i), Time: 1763870400123})
		}
	}
	return b
}

// inOrder checks that of each key the values 0 to n-1 are there, that each is
// first seen after those before it, and returns how many were seen again.
func inOrder(t *testing.T, records []kafkatest.Record, keys, n int) (duplicates int) {
	t.Helper()
	next := map[string]int{}
	for _, r := range records {
		var v int
		if _, err := fmt.Sscan(r.Value, &v); err != nil {
			t.Fatal(err)
		}
		switch {
		case v == next[r.Key]:
			next[r.Key]++
		case v < next[r.Key]:
			duplicates++
		default:
			t.Fatalf("%s: value %d came before %d", r.Key, v, next[r.Key])
		}
	}
	for k := range keys {
		if key := fmt.Sprintf("sensor-%d", k); next[key] != n {
			t.Fatalf("%s: %d of %d values are there", key, next[key], n)
		}
	}
	return duplicates
}

func produceAll(t *testing.T, p *Producer, keys, batches, each int) {
	t.Helper()
	for i := range batches {
		if err := p.Produce(t.Context(), numbered(keys, i*each, each)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProduceWritesRecordsAsGiven(t *testing.T) {
	cluster := kafkatest.Start(t, kfake.NumBrokers(3), kfake.SeedTopics(7, frames), kfake.SeedTopics(1, "other"))
	p, retries := newProducer(t, Options{Brokers: cluster.ListenAddrs()}, ProducerOptions{Topics: []string{frames, "other"}})
	var b Batch
	b.Append(frames, Record{Key: []byte("greenhouse-7"), Value: []byte(`{"a":1}`), Headers: []Header{{Key: "device", Value: []byte("greenhouse-7")}}, Time: 1763870400123})
	b.Append("other", Record{Key: []byte("k"), Value: []byte("v"), Time: 1763870400456})
	if err := p.Produce(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	want := []kafkatest.Record{{
		Partition: int(Partition([]byte("greenhouse-7"), 7)), Time: time.UnixMilli(1763870400123),
		Key: "greenhouse-7", Value: `{"a":1}`, Headers: map[string]string{"device": "greenhouse-7"},
	}}
	if diff := cmp.Diff(want, kafkatest.Records(t, cluster, frames)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", frames, diff)
	}
	if got := kafkatest.Records(t, cluster, "other"); len(got) != 1 || got[0].Value != "v" || !got[0].Time.Equal(time.UnixMilli(1763870400456)) {
		t.Errorf("other holds %v", got)
	}
	if n := retries.all(); len(n) != 0 {
		t.Errorf("retries %v, want none", n)
	}
}

func TestSendStampsWithTheTimeOfReceipt(t *testing.T) {
	cluster := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(1, frames))
	now := time.UnixMilli(1763870400789)
	p, _ := newProducer(t, Options{Brokers: cluster.ListenAddrs()}, ProducerOptions{Now: func() time.Time { return now }})
	if err := p.Send(t.Context(), frames, []Record{{Key: []byte("a"), Value: []byte("1")}, {Key: []byte("a"), Value: []byte("2")}}); err != nil {
		t.Fatal(err)
	}
	got := kafkatest.Records(t, cluster, frames)
	if len(got) != 2 || !got[0].Time.Equal(now) || got[1].Value != "2" {
		t.Errorf("records %v, want two of %v", got, now)
	}
}

// Each fault is answered for some partitions while the others are taken. Of
// REQUEST_TIMED_OUT and NOT_ENOUGH_REPLICAS_AFTER_APPEND the records are
// written all the same, as a real broker may.
func TestFaultsLoseNothingAndKeepOrder(t *testing.T) {
	for _, test := range []struct {
		err       *kerr.Error
		reason    string
		duplicate bool
	}{
		{kerr.NotLeaderForPartition, "not_leader", false},
		{kerr.UnknownTopicOrPartition, "unknown_topic_or_partition", false},
		{kerr.NotEnoughReplicas, "not_enough_replicas", false},
		{kerr.KafkaStorageError, "storage_error", false},
		{kerr.TopicAuthorizationFailed, "topic_authorization_failed", false},
		{kerr.CorruptMessage, "corrupt_message", false},
		{kerr.RequestTimedOut, "request_timed_out", true},
		{kerr.NotEnoughReplicasAfterAppend, "not_enough_replicas_after_append", true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			cluster := kafkatest.Start(t, kfake.NumBrokers(3), kfake.SeedTopics(6, frames))
			p, retries := newProducer(t, Options{Brokers: cluster.ListenAddrs()}, ProducerOptions{})
			produceAll(t, p, 30, 1, 5)
			cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Partitions: []int32{0, 3}, Err: test.err, Count: 5})
			for i := 1; i < 6; i++ {
				if err := p.Produce(t.Context(), numbered(30, i*5, 5)); err != nil {
					t.Fatal(err)
				}
			}
			duplicates := inOrder(t, kafkatest.Records(t, cluster, frames), 30, 30)
			if (duplicates > 0) != test.duplicate {
				t.Errorf("%d duplicates", duplicates)
			}
			if n := retries.all(); n[test.reason] == 0 || len(n) != 1 {
				t.Errorf("retries by reason %v, want only %s", n, test.reason)
			}
		})
	}
}

func TestLeadersMayMove(t *testing.T) {
	cluster := kafkatest.Start(t, kfake.NumBrokers(3), kfake.SeedTopics(6, frames))
	p, retries := newProducer(t, Options{Brokers: cluster.ListenAddrs()}, ProducerOptions{})
	for i := range 10 {
		if err := p.Produce(t.Context(), numbered(20, i*5, 5)); err != nil {
			t.Fatal(err)
		}
		for partition := range int32(6) {
			if err := cluster.MoveTopicPartition(frames, partition, (partition+int32(i))%3); err != nil {
				t.Fatal(err)
			}
		}
	}
	if duplicates := inOrder(t, kafkatest.Records(t, cluster, frames), 20, 50); duplicates != 0 {
		t.Errorf("%d duplicates, want none", duplicates)
	}
	if retries.all()["not_leader"] == 0 {
		t.Errorf("retries %v: the leaders never moved", retries.all())
	}
}

// cutter makes connections that break after a number of bytes written, in the
// middle of a request.
type cutter struct {
	budget atomic.Int64
	cuts   atomic.Int64
}

func (c *cutter) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return &cutConn{conn, c}, err
}

type cutConn struct {
	net.Conn
	cutter *cutter
}

func (c *cutConn) Write(p []byte) (int, error) {
	if c.cutter.budget.Add(-int64(len(p))) < 0 {
		c.cutter.budget.Store(100_000)
		c.cutter.cuts.Add(1)
		n, _ := c.Conn.Write(p[:len(p)/2])
		_ = c.Close()
		return n, errors.New("cut by the test")
	}
	return c.Conn.Write(p)
}

func TestBrokenConnectionsLoseNothing(t *testing.T) {
	cluster := kafkatest.Start(t, kfake.NumBrokers(2), kfake.SeedTopics(4, frames))
	cut := &cutter{}
	cut.budget.Store(20_000)
	p, _ := newProducer(t, Options{Brokers: cluster.ListenAddrs(), Dial: cut.dial}, ProducerOptions{})
	produceAll(t, p, 20, 50, 20)
	inOrder(t, kafkatest.Records(t, cluster, frames), 20, 1000)
	if cut.cuts.Load() < 2 {
		t.Errorf("%d connections were cut, want some", cut.cuts.Load())
	}
}

// The broker writes the records and dies before it answers.
func TestLostAnswersLoseNothing(t *testing.T) {
	cluster := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(3, frames))
	p, _ := newProducer(t, Options{Brokers: cluster.ListenAddrs()}, ProducerOptions{})
	for i := range 5 {
		cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			return nil, errors.New("the test closes this connection"), true
		})
		if err := p.Produce(t.Context(), numbered(10, i*10, 10)); err != nil {
			t.Fatal(err)
		}
	}
	inOrder(t, kafkatest.Records(t, cluster, frames), 10, 50)
}

// A broker that stalls costs one request's time, not for ever.
func TestStalledBrokerRunsIntoTheDeadline(t *testing.T) {
	cluster := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(3, frames))
	p, retries := newProducer(t, Options{Brokers: cluster.ListenAddrs()}, ProducerOptions{RequestTimeout: 200 * time.Millisecond})
	wake := make(chan struct{})
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.SleepControl(func() { <-wake })
		return nil, nil, false
	})
	stalled := make(chan error, 1)
	go func() { stalled <- p.Produce(t.Context(), numbered(10, 0, 10)) }()
	for retries.all()["timeout"] == 0 {
		select {
		case err := <-stalled:
			t.Fatalf("produce returned %v while the broker was stalled", err)
		case <-time.After(time.Millisecond):
		}
	}
	close(wake)
	if err := <-stalled; err != nil {
		t.Fatal(err)
	}
	inOrder(t, kafkatest.Records(t, cluster, frames), 10, 10)
}

func TestLargeBatchesAreSplit(t *testing.T) {
	cluster := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(2, frames))
	requests := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Observe: true, Count: -1})
	p, retries := newProducer(t, Options{Brokers: cluster.ListenAddrs()}, ProducerOptions{})
	var b Batch
	for i := range 40 {
		b.Append(frames, Record{Key: []byte("sensor-0"), Value: fmt.Appendf(nil, "%d %s", i, strings.Repeat(" ", 60_000))})
	}
	if err := p.Produce(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	inOrder(t, kafkatest.Records(t, cluster, frames), 1, 40)
	if n := requests.Hits(); n != 5 { // 2.4 MB by 8 records of 60 KB
		t.Errorf("%d requests, want 5", n)
	}
	if n := retries.all(); len(n) != 0 {
		t.Errorf("retries %v, want none", n)
	}
}

// The cluster takes less than we think: batches are halved until they pass,
// and the record that never will is named.
func TestRecordsTooLargeAreRejectedAlone(t *testing.T) {
	cluster := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(2, frames), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "2000"}))
	p, retries := newProducer(t, Options{Brokers: cluster.ListenAddrs()}, ProducerOptions{})
	b := numbered(3, 0, 100)
	for range 3 {
		b.Append(frames, Record{Key: []byte("sensor-1"), Value: make([]byte, 3000)})
		b.Append(frames, Record{Key: []byte("sensor-2"), Value: []byte("100")})
	}
	err := p.Produce(t.Context(), b)
	var rejected *RejectedError
	if !errors.As(err, &rejected) {
		t.Fatalf("produce returned %v, want a RejectedError", err)
	}
	if diff := cmp.Diff([]int{300, 302, 304}, rejected.Records); diff != "" {
		t.Errorf("rejected (-want +got):\n%s", diff)
	}
	if !errors.Is(err, kafkago.MessageSizeTooLarge) || Reason(err) != "message_too_large" {
		t.Errorf("error %v has reason %q", err, Reason(err))
	}
	got := slices.DeleteFunc(kafkatest.Records(t, cluster, frames), func(r kafkatest.Record) bool { return r.Value == "100" })
	inOrder(t, got, 3, 100)
	if n := retries.all(); len(n) != 0 {
		t.Errorf("retries %v, want none: a refusal does not pass with time", n)
	}
}

func TestKafkaComesLater(t *testing.T) {
	port := kafkatest.FreePort(t)
	p, retries := newProducer(t, Options{Brokers: []string{fmt.Sprintf("127.0.0.1:%d", port)}}, ProducerOptions{})
	done := make(chan error, 1)
	go func() { done <- p.Produce(t.Context(), numbered(3, 0, 10)) }()
	await.True(t, patience, "a third attempt to connect", func() bool { return retries.all()["connection"] > 2 })
	cluster := kafkatest.Start(t, kfake.NumBrokers(1), kfake.Ports(port))
	await.True(t, patience, "an attempt without the topic", func() bool { return retries.all()["unknown_topic_or_partition"] > 0 })
	client, err := NewClient(Options{Brokers: cluster.ListenAddrs()})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.EnsureTopics(t.Context(), []Topic{{Name: frames, Partitions: 4, Replication: 1}}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	inOrder(t, kafkatest.Records(t, cluster, frames), 3, 10)
}

func TestProduceEndsWithItsContext(t *testing.T) {
	p, retries := newProducer(t, Options{Brokers: []string{fmt.Sprintf("127.0.0.1:%d", kafkatest.FreePort(t))}}, ProducerOptions{})
	reason := errors.New("shut down")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 2)
	go func() { done <- p.Produce(ctx, numbered(1, 0, 1)) }()
	await.True(t, patience, "a failed attempt", func() bool { return len(retries.all()) > 0 })
	go func() { done <- p.Produce(ctx, numbered(1, 0, 1)) }() // waits for its turn
	cancel(reason)
	for range 2 {
		if err := <-done; !errors.Is(err, reason) {
			t.Errorf("produce returned %v, want %v", err, reason)
		}
	}
}

func TestProduceRefusesUndeclaredTopics(t *testing.T) {
	p, _ := newProducer(t, Options{Brokers: []string{"127.0.0.1:1"}}, ProducerOptions{})
	if err := p.Send(t.Context(), "other", []Record{{}}); err == nil {
		t.Error("a topic that was not declared is accepted")
	}
}

func BenchmarkProduce(b *testing.B) {
	cluster := kafkatest.Start(b, kfake.NumBrokers(1), kfake.SeedTopics(12, frames), kfake.BlackholeProduce())
	client, err := NewClient(Options{Brokers: cluster.ListenAddrs()})
	if err != nil {
		b.Fatal(err)
	}
	p, err := client.NewProducer(ProducerOptions{Topics: []string{frames}})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	batch := &Batch{}
	value := []byte(strings.Repeat("v", 214))
	for i := range 2000 {
		batch.Append(frames, Record{Key: fmt.Appendf(nil, "sensor-%d", i%100), Value: value, Headers: []Header{{Key: "device", Value: []byte("sensor")}}})
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Produce(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2000, "ns/record")
}
