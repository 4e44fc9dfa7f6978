package i2csim

import (
	"math"
	"time"
)

// Registers (LPS22HB data sheet, table 16).
const (
	lps22hbFirst      = 0x0B // of those that can be written
	lps22hbID         = 0x0F
	lps22hbControl1   = 0x10
	lps22hbControl2   = 0x11
	lps22hbReference  = 0x15 // of the pressure, to 0x17
	lps22hbLast       = 0x1A
	lps22hbInterrupts = 0x25
	lps22hbStatus     = 0x27
	lps22hbPressure   = 0x28 // to 0x2A
	lps22hbTemp       = 0x2B // and 0x2C
)

const (
	// In control 1.
	lps22hbBlockUpdate = 1 << 1

	// In control 2. The first three clear themselves.
	lps22hbBoot      = 1 << 7
	lps22hbSoftReset = 1 << 2
	lps22hbOneShot   = 1 << 0
	lps22hbIncrement = 1 << 4

	// In status, for the pressure; one bit higher for the temperature. Overrun
	// is available data that were not read before the next came.
	lps22hbAvailable = 1 << 0
	lps22hbOverrun   = 1 << 4

	lps22hbBootStatus = 1 << 7 // in the source of interrupts
)

const (
	// lps22hbConversion is the time of one conversion. The data sheet has none:
	// it is what fits into the fastest rate.
	lps22hbConversion = time.Second / 75

	// lps22hbBooting is the time to load the calibration. The data sheet has
	// none either: it is that of the LPS25HB.
	lps22hbBooting = 2200 * time.Microsecond
)

// LPS22HB is an emulated ST LPS22HB. It is powered down, and has been supplied
// for long, when it is made. It is safe for concurrent use.
type LPS22HB struct {
	core

	pointer    byte
	registers  [0x34]byte
	bootTill   time.Time
	held       [2]bool // pressure and temperature: read in part, with block data update
	converting bool
}

// NewLPS22HB returns an LPS22HB that is powered down. The data sheet gives one
// duration for each thing: Timing makes no difference.
func NewLPS22HB(o ChipOptions) (*LPS22HB, error) {
	c := new(LPS22HB)
	if err := c.setUp("lps22hb", o, c); err != nil {
		return nil, err
	}
	return c, nil
}

// write takes a register and then bytes for it, and for those after it if the
// address counts on.
func (c *LPS22HB) write(p []byte, now time.Time) int {
	for i, b := range p {
		if i == 0 {
			c.pointer = b
			continue
		}
		c.set(c.pointer, b, now)
		c.next()
	}
	return len(p)
}

// read gives registers, one after the other if the address counts on.
func (c *LPS22HB) read(p []byte, now time.Time) bool {
	for i := range p {
		p[i] = c.get(c.pointer, now)
		c.next()
	}
	return true
}

func (c *LPS22HB) next() {
	if c.registers[lps22hbControl2]&lps22hbIncrement != 0 {
		c.pointer++
	}
}

func (c *LPS22HB) get(register byte, now time.Time) byte {
	switch {
	case int(register) >= len(c.registers):
		return 0
	case register == lps22hbControl2 && !c.booting(now):
		c.registers[register] &^= lps22hbBoot | lps22hbSoftReset
	case register == lps22hbInterrupts && c.booting(now):
		return lps22hbBootStatus
	case register == lps22hbPressure, register == lps22hbPressure+1:
		c.held[0] = c.blockUpdate()
	case register == lps22hbPressure+2:
		c.held[0] = false
		c.registers[lps22hbStatus] &^= lps22hbAvailable | lps22hbOverrun
	case register == lps22hbTemp:
		c.held[1] = c.blockUpdate()
	case register == lps22hbTemp+1:
		c.held[1] = false
		c.registers[lps22hbStatus] &^= (lps22hbAvailable | lps22hbOverrun) << 1
	}
	return c.registers[register]
}

func (c *LPS22HB) set(register, value byte, now time.Time) {
	switch {
	case register < lps22hbFirst || register > lps22hbLast,
		register == 0x0E, register == lps22hbID, register == 0x13:
		// Reserved or read-only.
	case register == lps22hbControl1:
		before := c.period()
		c.registers[register] = value
		if !c.blockUpdate() {
			c.held = [2]bool{}
		}
		if c.period() != before {
			// A one-shot conversion is given up, too.
			c.registers[lps22hbControl2] &^= lps22hbOneShot
			c.converting = false
			if c.period() != 0 {
				c.convertBy(c.ready(now).Add(c.period()))
			}
		}
	case register == lps22hbControl2:
		c.control(value, now)
	default:
		c.registers[register] = value
	}
}

