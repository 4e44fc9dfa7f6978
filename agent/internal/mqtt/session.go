package mqtt

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// queueSize is how many messages may wait for Paho, and how many for their
// acknowledgement, before publishing blocks. The uplink sends far fewer at once.
const queueSize = 64

// session is one connection. Messages go through two goroutines: send hands
// them to Paho, which blocks while the network does and, if the connection
// breaks at that moment, until WriteTimeout; acknowledge waits for the PUBACKs.
type session struct {
	paho       paho.Client
	ackTimeout time.Duration
	failed     chan error      // cap 1: why the connection is at its end
	queue      chan message    // to send
	tokens     chan paho.Token // from send to acknowledge
	done       chan struct{}   // closed by close
	waiter     sync.WaitGroup  // of acknowledge

	turn sync.Mutex // held to publish, so that queue and pending have one order

	mu      sync.Mutex
	pending []pending // published and not acknowledged, in order
	closed  bool      // nothing is added to pending any more
}

type message struct {
	topic    string
	retained bool
	payload  []byte
}

// pending is what becomes of a message.
type pending struct {
	acked    func(error)
	deadline time.Time
}

func newSession(ackTimeout time.Duration) *session {
	return &session{
		ackTimeout: ackTimeout,
		failed:     make(chan error, 1),
		queue:      make(chan message, queueSize),
		tokens:     make(chan paho.Token, queueSize),
		done:       make(chan struct{}),
	}
}

// start serves the connection that is there now, until close.
func (s *session) start() {
	go s.send()
	s.waiter.Go(s.acknowledge)
}

// fail ends the session; the first reason counts.
func (s *session) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// serve publishes the status now and every interval, until the connection is
// lost, whose error it returns, or ctx ends.
func (s *session) serve(ctx context.Context, interval time.Duration, status func(*session)) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		status(s)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-s.failed:
			return err
		case <-ticker.C:
		}
	}
}

// publish sends a message at QoS 1. It blocks while queueSize messages are
// ahead of it. Unless it returns an error, acked will be called, once.
func (s *session) publish(m message, acked func(error)) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrConnectionLost
	}
	s.pending = append(s.pending, pending{acked, time.Now().Add(s.ackTimeout)})
	s.mu.Unlock()
	select {
	case s.queue <- m:
	case <-s.done: // close calls acked
	}
	return nil
}

// send hands the messages to Paho.
func (s *session) send() {
	for {
		select {
		case m := <-s.queue:
			token := s.paho.Publish(m.topic, 1, m.retained, m.payload)
			select {
			case s.tokens <- token:
			case <-s.done:
				return
			}
		case <-s.done:
			return
		}
	}
}

// acknowledge reports the acknowledgements in the order of publishing, which is
// the one that the broker must keep too (MQTT 3.1.1, 4.6).
func (s *session) acknowledge() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case token := <-s.tokens:
			timer.Reset(time.Until(s.deadline()))
			select {
			case <-token.Done():
				s.pop()(lost(token.Error()))
			case <-timer.C:
				s.fail(ErrNoAck)
				<-s.done
				return
			case <-s.done:
				return
			}
		case <-s.done:
			return
		}
	}
}

// lost says of an error of Paho's, which has no type, what it means.
func lost(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrConnectionLost, err)
}

// deadline returns when the oldest pending message must have been acknowledged.
func (s *session) deadline() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending[0].deadline
}

// pop takes the oldest pending message off.
func (s *session) pop() (acked func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	acked = s.pending[0].acked
	s.pending = slices.Delete(s.pending, 0, 1)
	return acked
}

// close disconnects and tells all who still wait for an acknowledgement that
// there will be none.
func (s *session) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.disconnect()
	close(s.done)
	s.waiter.Wait()
	for _, p := range s.pending {
		p.acked(ErrConnectionLost)
	}
}

// disconnect ends the connection if it is still there.
func (s *session) disconnect() {
	const quiesce = 250 // milliseconds for the DISCONNECT packet
	if s.paho.IsConnectionOpen() {
		s.paho.Disconnect(quiesce)
	}
}
