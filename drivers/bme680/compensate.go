package bme680

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/drivers"
)

// The calibration is read in two blocks, 0x8A to 0xA0 and 0xE1 to 0xEA.
const (
	splitCalibration = 0xA0 - regCalibration + 1
	calibrationSize  = splitCalibration + 0xEA - regCalibrationHumidity + 1
)

// calibration is a chip's coefficients by their names in the datasheet (3.3.1 to
// 3.3.3).
type calibration struct {
	T1     uint16
	T2     int16
	T3     int8
	P1     uint16
	P2     int16
	P3     int8
	P4, P5 int16
	P6, P7 int8
	P8, P9 int16
	P10    uint8
	H1, H2 uint16 // 12 bits
	H3     int8
	H4, H5 int8
	H6     uint8
	H7     int8
}

func parseCalibration(b *[calibrationSize]byte) (calibration, error) {
	u16 := func(i int) uint16 { return binary.LittleEndian.Uint16(b[i:]) }
	s16 := func(i int) int16 { return int16(u16(i)) }
	h := b[splitCalibration:]
	c := calibration{
		T1: binary.LittleEndian.Uint16(h[8:]), T2: s16(0), T3: int8(b[2]),
		P1: u16(4), P2: s16(6), P3: int8(b[8]), P4: s16(10), P5: s16(12),
		P6: int8(b[15]), P7: int8(b[14]), P8: s16(18), P9: s16(20), P10: b[22],
		H1: uint16(h[2])<<4 | uint16(h[1]&0x0F), H2: uint16(h[0])<<4 | uint16(h[1]>>4),
		H3: int8(h[3]), H4: int8(h[4]), H5: int8(h[5]), H6: h[6], H7: int8(h[7]),
	}
	switch {
	case bytes.Count(b[:], []byte{0xFF}) == len(b):
		return c, fmt.Errorf("%w: every byte is 0xFF", drivers.ErrBadCalibration)
	case c.T1 == 0 || c.T2 == 0 || c.P1 == 0 || c.H2 == 0:
		return c, fmt.Errorf("%w: T1=%d T2=%d P1=%d H2=%d", drivers.ErrBadCalibration, c.T1, c.T2, c.P1, c.H2)
	}
	return c, nil
}

// What the chip is specified for (section 1).
const (
	minTemperature = physic.ZeroCelsius - 40*physic.Celsius
	maxTemperature = physic.ZeroCelsius + 85*physic.Celsius
	minPressure    = 300 * hectopascal
	maxPressure    = 1100 * hectopascal

	hectopascal = 100 * physic.Pascal
)

// compensate stores all quantities in m, or nothing if one of them is out of
// range.
func (c *calibration) compensate(r raw, m *drivers.Measurement) error {
	fine := c.temperature(r.temperature)
	// 1/5120 degree Celsius is 390,625/2 nK.
	t := physic.ZeroCelsius + physic.Temperature(fine*390625/2)
	// Beyond these limits fine is too large for the formulas that follow.
	if t < minTemperature || t > maxTemperature {
		return &drivers.RangeError{Quantity: "temperature", Value: t, Min: minTemperature, Max: maxTemperature}
	}
	p8, err := c.pressure(r.pressure, fine)
	if err != nil {
		return err
	}
	// 1/256 Pa is 3,906,250 nPa.
	p := physic.Pressure(p8) * 3906250 * physic.NanoPascal
	if p < minPressure || p > maxPressure {
		return &drivers.RangeError{Quantity: "pressure", Value: p, Min: minPressure, Max: maxPressure}
	}
	h10, err := c.humidity(r.humidity, fine)
	if err != nil {
		return err
	}
	m.Temperature, m.Words.Temperature = t, r.temperature
	m.Pressure, m.Words.Pressure = p, r.pressure
	// 1/1024 %RH is 3125/32 of physic's unit; rounded to nearest.
	m.Humidity, m.Words.Humidity = physic.RelativeHumidity((h10*3125+16)/32), r.humidity
	return nil
}

