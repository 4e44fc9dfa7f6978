package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	kafkago "github.com/segmentio/kafka-go"
)

// Defaults of [ConsumerOptions].
const (
	DefaultSessionTimeout = 10 * time.Second
	DefaultMaxWait        = 250 * time.Millisecond
	DefaultMaxBytes       = 1 << 20
)

// joinBackoff is how long the group waits after it could not join. kafka-go's
// 5 s is what makes its Reader's first fetch late: the first attempt to join a
// new cluster nearly always fails, its coordinator not being elected yet.
const joinBackoff = 250 * time.Millisecond

// ConsumerOptions says what a consumer reads.
type ConsumerOptions struct {
	Group string
	Topic string

	SessionTimeout time.Duration // after which a silent member is replaced; 0 is DefaultSessionTimeout
	MaxWait        time.Duration // how long Fetch waits for records; 0 is DefaultMaxWait
	MaxBytes       int           // of records in one Fetch, about; 0 is DefaultMaxBytes

	// Retried, if not nil, is called for each attempt that failed to join the
	// group, to fetch or to commit, with a label of [Reason]. It may be called
	// from several goroutines at once.
	Retried func(reason string)

	// Expired, if not nil, is called with the number of records that Kafka had no
	// more when the group was to read them. It may be called from several goroutines
	// at once.
	Expired func(records int64)

	Logger *slog.Logger // nil discards
}

// Consumer is a member of a consumer group.
type Consumer struct {
	options   ConsumerOptions
	client    *Client
	transport *kafkago.Transport
	api       *kafkago.Client
	log       *slog.Logger
	failures  *failures
	unseen    atomic.Bool // this member gave the latest partitions to the group, and saw none
}

