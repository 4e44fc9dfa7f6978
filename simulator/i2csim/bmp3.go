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
	bmp3ModeMask   = 0b11 << 4
	bmp3Normal     = 0b11 << 4 // 00 is sleep, both of the others are forced mode

	bmp3SoftReset = 0xB6
	bmp3FlushFIFO = 0xB0
	bmp3ExtMode   = 0x34
	bmp3Nop       = 0x00

	// bmp3Startup is the time from power, or from a soft reset, to readiness.
	bmp3Startup = 2 * time.Millisecond
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
	core
	calibration bmp3Words

	image    [256]byte // chip id and calibration
	pointer  byte      // the register that is read next
	busyTill time.Time // until then it is being reset

	control          [len(bmp3Bits)]byte
	pending          *byte // a write to PWR_CTRL that waits for the measurement's end
	err              byte
	ready            byte // of STATUS
	event, interrupt byte // EVENT and INT_STATUS

	data             [6]byte
	filterT, filterP filter
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
	if err := c.setUp(name, o, c); err != nil {
		return nil, err
	}
	c.image[bmp3ChipID], c.image[bmp3RevID] = id, revision
	c.calibration.store(c.image[bmp3Calibration:])
	return c, nil
}

// powerUp leaves the chip asleep, with its registers reset.
func (c *BMP3) powerUp(now time.Time) {
	c.reset()
	c.deafTill = now.Add(bmp3Startup)
	c.busyTill = c.deafTill
}

// write takes pairs of register and value. A lone byte at the end sets
// the register to be read next.
func (c *BMP3) write(p []byte, now time.Time) int {
	for i, b := range p {
		if i%2 == 0 {
			c.pointer = b
			continue
		}
		c.set(c.pointer, b, now)
	}
	return len(p)
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
	case r >= bmp3Control && int(r) < bmp3Control+len(c.control):
		return c.control[r-bmp3Control]
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
			c.setPower(value, now)
		}
	case r >= bmp3Control && int(r) < bmp3Control+len(c.control):
		c.control[r-bmp3Control] = value & bmp3Bits[r-bmp3Control]
		if r == bmp3Config {
			c.filterT, c.filterP = filter{}, filter{}
		}
	}
}

func (c *BMP3) command(op byte, now time.Time) {
	switch {
	case now.Before(c.busyTill):
		c.err |= bmp3ErrCmd
	case op == bmp3SoftReset:
		c.reset()
		c.busyTill = now.Add(bmp3Startup)
	case op != bmp3FlushFIFO && op != bmp3ExtMode && op != bmp3Nop:
		c.err |= bmp3ErrCmd
	}
}

// setPower carries out a write to PWR_CTRL.
func (c *BMP3) setPower(value byte, now time.Time) {
	c.control[bmp3PwrCtrl-bmp3Control] = value
	if now.Before(c.busyTill) {
		now = c.busyTill
	}
	c.begin(now)
}

// begin starts a measurement if the mode is not sleep. One that takes longer
// than the output data rate's period is a configuration error, which ends normal
// mode.
func (c *BMP3) begin(at time.Time) {
	c.start, c.end = at, at.Add(c.duration())
	if c.mode() == bmp3Normal && c.duration() > c.period() {
		c.err |= bmp3ErrConf
		c.sleep()
	}
}

func (c *BMP3) reset() {
	c.pointer, c.pending, c.control = 0, nil, bmp3ControlReset
	c.err, c.ready, c.event, c.interrupt = 0, 0, bmp3PowerOn, 0
	c.data = bmp3Skipped
	c.filterT, c.filterP = filter{}, filter{}
	c.forget()
}

func (c *BMP3) power() byte { return c.control[bmp3PwrCtrl-bmp3Control] }
func (c *BMP3) mode() byte  { return c.power() & bmp3ModeMask }
func (c *BMP3) sleep()      { c.control[bmp3PwrCtrl-bmp3Control] &^= bmp3ModeMask }

