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
		"aht20":    linear(200/exp2(20), 100/exp2(20), 0), // data sheet, 6.1 and 6.2: 20 bits
		"bh1750":   bh1750,
		"bme280":   bosch,
		"bme680":   bosch680,
		"bmp280":   bosch,
		"bmp388":   bosch3,
		"bmp390":   bosch3,
		"htu21d":   htu21d,
		"lps22hb":  linear(0.01, 0, 1.0/4096), // data sheet, table 3
		"opt3001":  opt3001,
		"sht3x":    linear(175.0/65535, 100.0/65535, 0), // data sheet, 4.13
		"sht4x":    linear(175.0/65535, 125.0/65535, 0), // data sheet, 4.6
		"si7021":   htu21d,
		"tsl2591":  tsl2591,
		"veml7700": veml7700,
	}
}

// exp2 returns 2 to the nth.
func exp2(n int) float64 { return math.Exp2(float64(n)) }

// linear is for a chip whose values are proportional to its words: half a step
// of its temperature, humidity and pressure, and a twentieth for the integers
// of periph's units and of a formula.
func linear(temperature, humidity, pressure float64) func(*agent.SensorChip, telemetry.Measure, float64) float64 {
	return func(_ *agent.SensorChip, m telemetry.Measure, _ float64) float64 {
		step := temperature
		switch m {
		case telemetry.Humidity:
			step = humidity
		case telemetry.Pressure:
			step = pressure
		}
		return step * 0.55
	}
}

// htu21d is an HTU21D's or Si7021's: at 14 and 12 bits, data sheet, page 13; a
// bit less of a temperature is 12, 13 or 11 bits, and of a humidity 8, 10 or 11.
func htu21d(c *agent.SensorChip, m telemetry.Measure, value float64) float64 {
	bits := or(c.Resolution, 14)
	if m == telemetry.Humidity {
		bits = map[int]int{14: 12, 13: 10, 12: 8, 11: 11}[bits]
	}
	return linear(175.72/exp2(bits), 125/exp2(bits), 0)(c, m, value)
}

// bosch680 is a BME680's: data sheet, 3.4.1; the words are as a BME280's, and
// its integer formulas give hundredths of a kelvin, pascals, and thousandths of
// a percent.
func bosch680(c *agent.SensorChip, m telemetry.Measure, value float64) float64 {
	within := bosch(c, m, value)
	if m == telemetry.Pressure {
		within += 0.01
	}
	return within
}

// bosch3 is a BMP388's or BMP390's: data sheet, table 7 of 3.4.3. At 16 bits,
// which one sample gives, a step is 0.005 K and 2.64 Pa on a typical chip, and
// by calibration up to twice that; each doubling of the samples halves it.
func bosch3(c *agent.SensorChip, m telemetry.Measure, _ float64) float64 {
	within := 0.005 // half of twice a step
	if m == telemetry.Pressure {
		within = 2.64 / 100
	}
	return within / float64(or(c.Oversampling, 1))
}

// opt3001 is an OPT3001's: data sheet, 7.6.1.1.1. The range that fits the light
// leaves 2048 counts or more, and the finest has counts of 0.01 lx.
func opt3001(_ *agent.SensorChip, _ telemetry.Measure, value float64) float64 {
	return max(0.01/2, value/2048/2) + 1e-3
}

// tsl2591 is a TSL2591's, whose illuminance is made of two counts; with its gain
// and time fitted to the light those are thousands.
func tsl2591(_ *agent.SensorChip, _ telemetry.Measure, value float64) float64 {
	return max(0.05, value*0.01)
}

// veml7700 is a VEML7700's with its gain and time fitted to the light; from
// 1000 lx on its count's error grows by the correction for large ones, which
// begins with a step to 1075 lx (Vishay's application note, "Designing the
// VEML7700 Into an Application").
func veml7700(_ *agent.SensorChip, _ telemetry.Measure, value float64) float64 {
	if value > 990 && value < 1085 {
		return 40
	}
	return max(0.005, value*0.005)
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
