package mqtt

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// gate is the network side of a conn: writes wait while it is shut.
type gate struct {
	net.Conn
	open   chan struct{}
	err    error // of every write
	writes atomic.Int64
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.writes.Add(1)
	if g.err != nil {
		return 0, g.err
	}
	return g.Conn.Write(p)
}

func TestWritesAreGathered(t *testing.T) {
	near, far := net.Pipe()
	g := &gate{Conn: near, open: make(chan struct{})}
	c := newConn(g)
	const n = 1000
	for i := range n {
		c.acknowledge(uint16(i))
	}
	close(g.open)
	for i := range n {
		p, err := packets.ReadPacket(far)
		if err != nil {
			t.Fatal(err)
		}
		if ack, ok := p.(*packets.PubackPacket); !ok || int(ack.MessageID) != i {
			t.Fatalf("packet %d is %v", i, p)
		}
	}
	if got := g.writes.Load(); got > 2 {
		t.Errorf("%d acknowledgements took %d writes, want 2 at most", n, got)
	}
	go func() { _, _ = io.Copy(io.Discard, far) }()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestPublishIsAPacket(t *testing.T) {
	for _, size := range []int{0, 1, 125, 200, 20_000} {
		near, far := net.Pipe()
		c := newConn(near)
		payload := bytes.Repeat([]byte("x"), size)
		if err := c.publish("telltale/v1/greenhouse-7/receipts", payload); err != nil {
			t.Fatal(err)
		}
		p, err := packets.ReadPacket(far)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := p.(*packets.PublishPacket)
		if !ok || got.TopicName != "telltale/v1/greenhouse-7/receipts" || !bytes.Equal(got.Payload, payload) || got.Qos != 0 || got.Retain || got.Dup {
			t.Errorf("%d bytes: packet %v", size, p)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Paho learns of a lost connection from Read alone, and passes over an error
// that says the connection was closed.
func TestFailedWriteSurfacesInRead(t *testing.T) {
	near, far := net.Pipe()
	defer func() { _ = far.Close() }()
	broken := errors.New("broken pipe")
	g := &gate{Conn: near, open: make(chan struct{}), err: broken}
	close(g.open)
	c := newConn(g)
	if _, err := c.Write([]byte{0xc0, 0}); err != nil {
		t.Fatalf("the write itself: %v", err)
	}
	_, err := c.Read(make([]byte, 1))
	if !errors.Is(err, broken) || strings.Contains(err.Error(), net.ErrClosed.Error()) {
		t.Errorf("read returned %v, want %v", err, broken)
	}
	if _, err := c.Write([]byte{0xc0, 0}); !errors.Is(err, broken) {
		t.Errorf("the next write returned %v, want %v", err, broken)
	}
	c.acknowledge(1)
	if err := c.publish("t", nil); !errors.Is(err, broken) {
		t.Errorf("publish returned %v, want %v", err, broken)
	}
	_ = c.Close()
}

func TestCloseSendsWhatIsPending(t *testing.T) {
	near, far := net.Pipe()
	c := newConn(near)
	received := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(far)
		received <- b
	}()
	c.acknowledge(7)
	if _, err := c.Write([]byte{0xe0, 0}); err != nil { // DISCONNECT
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := <-received, []byte{0x40, 2, 0, 7, 0xe0, 0}; !bytes.Equal(got, want) {
		t.Errorf("sent % x, want % x", got, want)
	}
	c.acknowledge(8) // does nothing, and does not panic
	if err := c.publish("t", nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("publish on a closed connection returned %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

// A peer that reads nothing holds up neither a publish nor Close for long.
func TestStalledPeer(t *testing.T) {
	near, far := net.Pipe()
	defer func() { _ = far.Close() }()
	c := newConn(near)
	payload := make([]byte, 10_000)
	n := 0
	for ; c.publish("t", payload) == nil; n++ {
		if n > 3*maxPending/len(payload) {
			t.Fatal("publish takes without bound")
		}
	}
	if err := c.publish("t", payload); !errors.Is(err, errPending) {
		t.Errorf("publish returned %v, want %v", err, errPending)
	}
	_ = c.Close()
}
