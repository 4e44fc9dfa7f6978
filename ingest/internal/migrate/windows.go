package migrate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/telltale-iot/telltale/ingest/internal/window"
)

// conflictPause is the wait before a window that met another revision twice is
// read once more: a majority of the servers may have to learn of it first.
const conflictPause = 200 * time.Millisecond

// counting is a window with the frames that are to be in it.
type counting struct {
	id, sensor string
	window.Interval
	frames []*pending
}

// storeWindows counts the frames into what is stored of their windows, and
// stores those that this changes.
func (m *migration) storeWindows(ctx context.Context, windows []*counting) error {
	for round := 0; len(windows) > 0; round++ {
		if err := pause(ctx, round); err != nil {
			return err
		}
		candidates, documents, err := m.count(ctx, windows)
		if err != nil {
			return err
		}
		if !m.Apply {
			for _, d := range documents {
				m.report.SensorWindows.put(d.Revision)
			}
			return nil
		}
		answers, err := m.put(ctx, "store windows of sensors", documents, m.Target.PutSensors)
		if err != nil {
			return err
		}
		windows = nil
		for i, answer := range answers {
			switch {
			case answer == nil:
				m.report.SensorWindows.put(documents[i].Revision)
			case errors.Is(answer, window.ErrConflict):
				windows = append(windows, candidates[i])
			default:
				m.refuseAll(candidates[i], ReasonRejected, answer.Error())
			}
		}
	}
	return nil
}

// count returns the windows that change, with the documents that they become.
func (m *migration) count(ctx context.Context, windows []*counting) (changed []*counting, documents []*window.Document, err error) {
	ids := make([]string, len(windows))
	for i, w := range windows {
		ids[i] = w.id
	}
	var states []window.State
	if err := m.retry(ctx, "read windows of sensors", func() (err error) {
		states, err = m.Target.Sensors(ctx, ids)
		return err
	}); err != nil {
		return nil, nil, err
	}
	stored := make(map[string]*window.State, len(states))
	for i := range states {
		stored[states[i].ID()] = &states[i]
	}
	for _, c := range windows {
		w := window.New(c.sensor, c.Interval)
		if state := stored[c.id]; state != nil {
			if w, err = window.Restore(state); err != nil {
				m.refuseAll(c, ReasonWindowInvalid, fmt.Sprintf("%s: %v", c.id, err))
				continue
			}
			// A new revision is one for every place that the sensor was at.
			for i := range state.Parts {
				m.touch(state.Parts[i].Place, c.Start)
			}
		}
		for _, f := range c.frames {
			if _, err := w.Count(&f.Frame); err != nil {
				m.refuse(ReasonWindowFull, Refusal{ID: f.document, Detail: fmt.Sprintf("%s: %v", c.id, err)})
			}
		}
		// Frames without seq open and close no gap: what was stored of them holds.
		missing, lost := w.StoredGaps()
		if !w.Changed(missing, lost) {
			m.report.SensorWindows.Unchanged++
			continue
		}
		d, _ := w.Document(w.Revision+1, missing, lost)
		changed, documents = append(changed, c), append(documents, d)
	}
	return changed, documents, nil
}

func (m *migration) refuseAll(c *counting, reason, detail string) {
	for _, f := range c.frames {
		m.refuse(reason, Refusal{ID: f.document, Detail: detail})
	}
}

func (m *migration) put(ctx context.Context, what string, documents []*window.Document, put func(context.Context, []*window.Document) ([]error, error)) (answers []error, err error) {
	if len(documents) == 0 {
		return nil, nil
	}
	err = m.retry(ctx, what, func() (err error) {
		answers, err = put(ctx, documents)
		return err
	})
	return answers, err
}

