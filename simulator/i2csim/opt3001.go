package i2csim

import (
	"encoding/binary"
	"math"
	"time"
)

// Registers (OPT3001-Q1 data sheet, 7.1).
const (
	opt3001Result       = 0x00
	opt3001Config       = 0x01
	opt3001Low          = 0x02
	opt3001High         = 0x03
	opt3001Manufacturer = 0x7E
	opt3001Device       = 0x7F
)

// Fields of the configuration.
const (
	opt3001Long       = 1 << 11 // 800 ms, else 100 ms
	opt3001Mode       = 0b11 << 9
	opt3001SingleShot = 0b01 << 9 // with the high bit: continuous
	opt3001Overflow   = 1 << 8
	opt3001Ready      = 1 << 7
	opt3001Flags      = 0b1111 << 5 // overflow, ready, and the limits' two: read-only
	opt3001Mask       = 1 << 2      // exponent 0 in a range that is set by hand

	opt3001AutoRange = 0b1100 // as a range number; those above are reserved
	opt3001LastRange = 0b1011

	opt3001FullScale = 1<<12 - 1
)

// OPT3001 is an emulated Texas Instruments OPT3001. It is shut down, and has
// been supplied for long, when it is made. It is safe for concurrent use.
type OPT3001 struct {
	core

	pointer   byte
	result    uint16
	config    uint16
	low, high uint16
}

// NewOPT3001 returns an OPT3001 that is shut down.
func NewOPT3001(o ChipOptions) (*OPT3001, error) {
	c := new(OPT3001)
	if err := c.setUp("opt3001", o, c); err != nil {
		return nil, err
	}
	return c, nil
}

// powerUp leaves the chip shut down, with its registers reset.
func (c *OPT3001) powerUp(time.Time) {
	c.pointer, c.result, c.config, c.low, c.high = 0, 0, 0xC810, 0xC000, 0xBFFF
}

// write takes a register and then a word, high byte first (6.5.1). Without a
// whole word it selects what is read next.
func (c *OPT3001) write(p []byte, now time.Time) int {
	if len(p) > 0 {
		c.pointer = p[0]
	}
	if len(p) >= 3 {
		c.set(c.pointer, binary.BigEndian.Uint16(p[1:]), now)
	}
	return len(p)
}

// read gives the register, high byte first, and then nothing: the data line
// stays high.
func (c *OPT3001) read(p []byte, _ time.Time) bool {
	answer(p, binary.BigEndian.AppendUint16(nil, c.get()))
	return true
}

// get returns the register that is selected. To read the configuration clears
// its ready flag (6.4.2.1).
func (c *OPT3001) get() uint16 {
	switch c.pointer {
	case opt3001Result:
		return c.result
	case opt3001Config:
		word := c.config
		c.config &^= opt3001Ready
		return word
	case opt3001Low:
		return c.low
	case opt3001High:
		return c.high
	case opt3001Manufacturer:
		return 'T'<<8 | 'I'
	case opt3001Device:
		return 0x3001
	}
	return 0
}

func (c *OPT3001) set(register byte, word uint16, now time.Time) {
	switch register {
	case opt3001Config:
		// A conversion that runs is aborted, and one that is wanted starts.
		c.config = word&^opt3001Flags | c.config&opt3001Flags
		if c.mode() != 0 {
			c.config &^= opt3001Ready
			c.start, c.end = now, now.Add(c.duration())
			if c.rangeNumber() == opt3001AutoRange {
				c.end = c.end.Add(10 * time.Millisecond) // to assess the range (6.4.1)
			}
		}
	case opt3001Low:
		c.low = word
	case opt3001High:
		c.high = word
	}
}

func (c *OPT3001) mode() uint16 { return c.config & opt3001Mode }

func (c *OPT3001) rangeNumber() uint16 { return min(c.config>>12, opt3001AutoRange) }

// advance carries out everything that has happened up to now. Each result
// replaces the one before: only the last needs to be made.
func (c *OPT3001) advance(now time.Time) {
	if c.mode() == 0 || now.Before(c.end) {
		return
	}
	if c.mode() == opt3001SingleShot {
		c.convert()
		c.config &^= opt3001Mode
		return
	}
	d := c.duration()
	if passed := now.Sub(c.end).Truncate(d); passed > 0 {
		c.end = c.end.Add(passed)
		c.start = c.end.Add(-d)
	}
	c.convert()
	c.start, c.end = c.end, c.end.Add(d)
}

// convert ends the conversion from start to end.
func (c *OPT3001) convert() {
	e := c.conclude()
	centilux := max(e.lux()*100, 0)
	exponent := c.rangeNumber()
	var mantissa float64
	if exponent == opt3001AutoRange {
		for exponent = 0; ; exponent++ {
			mantissa = c.mantissa(centilux, exponent)
			if mantissa <= opt3001FullScale || exponent == opt3001LastRange {
				break
			}
		}
	} else {
		mantissa = c.mantissa(centilux, exponent)
	}
	c.config = c.config&^opt3001Overflow | opt3001Ready
	if mantissa > opt3001FullScale {
		c.config |= opt3001Overflow
		// "At light levels significantly exceeding the set full-scale range, the
		// fractional field of the result register is not guaranteed to report
		// 0xFFF" (7.1.1.2).
		if mantissa > 2*opt3001FullScale {
			mantissa = opt3001FullScale / 2
		}
		mantissa = min(mantissa, opt3001FullScale)
	}
	if c.config&opt3001Mask != 0 && c.rangeNumber() != opt3001AutoRange {
		exponent = 0
	}
	c.result = exponent<<12 | uint16(mantissa)
}

// mantissa returns the light in steps of 0.01 lx times two to the exponent, as
// coarse as it is after 100 ms in the lower ranges (table 7-5, field CT).
func (c *OPT3001) mantissa(centilux float64, exponent uint16) float64 {
	coarse := 1.0
	if c.config&opt3001Long == 0 {
		switch {
		case exponent == 0:
			coarse = 8
		case exponent <= 4:
			coarse = 4
		case exponent == 5:
			coarse = 2
		}
	}
	return math.Round(centilux/math.Exp2(float64(exponent))/coarse) * coarse
}

// duration returns the time to the result: integration and 3 ms (5.5).
func (c *OPT3001) duration() time.Duration {
	d := 100 * time.Millisecond
	if c.config&opt3001Long != 0 {
		d = 800 * time.Millisecond
	}
	if c.timing == Maximum {
		d += d / 10
	}
	return d + 3*time.Millisecond
}
