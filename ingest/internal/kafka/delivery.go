package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
)

// maxBatchSize bounds the record batch of one partition in one request. A
// topic's default max.message.bytes is a little over 1 MiB; half of it leaves
// room for clusters that are set lower, and costs nothing measurable.
const maxBatchSize = 500_000

// delivery is one batch on its way: for each partition a queue of chunks, of
// which the first is sent in each round and leaves when it is acknowledged.
type delivery struct {
	producer *Producer
	batch    *Batch
	queues   []*queue // nil until the partitions are known

	rejected    []int
	rejectedErr error
}

type queue struct {
	topic     string
	partition int32
	chunks    []*chunk
}

// chunk is the records of one partition that go in one request.
type chunk struct {
	entries []int // indexes in the batch
	recordBatch
}

// done reports whether nothing is left to be sent.
func (d *delivery) done() bool {
	return d.queues != nil && !slices.ContainsFunc(d.queues, func(q *queue) bool { return len(q.chunks) > 0 })
}

func (d *delivery) verdict() error {
	if len(d.rejected) == 0 {
		return nil
	}
	slices.Sort(d.rejected)
	return &RejectedError{Records: d.rejected, Err: d.rejectedErr}
}

// release gives back the chunks that were not acknowledged.
func (d *delivery) release() {
	for _, q := range d.queues {
		d.producer.free = append(d.producer.free, q.chunks...)
	}
}

// round sends the first chunk of every queue once, to all leaders at a time.
// Its error says why something of it has to be tried again.
func (d *delivery) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.producer.options.RequestTimeout)
	defer cancel()
	layout, err := d.producer.layout(ctx)
	if err == nil && d.queues == nil {
		err = d.plan(layout)
	}
	if err != nil {
		return d.retry(err)
	}

	var errs []error
	byLeader := map[int32]*exchange{}
	for _, q := range d.queues {
		if len(q.chunks) == 0 {
			continue
		}
		leader, err := layout.leader(q.topic, q.partition)
		if err != nil {
			errs = append(errs, d.retry(err))
			continue
		}
		if byLeader[leader] == nil {
			byLeader[leader] = &exchange{}
		}
		byLeader[leader].queues = append(byLeader[leader].queues, q)
	}
	var sending sync.WaitGroup
	for _, x := range byLeader {
		sending.Go(func() { d.producer.send(ctx, x) })
	}
	sending.Wait()
	for _, x := range byLeader {
		errs = append(errs, d.settle(x))
	}
	return errors.Join(errs...)
}

// retry counts err as the reason of a retry, and returns it.
func (d *delivery) retry(err error) error {
	d.producer.options.Retried(Reason(err))
	return err
}

// plan lays the records out by partition, in their order, and cuts what goes
// to each into chunks.
func (d *delivery) plan(l layout) error {
	b := d.batch
	partitions := make([][]*queue, len(b.topics))
	for i, topic := range b.topics {
		t := l[topic]
		if t.err != nil {
			return &topicError{topic, -1, t.err}
		}
		partitions[i] = make([]*queue, len(t.leaders))
	}
	queues := []*queue{}
	for i, e := range b.entries {
		n := partitionOf(e.hash, len(partitions[e.topic]))
		q := partitions[e.topic][n]
		if q == nil {
			q = &queue{topic: b.topics[e.topic], partition: n}
			partitions[e.topic][n] = q
			queues = append(queues, q)
		}
		q.chunks = d.extend(q.chunks, i)
	}
	d.queues = queues
	return nil
}

// extend adds the i-th record of the batch to the last of chunks, or to a new
// one when that is full.
func (d *delivery) extend(chunks []*chunk, i int) []*chunk {
	e := &d.batch.entries[i]
	body := d.batch.bodies[e.start:e.end]
	if last := len(chunks) - 1; last < 0 || len(chunks[last].buf)+len(body)+maxRecordHead > maxBatchSize {
		chunks = append(chunks, d.producer.chunk())
	}
	c := chunks[len(chunks)-1]
	c.entries = append(c.entries, i)
	c.append(e.time, body)
	return chunks
}

// settle takes a leader's answer, partition by partition.
func (d *delivery) settle(x *exchange) error {
	if x.err != nil {
		return d.retry(x.err)
	}
	var errs []error
	for _, q := range x.queues {
		err := x.answer(q)
		switch {
		case err == nil:
			d.producer.free = append(d.producer.free, q.chunks[0])
			q.chunks = q.chunks[1:]
		case refused(err):
			d.divide(q, err)
		default:
			errs = append(errs, d.retry(&topicError{q.topic, q.partition, err}))
		}
	}
	return errors.Join(errs...)
}

// refused reports whether the broker will answer the same to the same records,
// however often they are sent.
func refused(err error) bool {
	return errors.Is(err, kafkago.MessageSizeTooLarge) ||
		errors.Is(err, kafkago.RecordListTooLarge) ||
		errors.Is(err, kafkago.InvalidRecord)
}

// divide replaces a refused chunk by its halves; a single record is rejected.
func (d *delivery) divide(q *queue, err error) {
	c := q.chunks[0]
	d.producer.free = append(d.producer.free, c)
	if len(c.entries) == 1 {
		d.rejected = append(d.rejected, c.entries[0])
		d.rejectedErr = err
		q.chunks = q.chunks[1:]
		return
	}
	entries := slices.Clone(c.entries) // the chunk itself may be taken up again below
	half := len(entries) / 2
	var halves []*chunk
	for _, part := range [][]int{entries[:half], entries[half:]} {
		var chunks []*chunk
		for _, i := range part {
			chunks = d.extend(chunks, i)
		}
		halves = append(halves, chunks...)
	}
	q.chunks = append(halves, q.chunks[1:]...)
}

