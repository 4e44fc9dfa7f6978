package scenario

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/telltale-iot/telltale/agent"
	"github.com/telltale-iot/telltale/internal/settings"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// report is how a settings.Validator says that a value is wrong.
type report = func(path, value, want string)

const maxDuration = 366 * 24 * time.Hour

// Validate implements [settings.Validator].
func (f File) Validate(report report) {
	if !telemetry.ValidDevice(f.Name) {
		report("name", "", "the scenario's name: 1 to 64 letters, digits, _ or -")
	}
	settings.Within(report, "duration", f.Duration, time.Second, maxDuration)
	f.validateDevice(report)
	f.validatePlaces(report)
	f.validateFaults(report)
	f.validateExpectations(report)
}

// validateDevice reports what an agent would refuse in the sensors together;
// each by itself is a Validator of its own.
func (f *File) validateDevice(report report) {
	c := agent.Config{Device: f.Device, Sensors: f.Sensors}
	c.Validate(report)
}

// place is where an agent finds a chip.
type place struct {
	bus         string
	address     uint16
	multiplexer uint16 // 0 for none
	channel     int
}

func (c *Chip) place() place {
	p := place{bus: c.Bus, address: c.Address}
	if c.Multiplexer != nil && c.Channel != nil {
		p.multiplexer, p.channel = *c.Multiplexer, *c.Channel
	}
	return p
}

func (f *File) validatePlaces(report report) {
	names := map[string]bool{}
	for i, e := range f.Environments {
		path := fmt.Sprintf("environments[%d].name", i)
		if e.Name == "" || names[e.Name] {
			report(path, e.Name, "a name that no other environment has")
		}
		names[e.Name] = true
	}
	multiplexers := map[place]bool{}
	for i, m := range f.Multiplexers {
		at := place{bus: m.Bus, address: m.Address}
		switch {
		case m.Address < 0x70 || m.Address > 0x77:
			report(fmt.Sprintf("multiplexers[%d].address", i), "", "an address from 0x70 to 0x77")
		case multiplexers[at]:
			report(fmt.Sprintf("multiplexers[%d].address", i), "", "an address of its own; there is a multiplexer at this one")
		}
		multiplexers[at] = true
	}
	if len(f.Chips) == 0 {
		report("chips", "", "at least one chip")
	}
	chips, places := map[string]bool{}, map[place]string{}
	for i := range f.Chips {
		c := &f.Chips[i]
		path := fmt.Sprintf("chips[%d]", i)
		if chips[c.name()] {
			report(path+".name", c.Name, fmt.Sprintf("a name that no other chip has; one is called %s", c.name()))
		}
		chips[c.name()] = true
		if c.Environment != "" && !names[c.Environment] {
			report(path+".environment", "", "the name of one of the environments")
		}
		at := c.place()
		if at.multiplexer != 0 && !multiplexers[place{bus: c.Bus, address: at.multiplexer}] {
			report(path+".multiplexer", "", fmt.Sprintf("the address of a multiplexer on bus %s", c.Bus))
		}
		if at.multiplexer == 0 && multiplexers[at] {
			report(path+".address", "", "an address of its own; there is a multiplexer at this one")
		}
		if other := places[at]; other != "" && !f.conflicts(other, c.name()) {
			report(path+".address", "", fmt.Sprintf("an address of its own, or a fault address_conflict with %s, which is there", other))
		}
		places[at] = c.name()
	}
}

// conflicts reports whether two chips are at one address because a fault says so.
func (f *File) conflicts(a, b string) bool {
	return slices.ContainsFunc(f.Faults, func(f Fault) bool {
		return f.Fault == AddressConflict && (f.Chip == a && f.With == b || f.Chip == b && f.With == a)
	})
}

func (f *File) validateFaults(report report) {
	for i, fault := range f.Faults {
		path := fmt.Sprintf("faults[%d]", i)
		chip, other := f.chip(fault.Chip), f.chip(fault.With)
		if fault.Chip != "" && chip == nil {
			report(path+".chip", "", "the name of one of the chips")
		}
		if fault.Bus != "" && !slices.ContainsFunc(f.Chips, func(c Chip) bool { return c.Bus == fault.Bus }) {
			report(path+".bus", "", "a bus that a chip is on")
		}
		if fault.With != "" && (other == nil || other == chip || chip != nil && other.place() != chip.place()) {
			report(path+".with", "", "the name of another chip at the same address")
		}
	}
}

