package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/telltale-iot/telltale/ingest/internal/kafka/kafkatest"
	"github.com/telltale-iot/telltale/internal/await"
)

// collector is a handler that keeps what it is given.
type collector struct {
	mu     sync.Mutex
	values map[string]int    // how often each value came
	from   map[int]int64     // the first offset fetched, by partition
	seen   chan struct{}     // signalled after each value, and never blocks
	commit func(int64) bool  // whether to commit this offset
	owned  map[int]struct{}  // partitions being handled
	fetch  func(*Assignment) // called before each Fetch
}

func newCollector() *collector {
	return &collector{
		values: map[string]int{}, from: map[int]int64{}, owned: map[int]struct{}{},
		seen: make(chan struct{}, 1), commit: func(int64) bool { return true }, fetch: func(*Assignment) {},
	}
}

func (c *collector) handle(ctx context.Context, a *Assignment) error {
	c.mu.Lock()
	c.owned[a.ID()] = struct{}{}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.owned, a.ID())
		c.mu.Unlock()
	}()
	for {
		c.fetch(a)
		messages, err := a.Fetch(ctx)
		if err != nil {
			return nil
		}
		c.mu.Lock()
		for _, m := range messages {
			if _, ok := c.from[a.ID()]; !ok {
				c.from[a.ID()] = m.Offset
			}
			c.values[string(m.Value)]++
		}
		c.mu.Unlock()
		if len(messages) > 0 && c.commit(a.Next()) {
			if err := a.Commit(ctx, a.Next()); err != nil && !errors.Is(err, ErrNotOwner) {
				return err
			}
		}
		select {
		case c.seen <- struct{}{}:
		default:
		}
	}
}

// until waits for a state of the collector.
func (c *collector) until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		c.mu.Lock()
		ok := reached()
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-c.seen:
		case <-deadline:
			t.Fatalf("waited too long for %s; have %v", what, c.values)
		}
	}
}

func startConsumer(t *testing.T, brokers []string, handle func(context.Context, *Assignment) error) (stop func() error) {
	t.Helper()
	client, err := NewClient(Options{Brokers: brokers})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := client.NewConsumer(ConsumerOptions{Group: "g", Topic: frames, MaxWait: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- consumer.Run(ctx, handle) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

func send(t *testing.T, brokers []string, first, last int) {
	t.Helper()
	p, _ := newProducer(t, Options{Brokers: brokers}, ProducerOptions{})
	var records []Record
	for i := first; i <= last; i++ {
		records = append(records, Record{
			Key: fmt.Appendf(nil, "sensor-%d", i%7), Value: fmt.Appendf(nil, "value-%d", i),
			Headers: []Header{{Key: "device", Value: []byte("d")}},
		})
	}
	if err := p.Send(t.Context(), frames, records); err != nil {
		t.Fatal(err)
	}
}

func TestConsumerGoesOnFromItsCommit(t *testing.T) {
	c := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(2, frames))
	send(t, c.ListenAddrs(), 0, 49)

	first := newCollector()
	stop := startConsumer(t, c.ListenAddrs(), func(ctx context.Context, a *Assignment) error {
		if a.Topic() != frames || a.Next() >= 0 || a.Lag() != -1 {
			return fmt.Errorf("new assignment: topic %q, next %d, lag %d", a.Topic(), a.Next(), a.Lag())
		}
		return first.handle(ctx, a)
	})
	first.until(t, "50 values", func() bool { return len(first.values) == 50 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	send(t, c.ListenAddrs(), 50, 99)

	second := newCollector()
	startConsumer(t, c.ListenAddrs(), second.handle)
	second.until(t, "the next 50 values", func() bool { return len(second.values) == 50 })
	for v, n := range second.values {
		if n != 1 || first.values[v] != 0 {
			t.Errorf("%s: %d times after the commit, %d before", v, n, first.values[v])
		}
	}
}

func TestConsumersShareThePartitions(t *testing.T) {
	c := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(4, frames))
	a, b := newCollector(), newCollector()
	stop := startConsumer(t, c.ListenAddrs(), a.handle)
	a.until(t, "all partitions", func() bool { return len(a.owned) == 4 })
	startConsumer(t, c.ListenAddrs(), b.handle)
	b.until(t, "half of the partitions", func() bool { return len(b.owned) == 2 })
	a.until(t, "the other half", func() bool { return len(a.owned) == 2 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	b.until(t, "all partitions", func() bool { return len(b.owned) == 4 })
}

// TestConsumerOfATopicJustMade: the broker does not tell of the topic yet when the
// partitions are divided, and does when the watch for changes begins.
func TestConsumerOfATopicJustMade(t *testing.T) {
	c := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(2, frames))
	var joined, hidden atomic.Bool
	c.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		joined.Store(true)
		return nil, nil, false
	})
	c.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		request := r.(*kmsg.MetadataRequest)
		if !joined.Load() || len(request.Topics) == 0 || !hidden.CompareAndSwap(false, true) {
			return nil, nil, false
		}
		response := request.ResponseKind().(*kmsg.MetadataResponse)
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic, topic.ErrorCode = kmsg.StringPtr(frames), 3 // UNKNOWN_TOPIC_OR_PARTITION
		response.Topics = append(response.Topics, topic)
		return response, nil, true
	})
	got := newCollector()
	startConsumer(t, c.ListenAddrs(), got.handle)
	got.until(t, "both partitions", func() bool { return len(got.owned) == 2 })
	if !hidden.Load() {
		t.Error("the topic was never hidden")
	}
}

