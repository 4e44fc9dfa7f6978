package window

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Document is a window as it is stored in MongoDB and, without its State,
// published on Kafka. The fields' names and order are the same in both;
// README.md of package mongo describes each.
type Document struct {
	ID       string // MongoDB's _id and the record's key
	Revision int64
	Fields   []Field // what is of use to others
	State    []Field // what a window is restored from, which only the store keeps
}

// Field is one field of a document. Value is a string, int64, float64,
// time.Time, nil, or one of this package's state types or a slice of them.
type Field struct {
	Name  string
	Value any
}

// Stored returns all fields, as the store keeps them.
func (d *Document) Stored() []Field { return slices.Concat(d.Fields, d.State) }

// MarshalJSON encodes Fields in their order. Times become RFC 3339 in UTC.
func (d *Document) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range d.Fields {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, v := range []any{f.Name, f.Value} {
			if j > 0 {
				b.WriteByte(':')
			}
			encoded, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			b.Write(encoded)
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func (d *Document) add(name string, value any) {
	d.Fields = append(d.Fields, Field{name, value})
}

// How complete a window is, as far as its own frames can tell.
const (
	Complete = "complete" // no sequence number between its frames is absent
	Gapped   = "gaps"     // some are: missing or declared lost
	Unknown  = "unknown"  // some of its frames have no sequence number
)

// Document returns the window as the given revision, with its gaps divided by
// [Explain], and what it tells the places.
func (w *Window) Document(revision int64, missing, lost []Gap) (*Document, []Part) {
	d := &Document{ID: w.ID(w.Sensor), Revision: revision, Fields: make([]Field, 0, 48)}
	stats := w.Stats()
	d.add("sensor_id", w.Sensor)
	d.add("sensor_name", w.Name())
	d.interval(w.Interval)
	d.stats(&stats)
	d.add("state", w.completeness())
	if w.coverage.Unsequenced() > 0 {
		d.add("expected", nil)
		d.add("missing", nil)
	} else {
		d.add("expected", stats.Frames+int64(total(missing)+total(lost)))
		d.add("missing", int64(total(missing)))
	}
	d.add("lost", int64(total(lost)))
	s := w.state(revision, missing, lost)
	d.add("missing_ranges", s.Missing)
	d.add("lost_ranges", s.Lost)
	d.add("epochs", s.Epochs)
	d.add("revision", revision)
	d.State = []Field{{"coverage", s.Coverage}, {"parts", s.Parts}}
	return d, s.PlaceParts()
}

func (w *Window) completeness() string {
	switch {
	case w.coverage.Unsequenced() > 0:
		return Unknown
	case len(w.coverage.Gaps()) > 0:
		return Gapped
	}
	return Complete
}

func (d *Document) interval(i Interval) {
	d.add("start_agg", time.UnixMilli(i.Start).UTC())
	d.add("end_agg", time.UnixMilli(i.End).UTC())
	d.add("start_agg_tm", i.Start)
	d.add("end_agg_tm", i.End)
}

// stats adds the fields of a window's moments: those of a measure that no
// frame had are absent.
func (d *Document) stats(s *Stats) {
	d.add("count_measures", s.Frames)
	d.add("first_tm", s.First)
	d.add("last_tm", s.Last)
	for i := range s.Measures {
		m := &s.Measures[i]
		if m.Count == 0 {
			continue
		}
		name := telemetry.Measure(i).String()
		d.add("count_"+name, m.Count)
		d.add("sum_"+name, m.Total())
		d.add("avg_"+name, m.Mean())
		d.add("min_"+name, m.Min.Float())
		d.add("max_"+name, m.Max.Float())
		d.add("stddev_"+name, m.StdDev())
	}
}
