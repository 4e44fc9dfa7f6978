package missing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Window is what a stored window of a sensor says of its frames.
type Window struct {
	Start    int64                  `bson:"start_agg_tm"`
	End      int64                  `bson:"end_agg_tm"`
	First    int64                  `bson:"first_tm"`
	Last     int64                  `bson:"last_tm"`
	Coverage []window.CoverageState `bson:"coverage"`
	Parts    []struct {
		Place string `bson:"place_id"`
	} `bson:"parts"`
}

// Frame is the identity of a stored frame; Epoch and Seq are nil if it has none.
type Frame struct {
	Timestamp int64  `bson:"timestamp"`
	Epoch     *int64 `bson:"epoch"`
	Seq       *int64 `bson:"seq"`
}

// Store has the windows, the frames and the losses. Times are Unix milliseconds.
type Store interface {
	// NextSensor returns the least id after the given one of a sensor of which
	// anything is stored; "" if there is none.
	NextSensor(ctx context.Context, after string) (string, error)

	// AtPlace reports whether a sensor was at the place in a window that
	// overlaps [from, to).
	AtPlace(ctx context.Context, sensor, place string, from, to int64) (bool, error)

	// Windows yields a sensor's windows that overlap [from, to), in the order
	// of their beginnings. Its error is the last that it yields.
	Windows(ctx context.Context, sensor string, from, to int64) iter.Seq2[Window, error]

	// Frames yields a sensor's frames with timestamps in [from, to), in the
	// order of these. Its error is the last that it yields.
	Frames(ctx context.Context, sensor string, from, to int64) iter.Seq2[Frame, error]

	// WindowBefore returns the last window of a sensor that ends at or before
	// t, WindowAfter the first that begins at or after it; of those that have
	// frames of the epoch if that is not nil. Nil is none.
	WindowBefore(ctx context.Context, sensor string, epoch *uint64, t int64) (*Window, error)
	WindowAfter(ctx context.Context, sensor string, epoch *uint64, t int64) (*Window, error)

	// WindowsTouching returns the windows that have frames of any of the given
	// spans, of the same sensor and epoch; perhaps others, too.
	WindowsTouching(ctx context.Context, spans []window.Declared) ([]Window, error)

	// LossEpochs returns the epochs of a sensor in which losses are declared.
	LossEpochs(ctx context.Context, sensor string) ([]uint64, error)

	// Losses returns the declarations that touch any of the given spans.
	Losses(ctx context.Context, spans []window.Declared) ([]window.Declared, error)
}

// Options says what is asked.
type Options struct {
	Store Store

	From, To time.Time // widened to whole windows
	Sensors  []string  // nil is all
	Place    string    // "" is any; else the sensors that were there

	// Frames says that the windows are held against the stored frames, too,
	// which reads every frame of the interval.
	Frames bool

	Window    time.Duration    // size of a window, as ingest's
	Settle    time.Duration    // age from which what is not there is not on its way
	FramesTTL time.Duration    // older frames are deleted; 0 is never
	Now       func() time.Time // nil is time.Now
}

