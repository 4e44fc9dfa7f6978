package bme280

import (
	"fmt"
	"math/bits"
	"time"
)

// Registers (section 5.3, table 18).
const (
	regCalibration         = 0x88 // to 0xA1: T1 to T3, P1 to P9, H1
	regID                  = 0xD0
	regReset               = 0xE0
	regCalibrationHumidity = 0xE1 // to 0xE7: H2 to H6
	regCtrlHum             = 0xF2
	regStatus              = 0xF3
	regCtrlMeas            = 0xF4
	regConfig              = 0xF5
	regBurst               = regCtrlHum // to 0xFE
)

const (
	resetWord       = 0xB6 // 5.4.2
	statusMeasuring = 1 << 3
	statusCopying   = 1 << 0 // im_update: calibration is on its way from the non-volatile memory
	modeMask        = 0b11
	modeForced      = 0b01
	standby         = 0b101 << 5 // t_sb; see the package comment
)

const (
	startupTime  = 2 * time.Millisecond // 1.1, table 1: time to first communication
	pollInterval = 2 * time.Millisecond
	polls        = 10
)

// modelOf returns the chip with the content of the register id (5.4.1; BMP280
// datasheet 4.3.1; 0x56 and 0x57 are BMP280 samples).
func modelOf(id byte) (Model, bool) {
	switch id {
	case 0x60:
		return BME280, true
	case 0x56, 0x57, 0x58:
		return BMP280, true
	default:
		return 0, false
	}
}

// settings is what is written to the control registers; ctrlMeas with the mode
// left 0, sleep.
type settings struct {
	ctrlHum, ctrlMeas, config byte
	pressure, humidity        bool
}

func newSettings(o *Options) (s settings, err error) {
	if o.Model != BME280 && o.Model != BMP280 {
		return s, fmt.Errorf("unknown model %v", o.Model)
	}
	if o.Temperature == Skip {
		return s, fmt.Errorf("temperature cannot be skipped")
	}
	if o.Model == BMP280 {
		if o.Humidity != 0 && o.Humidity != Skip {
			return s, fmt.Errorf("a BMP280 does not measure humidity")
		}
		o.Humidity = Skip
	}
	for _, q := range []struct {
		name string
		o    *Oversampling
	}{{"temperature", &o.Temperature}, {"pressure", &o.Pressure}, {"humidity", &o.Humidity}} {
		if *q.o == 0 {
			*q.o = 1
		}
		if _, ok := q.o.code(); !ok {
			return s, fmt.Errorf("oversampling of %s is %d: want 1, 2, 4, 8 or 16", q.name, *q.o)
		}
	}
	if o.Filter == 0 {
		o.Filter = 1
	}
	if o.Filter > 16 || bits.OnesCount8(uint8(o.Filter)) != 1 {
		return s, fmt.Errorf("filter is %d: want 1 (off), 2, 4, 8 or 16", o.Filter)
	}
	t, _ := o.Temperature.code()
	p, _ := o.Pressure.code()
	h, _ := o.Humidity.code()
	return settings{
		ctrlHum:  h,
		ctrlMeas: t<<5 | p<<2,
		config:   standby | byte(bits.TrailingZeros8(uint8(o.Filter)))<<2,
		pressure: o.Pressure != Skip,
		humidity: o.Humidity != Skip,
	}, nil
}

// code returns the value of osrs_t, osrs_p and osrs_h (tables 20, 23 and 24).
func (o Oversampling) code() (code byte, ok bool) {
	if o == Skip {
		return 0, true
	}
	if o > 16 || bits.OnesCount8(uint8(o)) != 1 {
		return 0, false
	}
	return byte(bits.Len8(uint8(o))), true
}

// measurementTime is the greatest time of one measurement (9.1); for a BMP280
// it equals its datasheet's table 13.
func measurementTime(o *Options) time.Duration {
	const offset, sample, perQuantity = 1250, 2300, 575 // µs
	us := offset + sample*int(o.Temperature)
	if o.Pressure != Skip {
		us += sample*int(o.Pressure) + perQuantity
	}
	if o.Humidity != Skip {
		us += sample*int(o.Humidity) + perQuantity
	}
	return time.Duration(us) * time.Microsecond
}

// burst is the registers 0xF2 to 0xFE, read in one transaction. A BMP280 has
// neither the first nor the last two; what it answers there is not looked at.
type burst [13]byte

// busy tells that the results to come are not yet in their registers.
func (b *burst) busy() bool {
	return b[regStatus-regBurst]&(statusMeasuring|statusCopying) != 0 ||
		b[regCtrlMeas-regBurst]&modeMask != 0
}

// in reports whether the settings are in the chip's registers.
func (s settings) in(b *burst, m Model) bool {
	const configMask = 0b11111101 // bit 1 is reserved
	return b[regCtrlMeas-regBurst]&^modeMask == s.ctrlMeas &&
		b[regConfig-regBurst]&configMask == s.config &&
		(m == BMP280 || b[0]&0b111 == s.ctrlHum)
}

// raw is one measurement as the converters give it: 20, 20 and 16 bits.
type raw struct{ pressure, temperature, humidity uint32 }

func (b *burst) results() raw {
	d := b[0xF7-regBurst:]
	return raw{
		pressure:    uint32(d[0])<<12 | uint32(d[1])<<4 | uint32(d[2])>>4,
		temperature: uint32(d[3])<<12 | uint32(d[4])<<4 | uint32(d[5])>>4,
		humidity:    uint32(d[6])<<8 | uint32(d[7]),
	}
}

// blank reports whether all that was to be measured has its value after reset
// (5.4.7 to 5.4.9): the chip was reset while it was read.
func (s settings) blank(b *burst) bool {
	r := b.results()
	return r.temperature == 0x80000 &&
		(!s.pressure || r.pressure == 0x80000) &&
		(!s.humidity || r.humidity == 0x8000)
}
