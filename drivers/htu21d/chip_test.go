package htu21d

import (
	"fmt"
	"syscall"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/drivers/crc8"
)

// chip is a bus with one chip, whose results are there after as many reads as it
// is late.
type chip struct {
	temperature, humidity uint16 // with their status bits
	reserved              byte   // of the user register
	lowSupply             bool

	user    byte
	pending []byte // what the next read gets
	wait    int    // reads until then
	busy    bool   // whether commands are not acknowledged until then, either
	late    int    // what wait is after the command of a measurement

	before func(n int) // nil, or called before each transaction, from 0
	count  int
}

func newChip() *chip {
	c := &chip{temperature: 0x6838, humidity: 0x7C82, reserved: 0x38}
	c.powerOn()
	return c
}

// powerOn is what a brown-out ends in.
func (c *chip) powerOn() { c.user, c.pending, c.wait = 0x02|c.reserved, nil, 0 }

func (c *chip) String() string                  { return "chip" }
func (c *chip) SetSpeed(physic.Frequency) error { return nil }

func (c *chip) Tx(addr uint16, w, r []byte) error {
	if c.before != nil {
		c.before(c.count)
	}
	c.count++
	switch {
	case addr != DefaultAddress:
		return fmt.Errorf("unexpected transaction at %#x: % x", addr, w)
	case w == nil:
		if c.wait > 0 || c.pending == nil {
			c.wait = max(0, c.wait-1)
			return syscall.ENXIO
		}
		copy(r, c.pending)
		c.pending = nil
		return nil
	}
	if c.busy && c.wait > 0 {
		return syscall.ENXIO
	}
	c.pending, c.wait = nil, 0
	switch w[0] {
	case 0xF3:
		c.pending, c.wait = withSum(c.temperature), c.late
	case 0xF5:
		c.pending, c.wait = withSum(c.humidity), c.late
	case 0xE7:
		r[0] = c.user
		if c.lowSupply {
			r[0] |= 1 << 6
		}
	case 0xE6:
		if w[1]&0x78 != c.reserved {
			return fmt.Errorf("reserved bits changed: %#02x", w[1])
		}
		c.user = w[1]
	case 0xFE:
		heater := c.user & (1 << 2)
		c.powerOn()
		c.user |= heater
	default:
		return fmt.Errorf("unexpected command % x", w)
	}
	return nil
}

func withSum(word uint16) []byte {
	b := []byte{byte(word >> 8), byte(word)}
	return append(b, crc8.Sum(0, b...))
}
