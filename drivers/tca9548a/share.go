package tca9548a

import (
	"sync"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// Share returns bus for the use of multiplexers and of the chips beside them: none of
// their transactions comes between those that belong together. It is safe for
// concurrent use. A bus that is shared already is returned as it is.
func Share(bus i2c.Bus) i2c.Bus { return share(bus) }

// shared is a bus that can be had alone for several transactions.
type shared interface {
	i2c.Bus
	// alone calls do with a bus, for use until it returns, that nobody else uses
	// meanwhile.
	alone(do func(bus i2c.Bus) error) error
}

func share(bus i2c.Bus) shared {
	if s, ok := bus.(shared); ok {
		return s
	}
	return &trunk{bus: bus}
}

// trunk is a bus that is shared by all who use it through it.
type trunk struct {
	mu  sync.Mutex
	bus i2c.Bus
}

// String implements conn.Resource.
func (t *trunk) String() string { return t.bus.String() }

// SetSpeed implements i2c.Bus.
func (t *trunk) SetSpeed(f physic.Frequency) error {
	return t.alone(func(bus i2c.Bus) error { return bus.SetSpeed(f) })
}

// Tx implements i2c.Bus.
func (t *trunk) Tx(addr uint16, w, r []byte) error {
	return t.alone(func(bus i2c.Bus) error { return bus.Tx(addr, w, r) })
}

func (t *trunk) alone(do func(i2c.Bus) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return do(t.bus)
}
