package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/telltale-iot/telltale/ingest/internal/refusal"
)

// Offsets is where the partitions of a topic end, and where a group is in them.
type Offsets struct {
	Ends      map[int]int64 // offset after the last record, by partition
	Committed map[int]int64 // offset to be read next; without those of which nothing is committed
}

// Offsets asks for those of a group in a topic. It tries once. The group need
// not have a member, nor be there at all.
func (c *Client) Offsets(ctx context.Context, group, topic string) (Offsets, error) {
	o, err := c.offsets(ctx, group, topic)
	if err == nil {
		c.refusals.Served(groupScope(group), topicScope(topic))
		return o, nil
	}
	err = c.explain(err, topic, group)
	if refused := (*refusal.Error)(nil); errors.As(err, &refused) {
		c.refusals.Refused(refused)
	}
	return Offsets{}, err
}

func (c *Client) offsets(ctx context.Context, group, topic string) (Offsets, error) {
	ctx, cancel := context.WithTimeout(ctx, DefaultRequestTimeout)
	defer cancel()
	found, err := c.api.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return Offsets{}, fmt.Errorf("kafka: topic %q: %w", topic, err)
	}
	i := slices.IndexFunc(found.Topics, func(t kafkago.Topic) bool { return t.Name == topic })
	if i < 0 {
		return Offsets{}, fmt.Errorf("kafka: topic %q: %w", topic, kafkago.UnknownTopicOrPartition)
	}
	if err := found.Topics[i].Error; err != nil {
		return Offsets{}, fmt.Errorf("kafka: topic %q: %w", topic, err)
	}
	var ids []int
	var requests []kafkago.OffsetRequest
	for _, p := range found.Topics[i].Partitions {
		ids = append(ids, p.ID)
		requests = append(requests, kafkago.LastOffsetOf(p.ID))
	}
	o := Offsets{Ends: make(map[int]int64, len(ids)), Committed: make(map[int]int64, len(ids))}
	// What is committed is asked for first: so it is never ahead of the end.
	committed, err := c.api.OffsetFetch(ctx, &kafkago.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: ids}})
	if err == nil {
		err = committed.Error
	}
	if err != nil && !errors.Is(err, kafkago.GroupIdNotFound) {
		return Offsets{}, fmt.Errorf("kafka: offsets of group %q: %w", group, err)
	}
	if err != nil { // nobody has joined it yet
		committed = &kafkago.OffsetFetchResponse{}
	}
	for _, p := range committed.Topics[topic] {
		if p.Error != nil {
			return Offsets{}, fmt.Errorf("kafka: offset of group %q in partition %d: %w", group, p.Partition, p.Error)
		}
		if p.CommittedOffset >= 0 {
			o.Committed[p.Partition] = p.CommittedOffset
		}
	}
	ends, err := c.api.ListOffsets(ctx, &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{topic: requests}})
	if err != nil {
		return Offsets{}, fmt.Errorf("kafka: ends of topic %q: %w", topic, err)
	}
	for _, p := range ends.Topics[topic] {
		if p.Error != nil {
			return Offsets{}, fmt.Errorf("kafka: end of topic %q, partition %d: %w", topic, p.Partition, p.Error)
		}
		o.Ends[p.Partition] = p.LastOffset
	}
	return o, nil
}
