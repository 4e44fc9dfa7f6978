package bmp3

import (
	"fmt"
	"math/bits"
	"time"
)

// Registers and their bits (sections 4.2 and 4.3).
const (
	regID          = 0x00
	regStatus      = 0x03
	regResults     = regStatus // to 0x09
	regPowerCtrl   = 0x1B
	regConfig      = regPowerCtrl // to 0x1F, to read what was written
	regOversample  = 0x1C
	regFilter      = 0x1F
	regCalibration = 0x31 // to 0x45
	regCommand     = 0x7E
)

const (
	commandReset       = 0xB6
	statusCommandReady = 1 << 4
	statusPressure     = 1 << 5
	statusTemperature  = 1 << 6
	measureBoth        = 0b11 // temp_en and press_en
	modeForced         = 0b01 << 4
)

const (
	startupTime  = 2 * time.Millisecond // what Bosch's sensor API waits after a reset
	pollInterval = 2 * time.Millisecond
	polls        = 10
)

// modelOf returns the chip with the content of the register id (4.3.1; BMP388
// datasheet 4.3.1).
func modelOf(id byte) (Model, bool) {
	switch id {
	case 0x50:
		return BMP388, true
	case 0x60:
		return BMP390, true
	default:
		return 0, false
	}
}

// settings is what is written to the control registers; power with the mode left
// 0, sleep.
type settings struct{ power, oversampling, filter byte }

func newSettings(o *Options) (s settings, err error) {
	if o.Model > BMP390 {
		return s, fmt.Errorf("unknown model %v", o.Model)
	}
	for _, q := range []struct {
		name string
		o    *Oversampling
	}{{"temperature", &o.Temperature}, {"pressure", &o.Pressure}} {
		if *q.o == 0 {
			*q.o = 1
		}
		if *q.o > 32 || bits.OnesCount8(uint8(*q.o)) != 1 {
			return s, fmt.Errorf("oversampling of %s is %d: want 1, 2, 4, 8, 16 or 32", q.name, *q.o)
		}
	}
	if bits.OnesCount8(uint8(o.Filter)+1) != 1 {
		return s, fmt.Errorf("filter is %d: want 0 (off), 1, 3, 7, 15, 31, 63 or 127", o.Filter)
	}
	return settings{
		power:        measureBoth,
		oversampling: o.Temperature.code()<<3 | o.Pressure.code(),
		filter:       byte(bits.Len8(uint8(o.Filter))) << 1,
	}, nil
}

// code returns the value of osr_t and osr_p (4.3).
func (o Oversampling) code() byte { return byte(bits.TrailingZeros8(uint8(o))) }

// measurementTime is the time of one measurement (3.9.2). Bosch's sensor API has
// 313 us where the datasheet has 163.
func measurementTime(o *Options) time.Duration {
	const offset, pressure, temperature, sample = 234, 392, 313, 2020 // µs
	us := offset + pressure + temperature + sample*(int(o.Pressure)+int(o.Temperature))
	return time.Duration(us) * time.Microsecond
}

// results is the registers 0x03 to 0x09, read in one transaction (3.10).
type results [7]byte

// ready returns the data-ready bits.
func (r *results) ready() byte { return r[0] & (statusPressure | statusTemperature) }

// raw is one measurement as the converters give it, each 24 bits.
type raw struct{ pressure, temperature uint32 }

func (r *results) raw() raw {
	u24 := func(b []byte) uint32 { return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 }
	return raw{pressure: u24(r[1:4]), temperature: u24(r[4:7])}
}

// config is the registers 0x1B to 0x1F.
type config [5]byte

// in reports whether the settings are in the chip's registers, whatever its mode.
func (s settings) in(c *config) bool {
	const powerMask, oversamplingMask, filterMask = 0b11, 0b111111, 0b1110
	return c[0]&powerMask == s.power &&
		c[regOversample-regConfig]&oversamplingMask == s.oversampling &&
		c[regFilter-regConfig]&filterMask == s.filter
}