// TestConsumerWithoutATopic: a topic that is not there is looked for with pauses,
// and is read once it is.
func TestConsumerWithoutATopic(t *testing.T) {
	c := kafkatest.Start(t, kfake.NumBrokers(1))
	var joins atomic.Int64
	c.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		joins.Add(1)
		return nil, nil, false
	})
	began := time.Now()
	got := newCollector()
	startConsumer(t, c.ListenAddrs(), got.handle)
	await.True(t, patience, "the group is joined again", func() bool { return joins.Load() > 2 })
	took := time.Since(began)
	if most := 3 + int64(took/(joinBackoff/4)); joins.Load() > most {
		t.Errorf("joined %d times in %v, want at most %d", joins.Load(), took, most)
	}
	client := newClient(t, Options{Brokers: c.ListenAddrs()})
	if err := client.EnsureTopics(t.Context(), []Topic{{Name: frames, Partitions: 2, Replication: 1}}, nil, nil); err != nil {
		t.Fatal(err)
	}
	got.until(t, "both partitions", func() bool { return len(got.owned) == 2 })
}

// TestConsumerSurvivesTheBroker: the broker goes away with a consumer running
// and comes back, with its log, at the same address.
func TestConsumerSurvivesTheBroker(t *testing.T) {
	port, dir := kafkatest.FreePort(t), t.TempDir()
	opts := []kfake.Opt{kfake.NumBrokers(1), kfake.Ports(port), kfake.DataDir(dir), kfake.SyncWrites(), kfake.SeedTopics(1, frames)}
	brokers := []string{fmt.Sprintf("127.0.0.1:%d", port)}

	got := newCollector()
	startConsumer(t, brokers, got.handle) // there is nobody yet

	first, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	send(t, brokers, 0, 9)
	got.until(t, "10 values", func() bool { return len(got.values) == 10 })
	first.Close()

	second, err := kfake.NewCluster(opts[:len(opts)-1]...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Close)
	send(t, brokers, 10, 19)
	got.until(t, "20 values", func() bool { return len(got.values) == 20 })
}

func TestConsumerSeeks(t *testing.T) {
	c := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(1, frames))
	send(t, c.ListenAddrs(), 0, 9)
	got := newCollector()
	again := false
	got.fetch = func(a *Assignment) {
		if a.Next() == 10 && !again {
			again = true
			a.SeekTo(4)
		}
	}
	startConsumer(t, c.ListenAddrs(), got.handle)
	got.until(t, "the last six twice", func() bool { return got.values["value-9"] == 2 })
	want := map[string]int{}
	for i := range 10 {
		want[fmt.Sprintf("value-%d", i)] = 1 + i/4 - i/8
	}
	if !maps.Equal(got.values, want) {
		t.Errorf("values %v, want %v", got.values, want)
	}
}