// measuring reports whether a measurement runs, once the chip has advanced to
// now.
func (c *BMP3) measuring(now time.Time) bool { return c.mode() != 0 && !now.Before(c.start) }

// advance carries out everything that has happened up to now.
func (c *BMP3) advance(now time.Time) {
	for c.mode() != 0 && !now.Before(c.end) {
		if c.mode() == bmp3Normal && c.pending == nil && c.duration() <= c.period() {
			period := c.period()
			forgotten := now.Sub(c.end).Truncate(period) - time.Duration(c.memory())*period
			if forgotten > 0 {
				c.start, c.end = c.start.Add(forgotten), c.end.Add(forgotten)
			}
		}
		c.convert()
		switch {
		case c.pending != nil:
			value := *c.pending
			c.pending = nil
			c.setPower(value, c.end)
		case c.mode() == bmp3Normal:
			c.begin(c.start.Add(c.period()))
		default:
			c.sleep()
		}
	}
}

// convert ends the measurement from start to end. What PWR_CTRL does not enable
// is as after a reset.
func (c *BMP3) convert() {
	e := c.conclude()
	osrP, osrT := c.control[bmp3OSR-bmp3Control]&0b111, c.control[bmp3OSR-bmp3Control]>>3
	c.data = bmp3Skipped
	c.ready, c.interrupt = 0, bmp3DataReady
	// As in a BME280, the pressure's word is for the temperature's word that the
	// driver gets.
	rawT := c.calibration.rawTemperature(e, 24)
	if c.power()&bmp3TempOn != 0 {
		rawT = c.calibration.rawTemperature(e, c.resolution(osrT))
		put24(c.data[3:], c.filterT.next(rawT, c.coefficient()))
		c.ready |= bmp3TempReady
	}
	if c.power()&bmp3PressureOn != 0 {
		rawP := c.calibration.rawPressure(e, c.calibration.celsius(rawT), c.resolution(osrP))
		put24(c.data[:], c.filterP.next(rawP, c.coefficient()))
		c.ready |= bmp3PressureReady
	}
}

// put24 stores a word of 24 bits: xlsb, lsb, msb.
func put24(b []byte, v uint32) { b[0], b[1], b[2] = byte(v), byte(v>>8), byte(v>>16) }

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
	return float64(int(1) << (c.control[bmp3Config-bmp3Control] >> 1))
}

// memory returns how many measurements before the last still show in it: those
// before have lost more than 2^28 of their weight.
func (c *BMP3) memory() int {
	if c.coefficient() == 1 {
		return 0
	}
	return 20 * int(c.coefficient())
}

// duration returns how long a measurement takes (3.9.2). The data sheet has one
// formula for it, so this does not depend on Timing.
func (c *BMP3) duration() time.Duration {
	const sample = 2020 * time.Microsecond
	osr := c.control[bmp3OSR-bmp3Control]
	d := 234 * time.Microsecond
	if c.power()&bmp3PressureOn != 0 {
		d += 392*time.Microsecond + sample<<min(osr&0b111, 5)
	}
	if c.power()&bmp3TempOn != 0 {
		d += 163*time.Microsecond + sample<<min(osr>>3, 5)
	}
	return d
}

// period returns the time between two measurements in normal mode: 200 Hz
// and slower by powers of two, as register ODR says.
func (c *BMP3) period() time.Duration {
	return 5 * time.Millisecond << min(c.control[bmp3ODR-bmp3Control], 0x11)
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

// rawTemperature returns the word of the given resolution (left in 24 bits)
// whose temperature is nearest to e's.
func (w *bmp3Words) rawTemperature(e Environment, bits uint) uint32 {
	return nearest(24, bits, e.celsius(), w.celsius)
}

// rawPressure does the same for the pressure at the temperature t.
func (w *bmp3Words) rawPressure(e Environment, t float64, bits uint) uint32 {
	// The word falls as the pressure rises.
	return nearest(24, bits, -e.pascals(), func(raw uint32) float64 { return -w.pascals(raw, t) })
}
