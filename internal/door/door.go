// Package door lets a test end mochi-mqtt's broker between two clients: it must not
// end while it begins with one, which is a race in it.
package door

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/await"
)

// Door is a listener that can be shut.
type Door struct {
	net.Listener
	entering sync.WaitGroup // accepted, and not yet read from

	mu     sync.Mutex
	closed bool
}

// Listen returns a Door at a TCP address. It waits for a port that another has for a
// moment, as one that was free before may be taken.
func Listen(t testing.TB, addr string) *Door {
	t.Helper()
	d := &Door{}
	await.True(t, time.Minute, "listening at "+addr, func() bool {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
		d.Listener = l
		return err == nil
	})
	return d
}

// Accept implements net.Listener. It fails once the door is shut.
func (d *Door) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	d.entering.Add(1)
	return &entrant{Conn: c, entered: sync.OnceFunc(d.entering.Done)}, nil
}

// Shut lets nobody in any more, and waits for those who are at the door.
func (d *Door) Shut() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	_ = d.Close()
	d.entering.Wait()
}

// entrant is a connection that mochi has begun with once it reads from it.
type entrant struct {
	net.Conn
	entered func()
}

func (e *entrant) Read(p []byte) (int, error) {
	e.entered()
	return e.Conn.Read(p)
}

func (e *entrant) Close() error {
	e.entered()
	return e.Conn.Close()
}
