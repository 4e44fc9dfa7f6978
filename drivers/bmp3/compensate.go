package bmp3

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/drivers"
)

const calibrationSize = 0x45 - regCalibration + 1

// calibration is a chip's trimming coefficients as they are stored, by their
// names in the datasheet (3.11.1, table 24).
type calibration struct {
	T1, T2   uint16
	T3       int8
	P1, P2   int16
	P3, P4   int8
	P5, P6   uint16
	P7, P8   int8
	P9       int16
	P10, P11 int8
}

func parseCalibration(b *[calibrationSize]byte) (calibration, error) {
	u16 := func(i int) uint16 { return binary.LittleEndian.Uint16(b[i:]) }
	c := calibration{
		T1: u16(0), T2: u16(2), T3: int8(b[4]),
		P1: int16(u16(5)), P2: int16(u16(7)), P3: int8(b[9]), P4: int8(b[10]),
		P5: u16(11), P6: u16(13), P7: int8(b[15]), P8: int8(b[16]),
		P9: int16(u16(17)), P10: int8(b[19]), P11: int8(b[20]),
	}
	switch {
	case bytes.Count(b[:], []byte{0xFF}) == len(b):
		return c, fmt.Errorf("%w: every byte is 0xFF", drivers.ErrBadCalibration)
	case c.T1 == 0 || c.T2 == 0 || c.P5 == 0:
		return c, fmt.Errorf("%w: T1=%d T2=%d P5=%d", drivers.ErrBadCalibration, c.T1, c.T2, c.P5)
	}
	return c, nil
}

// What the chips are specified for (section 1).
const (
	minTemperature = physic.ZeroCelsius - 40*physic.Celsius
	maxTemperature = physic.ZeroCelsius + 85*physic.Celsius
	minPressure    = 300 * hectopascal
	maxPressure    = 1250 * hectopascal

	hectopascal = 100 * physic.Pascal
)

// compensate stores temperature and pressure in m, or nothing if one of them is
// out of range.
func (c *calibration) compensate(r raw, m *drivers.Measurement) error {
	t24 := c.temperature(r.temperature)
	t := celsius(t24)
	// Within these limits t24 is small enough for the formulas that follow.
	if t < minTemperature || t > maxTemperature {
		return &drivers.RangeError{Quantity: "temperature", Value: t, Min: minTemperature, Max: maxTemperature}
	}
	p16 := c.pressure(r.pressure, t24)
	// Nor can what is far out of range be told in nanopascals.
	const limit = 2 * int64(maxPressure/physic.Pascal) << 16
	p := pascal(max(-limit, min(p16, limit)))
	if p < minPressure || p > maxPressure {
		return &drivers.RangeError{Quantity: "pressure", Value: p, Min: minPressure, Max: maxPressure}
	}
	m.Temperature, m.Words.Temperature = t, r.temperature
	m.Pressure, m.Words.Pressure = p, r.pressure
	return nil
}

// celsius returns a temperature in 2^-24 degree Celsius as physic has it, rounded
// to the nearest unit.
func celsius(t24 int64) physic.Temperature {
	const unit = int64(physic.Celsius) >> 9 // 10^9, which has nine twos
	return physic.ZeroCelsius + physic.Temperature((t24*unit+1<<14)>>15)
}

// pascal returns a pressure in 2^-16 Pa as physic has it, rounded to the nearest
// unit.
func pascal(p16 int64) physic.Pressure {
	const unit = int64(physic.Pascal) >> 9
	return physic.Pressure((p16*unit + 1<<6) >> 7)
}

// temperature returns the temperature in 2^-24 degree Celsius, at most 2^34 of them
// (8.5). It takes 24 bits; no calibration overflows it.
func (c *calibration) temperature(adc uint32) int64 {
	d := int64(adc) - int64(c.T1)<<8           // below 2^24
	t48 := d*int64(c.T2)<<18 + d*d*int64(c.T3) // below 2^58 and 2^55
	return (t48 + 1<<23) >> 24
}

// pressure returns the pressure in 2^-16 Pa (8.6). It takes 24 bits, and a t24 from
// -128 to 128 degree Celsius; no calibration overflows it.
//
// A number at the end of a name is how many bits of it are a fraction. A power of
// two behind a term is what its amount is below.
func (c *calibration) pressure(adc uint32, t24 int64) int64 {
	p := int64(adc)
	square16 := (t24*t24 + 1<<31) >> 32    // 2^30
	cube16 := (square16*t24 + 1<<23) >> 24 // 2^37

	// P5 to P8 are the coefficients of temperature alone.
	offset16 := int64(c.P5)<<19 + // 2^35
		int64(c.P6)*t24>>14 + // 2^33
		int64(c.P7)*square16>>8 + // 2^29
		int64(c.P8)*cube16>>15 // 2^29

	// P1 to P4 are those of the pressure's converter.
	slope42 := (int64(c.P1)-1<<14)<<22 + // 2^38
		(int64(c.P2)-1<<14)*t24>>11 + // 2^36
		int64(c.P3)*square16>>6 + // 2^31
		int64(c.P4)*cube16>>11 // 2^33

	// P9 to P11 are those of its square and cube. P9 and P10 are in 2^-48.
	bend16 := int64(c.P9)<<16 + // 2^31
		int64(c.P10)*t24>>8 // 2^30
	squared16 := (p * bend16 >> 18) * p >> 30 // 2^62 before the last shift
	// P11 is in 2^-65.
	cubed16 := (p * p >> 16) * int64(c.P11) * p >> 33 // 2^63 before it

	return offset16 + slope42*p>>26 + squared16 + cubed16 // 2^62 before it
}