// pause waits before a round after the second.
func pause(ctx context.Context, round int) error {
	if round < 2 {
		return ctx.Err()
	}
	timer := time.NewTimer(conflictPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// foldBatch is how many windows of sensors are folded at a time, one interval
// of a place being the least.
const foldBatch = 500

// foldPlaces folds the windows of the sensors into those of the places, for
// each interval that has a window of a migrated sensor.
func (m *migration) foldPlaces(ctx context.Context) error {
	m.Logger.Info("folding windows of places", "places", len(m.places))
	for _, place := range slices.Sorted(maps.Keys(m.places)) {
		var intervals []window.Interval // ascending
		last, migrated, weight := window.Interval{}, false, 0
		end := func() {
			if migrated {
				intervals = append(intervals, last)
			}
			migrated = false
		}
		at := m.places[place]
		if err := m.Target.PlaceIntervals(ctx, place, at.first, at.last+1, func(sensor string, i window.Interval) error {
			if i.End-i.Start != m.Window.Milliseconds() {
				return nil // of another size
			}
			if i != last {
				end()
				last = i
				if weight >= foldBatch {
					if err := m.fold(ctx, place, intervals); err != nil {
						return err
					}
					intervals, weight = intervals[:0], 0
				}
			}
			_, ours := m.sensors[sensor]
			migrated = migrated || ours
			weight++
			return nil
		}); err != nil {
			return err
		}
		end()
		if err := m.fold(ctx, place, intervals); err != nil {
			return err
		}
	}
	return nil
}

// fold stores the windows of a place in the given intervals, where what is
// stored is not the fold of the sensors' windows.
func (m *migration) fold(ctx context.Context, place string, intervals []window.Interval) error {
	for round := 0; len(intervals) > 0; round++ {
		if err := pause(ctx, round); err != nil {
			return err
		}
		folded, documents, err := m.folds(ctx, place, intervals)
		if err != nil {
			return err
		}
		answers, err := m.put(ctx, "store windows of places", documents, m.Target.PutPlaces)
		if err != nil {
			return err
		}
		intervals = nil
		for i, answer := range answers {
			switch {
			case answer == nil:
				m.report.PlaceWindows.put(documents[i].Revision)
			case errors.Is(answer, window.ErrConflict):
				intervals = append(intervals, folded[i])
			default:
				m.report.PlaceWindows.Refused++
				m.Logger.Error("the store will not take a window", "window", documents[i].ID, "error", answer)
			}
		}
	}
	return nil
}

// folds returns the intervals whose windows change, with their documents.
func (m *migration) folds(ctx context.Context, place string, intervals []window.Interval) (changed []window.Interval, documents []*window.Document, err error) {
	ids := make([]string, len(intervals))
	windows := make(map[window.Interval]*window.Place, len(intervals))
	for i, interval := range intervals {
		ids[i] = interval.ID(place)
		windows[interval] = window.NewPlace(place, interval)
	}
	// First the places, then the sensors: the fold has then every revision that
	// is in the stored one, or a later one, whoever stores meanwhile.
	var stored []window.PlaceState
	if err := m.retry(ctx, "read windows of places", func() (err error) {
		stored, err = m.Target.Places(ctx, ids)
		return err
	}); err != nil {
		return nil, nil, err
	}
	var sensors []window.State
	if err := m.retry(ctx, "read sensors of a place", func() (err error) {
		sensors, err = m.Target.SensorsBetween(ctx, place, intervals[0].Start, intervals[len(intervals)-1].Start+1)
		return err
	}); err != nil {
		return nil, nil, err
	}
	for i := range sensors {
		s := &sensors[i]
		w := windows[window.Interval{Start: s.Start, End: s.End}]
		if w == nil {
			continue
		}
		for _, part := range s.PlaceParts() {
			if part.Place != place {
				continue
			}
			if _, err := w.Apply(&part); err != nil {
				m.report.PlaceWindows.Refused++
				m.Logger.Error("a stored window cannot be folded", "place", place, "window", s.ID(), "error", err)
			}
		}
	}
	there := make(map[window.Interval]*window.PlaceState, len(stored))
	for i := range stored {
		there[window.Interval{Start: stored[i].Start, End: stored[i].End}] = &stored[i]
	}
	for _, interval := range intervals {
		w := windows[interval]
		if !w.Changed() {
			continue // nothing of it is readable
		}
		if state := there[interval]; state != nil {
			if w.Same(state) {
				m.report.PlaceWindows.Unchanged++
				continue
			}
			w.Revision = state.Revision
		}
		changed, documents = append(changed, interval), append(documents, w.Document(w.Revision+1))
	}
	return changed, documents, nil
}