func (f *File) validateExpectations(report report) {
	type about struct {
		sensor  string
		measure telemetry.Measure
	}
	said := map[about]bool{}
	for i, e := range f.Expect {
		path := fmt.Sprintf("expect[%d]", i)
		sensor := f.sensor(e.Sensor)
		if sensor == nil {
			report(path+".sensor", e.Sensor, "the id of one of the sensors")
			continue
		}
		has := measuresOf(sensor)
		for j, name := range e.Measures {
			if m, ok := measureNamed(name); ok && !slices.Contains(has, m) {
				report(fmt.Sprintf("%s.measures[%d]", path, j), "", "a measure that a chip of the sensor supplies")
			}
		}
		for _, m := range e.of(sensor) {
			if said[about{e.Sensor, m}] {
				report(path, "", fmt.Sprintf("nothing more about %v of %s", m, e.Sensor))
			}
			said[about{e.Sensor, m}] = true
			if _, ok := measures[m].difference(e.Deviation); e.Deviation != "" && !ok {
				report(path+".deviation", "", measures[m].wantDifference())
			}
		}
		sum := e.OK
		for j, c := range e.Faults {
			if c.Reason == "" || c.Readings < 1 {
				report(fmt.Sprintf("%s.faults[%d]", path, j), "", "a reason, and the number of readings with it")
			}
			sum += c.Readings
		}
		if sensor.Interval > 0 && sum != f.ticks(sensor) {
			report(path+".ok", "", fmt.Sprintf("%d together with the faults: the sensor takes so many readings", f.ticks(sensor)))
		}
		if e.Wrong < 0 || e.Wrong > e.OK {
			report(path+".wrong", "", "no more than are ok")
		}
		if e.Stale < 0 || e.Stale > e.OK {
			report(path+".stale", "", "no more than are ok")
		}
	}
}

// of returns the measures of the sensor that e is about.
func (e *Expectation) of(s *agent.Sensor) []telemetry.Measure {
	if len(e.Measures) == 0 {
		return measuresOf(s)
	}
	var found []telemetry.Measure
	for _, name := range e.Measures {
		if m, ok := measureNamed(name); ok {
			found = append(found, m)
		}
	}
	return found
}

// Validate implements [settings.Validator].
func (e Environment) Validate(report report) {
	for m := range telemetry.Measure(telemetry.Measures) {
		e.series(m).validate(&measures[m], func(path, value, want string) { report(m.String()+"."+path, value, want) })
	}
	if e.Begin != 0 && e.Recorded == "" {
		report("begin", "", "recorded as well")
	}
}

func (e *Environment) series(m telemetry.Measure) *Series {
	return [telemetry.Measures]*Series{
		telemetry.Temperature: &e.Temperature, telemetry.Humidity: &e.Humidity,
		telemetry.Pressure: &e.Pressure, telemetry.Luminosity: &e.Luminosity,
	}[m]
}

// given reports whether the series says anything.
func (s *Series) given() bool { return s.Shape != "" || s.Value != "" || len(s.Steps) > 0 }

func (s *Series) validate(m *measure, report report) {
	if !s.given() {
		return
	}
	quantity := func(path, text string) {
		if _, ok := m.value(text); !ok {
			report(path, "", m.wantValue())
		}
	}
	quantity("value", s.Value)
	switch s.Shape {
	case sine:
		if _, ok := m.difference(s.Amplitude); !ok {
			report("amplitude", "", m.wantDifference())
		}
	case ramp:
		quantity("to", s.To)
		if s.Over <= 0 {
			report("over", "", "how long the ramp takes")
		}
	case steps:
		if len(s.Steps) == 0 {
			report("steps", "", "at least one step")
		}
		for i, step := range s.Steps {
			quantity(fmt.Sprintf("steps[%d].value", i), step.Value)
			if i > 0 && step.At <= s.Steps[i-1].At {
				report(fmt.Sprintf("steps[%d].at", i), "", "a time after that of the step before")
			}
		}
	}
	for _, other := range []struct {
		path, shape string
		given       bool
	}{
		{"amplitude", sine, s.Amplitude != ""}, {"period", sine, s.Period != 0}, {"peak", sine, s.Peak != 0},
		{"to", ramp, s.To != ""}, {"from", ramp, s.From != 0}, {"over", ramp, s.Over != 0},
		{"steps", steps, len(s.Steps) > 0},
	} {
		if other.given && s.Shape != other.shape {
			report(other.path, "", "it left out, or the shape "+other.shape)
		}
	}
	if s.Period < 0 {
		report("period", "", "more than 0s")
	}
}

// Validate implements [settings.Validator].
func (c Chip) Validate(report report) {
	if !slices.Contains(i2csim.Kinds(), c.Kind) {
		report("kind", c.Kind, "one of "+strings.Join(i2csim.Kinds(), ", "))
	}
	settings.Within(report, "address", c.Address, 0x08, 0x77)
	switch {
	case (c.Multiplexer == nil) != (c.Channel == nil):
		report("multiplexer", "", "a multiplexer and a channel, or neither")
	case c.Channel != nil:
		settings.Within(report, "channel", *c.Channel, 0, 7)
	}
}

