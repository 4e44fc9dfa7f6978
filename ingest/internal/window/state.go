package window

import (
	"errors"
	"fmt"
	"slices"
	"unique"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// State is the part of a stored sensor window from which the window can be
// restored exactly. Its fields have the same names in MongoDB and in JSON;
// beside them the document holds what people read ([Document]).
type State struct {
	Sensor   string          `bson:"sensor_id" json:"sensor_id"`
	Start    int64           `bson:"start_agg_tm" json:"start_agg_tm"`
	End      int64           `bson:"end_agg_tm" json:"end_agg_tm"`
	Revision int64           `bson:"revision" json:"revision"`
	Missing  []GapState      `bson:"missing_ranges" json:"missing_ranges"`
	Lost     []GapState      `bson:"lost_ranges" json:"lost_ranges"`
	Epochs   []EpochState    `bson:"epochs" json:"epochs"`
	Coverage []CoverageState `bson:"coverage" json:"coverage"`
	Parts    []PartState     `bson:"parts" json:"parts"`
}

// ID returns the window's name.
func (s *State) ID() string { return Interval{s.Start, s.End}.ID(s.Sensor) }

// EpochState is the least and the greatest sequence number of an epoch that the
// window covers.
type EpochState struct {
	Epoch int64 `bson:"epoch" json:"epoch"`
	First int64 `bson:"first" json:"first"`
	Last  int64 `bson:"last" json:"last"`
}

// CoverageState is the frames of one epoch, or, without an epoch, the
// timestamps of the frames that have no sequence number.
type CoverageState struct {
	Epoch      *int64     `bson:"epoch,omitempty" json:"epoch,omitempty"`
	Seqs       []SeqState `bson:"seq,omitempty" json:"seq,omitempty"`
	Timestamps []int64    `bson:"timestamps,omitempty" json:"timestamps,omitempty"`
}

// SeqState is a range of sequence numbers. It is not a pair in an array, since
// not every server that speaks MongoDB's protocol stores arrays in arrays.
type SeqState struct {
	First int64 `bson:"first" json:"first"`
	Last  int64 `bson:"last" json:"last"`
}

// GapState is one range of sequence numbers that did not come.
type GapState struct {
	Epoch  int64  `bson:"epoch" json:"epoch"`
	First  int64  `bson:"first" json:"first"`
	Last   int64  `bson:"last" json:"last"`
	Reason string `bson:"reason,omitempty" json:"reason,omitempty"`
}

// PartState is what a sensor read at one place, exactly.
type PartState struct {
	Place       string        `bson:"place_id" json:"place_id"`
	Name        string        `bson:"sensor_name" json:"sensor_name"`
	Frames      int64         `bson:"count_measures" json:"count_measures"`
	First       int64         `bson:"first_tm" json:"first_tm"`
	Last        int64         `bson:"last_tm" json:"last_tm"`
	Temperature *MomentsState `bson:"temperature,omitempty" json:"temperature,omitempty"`
	Humidity    *MomentsState `bson:"humidity,omitempty" json:"humidity,omitempty"`
	Pressure    *MomentsState `bson:"pressure,omitempty" json:"pressure,omitempty"`
	Luminosity  *MomentsState `bson:"luminosity,omitempty" json:"luminosity,omitempty"`
}

// MomentsState is the exact moments of one measure in millionths of its unit;
// the sums are decimal, because no number of MongoDB or JSON holds them.
type MomentsState struct {
	Count   int64  `bson:"count" json:"count"`
	Sum     string `bson:"sum" json:"sum"`
	Squares string `bson:"squares" json:"squares"`
	Min     int64  `bson:"min" json:"min"`
	Max     int64  `bson:"max" json:"max"`
}

func (p *PartState) measures() [telemetry.Measures]**MomentsState {
	return [telemetry.Measures]**MomentsState{
		telemetry.Temperature: &p.Temperature,
		telemetry.Humidity:    &p.Humidity,
		telemetry.Pressure:    &p.Pressure,
		telemetry.Luminosity:  &p.Luminosity,
	}
}

func (w *Window) state(revision int64, missing, lost []Gap) State {
	s := State{
		Sensor: w.Sensor, Start: w.Start, End: w.End, Revision: revision,
		Missing: gapStates(missing), Lost: gapStates(lost), Epochs: w.coverage.bounds(), Coverage: w.coverage.state(),
		Parts: make([]PartState, 0, len(w.parts)),
	}
	for i := range w.parts {
		s.Parts = append(s.Parts, w.parts[i].state())
	}
	return s
}

// ErrState says that a stored state is not one that this package made.
var ErrState = errors.New("window: invalid state")

// Restore returns the window that s was made of. The error wraps ErrState.
func Restore(s *State) (*Window, error) {
	w := New(s.Sensor, Interval{s.Start, s.End})
	w.Revision = s.Revision
	if s.Sensor == "" || s.End <= s.Start || s.Revision < 1 {
		return nil, fmt.Errorf("%w: sensor %q, interval %d to %d, revision %d", ErrState, s.Sensor, s.Start, s.End, s.Revision)
	}
	if err := w.coverage.restore(s.Coverage); err != nil {
		return nil, err
	}
	w.stored = &stored{frames: w.coverage.Len()}
	var err error
	if w.stored.missing, err = restoreGaps(s.Missing); err != nil {
		return nil, err
	}
	if w.stored.lost, err = restoreGaps(s.Lost); err != nil {
		return nil, err
	}
	var frames uint64
	for i := range s.Parts {
		p := &s.Parts[i]
		if i > 0 && s.Parts[i-1].Place >= p.Place {
			return nil, fmt.Errorf("%w: parts out of order at %q", ErrState, p.Place)
		}
		stats, err := p.stats()
		if err != nil {
			return nil, err
		}
		frames += uint64(stats.Frames)
		w.parts = append(w.parts, part{place: unique.Make(p.Place), name: unique.Make(p.Name), stats: stats})
	}
	if frames == 0 || frames != w.stored.frames {
		return nil, fmt.Errorf("%w: %d frames counted, %d covered", ErrState, frames, w.stored.frames)
	}
	return w, nil
}

func (c *Coverage) restore(states []CoverageState) error {
	for _, s := range states {
		if s.Epoch == nil {
			if len(c.times) > 0 || len(s.Timestamps) == 0 || !ascending(s.Timestamps) {
				return fmt.Errorf("%w: timestamps absent or out of order", ErrState)
			}
			c.times = slices.Clone(s.Timestamps)
			continue
		}
		if n := len(c.epochs); *s.Epoch < 0 || n > 0 && c.epochs[n-1].epoch >= uint64(*s.Epoch) {
			return fmt.Errorf("%w: epoch %d out of order", ErrState, *s.Epoch)
		}
		if len(s.Seqs) == 0 {
			return fmt.Errorf("%w: epoch %d without ranges", ErrState, *s.Epoch)
		}
		e := epochCoverage{epoch: uint64(*s.Epoch)}
		next := int64(0)
		for _, r := range s.Seqs {
			if r.First < next || r.Last < r.First || r.Last > telemetry.MaxSeq {
				return fmt.Errorf("%w: range %d to %d", ErrState, r.First, r.Last)
			}
			next = r.Last + 2
			e.ranges = append(e.ranges, telemetry.SeqRange{First: uint64(r.First), Last: uint64(r.Last)})
		}
		c.epochs = append(c.epochs, e)
		c.ranges += len(e.ranges)
	}
	return nil
}

func ascending(times []int64) bool {
	for i := 1; i < len(times); i++ {
		if times[i-1] >= times[i] {
			return false
		}
	}
	return true
}

func (c *Coverage) state() []CoverageState {
	states := make([]CoverageState, 0, len(c.epochs)+1)
	for _, e := range c.epochs {
		epoch := int64(e.epoch)
		s := CoverageState{Epoch: &epoch}
		for _, r := range e.ranges {
			s.Seqs = append(s.Seqs, SeqState{int64(r.First), int64(r.Last)})
		}
		states = append(states, s)
	}
	if len(c.times) > 0 {
		states = append(states, CoverageState{Timestamps: c.times})
	}
	return states
}

func (c *Coverage) bounds() []EpochState {
	bounds := make([]EpochState, 0, len(c.epochs))
	for _, e := range c.epochs {
		bounds = append(bounds, EpochState{int64(e.epoch), int64(e.ranges[0].First), int64(e.ranges[len(e.ranges)-1].Last)})
	}
	return bounds
}

func restoreGaps(states []GapState) ([]Gap, error) {
	var gaps []Gap
	for _, s := range states {
		if s.Epoch < 0 || s.First < 0 || s.Last < s.First {
			return nil, fmt.Errorf("%w: gap %d to %d", ErrState, s.First, s.Last)
		}
		seqs := telemetry.SeqRange{First: uint64(s.First), Last: uint64(s.Last)}
		gaps = append(gaps, Gap{Epoch: uint64(s.Epoch), Seqs: seqs, Reason: s.Reason})
	}
	return gaps, nil
}

func gapStates(gaps []Gap) []GapState {
	states := make([]GapState, 0, len(gaps))
	for _, g := range gaps {
		states = append(states, GapState{int64(g.Epoch), int64(g.Seqs.First), int64(g.Seqs.Last), g.Reason})
	}
	return states
}

func (p *part) state() PartState {
	s := PartState{Place: p.place.Value(), Name: p.name.Value(), Frames: p.stats.Frames, First: p.stats.First, Last: p.stats.Last}
	for i, to := range s.measures() {
		if m := &p.stats.Measures[i]; m.Count > 0 {
			*to = &MomentsState{m.Count, m.Sum.String(), m.Squares.String(), int64(m.Min), int64(m.Max)}
		}
	}
	return s
}

func (p *PartState) stats() (Stats, error) {
	s := Stats{Frames: p.Frames, First: p.First, Last: p.Last}
	if s.Frames < 1 || s.Frames > MaxFrames || s.Last < s.First {
		return Stats{}, fmt.Errorf("%w: part %q: %d frames, %d to %d", ErrState, p.Place, p.Frames, p.First, p.Last)
	}
	for i, from := range p.measures() {
		m := *from
		if m == nil {
			continue
		}
		sum, err := ParseInt128(m.Sum)
		if err != nil {
			return Stats{}, fmt.Errorf("%w: sum: %w", ErrState, err)
		}
		squares, err := ParseInt128(m.Squares)
		if err != nil {
			return Stats{}, fmt.Errorf("%w: squares: %w", ErrState, err)
		}
		if m.Count < 1 || m.Count > s.Frames || m.Max < m.Min {
			return Stats{}, fmt.Errorf("%w: %v: count %d, %d to %d", ErrState, telemetry.Measure(i), m.Count, m.Min, m.Max)
		}
		moments := Moments{m.Count, sum, squares, telemetry.Micro(m.Min), telemetry.Micro(m.Max)}
		if !moments.possible() {
			return Stats{}, fmt.Errorf("%w: %v: no %d values from %d to %d have the sum %s and the squares %s",
				ErrState, telemetry.Measure(i), m.Count, m.Min, m.Max, m.Sum, m.Squares)
		}
		s.Measures[i] = moments
	}
	return s, nil
}