// TestConsumerOutOfRange: where the group would go on there is nothing any more. What
// had expired is counted; a log that was cut is read again.
func TestConsumerOutOfRange(t *testing.T) {
	for _, tt := range []struct {
		name    string
		next    int64
		expired int64
		want    []string
	}{
		{"expired", 1, 2, []string{"value-3"}},
		{"cut", 1000, 0, []string{"value-3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(1, frames))
			send(t, c.ListenAddrs(), 0, 3)
			deleteRecords(t, c.ListenAddrs(), 3)
			client := newClient(t, Options{Brokers: c.ListenAddrs()})
			var expired atomic.Int64
			retried := &counts{}
			consumer, err := client.NewConsumer(ConsumerOptions{
				Group: "g", Topic: frames, MaxWait: 10 * time.Millisecond, Retried: retried.add, Expired: func(n int64) { expired.Add(n) },
			})
			if err != nil {
				t.Fatal(err)
			}
			got := newCollector()
			gone := true
			got.fetch = func(a *Assignment) {
				if gone {
					gone = false
					a.SeekTo(tt.next)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- consumer.Run(ctx, got.handle) }()
			got.until(t, "all that there is", func() bool { return len(got.values) == len(tt.want) })
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if values := slices.Sorted(maps.Keys(got.values)); !slices.Equal(values, tt.want) || expired.Load() != tt.expired || retried.all()["offset_out_of_range"] != 1 {
				t.Errorf("read %v, %d expired, retried %v: want %v, %d, once", values, expired.Load(), retried.all(), tt.want, tt.expired)
			}
		})
	}
}

// deleteRecords has a cluster do what retention does: of frames' partition 0 it
// takes away what is before an offset.
func deleteRecords(t *testing.T, brokers []string, before int64) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	request := kmsg.NewPtrDeleteRecordsRequest()
	topic, partition := kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	partition.Offset = before
	topic.Topic, topic.Partitions = frames, append(topic.Partitions, partition)
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(t.Context(), client)
	if err != nil || response.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatalf("%+v, %v", response, err)
	}
}

// TestConsumerMeetsACorruptBatch: what is before it is taken, and it is read
// again.
func TestConsumerMeetsACorruptBatch(t *testing.T) {
	c := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(1, frames))
	send(t, c.ListenAddrs(), 0, 9)
	encoded := func(first, last int) []byte {
		var b Batch
		for i := first; i <= last; i++ {
			b.Append(frames, Record{Value: fmt.Appendf(nil, "value-%d", i)})
		}
		batch := encode(&b)[sizePrefix:]
		binary.BigEndian.PutUint64(batch, uint64(first))
		return batch
	}
	corrupt := encoded(4, 9)
	corrupt[offRecords] ^= 1
	answers := [][]byte{slices.Concat(encoded(0, 3), corrupt), corrupt}
	var offsets []int64 // that were asked for
	var mu sync.Mutex
	c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		mu.Lock()
		defer mu.Unlock()
		c.KeepControl()
		request := r.(*kmsg.FetchRequest)
		offsets = append(offsets, request.Topics[0].Partitions[0].FetchOffset)
		if len(answers) == 0 {
			return nil, nil, false
		}
		response := request.ResponseKind().(*kmsg.FetchResponse)
		topic, partition := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
		topic.Topic, partition.HighWatermark, partition.RecordBatches = frames, 10, answers[0]
		topic.Partitions = append(topic.Partitions, partition)
		response.Topics = append(response.Topics, topic)
		answers = answers[1:]
		return response, nil, true
	})
	client, err := NewClient(Options{Brokers: c.ListenAddrs()})
	if err != nil {
		t.Fatal(err)
	}
	retried := &counts{}
	consumer, err := client.NewConsumer(ConsumerOptions{Group: "g", Topic: frames, MaxWait: 10 * time.Millisecond, Retried: retried.add})
	if err != nil {
		t.Fatal(err)
	}
	got := newCollector()
	var kept []*byte // where each answer lay
	got.fetch = func(a *Assignment) {
		got.mu.Lock()
		defer got.mu.Unlock()
		if len(a.buf) > 0 {
			kept = append(kept, &a.buf[0])
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- consumer.Run(ctx, got.handle) }()
	got.until(t, "ten values", func() bool { return len(got.values) == 10 })
	got.until(t, "smaller answers after it", func() bool { return len(kept) > 2 })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for v, n := range got.values {
		if n != 1 {
			t.Errorf("%s came %d times", v, n)
		}
	}
	if n := retried.all()["corrupt_message"]; n != 1 || !slices.Equal(offsets[:3], []int64{0, 4, 4}) {
		t.Errorf("%d retries for corruption (%v), fetched at %v", n, retried.all(), offsets)
	}
	if n := len(kept); kept[n-1] != kept[n-2] {
		t.Error("the memory of an answer is not used for the next")
	}
}

