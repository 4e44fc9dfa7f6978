package bme280

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/drivers"
)

// The calibration is read in two blocks, 0x88 to 0xA1 and, of a BME280, 0xE1
// to 0xE7.
const (
	splitCalibration = 0xA1 - 0x88 + 1
	calibrationSize  = splitCalibration + 0xE7 - 0xE1 + 1
)

// calibration is a chip's trimming parameters by their names in the datasheet
// (4.2.2, table 16).
type calibration struct {
	T1                             uint16
	T2, T3                         int16
	P1                             uint16
	P2, P3, P4, P5, P6, P7, P8, P9 int16
	H1                             uint8
	H2                             int16
	H3                             uint8
	H4, H5                         int16 // 12 bits
	H6                             int8
}

func parseCalibration(b *[calibrationSize]byte, m Model) (calibration, error) {
	u16 := func(i int) uint16 { return binary.LittleEndian.Uint16(b[i:]) }
	s16 := func(i int) int16 { return int16(u16(i)) }
	c := calibration{
		T1: u16(0), T2: s16(2), T3: s16(4),
		P1: u16(6), P2: s16(8), P3: s16(10), P4: s16(12), P5: s16(14),
		P6: s16(16), P7: s16(18), P8: s16(20), P9: s16(22),
	}
	used := b[:24]
	if m == BME280 {
		h := b[splitCalibration:]
		c.H1 = b[25]
		c.H2 = s16(splitCalibration)
		c.H3 = h[2]
		// The sign is in the byte that is not shared.
		c.H4 = int16(int8(h[3]))<<4 | int16(h[4]&0x0F)
		c.H5 = int16(int8(h[5]))<<4 | int16(h[4]>>4)
		c.H6 = int8(h[6])
		used = b[:]
	}
	switch {
	case bytes.Count(used, []byte{0xFF}) == len(used):
		return c, fmt.Errorf("%w: every byte is 0xFF", drivers.ErrBadCalibration)
	case c.T1 == 0 || c.T2 == 0 || c.P1 == 0:
		return c, fmt.Errorf("%w: T1=%d T2=%d P1=%d", drivers.ErrBadCalibration, c.T1, c.T2, c.P1)
	case m == BME280 && c.H2 == 0:
		return c, fmt.Errorf("%w: H2=0", drivers.ErrBadCalibration)
	}
	return c, nil
}

// What the chips are specified for (1.1 to 1.4; BMP280 datasheet 1).
const (
	minTemperature = physic.ZeroCelsius - 40*physic.Celsius
	maxTemperature = physic.ZeroCelsius + 85*physic.Celsius
	minPressure    = 300 * hectopascal
	maxPressure    = 1100 * hectopascal

	hectopascal = 100 * physic.Pascal
)

// compensate stores the quantities that the settings s measure in m, or
// nothing if one of them is out of range.
func (c *calibration) compensate(r raw, s settings, m *drivers.Measurement) error {
	out := *m
	centi, fine := c.temperature(r.temperature)
	// Beyond these limits fine is too large for the formulas that follow.
	if centi < -4000 || centi > 8500 {
		return &drivers.RangeError{
			Quantity: "temperature", Value: celsius(centi), Min: minTemperature, Max: maxTemperature,
		}
	}
	out.Temperature, out.Words.Temperature = celsius(centi), r.temperature
	if s.pressure {
		q8, err := c.pressure(r.pressure, fine)
		if err != nil {
			return err
		}
		// 1/256 Pa is 3,906,250 nPa.
		out.Pressure = physic.Pressure(q8) * 3906250 * physic.NanoPascal
		out.Words.Pressure = r.pressure
		if out.Pressure < minPressure || out.Pressure > maxPressure {
			return &drivers.RangeError{
				Quantity: "pressure", Value: out.Pressure, Min: minPressure, Max: maxPressure,
			}
		}
	}
	if s.humidity {
		// 1/1024 %RH is 3125/32 of physic's unit; rounded to nearest.
		q10 := c.humidity(r.humidity, fine)
		out.Humidity = physic.RelativeHumidity((q10*3125 + 16) / 32)
		out.Words.Humidity = r.humidity
	}
	*m = out
	return nil
}

func celsius(centi int64) physic.Temperature {
	return physic.ZeroCelsius + physic.Temperature(centi)*10*physic.MilliCelsius
}

// temperature returns the temperature in 0.01 degree Celsius, and the same in
// 1/5120 degree Celsius, which the other quantities need (4.2.3). It takes 20
// bits; no calibration overflows it.
func (c *calibration) temperature(adc uint32) (centi, fine int64) {
	t := int64(adc)
	t1, t2, t3 := int64(c.T1), int64(c.T2), int64(c.T3)
	linear := ((t>>3 - t1<<1) * t2) >> 11
	square := ((((t>>4 - t1) * (t>>4 - t1)) >> 12) * t3) >> 14
	fine = linear + square
	return (fine*5 + 128) >> 8, fine
}

// pressure returns the pressure in 1/256 Pa (4.2.3, 64 bits). It takes 20 bits,
// and a fine within the chip's range of temperature: -205,000 to 436,000.
func (c *calibration) pressure(adc uint32, fine int64) (int64, error) {
	x := fine - 128000 // below 2^19
	offset := x*x*int64(c.P6) + (x*int64(c.P5))<<17 + int64(c.P4)<<35
	// The factor is 2^47 and at most half of that more or less: always
	// positive, and with P1 more than an int64 but less than a uint64.
	factor := int64(1)<<47 + (x*x*int64(c.P3))>>8 + (x*int64(c.P2))<<12
	span := int64(uint64(factor) * uint64(c.P1) >> 33)

	p := (1048576-int64(adc))<<31 - offset
	if p < math.MinInt64/3125 || p > math.MaxInt64/3125 {
		return 0, fmt.Errorf("%w: pressure overflows with %+v", drivers.ErrBadCalibration, *c)
	}
	p = p * 3125 / span
	// It is now in 1/65536 Pa but for a correction. What is far out of range
	// is so without it, and would overflow it.
	const limit = 4 * int64(maxPressure/physic.Pascal) << 16
	if p < 0 || p > limit {
		return 0, &drivers.RangeError{
			Quantity: "pressure", Min: minPressure, Max: maxPressure,
			Value: physic.Pressure(max(-limit, min(p, limit))>>16) * physic.Pascal,
		}
	}
	square := (int64(c.P9) * (p >> 13) * (p >> 13)) >> 25
	linear := (int64(c.P8) * p) >> 19
	return (p+square+linear)>>8 + int64(c.P7)<<4, nil
}

// humidity returns the relative humidity in 1/1024 percent, from 0 to 100 %
// (4.2.3). It takes 16 bits, and the same fine as pressure; no calibration
// overflows it.
func (c *calibration) humidity(adc uint32, fine int64) int64 {
	x := fine - 76800
	signal := (int64(adc)<<14 - int64(c.H4)<<20 - int64(c.H5)*x + 16384) >> 15
	drift := (((x * int64(c.H6)) >> 10) * ((x*int64(c.H3))>>11 + 32768)) >> 10
	h := signal * (((drift+2097152)*int64(c.H2) + 8192) >> 14)
	h -= ((((h >> 15) * (h >> 15)) >> 7) * int64(c.H1)) >> 4
	return max(0, min(h, 419430400)) >> 12
}
