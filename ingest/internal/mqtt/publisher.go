package mqtt

import (
	"context"
	"errors"
	"sync/atomic"
)

// Publisher sends messages at QoS 0. It is for what may be lost: a message for
// which there is no connection, or no room, is dropped and counted.
type Publisher struct {
	broker *Broker
	name   string
	conn   atomic.Pointer[conn]
}

// Publisher returns a publisher, which connects in Run. name is added to the
// client id and is the label of its metrics.
func (b *Broker) Publisher(name string) (*Publisher, error) {
	if name == "" {
		return nil, errors.New("mqtt: a publisher needs a name")
	}
	b.metrics.connected.WithLabelValues(name).Set(0)
	return &Publisher{broker: b, name: name}, nil
}

// Connected reports whether there is a connection. It is safe for concurrent
// use.
func (p *Publisher) Connected() bool { return p.conn.Load() != nil }

// Ready returns nil, or why there is no connection at present. It is safe for concurrent
// use.
func (p *Publisher) Ready(context.Context) error {
	if p.Connected() {
		return nil
	}
	return p.broker.unready(p.name)
}

// Run keeps a connection until ctx ends, and then returns nil. A broker that is
// away is tried again without end.
func (p *Publisher) Run(ctx context.Context) error {
	p.broker.keep(ctx, p.name, func(ctx context.Context, up func()) error {
		d, err := p.broker.dial(ctx, p.name, true, nil)
		if err != nil {
			return err
		}
		defer d.close()
		p.conn.Store(d.conn)
		defer p.conn.Store(nil)
		up()
		return d.hold(ctx)
	})
	return nil
}

// Publish sends payload to topic and reports whether it is on its way. It never
// blocks and keeps neither. It is safe for concurrent use.
func (p *Publisher) Publish(topic string, payload []byte) bool {
	reason := "not_connected"
	if c := p.conn.Load(); c != nil {
		err := c.publish(topic, payload)
		if err == nil {
			return true
		}
		if errors.Is(err, errPending) {
			reason = "too_much_pending"
		}
	}
	p.broker.metrics.dropped.WithLabelValues(p.name, reason).Inc()
	return false
}
