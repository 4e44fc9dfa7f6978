package mqtt

import (
	"context"
	"errors"
	"sync/atomic"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// Message is a message as it was received.
type Message struct {
	Topic    string
	Payload  []byte // the receiver's to keep
	Retained bool   // the broker had it from before the subscription

	// Ack acknowledges the message to the broker. It never blocks, and does
	// nothing when the connection that the message came by has gone: the
	// broker then delivers it again. It may be called once, from anywhere.
	Ack func()
}

// Shared returns the filter by which the members of a group divide among them
// the messages that match filter.
func Shared(group, filter string) string { return "$share/" + group + "/" + filter }

// SubscriberOptions says what to receive.
type SubscriberOptions struct {
	Name   string // added to the client id; the label of its metrics
	Filter string // the topic filter, see also Shared

	// Persistent asks the broker to keep the session, with what is published,
	// while the subscriber is away. It must not be used with a shared
	// subscription: the share of a member that is away would wait for it.
	Persistent bool

	// Handle takes the messages, one at a time, in the order they came. It may
	// block; it must return soon after ctx has ended.
	Handle func(ctx context.Context, m Message)
}

// Subscriber receives messages at QoS 1.
type Subscriber struct {
	broker    *Broker
	options   SubscriberOptions
	connected atomic.Bool
}

// Subscriber returns a subscriber, which begins to receive in Run.
func (b *Broker) Subscriber(o SubscriberOptions) (*Subscriber, error) {
	if o.Name == "" || o.Filter == "" || o.Handle == nil {
		return nil, errors.New("mqtt: a subscriber needs a name, a filter and a function")
	}
	b.metrics.connected.WithLabelValues(o.Name).Set(0)
	return &Subscriber{broker: b, options: o}, nil
}

// Connected reports whether the subscription holds. It is safe for concurrent
// use.
func (s *Subscriber) Connected() bool { return s.connected.Load() }

// Ready returns nil, or why there is no subscription at present. It is safe for concurrent
// use.
func (s *Subscriber) Ready(context.Context) error {
	if s.Connected() {
		return nil
	}
	return s.broker.unready(s.options.Name)
}

// Run receives until ctx ends, and then returns nil. A broker that is away is
// tried again without end.
func (s *Subscriber) Run(ctx context.Context) error {
	s.broker.keep(ctx, s.options.Name, func(ctx context.Context, up func()) error {
		d, err := s.broker.dial(ctx, s.options.Name, !s.options.Persistent, func(c *conn, m paho.Message) {
			s.options.Handle(ctx, message(c, m))
		})
		if err != nil {
			return err
		}
		defer d.close()
		if err := d.subscribe(ctx, s.options.Filter, s.broker.options.ConnectTimeout); err != nil {
			return err
		}
		s.connected.Store(true)
		defer s.connected.Store(false)
		up()
		return d.hold(ctx)
	})
	return nil
}

func message(c *conn, m paho.Message) Message {
	ack := func() {}
	if m.Qos() > 0 {
		id := m.MessageID()
		ack = func() { c.acknowledge(id) }
	}
	return Message{Topic: m.Topic(), Payload: m.Payload(), Retained: m.Retained(), Ack: ack}
}