// applies says what settings a fault has.
type applies struct {
	ofBus        bool // it may befall a bus instead of a chip
	always       bool // it needs neither times nor transactions
	transactions bool // it may be by transactions
	repeats      bool // it may come again: every
}

func (f *Fault) applies() applies {
	switch f.Fault {
	case NACK, IO, Timeout, BitFlips:
		return applies{ofBus: true, always: true, transactions: true, repeats: true}
	case WrongCRC, Frozen:
		return applies{always: true, transactions: true, repeats: true}
	case StuckLow:
		return applies{ofBus: true, repeats: true}
	case BrownOut:
		return applies{transactions: true, repeats: true}
	case Unplugged, AddressConflict, Noise:
		return applies{always: f.Fault != Unplugged, repeats: true}
	default: // slow, drift
		return applies{always: true, repeats: true}
	}
}

// byTransaction reports whether the fault chooses transactions.
func (f *Fault) byTransaction() bool {
	return len(f.Transactions) > 0 || f.EveryTransaction > 0 || f.OneIn > 0
}

func (f *Fault) byTime() bool { return f.From != 0 || f.To != 0 || f.Every != 0 || f.For != 0 }

// Validate implements [settings.Validator].
func (f Fault) Validate(report report) {
	if f.Fault == "" {
		report("fault", "", "what goes wrong, such as nack or brown_out")
		return
	}
	a := f.applies()
	switch {
	case f.Chip != "" && f.Bus != "":
		report("bus", "", "a chip or a bus, not both")
	case f.Chip == "" && f.Bus == "" && a.ofBus:
		report("chip", "", "a chip, or a bus")
	case f.Chip == "" && !a.ofBus:
		report("chip", "", "the chip that the fault befalls")
	case f.Fault == StuckLow && f.Chip != "":
		report("chip", "", "a bus, as no chip on it can be reached")
	}
	f.validateWhen(report, a)
	f.validateSettings(report)
}

func (f *Fault) validateWhen(report report, a applies) {
	if saysWhen := f.byTime() || a.transactions && f.byTransaction(); !saysWhen && !a.always {
		report("from", "", "when it happens")
	}
	if f.From < 0 {
		report("from", "", "0s or later")
	}
	if f.To != 0 && f.To <= f.From {
		report("to", "", "a time after from")
	}
	needsFor := f.Fault != BrownOut
	switch {
	case f.Every < 0 || f.For < 0 || f.For > f.Every || needsFor && (f.Every > 0) != (f.For > 0):
		report("every", "", "every and for, of which for is shorter")
	case !needsFor && f.For > 0:
		report("for", "", "it left out: a brown-out is a moment")
	}
	switch {
	case f.byTransaction() && !a.transactions:
		report("fault", "", "it by times only")
	case f.byTransaction() && f.Chip == "":
		report("bus", "", "a chip, as nobody says in which order the chips of a bus are read")
	}
	chosen := 0
	for _, given := range []bool{len(f.Transactions) > 0, f.EveryTransaction > 0, f.OneIn > 0} {
		if given {
			chosen++
		}
	}
	if chosen > 1 {
		report("fault", "", "one of transactions, every_transaction and one_in")
	}
}

func (f *Fault) validateSettings(report report) {
	refuse := func(path string, given bool, faults ...string) {
		if given && !slices.Contains(faults, f.Fault) {
			report(path, "", "it left out, as "+f.Fault+" has no "+path)
		}
	}
	refuse("delay", f.Delay != 0, Timeout, StuckLow)
	refuse("byte", f.Byte != nil, WrongCRC)
	refuse("factor", f.Factor != 0, Slow)
	refuse("with", f.With != "", AddressConflict)
	settings.Within(report, "delay", f.Delay, 0, time.Minute)
	switch f.Fault {
	case WrongCRC:
		if f.Byte == nil || *f.Byte < 0 || *f.Byte > 255 {
			report("byte", "", "the checksum's place in the answer, from 0")
		}
	case Slow:
		settings.Within(report, "factor", f.Factor, 2, 1000)
	case AddressConflict:
		if f.With == "" {
			report("with", "", "the other chip")
		}
	}
	given := false
	for m, text := range f.differences() {
		if text == "" {
			continue
		}
		given = true
		name := telemetry.Measure(m).String()
		refuse(name, true, Drift, Noise)
		if _, ok := measures[m].difference(text); !ok {
			report(name, "", measures[m].wantDifference())
		}
	}
	if !given && (f.Fault == Drift || f.Fault == Noise) {
		report("fault", "", "a difference of at least one measure, such as temperature: 0.5 K")
	}
}

func (f *Fault) differences() [telemetry.Measures]string {
	return [telemetry.Measures]string{
		telemetry.Temperature: f.Temperature, telemetry.Humidity: f.Humidity,
		telemetry.Pressure: f.Pressure, telemetry.Luminosity: f.Luminosity,
	}
}
