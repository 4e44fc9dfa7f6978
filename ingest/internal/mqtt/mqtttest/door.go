package mqtttest

import (
	"net"
	"sync"
)

// door is a listener that can be shut between two clients: mochi must not end
// while it begins with one, which is a race in it.
type door struct {
	net.Listener
	entering sync.WaitGroup // accepted, and not yet read from

	mu     sync.Mutex
	closed bool
}

func (d *door) Accept() (net.Conn, error) {
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

// shut lets nobody in any more, and waits for those who are at the door.
func (d *door) shut() {
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