// Run calls fn with the report of each sensor, by id. fn's error ends it and is
// returned.
func Run(ctx context.Context, o Options, fn func(*Report) error) error {
	switch {
	case o.Store == nil:
		return errors.New("missing: want a store")
	case o.Window <= 0 || o.Settle < 0 || o.FramesTTL < 0:
		return fmt.Errorf("missing: windows of %v, settled after %v, frames deleted after %v: want no negative time, and a window", o.Window, o.Settle, o.FramesTTL)
	case !o.From.Before(o.To):
		return fmt.Errorf("missing: from %v to %v: want an interval", o.From, o.To)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	q := query{
		Options: o, now: o.Now().UnixMilli(),
		from: window.IntervalOf(o.From.UnixMilli(), o.Window).Start,
		to:   window.IntervalOf(o.To.UnixMilli()-1, o.Window).End,
	}
	for sensor, err := range q.sensors(ctx) {
		if err != nil {
			return err
		}
		r, err := q.sensor(ctx, sensor)
		if err != nil {
			return fmt.Errorf("missing: sensor %s: %w", sensor, err)
		}
		if r == nil {
			continue
		}
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

// endOfTime is the year 10000: no window ends after it.
const endOfTime = 253402300800000

type query struct {
	Options
	from, to, now int64
}

// sensors yields the sensors that are asked for, by id.
func (q *query) sensors(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if q.Sensors != nil {
			for _, sensor := range slices.Compact(slices.Sorted(slices.Values(q.Sensors))) {
				if !yield(sensor, nil) {
					return
				}
			}
			return
		}
		for sensor := ""; ; {
			next, err := q.Store.NextSensor(ctx, sensor)
			if err != nil {
				yield("", fmt.Errorf("missing: sensors: %w", err))
				return
			}
			if next == "" || !yield(next, nil) {
				return
			}
			sensor = next
		}
	}
}

// epoch is what is known of one epoch of a sensor.
type epoch struct {
	number   uint64
	windowed set // in the windows of the interval
	noFrame  set // of these, those that no stored frame is of
	noWindow set // stored, in none of its windows
	notYet   set // the same, of windows that may not be closed yet

	gaps set // what is between these, and between them and the neighbours
}

// sensor returns the report of a sensor, nil if it was not at the place.
func (q *query) sensor(ctx context.Context, sensor string) (*Report, error) {
	before, err := q.Store.WindowBefore(ctx, sensor, nil, q.from)
	if err != nil {
		return nil, err
	}
	if q.Place != "" && !before.at(q.Place) {
		at, err := q.Store.AtPlace(ctx, sensor, q.Place, q.from, q.to)
		if err != nil || !at {
			return nil, err
		}
	}
	after, err := q.Store.WindowAfter(ctx, sensor, nil, q.to)
	if err != nil {
		return nil, err
	}
	c := &collection{query: q, epochs: make(map[uint64]*epoch)}
	if err := c.collect(ctx, sensor); err != nil {
		return nil, err
	}
	// A silence in which whole epochs went is between the neighbours.
	for _, w := range []*Window{before, after} {
		for number := range w.runs() {
			c.epoch(number)
		}
	}
	// So is one of which all is lost: nothing says when that was.
	lost, err := q.Store.LossEpochs(ctx, sensor)
	if err != nil {
		return nil, err
	}
	for _, number := range lost {
		if c.epochs[number] != nil {
			continue
		}
		switch w, err := q.Store.WindowBefore(ctx, sensor, &number, endOfTime); {
		case err != nil:
			return nil, err
		case w == nil:
			c.epoch(number)
		}
	}
	r := &Report{Sensor: sensor, From: q.from, To: q.to, Unsequenced: c.unsequenced}
	for _, number := range slices.Sorted(maps.Keys(c.epochs)) {
		if err := q.explain(ctx, r, c.epochs[number]); err != nil {
			return nil, err
		}
	}
	r.finish()
	return r, nil
}

// explain adds to the report what became of the readings of an epoch.
func (q *query) explain(ctx context.Context, r *Report, e *epoch) error {
	if err := q.findGaps(ctx, r.Sensor, e); err != nil {
		return err
	}
	present := slices.Clone(e.windowed)
	for _, s := range e.noFrame {
		present.remove(s.SeqRange)
	}
	r.add(e.number, Present, present)
	r.add(e.number, NoFrame, e.noFrame)
	r.add(e.number, NoWindow, e.noWindow)
	r.add(e.number, NotYet, e.notYet)
	if len(e.gaps) == 0 {
		return nil
	}
	spans := make([]window.Declared, 0, len(e.gaps))
	for _, gap := range e.gaps {
		spans = append(spans, window.Declared{Sensor: r.Sensor, Epoch: e.number, Loss: telemetry.Loss{Seqs: gap.SeqRange}})
	}
	windows, err := q.Store.WindowsTouching(ctx, spans)
	if err != nil {
		return err
	}
	open := slices.Clone(e.gaps)
	for i := range windows {
		for _, s := range windows[i].of(e.number) {
			// A clock that jumped puts a reading far from its neighbours.
			found := open.within(s.SeqRange)
			for j := range found {
				found[j].least, found[j].greatest = windows[i].First, windows[i].Last
			}
			r.add(e.number, Elsewhere, found)
			open.remove(s.SeqRange)
		}
	}
	losses, err := q.Store.Losses(ctx, spans)
	if err != nil {
		return err
	}
	gaps := make([]window.Gap, 0, len(open))
	for _, gap := range open {
		gaps = append(gaps, window.Gap{Epoch: e.number, Seqs: gap.SeqRange})
	}
	missing, lost := window.Explain(gaps, losses)
	for _, g := range lost {
		r.addGap(g, Lost, open)
	}
	for _, g := range missing {
		state := Missing
		if at := open[open.from(g.Seqs.First)]; at.greatest > q.now-q.Settle.Milliseconds() {
			state = NotYet
		}
		r.addGap(g, state, open)
	}
	return nil
}

// findGaps finds what is absent between the readings of an epoch, the nearest
// before and after the interval included.
func (q *query) findGaps(ctx context.Context, sensor string, e *epoch) error {
	line := slices.Clone(e.windowed)
	for _, other := range []set{e.noWindow, e.notYet} {
		for _, s := range other {
			line.add(s)
		}
	}

	before, err := q.Store.WindowBefore(ctx, sensor, &e.number, q.from)
	if err != nil {
		return err
	}
	earlier := before.of(e.number)
	if len(line) > 0 {
		earlier = earlier.below(line[0].First)
	}
	if n := len(earlier); n > 0 {
		line.add(earlier[n-1])
	}

	after, err := q.Store.WindowAfter(ctx, sensor, &e.number, q.to)
	if err != nil {
		return err
	}
	later := after.of(e.number)
	if n := len(line); n > 0 {
		later = later.above(line[n-1].Last)
	}
	switch {
	case len(later) > 0:
		line.add(later[0])
	default:
		// What was declared lost after the last reading was counted on from it.
		tail, err := q.tail(ctx, sensor, e.number, line)
		if err != nil {
			return err
		}
		e.gaps = append(e.gaps, tail...)
	}
	e.gaps = append(line.gaps(), e.gaps...)
	if len(line) > 0 && len(earlier) == 0 && line[0].First > 0 {
		e.gaps = append(set{{SeqRange: telemetry.SeqRange{Last: line[0].First - 1}, greatest: line[0].from}}, e.gaps...)
	}
	return nil
}

// tail returns what is after the last reading of an epoch, up to the end of
// what is declared lost; nothing if nothing is.
func (q *query) tail(ctx context.Context, sensor string, number uint64, line set) (set, error) {
	rest := run{SeqRange: telemetry.SeqRange{Last: telemetry.MaxSeq}}
	if n := len(line); n > 0 {
		rest.First, rest.least = line[n-1].Last+1, line[n-1].to
	}
	losses, err := q.Store.Losses(ctx, []window.Declared{{Sensor: sensor, Epoch: number, Loss: telemetry.Loss{Seqs: rest.SeqRange}}})
	if err != nil || len(losses) == 0 {
		return nil, err
	}
	rest.Last = rest.First
	for _, l := range losses {
		rest.Last = max(rest.Last, l.Seqs.Last)
	}
	return set{rest}, nil
}

// collection gathers what the windows and frames of the interval say.
type collection struct {
	*query
	epochs      map[uint64]*epoch
	unsequenced Unsequenced

	open []*openWindow
}

// openWindow is a window whose frames are being read.
type openWindow struct {
	Window
	covered map[uint64]set
	seen    map[uint64]*set
	times   []int64
	found   int // of times
}

func (c *collection) epoch(number uint64) *epoch {
	if c.epochs[number] == nil {
		c.epochs[number] = &epoch{number: number}
	}
	return c.epochs[number]
}

// collect reads windows and frames side by side, both in the order of time, so
// that no more than the windows of one moment are held.
func (c *collection) collect(ctx context.Context, sensor string) error {
	next, stop := iter.Pull2(c.Store.Windows(ctx, sensor, c.from, c.to))
	defer stop()
	w, err, more := next()
	// advance opens and closes windows until those of the time t are open.
	advance := func(t int64) error {
		for ; more && (err != nil || w.Start <= t); w, err, more = next() {
			if err != nil {
				return err
			}
			c.add(w)
		}
		c.open = slices.DeleteFunc(c.open, func(w *openWindow) bool {
			if w.End > t {
				return false
			}
			c.close(w)
			return true
		})
		return nil
	}
	if c.Frames {
		for f, err := range c.Store.Frames(ctx, sensor, c.from, c.to) {
			if err != nil {
				return err
			}
			if err := advance(f.Timestamp); err != nil {
				return err
			}
			c.frame(f)
		}
	}
	return advance(c.to + window24h)
}

// window24h is as long as any window can be, in milliseconds.
const window24h = 24 * 60 * 60 * 1000

// add takes in a window.
func (c *collection) add(w Window) {
	o := &openWindow{Window: w, covered: w.runs(), seen: make(map[uint64]*set)}
	for number, covered := range o.covered {
		e := c.epoch(number)
		for _, s := range covered {
			e.windowed.add(s)
		}
	}
	for _, s := range w.Coverage {
		if s.Epoch == nil {
			o.times = append(o.times, s.Timestamps...)
			c.unsequenced.Present += len(s.Timestamps)
		}
	}
	if c.Frames {
		c.open = append(c.open, o)
	}
}

// frame holds a stored frame against the windows of its time.
func (c *collection) frame(f Frame) {
	settled := window.IntervalOf(f.Timestamp, c.Window).End+c.Settle.Milliseconds() <= c.now
	if f.Epoch == nil || f.Seq == nil {
		covered := false
		for _, w := range c.open {
			if _, ok := slices.BinarySearch(w.times, f.Timestamp); ok {
				w.found++
				covered = true
			}
		}
		switch {
		case covered:
		case settled:
			c.unsequenced.NoWindow++
		default:
			c.unsequenced.NotYet++
		}
		return
	}
	number, seq := uint64(*f.Epoch), uint64(*f.Seq)
	s := run{telemetry.SeqRange{First: seq, Last: seq}, f.Timestamp, f.Timestamp, f.Timestamp, f.Timestamp}
	covered := false
	for _, w := range c.open {
		if w.covered[number].has(seq) {
			if w.seen[number] == nil {
				w.seen[number] = new(set)
			}
			w.seen[number].add(s)
			covered = true
		}
	}
	switch {
	case covered:
	case settled:
		c.epoch(number).noWindow.add(s)
	default:
		c.epoch(number).notYet.add(s)
	}
}

// close says which frames of a window are not stored, unless they may have been
// deleted, are outside the interval, or on their way.
func (c *collection) close(w *openWindow) {
	expired := c.FramesTTL > 0 && w.Start < c.now-c.FramesTTL.Milliseconds()
	if expired || w.Start < c.from || w.End > c.to || w.End+c.Settle.Milliseconds() > c.now {
		return
	}
	for number, covered := range w.covered {
		absent := slices.Clone(covered)
		if seen := w.seen[number]; seen != nil {
			for _, s := range *seen {
				absent.remove(s.SeqRange)
			}
		}
		for _, s := range absent {
			c.epoch(number).noFrame.add(s)
		}
	}
	c.unsequenced.NoFrame += len(w.times) - w.found
}

// at reports whether the sensor was at the place in the window; w may be nil.
func (w *Window) at(place string) bool {
	if w == nil {
		return false
	}
	for _, p := range w.Parts {
		if p.Place == place {
			return true
		}
	}
	return false
}

// of returns the window's frames of an epoch; w may be nil.
func (w *Window) of(number uint64) set { return w.runs()[number] }

// runs returns the window's frames by epoch; w may be nil.
func (w *Window) runs() map[uint64]set {
	if w == nil {
		return nil
	}
	runs := make(map[uint64]set, len(w.Coverage))
	for _, s := range w.Coverage {
		if s.Epoch == nil {
			continue
		}
		all := make(set, 0, len(s.Seqs))
		for i, r := range s.Seqs {
			// That the first number has the first time is known only of an epoch
			// that has the window for itself.
			one := run{telemetry.SeqRange{First: uint64(r.First), Last: uint64(r.Last)}, w.First, w.Last, w.Last, w.First}
			if i == 0 && len(w.Coverage) == 1 {
				one.from = w.First
			}
			if i == len(s.Seqs)-1 && len(w.Coverage) == 1 {
				one.to = w.Last
			}
			all = append(all, one)
		}
		runs[uint64(*s.Epoch)] = all
	}
	return runs
}

// below returns what of the set is before seq, above what is after it.
func (s set) below(seq uint64) set {
	if seq == 0 {
		return nil
	}
	return s.within(telemetry.SeqRange{Last: seq - 1})
}

func (s set) above(seq uint64) set {
	return s.within(telemetry.SeqRange{First: seq + 1, Last: telemetry.MaxSeq})
}

// compareRanges orders ranges as they are shown.
func compareRanges(a, b Range) int {
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.First, b.First), cmp.Compare(a.State, b.State))
}