// chunk returns an empty chunk.
func (p *Producer) chunk() *chunk {
	c := &chunk{}
	if last := len(p.free) - 1; last >= 0 {
		c = p.free[last]
		p.free = p.free[:last]
	}
	c.entries = c.entries[:0]
	c.reset()
	return c
}

// layout is where the partitions of the producer's topics are.
type layout map[string]topicLayout

type topicLayout struct {
	leaders []partitionLayout // by partition
	err     error             // when the topic is not known
}

type partitionLayout struct {
	leader int32
	err    kafkago.Error
}

// layout returns the transport's cached metadata.
func (p *Producer) layout(ctx context.Context) (layout, error) {
	m, err := p.transport.RoundTrip(ctx, p.client.addr, &metadata.Request{TopicNames: p.options.Topics})
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	response, ok := m.(*metadata.Response)
	if !ok {
		return nil, fmt.Errorf("metadata: an answer of type %T", m)
	}
	l := layout{}
	for _, t := range response.Topics {
		topic := topicLayout{leaders: make([]partitionLayout, len(t.Partitions))}
		if t.ErrorCode != 0 {
			topic.err = kafkago.Error(t.ErrorCode)
		} else if len(t.Partitions) == 0 {
			topic.err = kafkago.UnknownTopicOrPartition
		}
		for i := range topic.leaders {
			topic.leaders[i].err = kafkago.LeaderNotAvailable
		}
		for _, q := range t.Partitions {
			if i := int(q.PartitionIndex); i >= 0 && i < len(topic.leaders) {
				topic.leaders[i] = partitionLayout{leader: q.LeaderID, err: kafkago.Error(q.ErrorCode)}
			}
		}
		l[t.Name] = topic
	}
	return l, nil
}

func (l layout) leader(topic string, partition int32) (int32, error) {
	t := l[topic]
	cause := t.err
	switch {
	case cause != nil:
	case int(partition) >= len(t.leaders):
		cause = kafkago.UnknownTopicOrPartition
	case t.leaders[partition].leader < 0 || t.leaders[partition].err == kafkago.LeaderNotAvailable:
		cause = kafkago.LeaderNotAvailable
	default:
		// The partition may have an error all the same (a replica that is not
		// available, for one): only the leader matters here.
		return t.leaders[partition].leader, nil
	}
	return 0, &topicError{topic, partition, cause}
}

// exchange is one request to one leader, with the first chunk of each queue,
// and its answer.
type exchange struct {
	queues   []*queue
	response *produce.Response
	err      error
}

// ackShare of the request's time is given to the broker to gather the in-sync
// replicas' acknowledgements, so that its answer that they did not come arrives
// before the deadline.
const ackShare = 0.7

// send makes the exchange x.
func (p *Producer) send(ctx context.Context, x *exchange) {
	request := rawproduce.Request{
		Acks:    int16(kafkago.RequireAll),
		Timeout: int32((time.Duration(ackShare * float64(p.options.RequestTimeout))).Milliseconds()),
	}
	sources := make([]*source, len(x.queues))
	for i, q := range x.queues {
		sources[i] = &source{data: q.chunks[0].finish()}
		t := slices.IndexFunc(request.Topics, func(t rawproduce.RequestTopic) bool { return t.Topic == q.topic })
		if t < 0 {
			t = len(request.Topics)
			request.Topics = append(request.Topics, rawproduce.RequestTopic{Topic: q.topic})
		}
		partition := rawproduce.RequestPartition{Partition: q.partition}
		partition.RecordSet.Reader = sources[i]
		request.Topics[t].Partitions = append(request.Topics[t].Partitions, partition)
	}
	response, err := p.transport.RoundTrip(ctx, p.client.addr, &request)
	for _, s := range sources {
		s.detach()
	}
	var ok bool
	if x.response, ok = response.(*produce.Response); err == nil && !ok {
		err = fmt.Errorf("an answer of type %T", response)
	}
	if err != nil {
		x.err = fmt.Errorf("produce: %w", err)
	}
}

// answer returns what the leader said to the first chunk of q.
func (x *exchange) answer(q *queue) error {
	for _, t := range x.response.Topics {
		if t.Topic != q.topic {
			continue
		}
		for _, a := range t.Partitions {
			switch {
			case a.Partition != q.partition:
			case a.ErrorCode == 0:
				return nil
			case a.ErrorMessage != "":
				return fmt.Errorf("%w (%s)", kafkago.Error(a.ErrorCode), a.ErrorMessage)
			default:
				return kafkago.Error(a.ErrorCode)
			}
		}
	}
	return errors.New("the broker did not answer for it")
}

// source is what the transport reads an encoded chunk from. When its context
// ends, RoundTrip returns while the connection's goroutine may still be
// encoding the request: detach keeps it from the memory that is then reused.
type source struct {
	mu   sync.Mutex
	data []byte
}

func (s *source) detach() {
	s.mu.Lock()
	s.data = nil
	s.mu.Unlock()
}

// WriteTo implements io.WriterTo, which io.Copy prefers.
func (s *source) WriteTo(w io.Writer) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.data == nil {
		return 0, io.ErrClosedPipe
	}
	n, err := w.Write(s.data)
	return int64(n), err
}

// Read implements io.Reader, which the transport's type asks for.
func (s *source) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.data)
	s.data = s.data[n:]
	return n, nil
}
