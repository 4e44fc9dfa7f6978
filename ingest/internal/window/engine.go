package window

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Options says how an engine forms and closes windows.
type Options struct {
	Size    time.Duration // of a window, whole milliseconds, 1 s to 24 h
	Reorder time.Duration // how far a sensor's frames must have passed the end for the window to close
	Idle    time.Duration // closes a sensor's windows when nothing has come from it for so long
	MaxOpen int           // windows open at once; more are closed early
}

// Validate returns an error that says what is wrong with o, if anything.
func (o Options) Validate() error {
	switch {
	case o.Size < time.Second || o.Size > 24*time.Hour || o.Size%time.Millisecond != 0:
		return fmt.Errorf("window: size %v: want whole milliseconds from 1s to 24h", o.Size)
	case o.Reorder < 0:
		return fmt.Errorf("window: reorder %v: want 0 or more", o.Reorder)
	case o.Idle <= 0:
		return fmt.Errorf("window: idle %v: want more than 0", o.Idle)
	case o.MaxOpen < 1:
		return errors.New("window: max open: want 1 or more")
	}
	return nil
}

// Outcome says what became of a frame.
type Outcome uint8

// The outcomes of Engine.Add.
const (
	Counted   Outcome = iota // it is counted in
	Duplicate                // its identity was covered: nothing changed
	Late                     // its window may be stored: Open it, then Add the frame again
	Full                     // its window is at a bound, as MaxFrames; the frame is in no window
)

// Engine holds the open windows of the sensors of one partition and decides
// when they close. Each sensor has its own event time: no frame of one sensor
// affects the windows of another.
type Engine struct {
	options Options
	sensors map[string]*sensor
	open    int
	ready   []*Window
	due     time.Time // the earliest moment at which Tick has something to do
	reads   int64     // windows met before this position are read before they open
	least   int64     // position of the first frame in ready
}

type sensor struct {
	open    []*open
	passed  int64     // greatest timestamp seen
	closed  int64     // windows that end at or before it may have been stored
	touched time.Time // when its last frame came
}

type open struct {
	*Window
	position int64     // of its first frame
	due      time.Time // for a window that opened late: when it closes
}

// forget is how long a sensor that has no open window is remembered. A window
// of a forgotten sensor opens without a read, which is slower only if it turns
// out to be stored.
const forget = time.Hour

// NewEngine returns an engine without windows. Frames at positions below
// reads are of windows that others may have stored, which Add tells by Late.
func NewEngine(o Options, reads int64) (*Engine, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Engine{options: o, sensors: make(map[string]*sensor), reads: reads, least: math.MaxInt64}, nil
}

// Add counts in f, which must not declare a loss, at its position in the
// partition.
func (e *Engine) Add(f *telemetry.Frame, position int64, now time.Time) Outcome {
	s := e.sensors[f.ID]
	if s == nil {
		s = &sensor{passed: math.MinInt64, closed: math.MinInt64}
		e.sensors[f.ID] = s
	}
	s.touched = now
	s.passed = max(s.passed, f.Timestamp)
	w := s.find(f.Timestamp)
	if w == nil {
		i := IntervalOf(f.Timestamp, e.options.Size)
		if i.End <= s.closed || position < e.reads {
			return Late
		}
		w = e.add(s, New(f.ID, i), position, now)
	}
	w.position = min(w.position, position)
	counted, err := w.Count(f)
	e.pass(s)
	switch {
	case err != nil:
		return Full
	case counted:
		return Counted
	}
	return Duplicate
}

// Open opens a window from what is stored of it, or empty; one that is open
// already stays. It closes like others, also if no frame follows.
func (e *Engine) Open(w *Window, position int64, now time.Time) {
	s := e.sensors[w.Sensor]
	if s == nil {
		s = &sensor{passed: math.MinInt64, closed: math.MinInt64, touched: now}
		e.sensors[w.Sensor] = s
	}
	if s.find(w.Start) == nil {
		e.add(s, w, position, now)
	}
}

