package missing

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"time"

	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// twin is a Store in memory.
type twin struct {
	windows map[string][]Window
	frames  map[string][]Frame
	losses  []window.Declared
	err     error // what every operation answers, if not nil
}

func newTwin() *twin { return &twin{windows: map[string][]Window{}, frames: map[string][]Frame{}} }

// reading stores a frame, and counts it into a window, as far as wanted.
func (s *twin) reading(f telemetry.Frame, size time.Duration, stored, windowed bool) {
	if stored {
		frame := Frame{Timestamp: f.Timestamp}
		if f.Sequenced {
			epoch, seq := int64(f.Epoch), int64(f.Seq)
			frame.Epoch, frame.Seq = &epoch, &seq
		}
		s.frames[f.ID] = append(s.frames[f.ID], frame)
		slices.SortStableFunc(s.frames[f.ID], func(a, b Frame) int { return cmp.Compare(a.Timestamp, b.Timestamp) })
	}
	if !windowed {
		return
	}
	i := window.IntervalOf(f.Timestamp, size)
	w := window.New(f.ID, i)
	at := slices.IndexFunc(s.windows[f.ID], func(w Window) bool { return w.Start == i.Start && w.End == i.End })
	state := window.State{Sensor: f.ID, Start: i.Start, End: i.End}
	if at >= 0 {
		old := s.windows[f.ID][at]
		state.Coverage, state.Revision = old.Coverage, 1
		state.Parts = []window.PartState{{Place: old.Parts[0].Place, Frames: count(&old), First: old.First, Last: old.Last}}
		var err error
		if w, err = window.Restore(&state); err != nil {
			panic(err)
		}
	}
	f.PlaceID = "p-" + f.ID
	if _, err := w.Count(&f); err != nil {
		panic(err)
	}
	stats := w.Stats()
	d, _ := w.Document(1, nil, nil)
	one := Window{Start: i.Start, End: i.End, First: stats.First, Last: stats.Last}
	for _, field := range d.Stored() {
		if field.Name == "coverage" {
			one.Coverage = field.Value.([]window.CoverageState)
		}
	}
	one.Parts = append(one.Parts, struct {
		Place string `bson:"place_id"`
	}{f.PlaceID})
	if at >= 0 {
		s.windows[f.ID][at] = one
		return
	}
	s.windows[f.ID] = append(s.windows[f.ID], one)
	slices.SortFunc(s.windows[f.ID], func(a, b Window) int { return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End)) })
}

func count(w *Window) int64 {
	n := int64(0)
	for _, s := range w.Coverage {
		n += int64(len(s.Timestamps))
	}
	for _, runs := range w.runs() {
		for _, r := range runs {
			n += int64(r.Len())
		}
	}
	return n
}

func (s *twin) declare(sensor string, epoch, first, last uint64, reason string) {
	s.losses = append(s.losses, window.Declared{
		Sensor: sensor, Epoch: epoch, Loss: telemetry.Loss{Seqs: telemetry.SeqRange{First: first, Last: last}, Reason: reason},
	})
}

func (s *twin) NextSensor(_ context.Context, after string) (string, error) {
	next := ""
	note := func(id string) {
		if id > after && (next == "" || id < next) {
			next = id
		}
	}
	for id := range s.windows {
		note(id)
	}
	for id := range s.frames {
		note(id)
	}
	for _, l := range s.losses {
		note(l.Sensor)
	}
	return next, s.err
}

func (s *twin) AtPlace(_ context.Context, sensor, place string, from, to int64) (bool, error) {
	return slices.ContainsFunc(s.windows[sensor], func(w Window) bool { return w.Start < to && w.End > from && w.at(place) }), s.err
}

func (s *twin) Windows(_ context.Context, sensor string, from, to int64) iter.Seq2[Window, error] {
	return func(yield func(Window, error) bool) {
		for _, w := range s.windows[sensor] {
			if w.Start < to && w.End > from && !yield(w, nil) {
				return
			}
		}
		if s.err != nil {
			yield(Window{}, s.err)
		}
	}
}

func (s *twin) Frames(_ context.Context, sensor string, from, to int64) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		for _, f := range s.frames[sensor] {
			if f.Timestamp >= from && f.Timestamp < to && !yield(f, nil) {
				return
			}
		}
		if s.err != nil {
			yield(Frame{}, s.err)
		}
	}
}

func (s *twin) first(windows []Window, epoch *uint64, ok func(Window) bool) (*Window, error) {
	for _, w := range windows {
		if ok(w) && (epoch == nil || w.of(*epoch) != nil) {
			return &w, s.err
		}
	}
	return nil, s.err
}

func (s *twin) WindowBefore(_ context.Context, sensor string, epoch *uint64, t int64) (*Window, error) {
	windows := slices.Clone(s.windows[sensor])
	slices.Reverse(windows)
	return s.first(windows, epoch, func(w Window) bool { return w.End <= t })
}

func (s *twin) WindowAfter(_ context.Context, sensor string, epoch *uint64, t int64) (*Window, error) {
	return s.first(s.windows[sensor], epoch, func(w Window) bool { return w.Start >= t })
}

func (s *twin) WindowsTouching(_ context.Context, spans []window.Declared) ([]Window, error) {
	var found []Window
	for _, span := range spans {
		for _, w := range s.windows[span.Sensor] {
			// Too many: the real query looks at the bounds only.
			if all := w.of(span.Epoch); all != nil && all[0].First <= span.Seqs.Last && all[len(all)-1].Last >= span.Seqs.First {
				found = append(found, w)
			}
		}
	}
	return found, s.err
}

func (s *twin) LossEpochs(_ context.Context, sensor string) (epochs []uint64, err error) {
	for _, l := range s.losses {
		if l.Sensor == sensor {
			epochs = append(epochs, l.Epoch)
		}
	}
	return epochs, s.err
}

func (s *twin) Losses(_ context.Context, spans []window.Declared) ([]window.Declared, error) {
	var found []window.Declared
	for _, l := range s.losses {
		if slices.ContainsFunc(spans, func(span window.Declared) bool {
			return l.Sensor == span.Sensor && l.Epoch == span.Epoch && l.Seqs.First <= span.Seqs.Last && l.Seqs.Last >= span.Seqs.First
		}) {
			found = append(found, l)
		}
	}
	return found, s.err
}
