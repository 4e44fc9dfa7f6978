package i2csim

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// Registers (BMP388 data sheet, memory map; BMP390's are the same).
const (
	bmp3ChipID      = 0x00
	bmp3RevID       = 0x01 // of a BMP390
	bmp3Err         = 0x02
	bmp3Status      = 0x03
	bmp3Data        = 0x04 // pressure and temperature, to 0x09
	bmp3Event       = 0x10
	bmp3IntStatus   = 0x11
	bmp3FIFOData    = 0x14
	bmp3Control     = 0x15 // to 0x1F
	bmp3PwrCtrl     = 0x1B
	bmp3OSR         = 0x1C
	bmp3ODR         = 0x1D
	bmp3Config      = 0x1F
	bmp3Calibration = 0x31 // to 0x45
	bmp3Cmd         = 0x7E
)

const (
	bmp3ErrCmd  = 1 << 1
	bmp3ErrConf = 1 << 2

	bmp3CmdReady      = 1 << 4
	bmp3PressureReady = 1 << 5
	bmp3TempReady     = 1 << 6

	bmp3PowerOn   = 1 << 0 // in EVENT
	bmp3DataReady = 1 << 3 // in INT_STATUS

	bmp3PressureOn = 1 << 0
	bmp3TempOn     = 1 << 1
	bmp3ModeShift  = 4

	bmp3FlushFIFO = 0xB0
	bmp3ExtMode   = 0x34
	bmp3Nop       = 0x00

	// bmp3EmptyFIFO is what FIFO_DATA gives when there is no frame.
	bmp3EmptyFIFO = 0x80
)

// bmp3Bits are the bits of the control registers that are there.
var bmp3Bits = [...]byte{
	0xFF, 0x01, 0x1F, 0x1F, 0x7F, 0x07, // FIFO_WTM, FIFO_CONFIG, INT_CTRL, IF_CONF
	0x33, 0x3F, 0x1F, 0, 0x0E, // PWR_CTRL, OSR, ODR, none, CONFIG
}

// bmp3ControlReset are the control registers after a reset.
var bmp3ControlReset = [len(bmp3Bits)]byte{0x01, 0, 0x02, 0x02, 0x02, 0, 0, 0x02, 0, 0, 0}

// bmp3Skipped are the data registers where nothing was measured.
var bmp3Skipped = [6]byte{0, 0, 0x80, 0, 0, 0x80}

// BMP3 is an emulated Bosch BMP388 or BMP390. It has been powered for long when
// it is made. With its IIR filter on, its data are a mean of the last conversion
// and those before. It is safe for concurrent use.
type BMP3 struct {
	bosch
	calibration bmp3Words

	registers        [len(bmp3Bits)]byte // the control registers
	err              byte
	ready            byte // of STATUS
	event, interrupt byte // EVENT and INT_STATUS
	data             [6]byte
}

// NewBMP388 returns a BMP388 in sleep mode.
func NewBMP388(o ChipOptions) (*BMP3, error) {
	return newBMP3(o, "bmp388", 0x50, 0, newBMP388Words(o.Seed))
}

// NewBMP390 returns a BMP390 in sleep mode.
func NewBMP390(o ChipOptions) (*BMP3, error) {
	return newBMP3(o, "bmp390", 0x60, 0x01, newBMP390Words(o.Seed))
}

func newBMP3(o ChipOptions, name string, id, revision byte, words bmp3Words) (*BMP3, error) {
	c := &BMP3{calibration: words}
	c.bosch = bosch{
		sensor: c, width: 24, put: put24,
		modeByte: &c.registers[bmp3PwrCtrl-bmp3Control], modeShift: bmp3ModeShift,
	}
	if err := c.setUp(name, o, c); err != nil {
		return nil, err
	}
	c.image[bmp3ChipID], c.image[bmp3RevID] = id, revision
	c.calibration.store(c.image[bmp3Calibration:])
	return c, nil
}

// read fills p from consecutive registers, but for FIFO_DATA, which is read
// again and again. All of p is of one moment: the data registers are shadowed.
func (c *BMP3) read(p []byte, now time.Time) bool {
	for i := range p {
		p[i] = c.get(c.pointer, now)
		if c.pointer != bmp3FIFOData {
			c.pointer++
		}
	}
	return true
}

