// Package calibration makes of what a chip measured what is there to be measured:
// by a straight line for each measure, from a comparison with a reference, and by
// what the chip itself and its surroundings add to the temperature.
package calibration

import (
	"math"
	"math/big"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Point is where a chip was compared with a reference: it measured Raw when the
// reference had Actual.
type Point struct{ Raw, Actual telemetry.Micro }

// Line is the calibration of one measure.
type Line struct {
	from, to  telemetry.Micro // the line goes through this point
	rise, run telemetry.Micro // and has this slope; run > 0
}

// Offset returns the calibration that adds o.
func Offset(o telemetry.Micro) Line { return Line{to: o, rise: 1, run: 1} }

// TwoPoints returns the calibration that is exact at both points. Their raw values
// must differ, and the slope between them be from 0.5 to 2, as the configuration
// makes sure.
func TwoPoints(a, b Point) Line {
	if a.Raw > b.Raw {
		a, b = b, a
	}
	return Line{a.Raw, a.Actual, b.Actual - a.Actual, b.Raw - a.Raw}
}

// At returns the value where the chip measured raw: exactly, rounded half away from
// the line's first point to a millionth of the measure's unit.
func (l Line) At(raw telemetry.Micro) telemetry.Micro {
	n := big.NewInt(2 * int64(raw-l.from))
	n.Mul(n, big.NewInt(int64(l.rise))) // beyond 64 bits
	run := big.NewInt(int64(l.run))
	if n.Sign() < 0 {
		n.Sub(n, run)
	} else {
		n.Add(n, run)
	}
	n.Quo(n, run.Lsh(run, 1))
	return l.to + telemetry.Micro(n.Int64())
}

// Calibration is that of one chip. The zero Calibration changes nothing.
type Calibration struct {
	Lines map[telemetry.Measure]Line // of the measures that have one

	// SelfHeating is by how much, in kelvin, the chip is warmer than the air whose
	// temperature and humidity are asked for.
	SelfHeating telemetry.Micro
}

// Apply returns the values where the chip measured p: each by its line, then
// temperature and humidity as they are in the air. Humidity that cannot be
// converted, for want of a temperature, is left out. A humidity that was changed is
// from 0 to 100 %, an illuminance not below 0.
func (c *Calibration) Apply(p *telemetry.Payload) (values telemetry.Payload) {
	chip, known := c.line(p, telemetry.Temperature)
	for m := range telemetry.Measure(telemetry.Measures) {
		v, ok := c.line(p, m)
		switch {
		case !ok, c.SelfHeating != 0 && m == telemetry.Humidity && !known:
			continue
		case c.SelfHeating == 0:
		case m == telemetry.Temperature:
			v -= c.SelfHeating
		case m == telemetry.Humidity:
			v = possible(m, convert(v, chip, chip-c.SelfHeating))
		}
		values.Set(m, v)
	}
	return values
}

// line returns the value of m by its line.
func (c *Calibration) line(p *telemetry.Payload, m telemetry.Measure) (telemetry.Micro, bool) {
	v, ok := p.Get(m)
	if l, calibrated := c.Lines[m]; ok && calibrated {
		v = possible(m, l.At(v))
	}
	return v, ok
}

// possible returns the nearest value to v that the quantity can have.
func possible(m telemetry.Measure, v telemetry.Micro) telemetry.Micro {
	switch m {
	case telemetry.Humidity:
		return min(max(v, 0), 100e6)
	case telemetry.Luminosity:
		return max(v, 0)
	}
	return v
}

// convert returns the relative humidity of the air if the same water vapour in air
// as warm as the chip has the relative humidity h: the vapour pressure is the same,
// the saturation vapour pressure that it is divided by is not. The latter is
// Magnus' formula, 6.112 hPa exp(17.62 t / (243.12 + t)) with t in degree Celsius,
// over water from -45 to 60 °C: WMO-No. 8, Guide to Instruments and Methods of
// Observation, volume I, annex 4.B. Of it only a ratio is needed. An exponential is
// no matter of integers; its error, 1e-15 of the value, ends at the border, where
// the result is rounded to a millionth of a percent.
func convert(h, chip, air telemetry.Micro) telemetry.Micro {
	exponent := func(t telemetry.Micro) float64 {
		c := t.Float()
		return 17.62 * c / (243.12 + c)
	}
	return telemetry.Micro(math.Round(float64(h) * math.Exp(exponent(chip)-exponent(air))))
}
