package hil

import (
	"io"
	"net"
	"sync"
)

// streams are the outputs of the guest's processes.
type streams struct {
	mu     sync.Mutex
	last   uint64
	open   map[uint64]*stream
	closed bool
	active sync.WaitGroup
}

type stream struct {
	to   io.Writer
	conn net.Conn
	done chan struct{} // closed at its end
}

// expect makes a stream, which a process connects to later.
func (s *streams) expect(to io.Writer) (uint64, *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	made := &stream{to: to, done: make(chan struct{})}
	if s.closed {
		close(made.done)
	} else {
		s.open[s.last] = made
	}
	return s.last, made
}

// forget ends a stream that nothing connected to.
func (s *streams) forget(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if made := s.open[n]; made != nil && made.conn == nil {
		delete(s.open, n)
		close(made.done)
	}
}

// serve copies a connection to its stream's writer, until it ends.
func (s *streams) serve(n uint64, conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	made := s.open[n]
	if made == nil || made.conn != nil {
		conn.Close()
		return
	}
	made.conn = conn
	s.active.Go(func() {
		defer conn.Close()
		_, _ = io.Copy(made.to, conn) // ends when the guest does
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, n)
		close(made.done)
	})
}

// close ends all streams and waits until they have.
func (s *streams) close() {
	s.mu.Lock()
	s.closed = true
	for n, made := range s.open {
		if made.conn != nil {
			made.conn.Close()
			continue
		}
		delete(s.open, n)
		close(made.done)
	}
	s.mu.Unlock()
	s.active.Wait()
}