// IsOpen reports whether a sensor's window is open.
func (e *Engine) IsOpen(sensor string, i Interval) bool {
	s := e.sensors[sensor]
	return s != nil && s.find(i.Start) != nil
}

func (e *Engine) add(s *sensor, w *Window, position int64, now time.Time) *open {
	o := &open{Window: w, position: position}
	if s.passes(w.End, e.options.Reorder) {
		// The sensor's progress would close it at once: wait for what else is
		// late, so as to store it once.
		o.due = now.Add(e.options.Reorder)
		e.wake(o.due)
	}
	e.wake(now.Add(e.options.Idle))
	s.open = append(s.open, o)
	e.open++
	return o
}

func (e *Engine) wake(t time.Time) {
	if e.due.IsZero() || t.Before(e.due) {
		e.due = t
	}
}

func (s *sensor) find(t int64) *open {
	for _, w := range s.open {
		if w.Start <= t && t < w.End {
			return w
		}
	}
	return nil
}

func (s *sensor) passes(end int64, reorder time.Duration) bool {
	return s.passed >= end+reorder.Milliseconds()
}

// pass closes the windows that the sensor's own frames have passed.
func (e *Engine) pass(s *sensor) {
	if len(s.open) > 1 {
		e.closeIf(s, func(w *open) bool { return w.due.IsZero() && s.passes(w.End, e.options.Reorder) })
	}
}

// Tick closes the windows that are due at the time now.
func (e *Engine) Tick(now time.Time) {
	if e.due.IsZero() || now.Before(e.due) {
		return
	}
	e.due = time.Time{}
	for id, s := range e.sensors {
		idle := s.touched.Add(e.options.Idle)
		e.closeIf(s, func(w *open) bool {
			return !now.Before(idle) || !w.due.IsZero() && !now.Before(w.due)
		})
		for _, w := range s.open {
			if !w.due.IsZero() {
				e.wake(w.due)
			}
		}
		switch end := s.touched.Add(forget); {
		case len(s.open) > 0:
			e.wake(idle)
		case now.Before(end):
			e.wake(end)
		default:
			delete(e.sensors, id)
		}
	}
}

// Shed closes windows early if more than MaxOpen are open: those of the
// sensors that have been silent longest, until an eighth of MaxOpen is free.
func (e *Engine) Shed() {
	if e.open <= e.options.MaxOpen {
		return
	}
	var holders []*sensor
	for _, s := range e.sensors {
		if len(s.open) > 0 {
			holders = append(holders, s)
		}
	}
	slices.SortFunc(holders, func(a, b *sensor) int {
		return cmp.Or(a.touched.Compare(b.touched), cmp.Compare(a.passed, b.passed))
	})
	for _, s := range holders {
		if e.open <= e.options.MaxOpen-e.options.MaxOpen/8 {
			return
		}
		e.closeIf(s, func(*open) bool { return true })
	}
}

func (e *Engine) closeIf(s *sensor, due func(*open) bool) {
	s.open = slices.DeleteFunc(s.open, func(w *open) bool {
		if !due(w) {
			return false
		}
		e.ready = append(e.ready, w.Window)
		e.least = min(e.least, w.position)
		e.open--
		s.closed = max(s.closed, w.End)
		return true
	})
}

// Ready returns the windows that have closed and are to be stored. They stay
// among those needed until Done.
func (e *Engine) Ready() []*Window { return e.ready }

// Done says that all windows of Ready are stored.
func (e *Engine) Done() {
	clear(e.ready)
	e.ready = e.ready[:0]
	e.least = math.MaxInt64
}

// Needed returns the least position of the frames that are in windows not
// stored, or next if there is none.
func (e *Engine) Needed(next int64) int64 {
	next = min(next, e.least)
	for _, s := range e.sensors {
		for _, w := range s.open {
			next = min(next, w.position)
		}
	}
	return next
}

// Len returns how many windows are open.
func (e *Engine) Len() int { return e.open }
