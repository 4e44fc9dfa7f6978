package tsl2591

import (
	"fmt"
	"time"

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
		{LowGain, 100 * time.Millisecond},
		{MediumGain, 100 * time.Millisecond},
		{HighGain, 100 * time.Millisecond},
		{MaxGain, 300 * time.Millisecond},
	}
}

const (
	shortest = 100 * time.Millisecond // and the step of the integration time
	longest  = 6 * shortest
)

func (s sensitivity) check() error {
	switch {
	case s.gain < LowGain || s.gain > MaxGain:
		return fmt.Errorf("unknown gain %v", s.gain)
	case s.time < shortest || s.time > longest || s.time%shortest != 0:
		return fmt.Errorf("integration time %v: want 100, 200, 300, 400, 500 or 600 ms", s.time)
	}
	return nil
}

// control returns the content of the register CONTROL: AGAIN and ATIME.
func (s sensitivity) control() byte {
	return byte(s.gain-LowGain)<<4 | byte(s.time/shortest-1)
}

// word returns the count of both kinds of light below the range.
func (s sensitivity) word(c counts) uint32 { return uint32(s.control())<<16 | uint32(c.all) }

// limit returns the greatest count.
func (s sensitivity) limit() uint16 {
	if s.time == shortest {
		return 36863
	}
	return 0xFFFF
}

// factor returns the gain.
func (g Gain) factor() light.Illuminance {
	switch g {
	case LowGain:
		return 1
	case MediumGain:
		return 25
	case HighGain:
		return 428
	default:
		return 9876
	}
}

// illuminance returns the illuminance of the counts: 150 klx at most.
func (s sensitivity) illuminance(c counts) light.Illuminance {
	if c.infrared >= c.all {
		return 0
	}
	const df = 408 * light.Lux // as the formula calls it
	visible := light.Illuminance(c.all - c.infrared)
	divisor := light.Illuminance(c.all) * light.Illuminance(s.time/time.Millisecond) * s.gain.factor()
	return (visible*visible*df + divisor/2) / divisor // of less than 2^61
}
