package window

import (
	"fmt"
	"maps"
	"slices"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Part is one revision of what a sensor read at one place in one interval: the
// record of the topic iot-place-parts, in JSON.
type Part struct {
	Sensor   string `json:"sensor_id"`
	Start    int64  `json:"start_agg_tm"`
	End      int64  `json:"end_agg_tm"`
	Revision int64  `json:"revision"` // of the sensor's window

	// Missing and Lost are those of the sensor's whole window, an upper bound
	// if it was at several places. Missing is absent when it is unknown.
	Missing *int64 `json:"missing,omitempty"`
	Lost    int64  `json:"lost"`

	PartState
}

// ID returns the key of the part's record: "place/sensor/start-end".
func (p *Part) ID() string {
	return p.Interval().ID(p.Place + "/" + p.Sensor)
}

// Interval returns the interval of the part's window.
func (p *Part) Interval() Interval { return Interval{p.Start, p.End} }

// PlaceParts returns what the stored window tells the places. Readings without
// a place are of none.
func (s *State) PlaceParts() []Part {
	var missing *int64
	unknown := false
	for _, c := range s.Coverage {
		unknown = unknown || c.Epoch == nil
	}
	if !unknown {
		n := seqs(s.Missing)
		missing = &n
	}
	parts := make([]Part, 0, len(s.Parts))
	for _, p := range s.Parts {
		if p.Place == "" {
			continue
		}
		parts = append(parts, Part{
			Sensor: s.Sensor, Start: s.Start, End: s.End, Revision: s.Revision,
			Missing: missing, Lost: seqs(s.Lost), PartState: p,
		})
	}
	return parts
}

func seqs(gaps []GapState) int64 {
	var n int64
	for _, g := range gaps {
		n += g.Last - g.First + 1
	}
	return n
}

// Place is the window of one place: the fold of the latest revision of the
// part of each sensor.
type Place struct {
	ID string
	Interval

	// Revision counts the stores of this window: 0 is not stored yet.
	Revision int64

	sensors map[string]contribution
	changed bool // since it was stored

	frames    int64           // of all sensors
	magnitude telemetry.Micro // no value is greater
}

// contribution is the latest part of one sensor.
type contribution struct {
	revision int64
	missing  int64
	unknown  bool // missing is not known
	lost     int64
	stats    Stats
}

// PlaceState is the coverage of a stored place window: which revision of each
// sensor's part is folded in.
type PlaceState struct {
	Place    string           `bson:"place_id" json:"place_id"`
	Start    int64            `bson:"start_agg_tm" json:"start_agg_tm"`
	End      int64            `bson:"end_agg_tm" json:"end_agg_tm"`
	Revision int64            `bson:"revision" json:"revision"`
	Sensors  []SensorRevision `bson:"sensors" json:"sensors"`
}

// SensorRevision names the revision of one sensor's part.
type SensorRevision struct {
	Sensor   string `bson:"sensor_id" json:"sensor_id"`
	Revision int64  `bson:"revision" json:"revision"`
}

// NewPlace returns the empty window of a place.
func NewPlace(place string, i Interval) *Place {
	return &Place{ID: place, Interval: i, sensors: make(map[string]contribution)}
}

// Apply folds in a part of this place and interval, in the place of an older
// revision. It reports whether that changed anything: a part as old as the one
// there, or older, does not. The error wraps ErrState, or is ErrFull if the sums
// of the place could overflow with it, which takes more than MaxFrames frames
// and values that no sensor has.
func (p *Place) Apply(part *Part) (bool, error) {
	if part.Sensor == "" || part.Revision < 1 || part.Place != p.ID || part.Interval() != p.Interval {
		return false, fmt.Errorf("%w: part %q revision %d in the window %q", ErrState, part.ID(), part.Revision, p.Interval.ID(p.ID))
	}
	old := p.sensors[part.Sensor]
	if old.revision >= part.Revision {
		return false, nil
	}
	stats, err := part.stats()
	if err != nil {
		return false, err
	}
	frames, magnitude := p.frames+stats.Frames-old.stats.Frames, max(p.magnitude, stats.magnitude())
	if !sumsFit(frames, magnitude) {
		return false, ErrFull
	}
	p.frames, p.magnitude = frames, magnitude
	c := contribution{revision: part.Revision, lost: part.Lost, stats: stats}
	if part.Missing == nil {
		c.unknown = true
	} else {
		c.missing = *part.Missing
	}
	p.sensors[part.Sensor] = c
	p.changed = true
	return true, nil
}

// Stored notes that the window is stored with its present content as the given
// revision; 0 says that it is not stored at all.
func (p *Place) Stored(revision int64) {
	p.Revision = revision
	p.changed = revision == 0
}

// Changed reports whether the window differs from what was stored.
func (p *Place) Changed() bool { return p.changed }

// Same reports whether the stored window has the same parts folded in.
func (p *Place) Same(s *PlaceState) bool {
	return slices.Equal(p.revisions(), s.Sensors)
}

func (p *Place) revisions() []SensorRevision {
	revisions := make([]SensorRevision, 0, len(p.sensors))
	for _, id := range slices.Sorted(maps.Keys(p.sensors)) {
		revisions = append(revisions, SensorRevision{id, p.sensors[id].revision})
	}
	return revisions
}

// Document returns the window as the given revision.
func (p *Place) Document(revision int64) *Document {
	d := &Document{ID: p.Interval.ID(p.ID), Revision: revision, Fields: make([]Field, 0, 40)}
	var stats Stats
	var missing, lost int64
	state := Complete
	for _, c := range p.sensors {
		stats.merge(&c.stats)
		missing += c.missing
		lost += c.lost
		if c.unknown {
			state = Unknown
		}
	}
	if state == Complete && missing+lost > 0 {
		state = Gapped
	}
	d.add("place_id", p.ID)
	d.interval(p.Interval)
	d.add("count_sensors", int64(len(p.sensors)))
	d.stats(&stats)
	d.add("state", state)
	if state == Unknown {
		d.add("missing", nil)
	} else {
		d.add("missing", missing)
	}
	d.add("lost", lost)
	d.add("revision", revision)
	d.State = []Field{{"sensors", p.revisions()}}
	return d
}
