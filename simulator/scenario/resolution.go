package scenario

import (
	"math"

	"github.com/telltale-iot/telltale/agent"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// resolution returns how far a correct reading of value may be from what the
// chip converted, in the measure's unit: half a step of the chip as it is
// configured, and what the rounding of the datasheet's own formulas adds. ok is
// false for a chip of which that is not known.
func resolution(c *agent.SensorChip, m telemetry.Measure, value float64) (within float64, ok bool) {
	of, ok := resolutions()[c.Driver]
	if !ok {
		return 0, false
	}
	return of(c, m, value) + 1e-6, true // a frame counts millionths
}

// resolutions are by the names of the drivers.
func resolutions() map[string]func(c *agent.SensorChip, m telemetry.Measure, value float64) float64 {
	return map[string]func(*agent.SensorChip, telemetry.Measure, float64) float64{
		"bme280": bosch, "bmp280": bosch,
		"bh1750": bh1750,
	}
}

// bosch is a BME280's or BMP280's: data sheet, tables 13, 14 and 4.2.3. At 20
// bits a step is at most 0.00033 K and 0.195 Pa, at 16 bits 16 times that;
// humidity has 16 bits. The integer formulas differ from the others by up to
// 0.0076 K, 0.54 Pa and 0.01 % (simulator/i2csim/README.md).
func bosch(c *agent.SensorChip, m telemetry.Measure, _ float64) float64 {
	steps := 16 / float64(or(c.Oversampling, 1))
	if or(c.Filter, 0) > 0 {
		steps = 1
	}
	switch m {
	case telemetry.Temperature:
		return 0.00033/2*steps + 0.0076
	case telemetry.Pressure:
		return (0.195/2*steps + 0.54) / 100
	default:
		return 0.0069/2 + 0.01
	}
}

// bh1750 is a BH1750's: technical note, page 11. A count is 1/1.2 lx at the
// measurement time 69, half of it in H-resolution mode 2, and L-resolution mode
// has multiples of 4.
func bh1750(c *agent.SensorChip, _ telemetry.Measure, _ float64) float64 {
	count := 1 / 1.2 * 69 / float64(or(c.MeasurementTime, 69))
	switch or(c.Mode, "high") {
	case "high2":
		count /= 2
	case "low":
		count *= 4
	}
	return count / 2
}

// or returns the value of a setting, or what holds where it is left out.
func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

func apart(a, b float64) float64 { return math.Abs(a - b) }