// NewConsumer validates o and returns a Consumer. Nothing is dialled yet.
func (c *Client) NewConsumer(o ConsumerOptions) (*Consumer, error) {
	if o.Group == "" || o.Topic == "" {
		return nil, errors.New("kafka: a consumer needs a group and a topic")
	}
	if o.SessionTimeout < 0 || o.MaxWait < 0 || o.MaxBytes < 0 || o.MaxBytes > math.MaxInt32 {
		return nil, errors.New("kafka: negative or too large number in the consumer's options")
	}
	setDefault(&o.SessionTimeout, DefaultSessionTimeout)
	setDefault(&o.MaxWait, DefaultMaxWait)
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.Retried == nil {
		o.Retried = func(string) {}
	}
	if o.Expired == nil {
		o.Expired = func(int64) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	transport := c.newTransport(o.Topic)
	log := o.Logger.With("group", o.Group, "topic", o.Topic)
	return &Consumer{
		options:   o,
		client:    c,
		transport: transport,
		api:       &kafkago.Client{Addr: c.addr, Transport: transport},
		log:       log,
		failures:  c.newFailures(log),
	}, nil
}

// Ready returns nil, or why the consumer cannot join its group, fetch or commit
// at present.
func (c *Consumer) Ready(context.Context) error { return c.failures.err() }

// failed notes and counts that what was tried failed, and will be tried again.
func (c *Consumer) failed(what string, err error, message string, args ...any) {
	c.options.Retried(Reason(err))
	c.failures.failed(what, c.client.explain(err, c.options.Topic, c.options.Group), message, args...)
}

// Run joins the group and calls handle for each partition that is assigned, in
// a goroutine of its own, until ctx ends; it then leaves the group and returns
// nil. The context given to handle ends when the partition may have gone to
// another member, with the cause ErrNotOwner; handle must then return, and Run
// waits for it before it joins again. An error of handle ends Run and is
// returned, but one that wraps ErrNotOwner is what a process meets that was
// stopped for a while: the group is about to end the assignment, and Run joins
// again.
//
// Brokers or a coordinator that are away are waited for, without end.
func (c *Consumer) Run(ctx context.Context, handle func(ctx context.Context, p *Assignment) error) error {
	defer c.transport.CloseIdleConnections()
	group, err := kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{
		ID:                    c.options.Group,
		Brokers:               c.client.options.Brokers,
		Dialer:                c.client.dialer(),
		Topics:                []string{c.options.Topic},
		SessionTimeout:        c.options.SessionTimeout,
		RebalanceTimeout:      c.options.SessionTimeout,
		HeartbeatInterval:     c.options.SessionTimeout / 10,
		JoinGroupBackoff:      joinBackoff,
		WatchPartitionChanges: true, // a topic made later, or one that grew
		GroupBalancers:        []kafkago.GroupBalancer{balancer{kafkago.RangeGroupBalancer{}, &c.unseen}, balancer{kafkago.RoundRobinGroupBalancer{}, &c.unseen}},
	})
	if err != nil {
		return fmt.Errorf("kafka: consumer group: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() { _ = group.Close() }() // never fails

	pause := newPause(joinBackoff)
	for {
		generation, err := group.Next(ctx)
		switch {
		case ctx.Err() != nil:
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
				return cause
			}
			return nil
		case errors.Is(err, kafkago.RebalanceInProgress):
			continue
		case err != nil:
			c.failed("join", err, "cannot join the consumer group; retrying")
			if err := sleep(ctx, pause.NextBackOff()); err != nil {
				continue
			}
		default:
			c.failures.over("join", groupScope(c.options.Group))
			unseen := c.unseen.Swap(false)
			c.start(ctx, cancel, generation, handle)
			if unseen {
				lookAgain(ctx, generation, pause.NextBackOff())
			} else {
				pause.Reset()
			}
		}
	}
}

func newPause(least time.Duration) *backoff.ExponentialBackOff {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = least
	pause.MaxInterval = DefaultBackoffMax
	return pause
}

// balancer notes whether the topic had no partitions when they were divided.
type balancer struct {
	kafkago.GroupBalancer
	unseen *atomic.Bool
}

func (b balancer) AssignGroups(members []kafkago.GroupMember, partitions []kafkago.Partition) kafkago.GroupMemberAssignments {
	b.unseen.Store(len(partitions) == 0)
	return b.GroupBalancer.AssignGroups(members, partitions)
}

// lookAgain waits and ends a generation in which no topic was seen. A broker tells
// of a topic a moment after it was made; kafka-go's watch for changes may begin
// after that moment, and then sees none. Where there is no topic, generation would
// follow on generation at once.
func lookAgain(ctx context.Context, g *kafkago.Generation, wait time.Duration) {
	g.Start(func(ctx context.Context) { _ = sleep(ctx, wait) }) // its end is the generation's
	_ = sleep(ctx, wait)                                        // its error is ctx's, as Run sees
}

// start runs handle for the partitions of a generation; kafka-go waits for them
// when the generation ends.
func (c *Consumer) start(ctx context.Context, cancel context.CancelCauseFunc, g *kafkago.Generation, handle func(context.Context, *Assignment) error) {
	assigned := g.Assignments[c.options.Topic]
	ids := make([]int, 0, len(assigned))
	for _, p := range assigned {
		ids = append(ids, p.ID)
	}
	slices.Sort(ids)
	c.log.Info("partitions assigned", "generation", g.ID, "partitions", ids)
	shared := &generation{Generation: g}
	for _, p := range assigned {
		a := &Assignment{consumer: c, generation: shared, id: p.ID, next: p.Offset}
		a.lag.Store(-1)
		g.Start(func(generation context.Context) {
			// The generation ends the work, and so does the end of Run: the cause
			// tells which.
			ctx, stop := context.WithCancelCause(ctx)
			defer stop(nil)
			unlink := context.AfterFunc(generation, func() { stop(ErrNotOwner) })
			defer unlink()
			if err := handle(ctx, a); err != nil && !errors.Is(err, ErrNotOwner) && ctx.Err() == nil {
				cancel(err)
			}
			c.failures.forget(a.fetching())
			c.failures.forget(a.committing())
			<-ctx.Done()
		})
	}
}

// generation is what the partitions assigned together share.
type generation struct {
	*kafkago.Generation
	mu sync.Mutex
}

// commit commits one offset at a time: on the one connection of a generation
// those that wait together for their answers would spin.
func (g *generation) commit(topic string, partition int, offset int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.CommitOffsets(map[string]map[int]int64{topic: {partition: offset}})
}

// Message is a record that was consumed.
type Message struct {
	Record
	Offset int64
}

// Header returns the value of the record's first header with this key, or nil.
func (m *Message) Header(key string) []byte {
	for i := range m.Headers {
		if m.Headers[i].Key == key {
			return m.Headers[i].Value
		}
	}
	return nil
}

// Assignment is a partition that is assigned to this member of the group. It
// belongs to the goroutine that handle runs in, but for Lag.
type Assignment struct {
	consumer   *Consumer
	generation *generation
	id         int
	next       int64 // offset to fetch; kafkago.FirstOffset until the first fetch
	lag        atomic.Int64

	buf []byte // of the last fetch
	set recordSet
}

// ID returns the partition's number.
func (a *Assignment) ID() int { return a.id }

func (a *Assignment) fetching() string   { return fmt.Sprintf("fetch %d", a.id) }
func (a *Assignment) committing() string { return fmt.Sprintf("commit %d", a.id) }

// Topic returns the topic's name.
func (a *Assignment) Topic() string { return a.consumer.options.Topic }

// Next returns the offset that the next Fetch begins with, or a negative number
// before the first Fetch of a group that has committed nothing.
func (a *Assignment) Next() int64 { return a.next }

// SeekTo makes the next Fetch begin at offset.
func (a *Assignment) SeekTo(offset int64) { a.next = offset }

// Lag returns how many records lay after those fetched, at the last Fetch, or
// -1 before the first. It is safe for concurrent use.
func (a *Assignment) Lag() int64 { return a.lag.Load() }

// Fetch returns the next records, none if none came within MaxWait. They are
// good until the next Fetch. It retries without end, with backoff and jitter;
// the error is the context's cause. Where there is nothing at the offset any more,
// it goes on with the first record there is.
func (a *Assignment) Fetch(ctx context.Context) ([]Message, error) {
	pause := newPause(DefaultBackoffMin)
	for {
		messages, err := a.fetch(ctx)
		if err == nil {
			if a.consumer.failures.over(a.fetching(), topicScope(a.Topic())) {
				a.consumer.log.Info("fetches records again", "partition", a.id)
			}
			return messages, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		a.consumer.failed(a.fetching(), err, "cannot fetch records; retrying", "partition", a.id)
		if err := sleep(ctx, pause.NextBackOff()); err != nil {
			return nil, err
		}
	}
}

func (a *Assignment) fetch(ctx context.Context) ([]Message, error) {
	// A broker that stalls must not hold the partition for ever.
	ctx, cancel := context.WithTimeout(ctx, a.consumer.options.MaxWait+DefaultRequestTimeout)
	defer cancel()
	if a.next < 0 {
		first, err := a.first(ctx)
		if err != nil {
			return nil, err
		}
		a.next = first
	}
	c := a.consumer
	request := newFetchRequest(c.client.options.ClientID, a.Topic(), a.id, a.next, &c.options, a.buf)
	// Until it returns without an error the connection may write to it.
	a.buf = nil
	response, err := c.transport.RoundTrip(ctx, c.client.addr, request)
	if err != nil {
		return nil, err
	}
	answer, ok := response.(*fetchAnswer)
	if !ok {
		return nil, fmt.Errorf("an answer of type %T", response)
	}
	a.buf = answer.buf
	if errors.Is(answer.err, kafkago.OffsetOutOfRange) {
		return nil, a.rewind(ctx, answer.err)
	}
	if answer.err != nil {
		return nil, answer.err
	}
	a.set.reset()
	next, err := a.set.decode(answer.records, a.next)
	if err != nil && next == a.next {
		return nil, err
	}
	a.next = next
	a.lag.Store(max(answer.highWatermark-next, 0))
	return a.set.messages, nil
}

// rewind makes the next Fetch begin with the first record there is, and returns why.
// What was read before is known again.
func (a *Assignment) rewind(ctx context.Context, why error) error {
	first, err := a.first(ctx)
	if err != nil {
		return err
	}
	if gone := first - a.next; gone > 0 {
		a.consumer.options.Expired(gone)
		a.consumer.log.Error("records had expired in kafka before they were read", "partition", a.id, "records", gone, "offset", a.next, "first", first)
	} else {
		a.consumer.log.Warn("the log was cut; reading it from the first record", "partition", a.id, "offset", a.next, "first", first)
	}
	a.next = first
	return why
}

// first returns the offset of the first record there is.
func (a *Assignment) first(ctx context.Context) (int64, error) {
	answer, err := a.consumer.api.ListOffsets(ctx, &kafkago.ListOffsetsRequest{
		Topics: map[string][]kafkago.OffsetRequest{a.Topic(): {kafkago.FirstOffsetOf(a.id)}},
	})
	if err != nil {
		return 0, err
	}
	for _, p := range answer.Topics[a.Topic()] {
		if p.Partition == a.id {
			return p.FirstOffset, p.Error
		}
	}
	return 0, kafkago.UnknownTopicOrPartition
}

// ErrNotOwner says that the partition may belong to another member of the
// group.
var ErrNotOwner = errors.New("kafka: partition no longer assigned")

// Work calls turn until ctx ends, and returns nil then, or the error of a turn.
// After one that wraps ErrNotOwner it waits for ctx to end, which the group sees
// to as soon as it notices.
func Work(ctx context.Context, turn func(context.Context) error) error {
	for ctx.Err() == nil {
		switch err := turn(ctx); {
		case errors.Is(err, ErrNotOwner):
			<-ctx.Done()
		case err != nil && ctx.Err() == nil:
			return err
		}
	}
	return nil
}

// Commit makes offset the one from which the partition is read by whoever is
// assigned it next. Nil proves that no other member was assigned it before the
// call. It retries until the generation ends; the error then wraps ErrNotOwner.
func (a *Assignment) Commit(ctx context.Context, offset int64) error {
	pause := newPause(DefaultBackoffMin)
	for {
		err := a.generation.commit(a.Topic(), a.id, offset)
		switch {
		case err == nil:
			a.consumer.failures.over(a.committing(), groupScope(a.consumer.options.Group))
			return nil
		case errors.Is(err, kafkago.IllegalGeneration), errors.Is(err, kafkago.UnknownMemberId), ctx.Err() != nil:
			return fmt.Errorf("%w: %w", ErrNotOwner, err)
		}
		a.consumer.failed(a.committing(), err, "cannot commit; retrying", "partition", a.id)
		if err := sleep(ctx, pause.NextBackOff()); err != nil {
			return fmt.Errorf("%w: %w", ErrNotOwner, err)
		}
	}
}
