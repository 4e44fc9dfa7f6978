package i2csim

import (
	"math"
	"time"
)

// Instructions (BH1750FVI technical note, "Instruction Set Architecture").
const (
	opPowerDown = 0b0000_0000
	opPowerOn   = 0b0000_0001
	opReset     = 0b0000_0111

	opMTHigh = 0b01000_000 // and the measurement time's bits 7 to 5
	opMTLow  = 0b011_00000 // and its bits 4 to 0
)

// A measurement instruction is one of the two modes with a resolution in its
// low bits: 00 is H, of 1 lx.
const (
	opContinuous = 0b0001_0000
	opOneTime    = 0b0010_0000

	resolution   = 0b11
	resolutionH2 = 0b01 // 0.5 lx
	resolutionL  = 0b11 // 4 lx
)

// The measurement time register ("Measurement result adjustment function").
const (
	defaultMT = 69
	minMT     = 31
	maxMT     = 254
)

// BH1750 is an emulated ROHM BH1750FVI. It is powered down, and has been
// supplied for long, when it is made. It is safe for concurrent use.
type BH1750 struct {
	core

	on        bool
	mt        byte // the measurement time register
	measuring byte // the instruction being carried out, 0 for none
	measureMT byte // mt as of that instruction
	data      uint16
}

// NewBH1750 returns a BH1750 that is powered down.
func NewBH1750(o ChipOptions) (*BH1750, error) {
	c := new(BH1750)
	if err := c.setUp("bh1750", o, c); err != nil {
		return nil, err
	}
	return c, nil
}

// powerUp leaves the chip powered down, with its registers reset.
func (c *BH1750) powerUp(time.Time) {
	c.on, c.mt, c.measuring, c.data = false, defaultMT, 0, 0
}

// write carries out one instruction and acknowledges it. The chip "is not able
// to accept plural command without stop condition" (page 10): it acknowledges
// no second one.
func (c *BH1750) write(p []byte, now time.Time) int {
	if len(p) == 0 {
		return 0
	}
	c.instruct(p[0], now)
	return 1
}

// read gives the data register, high byte first, and then nothing: the data
// line stays high.
func (c *BH1750) read(p []byte, _ time.Time) bool {
	answer(p, []byte{byte(c.data >> 8), byte(c.data)})
	return true
}

func (c *BH1750) instruct(op byte, now time.Time) {
	switch {
	case op == opPowerDown:
		c.on, c.measuring = false, 0
	case op == opPowerOn:
		c.on, c.measuring = true, 0
	case op == opReset:
		if c.on { // "not acceptable in power down mode"
			c.data = 0
		}
	case op&^0b111 == opMTHigh:
		c.mt = op<<5 | c.mt&0b11111
	case op&^0b11111 == opMTLow:
		c.mt = c.mt&^0b11111 | op&0b11111
	case op&^resolution == opContinuous || op&^resolution == opOneTime:
		if op&resolution == 0b10 {
			return // no such resolution
		}
		c.on = true // power on may be left out
		c.measuring = op
		c.measureMT = min(max(c.mt, minMT), maxMT)
		c.start, c.end = now, now.Add(c.duration())
	}
}

// advance carries out everything that has happened up to now.
func (c *BH1750) advance(now time.Time) {
	if c.measuring == 0 || now.Before(c.end) {
		return
	}
	if c.measuring&^resolution == opOneTime {
		c.convert()
		c.on, c.measuring = false, 0
		return
	}
	// Each result replaces the one before: only the last needs to be made.
	d := c.duration()
	c.skip(now, d)
	c.convert()
	c.start, c.end = c.end, c.end.Add(d)
}

// convert ends the measurement from start to end. A count is 1/1.2 lx in the
// H- and L-resolution modes, half of that in H-resolution mode 2, at the
// default measurement time (pages 2 and 10).
func (c *BH1750) convert() {
	e := c.conclude()
	count := e.lux() * 1.2 * float64(c.measureMT) / defaultMT
	step := 1.0
	switch c.measuring & resolution {
	case resolutionH2:
		count *= 2
	case resolutionL:
		step = 4
	}
	c.data = word16(math.Round(count/step) * step)
}

// duration returns how long a measurement takes (page 2), which is in
// proportion to the measurement time register.
func (c *BH1750) duration() time.Duration {
	var d time.Duration
	switch l := c.measuring&resolution == resolutionL; {
	case l && c.timing == Typical:
		d = 16 * time.Millisecond
	case l:
		d = 24 * time.Millisecond
	case c.timing == Typical:
		d = 120 * time.Millisecond
	default:
		d = 180 * time.Millisecond
	}
	return d * time.Duration(c.measureMT) / defaultMT
}
