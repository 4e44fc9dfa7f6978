package bme680

import (
	"fmt"
	"math/bits"
	"time"
)

// Registers and their bits (section 5.2 and 5.3).
const (
	regResults             = 0x1D // to 0x26
	regCtrlGas0            = 0x70
	regCtrlGas1            = 0x71
	regCtrlHum             = 0x72
	regCtrlMeas            = 0x74
	regFilter              = 0x75
	regConfig              = regCtrlGas0 // to 0x75, to read what was written
	regCalibration         = 0x8A        // to 0xA0
	regID                  = 0xD0
	regReset               = 0xE0
	regCalibrationHumidity = 0xE1 // to 0xEA, with T1
)

const (
	chipID          = 0x61
	resetWord       = 0xB6
	heaterOff       = 1 << 3
	runGas          = 0b11 << 4 // of a BME680 the lower one
	statusNewData   = 1 << 7
	statusGas       = 1 << 6
	statusMeasuring = 1 << 5
	modeMask        = 0b11
	modeForced      = 0b01
)

const (
	resetTime    = 10 * time.Millisecond // what Bosch's sensor API waits
	pollInterval = 2 * time.Millisecond
	polls        = 10
)

// settings is what is written to the control registers; ctrlMeas with the mode
// left 0, sleep.
type settings struct{ ctrlHum, ctrlMeas, filter byte }

func newSettings(o *Options) (s settings, err error) {
	for _, q := range []struct {
		name string
		o    *Oversampling
	}{{"temperature", &o.Temperature}, {"pressure", &o.Pressure}, {"humidity", &o.Humidity}} {
		if *q.o == 0 {
			*q.o = 1
		}
		if *q.o > 16 || bits.OnesCount8(uint8(*q.o)) != 1 {
			return s, fmt.Errorf("oversampling of %s is %d: want 1, 2, 4, 8 or 16", q.name, *q.o)
		}
	}
	if bits.OnesCount8(uint8(o.Filter)+1) != 1 {
		return s, fmt.Errorf("filter is %d: want 0 (off), 1, 3, 7, 15, 31, 63 or 127", o.Filter)
	}
	return settings{
		ctrlHum:  o.Humidity.code(),
		ctrlMeas: o.Temperature.code()<<5 | o.Pressure.code()<<2,
		filter:   byte(bits.Len8(uint8(o.Filter))) << 2,
	}, nil
}

// code returns the value of osrs_t, osrs_p and osrs_h.
func (o Oversampling) code() byte { return byte(bits.Len8(uint8(o))) }

// measurementTime is the greatest time of one measurement, as Bosch's sensor API
// has it: with what a measurement of gas would add when its heater is off.
func measurementTime(o *Options) time.Duration {
	const wake, sample, change, changes = 1000, 1963, 477, 4 + 5 // µs
	us := wake + sample*(int(o.Temperature)+int(o.Pressure)+int(o.Humidity)) + change*changes
	return time.Duration(us) * time.Microsecond
}

// results is the registers 0x1D to 0x26, read in one transaction.
type results [10]byte

// ready tells that the results are those of a measurement that has ended, and
// not read before another was started.
func (r *results) ready() bool {
	return r[0]&(statusNewData|statusGas|statusMeasuring) == statusNewData
}

// raw is one measurement as the converters give it: 20, 20 and 16 bits.
type raw struct{ pressure, temperature, humidity uint32 }

func (r *results) raw() raw {
	return raw{
		pressure:    uint32(r[2])<<12 | uint32(r[3])<<4 | uint32(r[4])>>4,
		temperature: uint32(r[5])<<12 | uint32(r[6])<<4 | uint32(r[7])>>4,
		humidity:    uint32(r[8])<<8 | uint32(r[9]),
	}
}

// config is the registers 0x70 to 0x75.
type config [6]byte

// in reports whether the settings are in the chip's registers, whatever its mode.
func (s settings) in(c *config) bool {
	const humMask, filterMask = 0b111, 0b11100
	return c[0]&heaterOff != 0 &&
		c[regCtrlGas1-regConfig]&runGas == 0 &&
		c[regCtrlHum-regConfig]&humMask == s.ctrlHum &&
		c[regCtrlMeas-regConfig]&^modeMask == s.ctrlMeas &&
		c[regFilter-regConfig]&filterMask == s.filter
}
