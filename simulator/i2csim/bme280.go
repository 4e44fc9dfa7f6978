package i2csim

import (
	"time"
)

// Registers (BME280 data sheet, 5.3).
const (
	regCalibration0 = 0x88 // T and P, to 0x9F
	regCalibrationH = 0xA1 // H1
	regID           = 0xD0
	regReset        = 0xE0
	regCalibration1 = 0xE1 // the other H, to 0xE7
	regCtrlHum      = 0xF2
	regStatus       = 0xF3
	regCtrlMeas     = 0xF4
	regConfig       = 0xF5
	regData         = 0xF7 // pressure, temperature and humidity, to 0xFE
)

const (
	resetWord       = 0xB6
	statusMeasuring = 1 << 3
	statusUpdating  = 1 << 0

	modeMask   = 0b11
	modeSleep  = 0b00
	modeNormal = 0b11 // both of the others are forced mode

	// startup is the time from power to the first answer (table 1).
	startup = 2 * time.Millisecond
)

// skipped are the data registers where nothing was measured (5.4.7 to 5.4.9).
var skipped = [8]byte{0x80, 0, 0, 0x80, 0, 0, 0x80, 0}

// BME280Options describe one chip.
type BME280Options struct {
	Source      Source           // what it measures; required
	Now         func() time.Time // its clock; time.Now if nil
	Timing      Timing
	Seed        uint64       // of its calibration, if that is nil
	Calibration *Calibration // copied
}

// BME280 is an emulated Bosch BME280, or a BMP280 if [NewBMP280] made it. It
// has been powered for long when it is made. With its IIR filter on, its data are
// a mean of the last conversion and those before. It is safe for concurrent use.
type BME280 struct {
	core
	calibration Calibration
	humid       bool // a BME280; a BMP280 has no humidity
	standby     [8]time.Duration

	image    [256]byte // chip id and calibration
	pointer  byte      // the register that is read next
	busyTill time.Time // until then it copies its calibration

	ctrlHum, ctrlMeas, config byte
	osrsH                     byte  // ctrlHum as of the last write to ctrlMeas
	pending                   *byte // a write to ctrlMeas that waits for the conversion's end

	data             [8]byte
	filterT, filterP filter
}

func (o ChipOptions) bme280() BME280Options {
	return BME280Options{Source: o.Source, Now: o.Now, Timing: o.Timing, Seed: o.Seed}
}

// NewBME280 returns a BME280 in sleep mode.
func NewBME280(o BME280Options) (*BME280, error) {
	// Table 27.
	return newBME280("bme280", o, 0x60, true, [8]time.Duration{
		500 * time.Microsecond, 62500 * time.Microsecond, 125 * time.Millisecond, 250 * time.Millisecond,
		500 * time.Millisecond, time.Second, 10 * time.Millisecond, 20 * time.Millisecond,
	})
}

// NewBMP280 returns a BMP280 in sleep mode.
func NewBMP280(o BME280Options) (*BME280, error) {
	// BMP280 data sheet, 3.6.3: the last two differ.
	return newBME280("bmp280", o, 0x58, false, [8]time.Duration{
		500 * time.Microsecond, 62500 * time.Microsecond, 125 * time.Millisecond, 250 * time.Millisecond,
		500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second,
	})
}

func newBME280(name string, o BME280Options, id byte, humid bool, standby [8]time.Duration) (*BME280, error) {
	c := &BME280{humid: humid, standby: standby}
	if err := c.setUp(name, ChipOptions{Source: o.Source, Now: o.Now, Timing: o.Timing}, c); err != nil {
		return nil, err
	}
	c.calibration = NewCalibration(o.Seed)
	if o.Calibration != nil {
		c.calibration = *o.Calibration
	}
	if err := c.calibration.validate(); err != nil {
		return nil, err
	}
	c.image[regID] = id
	c.calibration.store(&c.image, humid)
	return c, nil
}

// Calibration returns the chip's trimming words.
func (c *BME280) Calibration() Calibration { return c.calibration }

// powerUp leaves the chip asleep, with its registers reset.
func (c *BME280) powerUp(now time.Time) {
	c.reset()
	c.deafTill = now.Add(startup)
	c.busyTill = c.deafTill
}

// write takes pairs of register and value (6.2.1). A lone byte at the end sets
// the register to be read next.
func (c *BME280) write(p []byte, now time.Time) int {
	for i, b := range p {
		if i%2 == 0 {
			c.pointer = b
			continue
		}
		c.set(c.pointer, b, now)
	}
	return len(p)
}

// read fills p from consecutive registers (6.2.2). All of p is of one moment:
// that is the shadowing of 4.1.
func (c *BME280) read(p []byte, now time.Time) bool {
	for i := range p {
		p[i] = c.get(c.pointer, now)
		c.pointer++
	}
	return true
}

func (c *BME280) get(register byte, now time.Time) byte {
	updating := now.Before(c.busyTill)
	switch r := register; {
	case r == regCtrlHum:
		return c.ctrlHum
	case r == regStatus:
		var s byte
		if c.measuring(now) {
			s |= statusMeasuring
		}
		if updating {
			s |= statusUpdating
		}
		return s
	case r == regCtrlMeas:
		return c.ctrlMeas
	case r == regConfig:
		return c.config
	case r >= regData && int(r) < regData+len(c.data):
		if !c.humid && r >= regData+6 {
			return 0 // reserved on a BMP280
		}
		return c.data[r-regData]
	case updating && r != regID:
		return 0 // the calibration is not there yet
	default:
		return c.image[r]
	}
}