func (c *BMP3) get(register byte, now time.Time) byte {
	// take reads a register that is cleared by that.
	take := func(r *byte) byte {
		v := *r
		*r = 0
		return v
	}
	resetting := now.Before(c.busyTill)
	switch r := register; {
	case r == bmp3Err:
		return take(&c.err)
	case r == bmp3Status:
		if resetting {
			return c.ready
		}
		return c.ready | bmp3CmdReady
	case r >= bmp3Data && r < bmp3Data+3:
		c.ready &^= bmp3PressureReady
		return c.data[r-bmp3Data]
	case r >= bmp3Data+3 && r < bmp3Data+6:
		c.ready &^= bmp3TempReady
		return c.data[r-bmp3Data]
	case r == bmp3Event:
		return take(&c.event)
	case r == bmp3IntStatus:
		return take(&c.interrupt)
	case r == bmp3FIFOData:
		return bmp3EmptyFIFO
	case r >= bmp3Control && int(r) < bmp3Control+len(c.registers):
		return c.register(r)
	case resetting && r >= bmp3Calibration:
		return 0 // the calibration is not there yet
	default:
		return c.image[r]
	}
}

func (c *BMP3) set(register, value byte, now time.Time) {
	switch r := register; {
	case r == bmp3Cmd:
		c.command(value, now)
	case r == bmp3PwrCtrl:
		value &= bmp3Bits[bmp3PwrCtrl-bmp3Control]
		if c.measuring(now) {
			c.pending = &value
		} else {
			c.control(value, now)
		}
	case r >= bmp3Control && int(r) < bmp3Control+len(c.registers):
		c.registers[r-bmp3Control] = value & bmp3Bits[r-bmp3Control]
		if r == bmp3Config {
			c.resetFilter()
		}
	}
}

func (c *BMP3) command(op byte, now time.Time) {
	switch {
	case now.Before(c.busyTill):
		c.err |= bmp3ErrCmd
	case op == resetWord:
		c.softReset(now)
	case op != bmp3FlushFIFO && op != bmp3ExtMode && op != bmp3Nop:
		c.err |= bmp3ErrCmd
	}
}

func (c *BMP3) resetRegisters() {
	c.registers = bmp3ControlReset
	c.err, c.ready, c.event, c.interrupt = 0, 0, bmp3PowerOn, 0
	c.data = bmp3Skipped
}

func (c *BMP3) register(r byte) byte { return c.registers[r-bmp3Control] }

// begin starts a measurement. One that takes longer than the output data rate's
// period is a configuration error, which ends normal mode.
func (c *BMP3) begin(at time.Time) {
	c.start, c.end = at, at.Add(c.duration())
	if c.mode() == modeNormal && c.period() == 0 {
		c.err |= bmp3ErrConf
		c.sleepMode()
	}
}

// convert ends the measurement from start to end. What PWR_CTRL does not enable
// is as after a reset.
func (c *BMP3) convert() {
	power, osr := c.register(bmp3PwrCtrl), c.register(bmp3OSR)
	c.data, c.ready, c.interrupt = bmp3Skipped, 0, bmp3DataReady
	var bitsP, bitsT uint
	if power&bmp3PressureOn != 0 {
		bitsP = c.resolution(osr & 0b111)
		c.ready |= bmp3PressureReady
	}
	if power&bmp3TempOn != 0 {
		bitsT = c.resolution(osr >> 3)
		c.ready |= bmp3TempReady
	}
	c.sample(c.data[:], bitsP, bitsT)
}

func (c *BMP3) celsius(rawT uint32) float64 { return c.calibration.celsius(rawT) }

func (c *BMP3) pascals(rawP, rawT uint32) float64 {
	return c.calibration.pascals(rawP, c.calibration.celsius(rawT))
}

// resolution returns the bits of a word: 16 and one more for each doubling of
// the oversampling, all 24 with the filter on.
func (c *BMP3) resolution(osr byte) uint {
	if c.coefficient() > 1 {
		return 24
	}
	return 16 + uint(min(osr, 5))
}

// coefficient returns by what part a sample moves the filter: one more than the
// data sheet's coefficient, 1 for off.
func (c *BMP3) coefficient() float64 {
	return float64(int(1) << (c.register(bmp3Config) >> 1))
}

// duration returns how long a measurement takes (3.9.2). The data sheet has one
// formula for it, so this does not depend on Timing.
func (c *BMP3) duration() time.Duration {
	const sample = 2020 * time.Microsecond
	osr := c.register(bmp3OSR)
	d := 234 * time.Microsecond
	if c.register(bmp3PwrCtrl)&bmp3PressureOn != 0 {
		d += 392*time.Microsecond + sample<<min(osr&0b111, 5)
	}
	if c.register(bmp3PwrCtrl)&bmp3TempOn != 0 {
		d += 163*time.Microsecond + sample<<min(osr>>3, 5)
	}
	return d
}

