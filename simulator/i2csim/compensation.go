package i2csim

import (
	"math"
	"sort"
)

// The formulas of BME280 data sheet, appendix 8.1 (double precision), written
// as polynomials of the words that the ADC gives. They are the definition of
// what a raw word means; drivers may use the integer formulas of 4.2.3, which
// differ from these by their rounding.

// fine returns t_fine, which is 5120 times the temperature in degree Celsius.
func (c *Calibration) fine(rawT uint32) float64 {
	x := float64(rawT)/16384 - float64(c.T1)/1024
	return x*float64(c.T2) + x*x/64*float64(c.T3)
}

// pascals returns the pressure. fine is as the data sheet hands it on: an
// integer, cut.
func (c *Calibration) pascals(rawP uint32, fine float64) float64 {
	u := math.Trunc(fine)/2 - 64000
	offset := (u*u*float64(c.P6)/32768+u*float64(c.P5)*2)/4 + float64(c.P4)*65536
	slope := (u*u*float64(c.P3)/524288 + u*float64(c.P2)) / 524288
	scale := (1 + slope/32768) * float64(c.P1)
	if scale == 0 {
		return 0 // as the data sheet has it, against a division by zero
	}
	p := (1048576 - float64(rawP) - offset/4096) * 6250 / scale
	return p + (p*p*float64(c.P9)/2147483648+p*float64(c.P8)/32768+float64(c.P7))/16
}

// percent returns the relative humidity without the data sheet's limits of 0
// and 100, so that it is strictly monotonic.
func (c *Calibration) percent(rawH uint32, fine float64) float64 {
	u := math.Trunc(fine) - 76800
	h := float64(rawH) - (float64(c.H4)*64 + float64(c.H5)/16384*u)
	h *= float64(c.H2) / 65536 * (1 + float64(c.H6)/67108864*u*(1+float64(c.H3)/67108864*u))
	return h * (1 - float64(c.H1)*h/524288)
}

// rawHumidity returns the word whose humidity is nearest to e's, at the
// temperature that the word rawT says.
func (c *Calibration) rawHumidity(e Environment, rawT uint32) uint32 {
	fine := c.fine(rawT)
	return nearest(16, 16, e.percent(), func(raw uint32) float64 { return c.percent(raw, fine) })
}

// nearest returns the word for which the rising function f comes nearest to
// want, among those of width bits that have only their highest bits set; the
// first or last of them if want is beyond.
func nearest(width, bits uint, want float64, f func(uint32) float64) uint32 {
	shift := width - bits
	last := 1<<bits - 1
	word := func(i int) uint32 { return uint32(i) << shift }
	i := sort.Search(last, func(i int) bool { return f(word(i)) >= want })
	if i > 0 && want-f(word(i-1)) < f(word(i))-want {
		i--
	}
	return word(i)
}
