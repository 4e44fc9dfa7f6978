package scenario

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// A unit is one in which a scenario may give a quantity.
type unit struct {
	name  string
	scale float64 // of the measure's unit in telemetry: degree Celsius, percent, hectopascal, lux
}

// measure is what a scenario can say of a measure.
type measure struct {
	units       []unit // of a value
	differences []unit // of a difference between two
	min, max    float64
	usual       float64 // in the day's mean, where nothing is said
	swing       float64 // from there to its extremes
}

// measures are in the order of telemetry's.
var measures = [telemetry.Measures]measure{
	telemetry.Temperature: {units: []unit{{"°C", 1}, {"C", 1}}, differences: []unit{{"K", 1}}, min: -100, max: 200, usual: 21, swing: 2},
	telemetry.Humidity:    {units: []unit{{"%", 1}}, differences: []unit{{"%", 1}}, min: 0, max: 100, usual: 45, swing: 5},
	telemetry.Pressure:    {units: []unit{{"hPa", 1}, {"Pa", 0.01}}, differences: []unit{{"hPa", 1}, {"Pa", 0.01}}, min: 0, max: 2000, usual: 1013.25, swing: 3},
	telemetry.Luminosity:  {units: []unit{{"lx", 1}}, differences: []unit{{"lx", 1}}, min: 0, max: 1e6, usual: 300, swing: 100},
}

// parseQuantity reads a number with one of the units, and a space or none
// between them.
func parseQuantity(text string, units []unit) (float64, bool) {
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) {
			return v * u.scale, true
		}
	}
	return 0, false
}

// wantValue says what is wanted of a measure's value.
func (m *measure) wantValue() string {
	return fmt.Sprintf("a value from %g to %g with its unit, such as %g %s", m.min, m.max, m.usual, m.units[0].name)
}

func (m *measure) wantDifference() string {
	return fmt.Sprintf("a difference with its unit, such as 0.5 %s", m.differences[0].name)
}

// value reads a value of the measure.
func (m *measure) value(text string) (float64, bool) {
	v, ok := parseQuantity(text, m.units)
	return v, ok && v >= m.min && v <= m.max
}

func (m *measure) difference(text string) (float64, bool) { return parseQuantity(text, m.differences) }

// quantities are the values of all measures, in telemetry's units.
type quantities [telemetry.Measures]float64

// environment returns them as surroundings.
func (q quantities) environment() i2csim.Environment {
	e := q.difference()
	e.Temperature += physic.ZeroCelsius
	return e
}

// difference returns them as differences between surroundings.
func (q quantities) difference() i2csim.Environment {
	return i2csim.Environment{
		Temperature: physic.Temperature(math.Round(q[telemetry.Temperature] * float64(physic.Kelvin))),
		Humidity:    physic.RelativeHumidity(math.Round(q[telemetry.Humidity] * float64(physic.PercentRH))),
		Pressure:    physic.Pressure(math.Round(q[telemetry.Pressure] * 100 * float64(physic.Pascal))),
		Illuminance: i2csim.Illuminance(math.Round(q[telemetry.Luminosity] * float64(i2csim.Lux))),
	}
}

// quantitiesOf is the inverse of environment.
func quantitiesOf(e i2csim.Environment) quantities {
	return quantities{
		telemetry.Temperature: float64(e.Temperature-physic.ZeroCelsius) / float64(physic.Kelvin),
		telemetry.Humidity:    float64(e.Humidity) / float64(physic.PercentRH),
		telemetry.Pressure:    float64(e.Pressure) / 100 / float64(physic.Pascal),
		telemetry.Luminosity:  float64(e.Illuminance) / float64(i2csim.Lux),
	}
}

// measureNames are as in a frame's payload.
func measureNames() []string {
	var names []string
	for m := range telemetry.Measure(telemetry.Measures) {
		names = append(names, m.String())
	}
	return names
}

// measureNamed returns the measure of that name.
func measureNamed(name string) (telemetry.Measure, bool) {
	i := slices.Index(measureNames(), name)
	return telemetry.Measure(max(i, 0)), i >= 0
}
