package scenario

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Report is what came of a run.
type Report struct {
	Qualities []Quality // by sensor and measure, in the scenario's order and telemetry's
}

// Quality is what came of one measure of one sensor.
type Quality struct {
	Sensor     string
	Measure    telemetry.Measure
	OK         int            // readings with a value
	Wrong      int            // of them, those whose value is none that the chip converted
	Stale      int            // of them, those whose value is of a conversion that had ended long before the reading began
	FirstWrong string         // the first of those: when, and by how much
	Faults     map[string]int // readings without, by the reason
	Missed     int            // readings that the schedule left out
	Error      float64        // greatest difference between a value that is neither and what the chip converted, in the measure's unit
	Deviation  float64        // greatest difference between a value and the surroundings as it was taken
}

// Differences returns a line for everything that is not as the scenario
// expects; none if all is.
func (s *Scenario) Differences(r *Report) []string {
	var lines []string
	for i := range r.Qualities {
		q := &r.Qualities[i]
		want := s.expected(q)
		add := func(format string, args ...any) {
			lines = append(lines, fmt.Sprintf("%s %v: ", q.Sensor, q.Measure)+fmt.Sprintf(format, args...))
		}
		if q.Missed != 0 {
			add("%d readings were left out of the schedule: want 0", q.Missed)
		}
		if q.OK != want.OK {
			add("%d readings are ok: want %d", q.OK, want.OK)
		}
		if q.Wrong != want.Wrong {
			add("%d readings that are ok are wrong: want %d; the first: %s", q.Wrong, want.Wrong, q.FirstWrong)
		}
		if q.Stale != want.Stale {
			add("%d readings that are ok are stale: want %d", q.Stale, want.Stale)
		}
		counts := make(map[string]int)
		for _, c := range want.Faults {
			counts[c.Reason] = c.Readings
		}
		reasons := maps.Clone(counts)
		maps.Copy(reasons, q.Faults)
		for _, reason := range slices.Sorted(maps.Keys(reasons)) {
			if q.Faults[reason] != counts[reason] {
				add("%d readings have the reason %s: want %d", q.Faults[reason], reason, counts[reason])
			}
		}
		if limit, ok := measures[q.Measure].difference(want.Deviation); ok && q.Deviation > limit {
			add("a value is %.4g away from the surroundings: want at most %s", q.Deviation, want.Deviation)
		}
	}
	return lines
}

// expected returns what is expected of a measure.
func (s *Scenario) expected(q *Quality) Expectation {
	sensor := s.sensor(q.Sensor)
	for _, e := range s.Expect {
		if e.Sensor == q.Sensor && slices.Contains(e.of(sensor), q.Measure) {
			return e
		}
	}
	return Expectation{OK: s.ticks(sensor)}
}

// WriteText writes a table.
func (r *Report) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "SENSOR\tMEASURE\tOK\tWRONG\tSTALE\tFAULTS\tERROR\tDEVIATION") // Flush returns the error
	for i := range r.Qualities {
		q := &r.Qualities[i]
		var faults []string
		for _, reason := range slices.Sorted(maps.Keys(q.Faults)) {
			faults = append(faults, fmt.Sprintf("%s %d", reason, q.Faults[reason]))
		}
		if faults == nil {
			faults = []string{"-"}
		}
		unit := measures[q.Measure].differences[0].name
		_, _ = fmt.Fprintf(t, "%s\t%v\t%d\t%d\t%d\t%s\t%.4f %s\t%.4f %s\n",
			q.Sensor, q.Measure, q.OK, q.Wrong, q.Stale, strings.Join(faults, ", "), q.Error, unit, q.Deviation, unit)
	}
	return t.Flush()
}