// period returns the time between two measurements in normal mode: 200 Hz
// and slower by powers of two, as register ODR says; 0 if a measurement takes
// longer.
func (c *BMP3) period() time.Duration {
	period := 5 * time.Millisecond << min(c.register(bmp3ODR), 0x11)
	if c.duration() > period {
		return 0
	}
	return period
}

// bmp3Words are the trimming words (BMP388 data sheet, 9.1).
type bmp3Words struct {
	T1, T2   uint16
	T3       int8
	P1, P2   int16
	P3, P4   int8
	P5, P6   uint16
	P7, P8   int8
	P9       int16
	P10, P11 int8
}

// newBMP388Words draws the words of one BMP388 from seed. They are spread as
// those that owners of six chips have published.
func newBMP388Words(seed uint64) bmp3Words {
	r := rand.New(rand.NewPCG(seed, 0xb3b388))
	between := func(lo, hi int) int { return lo + r.IntN(hi-lo+1) }
	w := bmp3Words{
		T1: uint16(between(27300, 27850)), T2: uint16(between(18700, 19400)), T3: -10,
		P1: int16(between(-750, 250)), P2: int16(between(-3250, -1950)), P3: 35, P4: 0,
		P5: uint16(between(25250, 26450)), P6: uint16(between(30200, 31950)), P7: -13, P8: -10,
		P9: int16(between(16200, 17350)), P10: int8(between(10, 23)), P11: -60,
	}
	if r.IntN(2) == 0 {
		w.T3, w.P3, w.P4, w.P8, w.P11 = -7, 30, -3, 3, -59
	}
	return w
}

// newBMP390Words does the same for a BMP390, of which there were three.
func newBMP390Words(seed uint64) bmp3Words {
	r := rand.New(rand.NewPCG(seed, 0xb3b390))
	between := func(lo, hi int) int { return lo + r.IntN(hi-lo+1) }
	return bmp3Words{
		T1: uint16(between(27700, 27950)), T2: uint16(between(19000, 19700)), T3: -7,
		P1: int16(between(6850, 7450)), P2: int16(between(5300, 5950)), P3: 6, P4: 1,
		P5: uint16(between(19000, 19500)), P6: uint16(between(23300, 24100)), P7: 3, P8: -6,
		P9: int16(between(3800, 3980)), P10: 6, P11: -11,
	}
}

// store writes the words in their order from 0x31 on.
func (w *bmp3Words) store(b []byte) {
	binary.LittleEndian.PutUint16(b[0:], w.T1)
	binary.LittleEndian.PutUint16(b[2:], w.T2)
	b[4] = byte(w.T3)
	binary.LittleEndian.PutUint16(b[5:], uint16(w.P1))
	binary.LittleEndian.PutUint16(b[7:], uint16(w.P2))
	b[9], b[10] = byte(w.P3), byte(w.P4)
	binary.LittleEndian.PutUint16(b[11:], w.P5)
	binary.LittleEndian.PutUint16(b[13:], w.P6)
	b[15], b[16] = byte(w.P7), byte(w.P8)
	binary.LittleEndian.PutUint16(b[17:], uint16(w.P9))
	b[19], b[20] = byte(w.P10), byte(w.P11)
}

// celsius returns the temperature (9.1, 9.2).
func (w *bmp3Words) celsius(raw uint32) float64 {
	x := float64(raw) - float64(w.T1)*256
	return x * (float64(w.T2)/(1<<30) + x*float64(w.T3)/(1<<48))
}

// pascals returns the pressure at a temperature t (9.1, 9.3): a cubic in the
// word, whose coefficients are polynomials of t.
func (w *bmp3Words) pascals(raw uint32, t float64) float64 {
	const bias = 1 << 14
	u := float64(raw)
	offset := float64(w.P5)*8 + t*(float64(w.P6)/(1<<6)+t*(float64(w.P7)/(1<<8)+t*float64(w.P8)/(1<<15)))
	linear := (float64(w.P1)-bias)/(1<<20) +
		t*((float64(w.P2)-bias)/(1<<29)+t*(float64(w.P3)/(1<<32)+t*float64(w.P4)/(1<<37)))
	square := (float64(w.P9) + t*float64(w.P10)) / (1 << 48)
	return offset + u*(linear+u*(square+u*float64(w.P11)/(1<<65)))
}