func (c *LPS22HB) control(value byte, now time.Time) {
	if value&lps22hbSoftReset != 0 {
		c.reset()
		c.registers[lps22hbControl2] |= lps22hbSoftReset
		c.bootTill = now.Add(lps22hbBooting)
		return
	}
	running := c.registers[lps22hbControl2] & lps22hbOneShot
	c.registers[lps22hbControl2] = value&^lps22hbOneShot | running
	if value&lps22hbBoot != 0 {
		c.bootTill = now.Add(lps22hbBooting)
	}
	if value&lps22hbOneShot != 0 && running == 0 && c.period() == 0 {
		c.registers[lps22hbControl2] |= lps22hbOneShot
		c.convertBy(c.ready(now).Add(lps22hbConversion))
	}
}

// powerUp leaves the chip powered down, with its registers reset, and boots it.
func (c *LPS22HB) powerUp(now time.Time) {
	c.registers = [0x34]byte{lps22hbID: 0xB1}
	// As seen on a chip before its first conversion (STMicroelectronics
	// community, "LPS22HB - One shot mode problem", 2016): 758.4 hPa.
	copy(c.registers[lps22hbPressure:], []byte{0x66, 0x66, 0x2F})
	c.reset()
	c.pointer, c.bootTill = 0, now.Add(lps22hbBooting)
}

// reset is what SWRESET does: it resets interrupts, thresholds, control, FIFO and reference (data
// sheet, CTRL_REG2). The data stay.
func (c *LPS22HB) reset() {
	for r := range byte(lps22hbReference + 3) {
		if r >= lps22hbFirst && r != lps22hbID {
			c.registers[r] = 0
		}
	}
	c.registers[lps22hbControl2] = lps22hbIncrement
	c.converting, c.held = false, [2]bool{}
}

func (c *LPS22HB) booting(now time.Time) bool { return now.Before(c.bootTill) }

// ready returns when a conversion that is asked for now can begin.
func (c *LPS22HB) ready(now time.Time) time.Time {
	if c.booting(now) {
		return c.bootTill
	}
	return now
}

func (c *LPS22HB) blockUpdate() bool {
	return c.registers[lps22hbControl1]&lps22hbBlockUpdate != 0
}

// period returns the time between two conversions, 0 for none; none, too, for
// reserved rates.
func (c *LPS22HB) period() time.Duration {
	rates := [8]time.Duration{1: 1, 2: 10, 3: 25, 4: 50, 5: 75}
	rate := rates[c.registers[lps22hbControl1]>>4&0b111]
	if rate == 0 {
		return 0
	}
	return time.Second / rate
}

// convertBy makes a conversion end at the given moment.
func (c *LPS22HB) convertBy(end time.Time) {
	c.converting = true
	c.start, c.end = end.Add(-lps22hbConversion), end
}

// advance carries out everything that has happened up to now. Each result
// replaces the one before: of those that are due, the first and the last are
// enough for the data and the overrun.
func (c *LPS22HB) advance(now time.Time) {
	for c.converting && !now.Before(c.end) {
		c.convert()
		d := c.period()
		if d == 0 {
			c.converting = false
			c.registers[lps22hbControl2] &^= lps22hbOneShot
			return
		}
		c.convertBy(c.end.Add(d))
		c.skip(now, d)
	}
}

// convert ends the conversion from start to end: 4096 LSB/hPa and 100 LSB/°C
// (PRESS_OUT and TEMP_OUT). Data that are being read are not replaced.
func (c *LPS22HB) convert() {
	e := c.conclude()
	if !c.held[0] {
		p := twosComplement(e.pascals()/100*4096, 24)
		c.store(0, lps22hbPressure, []byte{byte(p), byte(p >> 8), byte(p >> 16)})
	}
	if !c.held[1] {
		t := twosComplement(e.celsius()*100, 16)
		c.store(1, lps22hbTemp, []byte{byte(t), byte(t >> 8)})
	}
}

// store replaces data and sets their bits of the status.
func (c *LPS22HB) store(shift uint, register byte, data []byte) {
	copy(c.registers[register:], data)
	status := &c.registers[lps22hbStatus]
	if *status&(lps22hbAvailable<<shift) != 0 {
		*status |= lps22hbOverrun << shift
	}
	*status |= lps22hbAvailable << shift
}

// twosComplement returns the nearest two's complement number of so many bits.
func twosComplement(v float64, bits int) int32 {
	limit := math.Exp2(float64(bits - 1))
	return int32(math.Round(min(max(v, -limit), limit-1)))
}
