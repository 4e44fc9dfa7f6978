package i2csim

import "time"

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
	statusMeasuring = 1 << 3
	statusUpdating  = 1 << 0
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
	bosch
	calibration Calibration
	humid       bool // a BME280; a BMP280 has no humidity
	standby     [8]time.Duration

	ctrlHum, ctrlMeas, config byte
	osrsH                     byte // ctrlHum as of the last write to ctrlMeas
	data                      [8]byte
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
	c.bosch = bosch{sensor: c, width: 20, put: put20, modeByte: &c.ctrlMeas}
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
			c.softReset(now)
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
		if c.mode() != modeNormal {
			c.config = value & 0b111_111_01
			c.resetFilter() // 3.4.4
		}
	}
}

// control carries out a write to ctrl_meas, which also makes ctrl_hum
// effective (5.4.3).
func (c *BME280) control(value byte, at time.Time) {
	c.osrsH = c.ctrlHum
	c.bosch.control(value, at)
}

func (c *BME280) resetRegisters() {
	c.ctrlHum, c.ctrlMeas, c.config, c.osrsH = 0, 0, 0, 0
	c.data = skipped
}

func (c *BME280) begin(at time.Time) { c.start, c.end = at, at.Add(c.duration()) }

func (c *BME280) period() time.Duration { return c.duration() + c.standby[c.config>>5] }

// convert ends the conversion from start to end.
func (c *BME280) convert() {
	c.data = skipped
	e, rawT := c.sample(c.data[:], c.resolution(c.ctrlMeas>>2&0b111), c.resolution(c.ctrlMeas>>5))
	if c.osrsH != 0 {
		rawH := c.calibration.rawHumidity(e, rawT)
		c.data[6], c.data[7] = byte(rawH>>8), byte(rawH)
	}
}

func (c *BME280) celsius(rawT uint32) float64 { return c.calibration.fine(rawT) / 5120 }

func (c *BME280) pascals(rawP, rawT uint32) float64 {
	return c.calibration.pascals(rawP, c.calibration.fine(rawT))
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
