package kafka

import (
	"errors"
	"maps"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/telltale-iot/telltale/ingest/internal/kafka/kafkatest"
)

// TestOffsets asks for those of a group that has committed in one of two
// partitions, and has no member.
func TestOffsets(t *testing.T) {
	cluster := kafkatest.Start(t, kfake.SeedTopics(2, frames))
	c := newClient(t, Options{Brokers: cluster.ListenAddrs()})
	check := func(group string, want Offsets) {
		t.Helper()
		got, err := c.Offsets(t.Context(), group, frames)
		if err != nil || !maps.Equal(got.Ends, want.Ends) || !maps.Equal(got.Committed, want.Committed) {
			t.Errorf("offsets %+v, %v; want %+v", got, err, want)
		}
	}
	check("sink", Offsets{Ends: map[int]int64{0: 0, 1: 0}})

	producer, err := c.NewProducer(ProducerOptions{Topics: []string{frames}})
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	var b Batch
	ends := map[int]int64{0: 0, 1: 0}
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		b.Append(frames, Record{Key: []byte(key), Value: []byte("x")})
		ends[int(partitionOf(murmur2([]byte(key)), 2))]++
	}
	if err := producer.Produce(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	answer, err := c.api.OffsetCommit(t.Context(), &kafkago.OffsetCommitRequest{GroupID: "sink", GenerationID: -1, Topics: map[string][]kafkago.OffsetCommit{
		frames: {{Partition: 1, Offset: 2}},
	}})
	if err != nil || answer.Topics[frames][0].Error != nil {
		t.Fatal(answer, err)
	}
	check("sink", Offsets{Ends: ends, Committed: map[int]int64{1: 2}})
	check("other", Offsets{Ends: ends})
	if _, err := c.Offsets(t.Context(), "sink", "absent"); !errors.Is(err, kafkago.UnknownTopicOrPartition) {
		t.Errorf("of a topic that is not there: %v", err)
	}
}