func (c *BME280) set(register, value byte, now time.Time) {
	switch register {
	case regReset:
		if value == resetWord {
			c.reset()
			c.busyTill = now.Add(startup)
		}
	case regCtrlHum:
		if c.humid && c.pending == nil {
			c.ctrlHum = value & 0b111
		}
	case regCtrlMeas:
		switch {
		case c.pending != nil: // ignored until that one is carried out (3.3.1)
		case c.measuring(now):
			c.pending = &value
		default:
			c.control(value, now)
		}
	case regConfig:
		// "Writes to the config register in normal mode may be ignored" (5.4.6):
		// here they are.
		if c.ctrlMeas&modeMask != modeNormal {
			c.config = value & 0b111_111_01
			c.filterT, c.filterP = filter{}, filter{} // 3.4.4
		}
	}
}

// control carries out a write to ctrl_meas, which also makes ctrl_hum
// effective (5.4.3).
func (c *BME280) control(value byte, now time.Time) {
	c.ctrlMeas = value
	c.osrsH = c.ctrlHum
	if now.Before(c.busyTill) {
		now = c.busyTill
	}
	c.start = now
	c.end = now.Add(c.duration())
}

func (c *BME280) reset() {
	c.pointer, c.ctrlHum, c.ctrlMeas, c.config, c.osrsH, c.pending = 0, 0, 0, 0, 0, nil
	c.data = skipped
	c.filterT, c.filterP = filter{}, filter{}
	c.forget()
}

func (c *BME280) mode() byte { return c.ctrlMeas & modeMask }

// measuring reports whether a conversion runs, once the chip has advanced to
// now.
func (c *BME280) measuring(now time.Time) bool {
	return c.mode() != modeSleep && !now.Before(c.start)
}

// memory returns how many conversions before the last still show in it. With
// the slowest filter those before 512 do not, in 20 bits: (15/16)^512 is 2^-47.
func (c *BME280) memory() int {
	if c.coefficient() > 1 {
		return 512
	}
	return 0
}

// advance carries out everything that has happened up to now.
func (c *BME280) advance(now time.Time) {
	for c.mode() != modeSleep && !now.Before(c.end) {
		idle := c.standby[c.config>>5]
		if c.mode() == modeNormal && c.pending == nil {
			period := c.end.Sub(c.start) + idle
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
			c.control(value, c.end)
		case c.mode() == modeNormal:
			c.start = c.end.Add(idle)
			c.end = c.start.Add(c.duration())
		default:
			c.ctrlMeas &^= modeMask
		}
	}
}

// convert ends the conversion from start to end.
func (c *BME280) convert() {
	e := c.conclude()
	osrsT, osrsP := c.ctrlMeas>>5, c.ctrlMeas>>2&0b111
	c.data = skipped
	// A chip that does not measure its temperature has one nevertheless, and
	// the other words depend on it. One that does gives the driver a rounded
	// word to compensate with, so that is the one to be inverted.
	rawT := c.calibration.rawTemperature(e.Temperature, 20)
	if osrsT != 0 {
		rawT = c.calibration.rawTemperature(e.Temperature, c.resolution(osrsT))
		put20(c.data[3:], c.filterT.next(rawT, c.coefficient()))
	}
	fine := c.calibration.fine(rawT)
	if osrsP != 0 {
		rawP := c.calibration.rawPressure(e.Pressure, fine, c.resolution(osrsP))
		put20(c.data[0:], c.filterP.next(rawP, c.coefficient()))
	}
	if c.osrsH != 0 {
		rawH := c.calibration.rawHumidity(e.Humidity, fine)
		c.data[6], c.data[7] = byte(rawH>>8), byte(rawH)
	}
}

// put20 stores a 20-bit word: msb, lsb, xlsb in the high four bits.
func put20(b []byte, v uint32) {
	b[0], b[1], b[2] = byte(v>>12), byte(v>>4), byte(v<<4)
}

// resolution returns the bits of a temperature or pressure word (3.4.2,
// 3.4.3): 20 with the filter on, else 16 and one more for each doubling.
func (c *BME280) resolution(osrs byte) uint {
	if c.coefficient() > 1 {
		return 20
	}
	return 15 + uint(min(osrs, 5))
}

// coefficient returns the IIR filter's coefficient (table 28), 1 for off.
func (c *BME280) coefficient() float64 {
	return float64(int(1) << min(c.config>>2&0b111, 4))
}

// duration returns how long a conversion takes (9.1).
func (c *BME280) duration() time.Duration {
	base, sample, extra := 1250*time.Microsecond, 2300*time.Microsecond, 575*time.Microsecond
	if c.timing == Typical {
		base, sample, extra = time.Millisecond, 2*time.Millisecond, 500*time.Microsecond
	}
	d := base + time.Duration(samples(c.ctrlMeas>>5))*sample
	for _, osrs := range []byte{c.ctrlMeas >> 2 & 0b111, c.osrsH} {
		if osrs != 0 {
			d += time.Duration(samples(osrs))*sample + extra
		}
	}
	return d
}

// samples returns the oversampling of an osrs field (5.4.3 and 5.4.5).
func samples(osrs byte) int {
	if osrs == 0 {
		return 0
	}
	return 1 << (min(osrs, 5) - 1)
}

// filter is the memory of the IIR filter for one measure (3.4.4).
type filter struct {
	value float64
	set   bool
}

// next filters a word. The first passes unchanged.
func (f *filter) next(raw uint32, coefficient float64) uint32 {
	if !f.set {
		f.value, f.set = float64(raw), true
	} else {
		f.value += (float64(raw) - f.value) / coefficient
	}
	return uint32(f.value + 0.5)
}
