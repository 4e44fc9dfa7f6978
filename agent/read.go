package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/agent/internal/diagnose"
	"github.com/telltale-iot/telltale/agent/internal/sample"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Reading is one reading of one chip.
type Reading struct {
	Sensor string
	Chip   string // "bme280@1:0x76"
	Values telemetry.Payload
	Raw    telemetry.Payload // what the chip measured, where Values has another value
	Fault  string            // the reason why a measure is missing, as in a frame's faults; "" if none is
	Err    error             // of the fault
}

// Readings are those of all chips, in the order of the configuration.
type Readings []Reading

// Read takes one reading of each chip that o.Config names, and touches nothing else:
// neither the buffer nor the broker. Of o only Config and OpenBus count. The error is
// that of a configuration no agent could be made of, or of ctx.
func Read(ctx context.Context, o Options) (Readings, error) {
	o.setHost()
	a := &Agent{opts: o, buses: make(map[string]i2c.Bus)}
	var sensors []sample.Sensor
	for i := range o.Config.Sensors {
		s, err := a.sensor(&o.Config.Sensors[i])
		if err != nil {
			return nil, err
		}
		sensors = append(sensors, s)
	}
	var readings Readings
	for i := range sensors {
		s := &sensors[i]
		for j := range s.Sources {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			readings = append(readings, readSource(ctx, s, &s.Sources[j]))
		}
	}
	return readings, nil
}

var errAbsent = errors.New("the chip gave no value, or one out of range")

// readSource reads a chip within the time that a running agent would give it.
func readSource(ctx context.Context, s *sample.Sensor, source *sample.Source) Reading {
	ctx, cancel := context.WithTimeout(ctx, min(s.Interval*3/4, sample.MaxWait))
	defer cancel()
	r := Reading{Sensor: s.ID, Chip: source.Name}
	var got sample.Reading
	r.Err = source.Chip.Sense(ctx, &got)
	r.Values, r.Raw = got.Values, got.Raw
	for _, m := range source.Measures {
		v, ok := r.Values.Get(m)
		if r.Err == nil && (!ok || v > telemetry.MaxMicro || v < -telemetry.MaxMicro) {
			r.Err = &sample.FaultError{Reason: sample.OutOfRange, Err: errAbsent}
		}
	}
	if r.Err != nil {
		r.Fault = sample.Reason(r.Err)
	}
	return r
}

// Failed returns how many chips failed.
func (rs Readings) Failed() (n int) {
	for i := range rs {
		if rs[i].Fault != "" {
			n++
		}
	}
	return n
}

// units are how people read the measures.
var units = [telemetry.Measures]string{
	telemetry.Temperature: "%.2f °C",
	telemetry.Humidity:    "%.1f %%",
	telemetry.Pressure:    "%.2f hPa",
	telemetry.Luminosity:  "%.1f lx",
}

// values are the measures that were read, with their units, and "" for others. What
// the chip measured is beside a value that is another.
func (r *Reading) values() (values [telemetry.Measures]string) {
	for m := range telemetry.Measure(telemetry.Measures) {
		v, ok := r.Values.Get(m)
		if !ok {
			continue
		}
		values[m] = fmt.Sprintf(units[m], v.Float())
		if raw, ok := r.Raw.Get(m); ok {
			values[m] += " (raw " + fmt.Sprintf(units[m], raw.Float()) + ")"
		}
	}
	return values
}

// line is the values in one line.
func (r *Reading) line() string {
	values := r.values()
	return strings.Join(slices.DeleteFunc(values[:], func(v string) bool { return v == "" }), ", ")
}

// WriteText writes a table, and below it what each kind of fault means.
func (rs Readings) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	write := func(cells ...string) {
		_, _ = fmt.Fprintln(t, strings.Join(cells, "\t")) // Flush returns the error
	}
	titles := []string{"SENSOR", "CHIP"}
	for m := range telemetry.Measure(telemetry.Measures) {
		titles = append(titles, strings.ToUpper(m.String()))
	}
	write(append(titles, "STATE")...)
	var faults []string
	for i := range rs {
		r := &rs[i]
		cells := []string{r.Sensor, r.Chip}
		for _, v := range r.values() {
			if v == "" {
				v = "-"
			}
			cells = append(cells, v)
		}
		state := "ok"
		if r.Fault != "" {
			state = r.Fault + ": " + strings.ReplaceAll(r.Err.Error(), "\n", "; ")
			faults = append(faults, r.Fault)
		}
		write(append(cells, state)...)
	}
	slices.Sort(faults)
	for _, fault := range slices.Compact(faults) {
		_, _ = fmt.Fprintf(t, "%s -> %s\n", fault, diagnose.ChipHint(fault))
	}
	return t.Flush()
}

// WriteJSON writes an array of the readings.
func (rs Readings) WriteJSON(w io.Writer) error {
	type reading struct {
		Sensor  string                 `json:"sensor"`
		Chip    string                 `json:"chip"`
		Payload map[string]json.Number `json:"payload"`
		Raw     map[string]json.Number `json:"raw,omitempty"`
		Fault   string                 `json:"fault,omitempty"`
		Error   string                 `json:"error,omitempty"`
	}
	all := make([]reading, len(rs))
	for i := range rs {
		r := &rs[i]
		all[i] = reading{Sensor: r.Sensor, Chip: r.Chip, Payload: numbers(&r.Values), Raw: numbers(&r.Raw), Fault: r.Fault}
		if r.Err != nil {
			all[i].Error = r.Err.Error()
		}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(all)
}

// numbers returns the values by the names of their measures.
func numbers(p *telemetry.Payload) map[string]json.Number {
	values := make(map[string]json.Number)
	for m := range telemetry.Measure(telemetry.Measures) {
		if v, ok := p.Get(m); ok {
			values[m.String()] = json.Number(v.String())
		}
	}
	return values
}
