package mqtt

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	readBufferSize = 128 << 10

	// maxPending bounds what may wait to be written before a publish is
	// dropped. Acknowledgements are not counted against it: what may be
	// unacknowledged is bounded where they come from.
	maxPending = 1 << 20

	// closeGrace is how long Close waits for what is still to be written.
	closeGrace = time.Second
)

// conn is a network connection that reads through a buffer and gathers what is
// written into few system calls. Writes return before the bytes are sent: one
// that fails surfaces as the error of Read, which Paho takes as the loss of the
// connection. It is safe for concurrent use.
type conn struct {
	net.Conn
	in *bufio.Reader // used by Paho's one reading goroutine

	mu      sync.Mutex
	pending []byte // complete packets that wait for the flusher
	err     error  // why writing ended
	closed  bool

	wake    chan struct{} // tells the flusher of pending bytes; has room for one
	flushed chan struct{} // closed when the flusher has ended
}

// newConn returns a conn on c, with its flusher running until Close.
func newConn(c net.Conn) *conn {
	k := &conn{
		Conn:    c,
		in:      bufio.NewReaderSize(c, readBufferSize),
		wake:    make(chan struct{}, 1),
		flushed: make(chan struct{}),
	}
	go k.flush()
	return k
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	if err == nil {
		return n, nil
	}
	// Paho passes over the error of a closed connection, and a failed write
	// closes it: say what happened first.
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil && !errors.Is(c.err, net.ErrClosed) {
		return n, fmt.Errorf("write: %w", c.err)
	}
	return n, err
}

// Write takes one or more complete packets to be sent.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.writable(); err != nil {
		return 0, err
	}
	c.pending = append(c.pending, p...)
	c.signal()
	return len(p), nil
}

// acknowledge sends PUBACK (MQTT 3.1.1, section 3.4). On a connection that has
// gone it does nothing: the broker will send the message again.
func (c *conn) acknowledge(id uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writable() == nil {
		c.pending = append(c.pending, 0x40, 2, byte(id>>8), byte(id))
		c.signal()
	}
}

var errPending = errors.New("the broker does not keep up")

// publish sends PUBLISH at QoS 0 (section 3.3). It never waits: the error is
// errPending when too much does already.
func (c *conn) publish(topic string, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.writable(); err != nil {
		return err
	}
	if len(c.pending)+len(topic)+len(payload) > maxPending {
		return errPending
	}
	c.pending = append(c.pending, 0x30)
	c.pending = binary.AppendUvarint(c.pending, uint64(2+len(topic)+len(payload))) // section 2.2.3: the same encoding
	c.pending = binary.BigEndian.AppendUint16(c.pending, uint16(len(topic)))
	c.pending = append(c.pending, topic...)
	c.pending = append(c.pending, payload...)
	c.signal()
	return nil
}

// writable returns why nothing more can be written; c.mu is held.
func (c *conn) writable() error {
	if c.err != nil {
		return c.err
	}
	if c.closed {
		return net.ErrClosed
	}
	return nil
}

// signal wakes the flusher; c.mu is held.
func (c *conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// flush writes what is pending whenever there is something. While it is in a
// system call, more gathers.
func (c *conn) flush() {
	defer close(c.flushed)
	var spare []byte
	for range c.wake {
		c.mu.Lock()
		out := c.pending
		c.pending = spare[:0]
		c.mu.Unlock()
		if _, err := c.Conn.Write(out); err != nil {
			c.mu.Lock()
			c.err = err
			c.pending = nil
			c.mu.Unlock()
			_ = c.Conn.Close() // ends the Read, which reports err
			return
		}
		spare = out
		if cap(spare) > maxPending {
			spare = nil
		}
	}
}

// Close sends what is pending, a DISCONNECT among it, and closes the connection.
func (c *conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	// Best effort: if there is no deadline to be had, closing still ends it.
	_ = c.SetWriteDeadline(time.Now().Add(closeGrace))
	close(c.wake)
	c.mu.Unlock()
	<-c.flushed
	return c.Conn.Close()
}
