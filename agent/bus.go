package agent

import (
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/agent/internal/sample"
)

// bus is an I2C bus that is opened at its first transaction. If that fails, or
// the bus goes away, as one on USB can, later transactions try again, no sooner
// than an exponential backoff allows, and fail meanwhile. It is safe for
// concurrent use if what open returns is.
type bus struct {
	name    string
	open    func(name string) (i2c.BusCloser, error)
	backoff *backoff.ExponentialBackOff

	mu      sync.Mutex
	current i2c.BusCloser // nil if not open
	err     error         // why not
	retry   time.Time     // not to be opened before
	closed  bool
}

var errBusClosed = errors.New("bus is closed")

func newBus(name string, open func(string) (i2c.BusCloser, error)) *bus {
	return &bus{name: name, open: open, backoff: &backoff.ExponentialBackOff{
		InitialInterval:     time.Second,
		MaxInterval:         time.Minute,
		Multiplier:          2,
		RandomizationFactor: 0.5,
	}}
}

func (b *bus) String() string { return b.name }

// Tx implements i2c.Bus.
func (b *bus) Tx(addr uint16, w, r []byte) error {
	current, err := b.get()
	if err != nil {
		return &sample.FaultError{Reason: sample.Bus, Err: err}
	}
	err = current.Tx(addr, w, r)
	if errors.Is(err, syscall.ENODEV) {
		b.drop(current, err)
	}
	return err
}

// SetSpeed implements i2c.Bus.
func (b *bus) SetSpeed(f physic.Frequency) error {
	current, err := b.get()
	if err != nil {
		return err
	}
	return current.SetSpeed(f)
}

// get returns the open bus, or why there is none.
func (b *bus) get() (i2c.BusCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return nil, errBusClosed
	case b.current != nil:
		return b.current, nil
	case time.Now().Before(b.retry):
		return nil, b.err
	}
	b.current, b.err = b.open(b.name)
	if b.err != nil {
		b.current = nil // what came with the error is no bus
		b.retry = time.Now().Add(b.backoff.NextBackOff())
		return nil, b.err
	}
	b.backoff.Reset()
	return b.current, nil
}

// drop closes a bus that has gone away.
func (b *bus) drop(gone i2c.BusCloser, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current == gone {
		b.current, b.err = nil, err
		_ = gone.Close()
	}
}

// Close closes the bus for good.
func (b *bus) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.current == nil {
		return nil
	}
	err := b.current.Close()
	b.current = nil
	return err
}

// bus returns the bus of that name, the same for all of its chips.
func (a *Agent) bus(name string) *bus {
	b := a.buses[name]
	if b == nil {
		b = newBus(name, a.opts.OpenBus)
		a.buses[name] = b
	}
	return b
}

func (a *Agent) closeBuses() {
	for _, b := range a.buses {
		if err := b.Close(); err != nil {
			a.opts.Logger.Warn("bus close failed", "bus", b.name, "error", err)
		}
	}
}
