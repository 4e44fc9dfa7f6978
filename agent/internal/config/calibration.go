package config

import (
	"fmt"
	"slices"
	"time"

	"github.com/telltale-iot/telltale/agent/internal/calibration"
	"github.com/telltale-iot/telltale/internal/settings"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Calibration is that of one measure of a chip: an offset, or two points at which
// the chip was compared with a reference.
type Calibration struct {
	Measure   string             `yaml:"measure" enum:"temperature,humidity,pressure,luminosity" help:"what is calibrated"`
	Date      string             `yaml:"date" help:"the day on which it was done, YYYY-MM-DD"`
	Reference string             `yaml:"reference" help:"what the chip was compared with"`
	Offset    *settings.Decimal  `yaml:"offset" help:"what is added to the chip's value, in the measure's unit"`
	Points    []CalibrationPoint `yaml:"points" help:"two points; the chip's values lie on the line through them"`
}

// CalibrationPoint is one comparison, in the measure's unit.
type CalibrationPoint struct {
	Raw    *settings.Decimal `yaml:"raw" help:"what the chip measured, as a frame's raw has it"`
	Actual *settings.Decimal `yaml:"actual" help:"what the reference had"`
}

const (
	maxValue       = settings.Decimal(telemetry.MaxMicro)
	maxSelfHeating = settings.Decimal(20e6)
	maxReference   = 256
	maxStuckAfter  = 30 * 24 * time.Hour
)

// Validate reports what is wrong with a calibration by itself.
func (c Calibration) Validate(report report) {
	if c.Measure == "" {
		report("measure", "", "temperature, humidity, pressure or luminosity")
	}
	if _, err := time.Parse(time.DateOnly, c.Date); err != nil {
		report("date", "", "the day on which it was done, such as 2026-11-26")
	}
	if len(c.Reference) > maxReference {
		report("reference", "", fmt.Sprintf("at most %d bytes", maxReference))
	}
	switch {
	case c.Offset == nil && c.Points == nil:
		report("offset", "", "an offset, or points")
	case c.Points == nil:
		settings.Within(report, "offset", *c.Offset, -maxValue, maxValue)
	case c.Offset != nil:
		report("points", "", "them left out, as there is an offset")
	default:
		c.validatePoints(report)
	}
}

func (c Calibration) validatePoints(report report) {
	if len(c.Points) != 2 {
		report("points", "", fmt.Sprintf("two points, not %d", len(c.Points)))
		return
	}
	a, b := c.Points[0], c.Points[1]
	if !a.valid() || !b.valid() {
		return
	}
	run, rise := *b.Raw-*a.Raw, *b.Actual-*a.Actual
	if run < 0 {
		run, rise = -run, -rise
	}
	switch {
	case run == 0:
		report("points[1].raw", "", "another raw value than that of points[0]")
	case 2*rise < run || rise > 2*run:
		report("points", "", fmt.Sprintf("a slope from 0.5 to 2, actual to raw, as no chip is as wrong as %v to %v", rise, run))
	}
}

// Validate reports what is wrong with a point by itself.
func (p CalibrationPoint) Validate(report report) {
	if p.Raw == nil {
		report("raw", "", "what the chip measured")
	}
	if p.Actual == nil {
		report("actual", "", "what the reference had")
	}
	settings.Within(report, "raw", value(p.Raw, 0), -maxValue, maxValue)
	settings.Within(report, "actual", value(p.Actual, 0), -maxValue, maxValue)
}

// valid reports whether Validate finds nothing.
func (p CalibrationPoint) valid() bool {
	valid := true
	p.Validate(func(string, string, string) { valid = false })
	return valid
}

// validateQuality reports what is wrong with the settings that every chip has for
// the quality of its values.
func (c Chip) validateQuality(report report) {
	settings.Within(report, "stuck_after", value(c.StuckAfter, 0), 0, maxStuckAfter)
	settings.Within(report, "self_heating", c.SelfHeating, 0, maxSelfHeating)
	measures := c.Supplies()
	if measures == nil {
		return // the driver is what is wrong
	}
	if c.SelfHeating != 0 && !slices.Contains(measures, telemetry.Temperature) {
		report("self_heating", "", fmt.Sprintf("it left out: a %s has no temperature", c.Driver))
	}
	first := map[telemetry.Measure]int{}
	for i := range c.Calibration {
		path := fmt.Sprintf("calibration[%d].measure", i)
		m, ok := c.Calibration[i].measure()
		j, twice := first[m]
		switch {
		case !ok:
		case !slices.Contains(measures, m):
			report(path, "", "a measure that a "+c.Driver+" has")
		case twice:
			report(path, "", fmt.Sprintf("each measure once; calibration[%d] is of it", j))
		default:
			first[m] = i
		}
	}
}

func (c *Calibration) measure() (telemetry.Measure, bool) {
	for m := range telemetry.Measure(telemetry.Measures) {
		if c.Measure == m.String() {
			return m, true
		}
	}
	return 0, false
}

// Correction returns how the chip's values are calibrated.
func (c *Chip) Correction() calibration.Calibration {
	correction := calibration.Calibration{Lines: map[telemetry.Measure]calibration.Line{}, SelfHeating: telemetry.Micro(c.SelfHeating)}
	for i := range c.Calibration {
		one := &c.Calibration[i]
		m, _ := one.measure()
		if one.Offset != nil {
			correction.Lines[m] = calibration.Offset(telemetry.Micro(*one.Offset))
		} else {
			correction.Lines[m] = calibration.TwoPoints(one.Points[0].point(), one.Points[1].point())
		}
	}
	return correction
}

func (p CalibrationPoint) point() calibration.Point {
	return calibration.Point{Raw: telemetry.Micro(*p.Raw), Actual: telemetry.Micro(*p.Actual)}
}

// Calibrated returns the day of the chip's oldest calibration, "" if it has none.
func (c *Chip) Calibrated() string {
	var oldest string
	for i := range c.Calibration {
		if date := c.Calibration[i].Date; oldest == "" || date < oldest {
			oldest = date
		}
	}
	return oldest
}

// Stuck returns after how long a word that does not change means that the
// converter of m is stuck; 0 is never. Light stays the same for hours if all is
// well, as it is dark all night, and so may what the kernel gives: a DHT22 has tenths.
func (c *Chip) Stuck(m telemetry.Measure) time.Duration {
	if m == telemetry.Luminosity || c.Kernel() {
		return value(c.StuckAfter, 0)
	}
	return value(c.StuckAfter, time.Hour)
}
