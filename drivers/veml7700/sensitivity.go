package veml7700

import (
	"fmt"
	"math/big"
	"time"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/light"
)

// sensitivity is a range: gain and integration time.
type sensitivity struct {
	gain Gain
	time time.Duration
}

// autoRanges returns the ranges that the driver chooses from, from the least
// sensitive one up.
func autoRanges() []sensitivity {
	return []sensitivity{
		{GainEighth, 25 * time.Millisecond},
		{GainEighth, 100 * time.Millisecond},
		{Gain1, 100 * time.Millisecond},
		{Gain2, 400 * time.Millisecond},
	}
}

func (s sensitivity) check() error {
	if _, eighths := s.gain.code(); eighths == 0 {
		return fmt.Errorf("unknown gain %v", s.gain)
	}
	if _, ok := timeCode(s.time); !ok {
		return fmt.Errorf("integration time %v: want 25, 50, 100, 200, 400 or 800 ms", s.time)
	}
	return nil
}

// code returns the value of ALS_GAIN (datasheet, table 1), and the gain in eighths.
func (g Gain) code() (code uint16, eighths int64) {
	switch g {
	case GainEighth:
		return 0b10, 1
	case GainQuarter:
		return 0b11, 2
	case Gain1:
		return 0b00, 8
	case Gain2:
		return 0b01, 16
	default:
		return 0, 0
	}
}

// timeCode returns the value of ALS_IT (datasheet, table 1).
func timeCode(d time.Duration) (code uint16, ok bool) {
	switch d {
	case 25 * time.Millisecond:
		return 0b1100, true
	case 50 * time.Millisecond:
		return 0b1000, true
	case 100 * time.Millisecond:
		return 0b0000, true
	case 200 * time.Millisecond:
		return 0b0001, true
	case 400 * time.Millisecond:
		return 0b0010, true
	case 800 * time.Millisecond:
		return 0b0011, true
	default:
		return 0, false
	}
}

// conf returns the content of the configuration register with the chip awake.
func (s sensitivity) conf() uint16 {
	gain, _ := s.gain.code()
	integration, _ := timeCode(s.time)
	return gain<<11 | integration<<6
}

// word returns the count below the bits of the configuration that tell the range.
func (s sensitivity) word(count uint16) uint32 {
	return uint32(s.conf()>>6)<<16 | uint32(count)
}

// linear returns the product of count and resolution: 0.0042 lx with gain 2 and
// 800 ms, and more in proportion to what either is less.
func (s sensitivity) linear(count uint16) light.Illuminance {
	const finest, gain, longest = 4200 * light.MicroLux, 16, 800 * time.Millisecond
	_, eighths := s.gain.code()
	return light.Illuminance(count) * finest * light.Illuminance(gain/eighths) * light.Illuminance(longest/s.time)
}

const (
	linearUpTo = 1000 * light.Lux
	// The limit of the least sensitive range, which the datasheet calls about
	// 140 klx.
	maxIlluminance = 0xFFFF * 2150400 * light.MicroLux
)

// illuminance returns the illuminance of a count, or a drivers.RangeError.
func (s sensitivity) illuminance(count uint16) (light.Illuminance, error) {
	lux := s.linear(count)
	if lux > linearUpTo {
		lux = correct(lux)
	}
	if lux > maxIlluminance {
		return 0, &drivers.RangeError{
			Quantity: "illuminance", Value: lux, Min: light.Illuminance(0), Max: maxIlluminance,
		}
	}
	return lux, nil
}

// correct returns the application note's polynomial of x, to the nearest micro-lux.
func correct(x light.Illuminance) light.Illuminance {
	// The coefficients of x^4 to x^1 for x in micro-lux, and a result in units
	// of 1e-35 micro-lux, which makes all of them whole.
	sum, micro := new(big.Int), big.NewInt(int64(x))
	for _, coefficient := range []struct {
		significand int64 // in units of 1e-17
		zeros       int64
	}{
		{60135, 0},
		{-939240000, 6},
		{8148800000000, 12},
		{100230000000000000, 18},
	} {
		c := big.NewInt(coefficient.significand)
		sum.Add(sum, c.Mul(c, tenTo(coefficient.zeros)))
		sum.Mul(sum, micro)
	}
	unit := tenTo(35)
	sum.Add(sum, new(big.Int).Rsh(unit, 1)) // the sum is not negative
	return light.Illuminance(sum.Quo(sum, unit).Int64())
}

func tenTo(n int64) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(n), nil) }
