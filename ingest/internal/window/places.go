package window

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Places holds the windows of the places of one partition and decides when
// they are stored: once no part has come for Reorder, or Idle after the first
// that came since the last store, whichever is earlier. A window that is stored
// is kept until it has been idle, because the sensors of a place do not close
// theirs at the same time.
type Places struct {
	options Options
	windows map[placeKey]*placeWindow
	dirty   map[*placeWindow]struct{}
	ready   []*Place
	held    []*placeWindow // those of ready
	due     time.Time      // the earliest moment at which Tick has something to do
}

type placeKey struct {
	place string
	Interval
}

type placeWindow struct {
	*Place
	position     int64 // of the first part since the last store
	since, until time.Time
	touched      time.Time
}

// NewPlaces returns a Places without windows. Options.Size is not used: each
// part names its interval.
func NewPlaces(o Options) (*Places, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Places{
		options: o,
		windows: make(map[placeKey]*placeWindow),
		dirty:   make(map[*placeWindow]struct{}),
	}, nil
}

// Add folds in a part, at its position in the partition, and reports whether
// it changed the place's window. The error is that of [Place.Apply]; the part is
// then in no window.
func (e *Places) Add(p *Part, position int64, now time.Time) (bool, error) {
	key := placeKey{p.Place, p.Interval()}
	w := e.windows[key]
	if w == nil {
		w = &placeWindow{Place: NewPlace(p.Place, key.Interval)}
	}
	changed, err := w.Apply(p)
	if err != nil {
		return false, err
	}
	e.windows[key] = w
	w.touched = now
	if _, dirty := e.dirty[w]; !dirty {
		// A part that changes nothing is stored and published again too: it
		// may be here again because a crash came between the two.
		e.dirty[w] = struct{}{}
		w.position, w.since = position, now
	}
	w.position = min(w.position, position)
	w.until = now.Add(e.options.Reorder)
	if latest := w.since.Add(e.options.Idle); latest.Before(w.until) {
		w.until = latest
	}
	e.wake(w.until)
	return changed, nil
}

func (e *Places) wake(t time.Time) {
	if e.due.IsZero() || t.Before(e.due) {
		e.due = t
	}
}

// Tick makes those windows ready that are due at the time now, and forgets
// those that have been stored and idle.
func (e *Places) Tick(now time.Time) {
	if e.due.IsZero() || now.Before(e.due) {
		return
	}
	e.due = time.Time{}
	for key, w := range e.windows {
		_, dirty := e.dirty[w]
		switch idle := w.touched.Add(e.options.Idle); {
		case dirty && !now.Before(w.until):
			e.take(w)
			e.wake(idle)
		case dirty:
			e.wake(w.until)
		case now.Before(idle):
			e.wake(idle)
		default:
			delete(e.windows, key)
		}
	}
}

// Shed makes room if more than MaxOpen windows are held: those that have been
// untouched longest are stored and forgotten, an eighth of MaxOpen.
func (e *Places) Shed() {
	if len(e.windows) <= e.options.MaxOpen {
		return
	}
	held := make([]placeKey, 0, len(e.windows))
	for key := range e.windows {
		held = append(held, key)
	}
	slices.SortFunc(held, func(a, b placeKey) int {
		return cmp.Or(e.windows[a].touched.Compare(e.windows[b].touched), cmp.Compare(a.Start, b.Start), cmp.Compare(a.place, b.place))
	})
	for _, key := range held[:len(held)-(e.options.MaxOpen-e.options.MaxOpen/8)] {
		w := e.windows[key]
		if _, dirty := e.dirty[w]; dirty {
			e.take(w)
		}
		delete(e.windows, key)
	}
}

func (e *Places) take(w *placeWindow) {
	delete(e.dirty, w)
	e.ready = append(e.ready, w.Place)
	e.held = append(e.held, w)
}

// Ready returns the windows that are to be stored. Their parts stay among
// those needed until Done.
func (e *Places) Ready() []*Place { return e.ready }

// Done says that all windows of Ready are stored.
func (e *Places) Done() {
	clear(e.ready)
	clear(e.held)
	e.ready, e.held = e.ready[:0], e.held[:0]
}

// Needed returns the least position of the parts that are in windows not
// stored, or next if there is none.
func (e *Places) Needed(next int64) int64 {
	least := int64(math.MaxInt64)
	for w := range e.dirty {
		least = min(least, w.position)
	}
	for _, w := range e.held {
		least = min(least, w.position)
	}
	return min(least, next)
}

// Len returns how many windows are held.
func (e *Places) Len() int { return len(e.windows) }
