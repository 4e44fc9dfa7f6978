package agent

import (
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/agent/internal/sample"
	"github.com/telltale-iot/telltale/drivers/tca9548a"
)

// bus is an I2C bus that is opened for each transaction. So one that is not there
// yet, or was away, as one on USB can be, is used as soon as it is there, under
// whatever number; and nothing keeps the kernel from removing it (see package
// i2cdev). Opening a device file costs a few microseconds, a transaction hundreds.
// It is safe for concurrent use if what open returns is.
type bus struct {
	name string
	open func(name string) (i2c.BusCloser, error)
}

func (b *bus) String() string { return b.name }

// Tx implements i2c.Bus.
func (b *bus) Tx(addr uint16, w, r []byte) error {
	return b.with(func(open i2c.Bus) error { return open.Tx(addr, w, r) })
}

// SetSpeed implements i2c.Bus.
func (b *bus) SetSpeed(f physic.Frequency) error {
	return b.with(func(open i2c.Bus) error { return open.SetSpeed(f) })
}

// with opens the bus for use. That it cannot be opened is a fault of its own,
// whatever the errno: an open that says ENXIO is no chip that does not answer.
func (b *bus) with(use func(i2c.Bus) error) error {
	open, err := b.open(b.name)
	if err != nil {
		return &sample.FaultError{Reason: sample.Bus, Err: err}
	}
	defer func() { _ = open.Close() }() // nothing was written that could be lost
	return use(open)
}

// bus returns the bus of that name, the same for all of its chips, so that none
// comes between what a multiplexer's transaction consists of.
func (a *Agent) bus(name string) i2c.Bus {
	b := a.buses[name]
	if b == nil {
		b = tca9548a.Share(&bus{name, a.opts.OpenBus})
		a.buses[name] = b
	}
	return b
}

// busOf returns the bus on which a chip is, which may be a multiplexer's channel.
func (a *Agent) busOf(c *config.Chip) (i2c.Bus, error) {
	b := a.bus(c.Bus)
	if c.Multiplexer == 0 {
		return b, nil
	}
	m, err := tca9548a.New(b, tca9548a.Options{Address: c.Multiplexer})
	if err != nil {
		return nil, err
	}
	return m.Channel(c.Channel), nil
}
