package mqtt

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// session is one connection.
type session struct {
	paho       paho.Client
	ackTimeout time.Duration
	failed     chan error // cap 1: why the connection is at its end

	mu      sync.Mutex
	pending []pending     // published and not acknowledged, in order
	closed  bool          // nothing is added to pending any more
	added   chan struct{} // cap 1: signalled when pending has become longer
	done    chan struct{} // closed by close
	waiter  sync.WaitGroup
}

// pending is a message on its way.
type pending struct {
	token    paho.Token
	acked    func(error)
	deadline time.Time
}

func newSession(ackTimeout time.Duration) *session {
	return &session{
		ackTimeout: ackTimeout,
		failed:     make(chan error, 1),
		added:      make(chan struct{}, 1),
		done:       make(chan struct{}),
	}
}

// start waits for acknowledgements until close.
func (s *session) start() { s.waiter.Go(s.acknowledge) }

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

// publish hands a message to Paho at QoS 1. See [Client.Publish].
func (s *session) publish(topic string, retained bool, payload []byte, acked func(error)) error {
	token := s.paho.Publish(topic, 1, retained, payload)
	select {
	case <-token.Done():
		if err := token.Error(); err != nil {
			return lost(err)
		}
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrConnectionLost
	}
	s.pending = append(s.pending, pending{token, acked, time.Now().Add(s.ackTimeout)})
	select {
	case s.added <- struct{}{}:
	default:
	}
	return nil
}

// acknowledge reports the acknowledgements in the order of publishing, which is
// the one that the broker must keep too (MQTT 3.1.1, 4.6).
func (s *session) acknowledge() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		p, ok := s.first()
		if !ok {
			select {
			case <-s.added:
				continue
			case <-s.done:
				return
			}
		}
		timer.Reset(time.Until(p.deadline))
		select {
		case <-p.token.Done():
			s.pop()
			p.acked(lost(p.token.Error()))
		case <-timer.C:
			s.fail(ErrNoAck)
			<-s.done
			return
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

// first returns the oldest message on its way.
func (s *session) first() (p pending, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) == 0 {
		return pending{}, false
	}
	return s.pending[0], true
}

// pop takes the oldest message off.
func (s *session) pop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = slices.Delete(s.pending, 0, 1)
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