// temperature returns the temperature in 1/5120 degree Celsius, which the other
// quantities need, at most 2^22 of them (3.3.1). It takes 20 bits; no calibration
// overflows it.
func (c *calibration) temperature(adc uint32) (fine int64) {
	d := int64(adc) - int64(c.T1)<<4              // below 2^20
	fine30 := d*int64(c.T2)<<16 + d*d*int64(c.T3) // 2^51 and 2^47
	return (fine30 + 1<<29) >> 30
}

// pressure returns the pressure in 1/256 Pa (3.3.2). It takes 20 bits, and a fine
// within the chip's range of temperature: -204,800 to 435,200.
//
// A number at the end of a name is how many bits of it are a fraction. A power of
// two behind a term is what its amount is below.
func (c *calibration) pressure(adc uint32, fine int64) (p8 int64, err error) {
	x := fine - 128000               // 2^19
	offset31 := x*x*int64(c.P6)>>2 + // 2^43
		x*int64(c.P5)<<17 + // 2^51
		int64(c.P4)<<35 // 2^50
	// The factor is 1 and at most half of that more or less: always positive,
	// and with P1 more than an int64 but less than a uint64.
	factor47 := 1<<47 +
		x*x*int64(c.P3)>>3 + // 2^42
		x*int64(c.P2)<<12 // 2^46
	span14 := int64(uint64(factor47) * uint64(c.P1) >> 33)

	p31 := (1048576-int64(adc))<<31 - offset31
	if p31 < math.MinInt64/3125 || p31 > math.MaxInt64/3125 {
		return 0, fmt.Errorf("%w: pressure overflows with %+v", drivers.ErrBadCalibration, *c)
	}
	p16 := p31 * 3125 / span14 // the 6250 of the formula, twice
	// It is the pressure but for a correction. What is far out of range is so
	// without it, and would overflow it.
	const limit = 4 * int64(maxPressure/physic.Pascal) << 16 // 2^35
	if p16 < 0 || p16 > limit {
		return 0, &drivers.RangeError{
			Quantity: "pressure", Min: minPressure, Max: maxPressure,
			Value: physic.Pressure(max(-limit, min(p16, limit))>>16) * physic.Pascal,
		}
	}
	p6 := p16 >> 10                                           // 2^25
	linear16 := p16 * int64(c.P8) >> 19                       // 2^50 before the shift
	square16 := (p16 >> 13) * (p16 >> 13) * int64(c.P9) >> 25 // 2^59
	cube16 := (p6 * p6 >> 20) * p6 * int64(c.P10) >> 27       // 2^63
	return (p16+linear16+square16+cube16)>>8 + int64(c.P7)<<11, nil
}

// humidity returns the relative humidity in 1/1024 percent, from 0 to 100 %
// (3.3.3). It takes 16 bits, and the same fine as pressure. Names and powers are as
// there.
func (c *calibration) humidity(adc uint32, fine int64) (h10 int64, err error) {
	t16 := fine << 16 / 5120                                          // 2^23
	signal10 := int64(adc)<<10 - int64(c.H1)<<14 - int64(c.H3)*t16>>7 // 2^28
	gain30 := 1<<30 +
		int64(c.H4)*t16 + // 2^30
		int64(c.H5)*(t16*t16>>22) // 2^31
	linear28 := (signal10 * gain30 >> 30) * int64(c.H2) // 2^60 before the shift, then 2^42
	// No chip's calibration comes near this limit, and beyond it what follows
	// would overflow.
	const limit = 1024 << 28 // percent
	if linear28 < -limit || linear28 > limit {
		return 0, fmt.Errorf("%w: humidity overflows with %+v", drivers.ErrBadCalibration, *c)
	}
	bend27 := int64(c.H6)<<13 + // 2^21
		int64(c.H7)*t16>>10 // 2^20
	linear16 := linear28 >> 12                             // 2^26
	square16 := (linear16 * linear16 >> 18) * bend27 >> 25 // 2^56 before the shift
	return max(0, min((linear16+square16)>>6, 100<<10)), nil
}
