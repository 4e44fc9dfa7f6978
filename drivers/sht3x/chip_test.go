package sht3x

import (
	"fmt"
	"syscall"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/drivers/crc8"
)

// chip is a bus with one chip, whose results are there after as many reads as it
// is late.
type chip struct {
	temperature, humidity uint16

	state    uint16 // its status
	periodic bool
	pending  []byte // what the next read gets
	wait     int    // reads until then
	late     int    // what wait is after the command of a measurement

	before func(n int) // nil, or called before each transaction, from 0
	count  int
}

func newChip() *chip {
	c := &chip{temperature: 0x6666, humidity: 0x8000}
	c.reset()
	return c
}

// reset is what a brown-out does as well.
func (c *chip) reset() { c.state, c.periodic, c.pending, c.wait = 1<<15|1<<4, false, nil, 0 }

func (c *chip) String() string                  { return "chip" }
func (c *chip) SetSpeed(physic.Frequency) error { return nil }

func (c *chip) Tx(addr uint16, w, r []byte) error {
	if c.before != nil {
		c.before(c.count)
	}
	c.count++
	if addr != DefaultAddress || (w == nil) == (r == nil) {
		return fmt.Errorf("unexpected transaction at %#x: % x", addr, w)
	}
	if r != nil {
		if c.wait > 0 || c.pending == nil {
			c.wait = max(0, c.wait-1)
			return syscall.ENXIO
		}
		copy(r, c.pending)
		c.pending = nil
		return nil
	}
	if len(w) != 2 {
		return fmt.Errorf("unexpected command % x", w)
	}
	c.pending, c.wait = nil, 0
	c.state &^= 1 << 1
	switch command := uint16(w[0])<<8 | uint16(w[1]); {
	case command == 0xF32D:
		c.pending = withSum(c.state)
	case command == 0x3041:
		c.state &^= 1<<15 | 1<<11 | 1<<10 | 1<<4
	case command == 0x3093:
		c.periodic = false
	case c.periodic:
		c.state |= 1 << 1 // not processed
	case command == 0x30A2:
		c.reset()
	case command == 0x2400, command == 0x240B, command == 0x2416:
		c.pending, c.wait = append(withSum(c.temperature), withSum(c.humidity)...), c.late
	default:
		c.state |= 1 << 1
	}
	return nil
}

func withSum(word uint16) []byte {
	b := []byte{byte(word >> 8), byte(word)}
	return append(b, crc8.Sum(0xFF, b...))
}
