package tca9548a

import (
	"fmt"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/drivers"
)

// DefaultAddress is the I2C address with A2 to A0 low, which add up to 7 (table 1).
const DefaultAddress uint16 = 0x70

// Channels is how many a multiplexer has.
const Channels = 8

// Options of a [Dev].
type Options struct {
	Address uint16 // 0x70 to 0x77; 0 is DefaultAddress
}

// Dev is one multiplexer. It and its channels are safe for concurrent use if the bus
// is.
type Dev struct {
	bus  shared
	addr uint16
}

// New returns the multiplexer at an address of bus, which is one that [Share]
// returned, a channel of another multiplexer, or one that nothing else has to be kept
// off from. It does no I/O: a multiplexer that is absent is an error of each
// transaction. The error is a drivers.ErrOptions.
func New(bus i2c.Bus, opts Options) (*Dev, error) {
	if opts.Address == 0 {
		opts.Address = DefaultAddress
	}
	switch {
	case bus == nil:
		return nil, fmt.Errorf("tca9548a: %w: no bus", drivers.ErrOptions)
	case opts.Address < 0x70 || opts.Address > 0x77:
		return nil, fmt.Errorf("tca9548a: %w: address %#x: want 0x70 to 0x77", drivers.ErrOptions, opts.Address)
	}
	return &Dev{bus: share(bus), addr: opts.Address}, nil
}

// String returns the multiplexer's name and address.
func (d *Dev) String() string { return fmt.Sprintf("TCA9548A at %#x", d.addr) }

// Channel returns the bus behind channel n, from 0 to 7. It panics if there is no such
// channel.
//
// An error of its Tx wraps that of the bus, with what was being done in front if that
// was opening or closing the channel: what the chip answered before the channel could
// not be closed is not to be used. An address that is the multiplexer's own is a
// drivers.ErrOptions. SetSpeed is of the whole bus.
func (d *Dev) Channel(n int) i2c.Bus {
	if n < 0 || n >= Channels {
		panic(fmt.Sprintf("tca9548a: channel %d: want 0 to %d", n, Channels-1))
	}
	return &channel{d, n}
}

// channel is the bus behind one channel.
type channel struct {
	dev *Dev
	n   int
}

// String implements conn.Resource.
func (c *channel) String() string { return fmt.Sprintf("%v/%#x:%d", c.dev.bus, c.dev.addr, c.n) }

// SetSpeed implements i2c.Bus.
func (c *channel) SetSpeed(f physic.Frequency) error { return c.dev.bus.SetSpeed(f) }

// Tx implements i2c.Bus.
func (c *channel) Tx(addr uint16, w, r []byte) error {
	return c.alone(func(bus i2c.Bus) error { return bus.Tx(addr, w, r) })
}

// alone implements shared: it lets do have the channel, open.
func (c *channel) alone(do func(i2c.Bus) error) error {
	return c.dev.bus.alone(func(bus i2c.Bus) error {
		if err := bus.Tx(c.dev.addr, []byte{1 << c.n}, nil); err != nil {
			return fmt.Errorf("%v: open channel %d: %w", c.dev, c.n, err)
		}
		err := do(&behind{bus, c.dev})
		if closing := bus.Tx(c.dev.addr, []byte{0}, nil); err == nil && closing != nil {
			err = fmt.Errorf("%v: close channel %d: %w", c.dev, c.n, closing)
		}
		return err
	})
}

// behind is a bus with a channel of dev open.
type behind struct {
	i2c.Bus
	dev *Dev
}

// Tx implements i2c.Bus.
func (b *behind) Tx(addr uint16, w, r []byte) error {
	if addr == b.dev.addr {
		return fmt.Errorf("%w: address %#x is that of the multiplexer in front", drivers.ErrOptions, addr)
	}
	return b.Bus.Tx(addr, w, r)
}
