package i2csim

import (
	"math"
	"math/rand/v2"
	"time"
)

// Registers (TSL2591 data sheet, register map). The ones between are for
// interrupts.
const (
	tsl2591Enable  = 0x00
	tsl2591Control = 0x01
	tsl2591AILTL   = 0x04 // first of what is for interrupts
	tsl2591Persist = 0x0C // and last
	tsl2591ID      = 0x12
	tsl2591Status  = 0x13
	tsl2591C0DATAL = 0x14
	tsl2591C0DATAH = 0x15
	tsl2591C1DATAL = 0x16
	tsl2591C1DATAH = 0x17
)

const (
	// The first byte of a message is a command if its highest bit is set: in
	// the next two its kind, then an address.
	tsl2591Command = 0b1000_0000
	tsl2591Kind    = 0b1110_0000
	tsl2591Normal  = 0b1010_0000

	tsl2591On    = 0b11 // in enable: power on, and ALS enable
	tsl2591Reset = 1 << 7
	tsl2591Valid = 1 << 0 // in status

	// tsl2591Factor is the device factor of the illuminance formula: the counts
	// per lux are time in ms x gain / 408.
	tsl2591Factor = 408
)

// TSL2591 is an emulated ams TSL2591. It is powered down, and has been
// supplied for long, when it is made. It is safe for concurrent use.
type TSL2591 struct {
	core
	infrared float64

	pointer   byte
	registers [0x18]byte // the data's high bytes as of when the low ones were read
	data      [2]uint16  // of the channels
	measuring byte       // control as of start
}

// NewTSL2591 returns a TSL2591 that is powered down. Its Seed decides under
// which light it is: see [TSL2591.Infrared].
func NewTSL2591(o ChipOptions) (*TSL2591, error) {
	c := new(TSL2591)
	if err := c.setUp("tsl2591", o, c); err != nil {
		return nil, err
	}
	// The data sheet's white LED gives 0.166, its infrared one 0.598.
	c.infrared = 0.1 + 0.3*rand.New(rand.NewPCG(o.Seed, 0x2591)).Float64()
	return c, nil
}

// Infrared returns the ratio of channel 1, which sees infrared, to channel 0,
// which sees all: 0.1 to 0.4.
func (c *TSL2591) Infrared() float64 { return c.infrared }

// powerUp leaves the chip powered down, with its registers reset.
func (c *TSL2591) powerUp(time.Time) { c.reset() }

// write takes a command. A normal one selects a register, and is followed by
// bytes for it and for those after it. Others are ignored: the special
// functions are about interrupts.
func (c *TSL2591) write(p []byte, now time.Time) int {
	if len(p) == 0 || p[0]&tsl2591Kind != tsl2591Normal {
		return len(p)
	}
	c.pointer = p[0] &^ tsl2591Kind
	for _, b := range p[1:] {
		c.set(c.pointer, b, now)
		c.pointer++
	}
	return len(p)
}

// read gives consecutive registers.
func (c *TSL2591) read(p []byte, _ time.Time) bool {
	for i := range p {
		p[i] = c.get(c.pointer)
		c.pointer++
	}
	return true
}

// get returns a register. To read a channel's low byte keeps the high one of
// the same integration for when it is read.
func (c *TSL2591) get(register byte) byte {
	switch register {
	case tsl2591C0DATAL:
		c.registers[tsl2591C0DATAH] = byte(c.data[0] >> 8)
		return byte(c.data[0])
	case tsl2591C1DATAL:
		c.registers[tsl2591C1DATAH] = byte(c.data[1] >> 8)
		return byte(c.data[1])
	}
	if int(register) < len(c.registers) {
		return c.registers[register]
	}
	return 0
}

func (c *TSL2591) set(register, value byte, now time.Time) {
	switch {
	case register == tsl2591Enable:
		was := c.enabled()
		c.registers[register] = value
		if c.enabled() && !was {
			c.registers[tsl2591Status] &^= tsl2591Valid
			c.begin(now)
		}
	case register == tsl2591Control && value&tsl2591Reset != 0:
		c.reset()
	case register == tsl2591Control:
		c.registers[register] = value
	case register >= tsl2591AILTL && register <= tsl2591Persist:
		c.registers[register] = value
	}
}

func (c *TSL2591) reset() {
	c.pointer = 0
	c.registers = [0x18]byte{tsl2591ID: 0x50}
	c.data = [2]uint16{}
	c.forget()
}

func (c *TSL2591) enabled() bool { return c.registers[tsl2591Enable]&tsl2591On == tsl2591On }

// begin starts an integration as the control register says then.
func (c *TSL2591) begin(start time.Time) {
	c.measuring = c.registers[tsl2591Control]
	c.start, c.end = start, start.Add(c.duration())
}

// advance carries out everything that has happened up to now. Each result
// replaces the one before: of those that follow with one setting only the last
// needs to be made.
func (c *TSL2591) advance(now time.Time) {
	for c.enabled() && !now.Before(c.end) {
		c.convert()
		c.begin(c.end)
		c.skip(now, c.duration())
	}
}

// convert ends the integration from start to end. The data sheet has no
// formula for the illuminance; this is the one of Adafruit's library, and of
// Linux: (C0 - C1) (1 - C1/C0) by the counts per lux.
func (c *TSL2591) convert() {
	e := c.conclude()
	gain := [4]float64{1, 25, 428, 9876}[c.measuring>>4&0b11]
	lux := e.lux()
	want := max(lux*float64(c.steps()*100)*gain/tsl2591Factor, 0)
	// C1 is rounded, and then C0 so that both together come nearest.
	c1 := math.Round(want / (1 - c.infrared) / (1 - c.infrared) * c.infrared)
	// C0 - 2 C1 + C1²/C0 = want.
	b := want/2 + c1
	c0 := math.Round(b + math.Sqrt(b*b-c1*c1))
	full := c.fullScale()
	c.data = [2]uint16{uint16(min(c0, full)), uint16(min(c1, full))}
	c.registers[tsl2591Status] |= tsl2591Valid
}

// fullScale returns the greatest count (data sheet, operating
// characteristics).
func (c *TSL2591) fullScale() float64 {
	if c.steps() == 1 {
		return 36863
	}
	return math.MaxUint16
}

// steps returns the integration time in steps of nominally 100 ms; six for
// reserved values.
func (c *TSL2591) steps() int { return int(min(c.measuring&0b111, 5)) + 1 }

// duration returns the integration time. The slowest step is one that the
// drivers at hand have room for: Adafruit's waits for 120 ms a step, Linux' for
// the nominal time and up to 100 ms more.
func (c *TSL2591) duration() time.Duration {
	step := 100 * time.Millisecond
	if c.timing == Maximum {
		step = 108 * time.Millisecond
	}
	return time.Duration(c.steps()) * step
}