// TestConsumerPassesTheMarksOfTransactions: what ends a transaction takes an
// offset, and is no record.
func TestConsumerPassesTheMarksOfTransactions(t *testing.T) {
	c := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(1, frames))
	writer, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.TransactionalID("t"), kgo.DefaultProduceTopic(frames))
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	for i := range 3 {
		if err := writer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := writer.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprintf("value-%d", i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := writer.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
	}
	got := newCollector()
	var next, lag int64
	got.fetch = func(a *Assignment) {
		got.mu.Lock()
		defer got.mu.Unlock()
		next, lag = a.Next(), a.Lag()
	}
	startConsumer(t, c.ListenAddrs(), got.handle)
	got.until(t, "the end of the partition", func() bool { return next == 6 && lag == 0 })
	if want := map[string]int{"value-0": 1, "value-1": 1, "value-2": 1}; !maps.Equal(got.values, want) {
		t.Errorf("values %v, want %v", got.values, want)
	}
}

// TestCommitOfALostAssignment: a member that was replaced is told so, and goes
// on as a member.
func TestCommitOfALostAssignment(t *testing.T) {
	c := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(1, frames))
	send(t, c.ListenAddrs(), 0, 0)
	c.ControlKey(int16(kmsg.OffsetCommit), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		request := r.(*kmsg.OffsetCommitRequest)
		response := request.ResponseKind().(*kmsg.OffsetCommitResponse)
		for _, t := range request.Topics {
			topic := kmsg.NewOffsetCommitResponseTopic()
			topic.Topic = t.Topic
			for _, p := range t.Partitions {
				partition := kmsg.NewOffsetCommitResponseTopicPartition()
				partition.Partition, partition.ErrorCode = p.Partition, kerr.IllegalGeneration.Code
				topic.Partitions = append(topic.Partitions, partition)
			}
			response.Topics = append(response.Topics, topic)
		}
		return response, nil, true
	})
	lost := make(chan error, 1)
	stop := startConsumer(t, c.ListenAddrs(), func(ctx context.Context, a *Assignment) error {
		if _, err := a.Fetch(ctx); err != nil {
			return err
		}
		err := a.Commit(ctx, a.Next())
		lost <- err
		return err
	})
	wantLost := func() {
		t.Helper()
		select {
		case err := <-lost:
			if !errors.Is(err, ErrNotOwner) {
				t.Fatalf("commit: %v, want ErrNotOwner", err)
			}
		case <-time.After(60 * time.Second):
			t.Fatal("no assignment")
		}
	}
	wantLost()
	c.ControlKey(int16(kmsg.Heartbeat), func(r kmsg.Request) (kmsg.Response, error, bool) {
		response := r.(*kmsg.HeartbeatRequest).ResponseKind().(*kmsg.HeartbeatResponse)
		response.ErrorCode = kerr.IllegalGeneration.Code
		return response, nil, true
	})
	wantLost() // in the next generation
	if err := stop(); err != nil {
		t.Fatalf("Run: %v", err)
	}
}

func TestErrorOfAHandlerEndsRun(t *testing.T) {
	c := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(2, frames))
	client, err := NewClient(Options{Brokers: c.ListenAddrs()})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := client.NewConsumer(ConsumerOptions{Group: "g", Topic: frames})
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err = consumer.Run(t.Context(), func(ctx context.Context, a *Assignment) error {
		if a.ID() == 1 {
			return broken
		}
		<-ctx.Done()
		return nil
	})
	if !errors.Is(err, broken) {
		t.Fatalf("Run returned %v, want the handler's error", err)
	}
}

func TestNewConsumerRefuses(t *testing.T) {
	client, err := NewClient(Options{Brokers: []string{"localhost:9092"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]ConsumerOptions{
		"no group": {Topic: frames}, "no topic": {Group: "g"},
		"negative wait":  {Group: "g", Topic: frames, MaxWait: -1},
		"negative bytes": {Group: "g", Topic: frames, MaxBytes: -1},
	} {
		if _, err := client.NewConsumer(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
