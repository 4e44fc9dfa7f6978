package window

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"time"
	"unique"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Interval is the half-open span [Start, End), Unix milliseconds.
type Interval struct {
	Start, End int64
}

// IntervalOf returns the tumbling window of the given size, aligned to the
// Unix epoch, that holds the timestamp t in milliseconds.
func IntervalOf(t int64, size time.Duration) Interval {
	ms := size.Milliseconds()
	start := t - t%ms
	if start > t {
		start -= ms
	}
	return Interval{start, start + ms}
}

// ID returns the name of an owner's window: "owner/start-end". The end is part
// of it so that windows of another size are other windows.
func (i Interval) ID(owner string) string {
	b := make([]byte, 0, len(owner)+28)
	b = append(b, owner...)
	b = append(b, '/')
	b = strconv.AppendInt(b, i.Start, 10)
	b = append(b, '-')
	return string(strconv.AppendInt(b, i.End, 10))
}

// Window is the state of one sensor in one interval.
type Window struct {
	Sensor string
	Interval

	// Revision counts the stores of this window: 0 is not stored yet.
	Revision int64

	coverage Coverage
	parts    []part  // ascending by place
	stored   *stored // with Revision, if that is not 0
}

// stored is what tells whether a store would change a window.
type stored struct {
	frames        uint64
	missing, lost []Gap
}

// part is what a sensor read at one place. Many windows have the same names.
type part struct {
	place unique.Handle[string]
	name  unique.Handle[string] // of the sensor, in the latest frame
	stats Stats
}

// call gives the part the sensor's name in a frame or part with that timestamp,
// if it is the latest. Of two with the same timestamp the greater name counts,
// so that the order in which they came does not.
func (p *part) call(name string, timestamp int64) {
	if p.stats.Frames == 0 || timestamp > p.stats.Last || timestamp == p.stats.Last && name > p.name.Value() {
		if p.stats.Frames == 0 || p.name.Value() != name {
			p.name = unique.Make(name)
		}
	}
}

// New returns the empty window of a sensor.
func New(sensor string, i Interval) *Window {
	return &Window{Sensor: sensor, Interval: i}
}

// What a window may hold, so that no sum overflows and its document always fits
// into what MongoDB stores in one: 16 MiB. A window at a bound takes no frame
// that would pass it.
const (
	MaxFrames     = 1 << 27 // squares are at most (1e15)² < 2^99.7, and so many of them are below 2^127
	MaxRanges     = 1 << 15 // of sequence numbers
	MaxTimestamps = 1 << 18 // of frames without sequence number
	MaxParts      = 1 << 10 // places
)

// ErrFull says that a window is at one of its bounds.
var ErrFull = errors.New("window: full")

// ErrConflict is what a store answers when it holds another revision of a
// window than the one that a new revision was made from.
var ErrConflict = errors.New("window: another revision is stored")

// Count counts f in, which must be of this sensor and in this interval, and
// reports whether it was new. A frame whose identity is covered changes
// nothing. The error is ErrFull.
func (w *Window) Count(f *telemetry.Frame) (bool, error) {
	var frames int64
	for i := range w.parts {
		frames += w.parts[i].stats.Frames
	}
	if frames >= MaxFrames || !w.coverage.fits(f) || len(w.parts) >= MaxParts && !w.wasAt(f.PlaceID) {
		return false, ErrFull
	}
	if !w.coverage.Add(f) {
		return false, nil
	}
	p := w.at(f.PlaceID)
	p.call(f.Name, f.Timestamp)
	p.stats.add(f)
	return true, nil
}

// at returns the part at a place, made if absent.
func (w *Window) at(place string) *part {
	// Nearly every window has one part.
	if len(w.parts) == 1 && w.parts[0].place.Value() == place {
		return &w.parts[0]
	}
	i, found := slices.BinarySearchFunc(w.parts, place, comparePlace)
	if !found {
		w.parts = slices.Insert(w.parts, i, part{place: unique.Make(place)})
	}
	return &w.parts[i]
}

func (w *Window) wasAt(place string) bool {
	_, found := slices.BinarySearchFunc(w.parts, place, comparePlace)
	return found
}

func comparePlace(p part, place string) int { return cmp.Compare(p.place.Value(), place) }

// Name returns the sensor's name in its latest frame.
func (w *Window) Name() string {
	name, last := "", int64(0)
	for i, p := range w.parts {
		if i == 0 || p.stats.Last > last || p.stats.Last == last && p.name.Value() > name {
			name, last = p.name.Value(), p.stats.Last
		}
	}
	return name
}

// Stats returns the moments of all parts together.
func (w *Window) Stats() Stats {
	var s Stats
	for i := range w.parts {
		s.merge(&w.parts[i].stats)
	}
	return s
}

// Gaps returns the sequence numbers that lie between the window's own frames
// and are not among them.
func (w *Window) Gaps() []Gap { return w.coverage.Gaps() }

// StoredGaps returns the gaps that were stored with Revision.
func (w *Window) StoredGaps() (missing, lost []Gap) {
	if w.stored == nil {
		return nil, nil
	}
	return w.stored.missing, w.stored.lost
}

// Stored notes that the window has been stored with its present content as
// the given revision, with these gaps.
func (w *Window) Stored(revision int64, missing, lost []Gap) {
	w.Revision = revision
	w.stored = &stored{w.coverage.Len(), missing, lost}
}

// Changed reports whether the window with these gaps differs from what was
// stored. A set of frames only grows, so its size tells.
func (w *Window) Changed(missing, lost []Gap) bool {
	return w.stored == nil || w.stored.frames != w.coverage.Len() ||
		!slices.Equal(w.stored.missing, missing) || !slices.Equal(w.stored.lost, lost)
}

// Reconcile returns the window of the frames in either of there, which another
// has stored, and local, which has been counted without knowledge of
// it. It reports false when that cannot be computed from the two: their sets of
// frames overlap, and neither holds the other, or they may be too many. The
// frames must then be counted again into there.
//
// The result is there or local, changed; the other must not be used any more.
func Reconcile(there, local *Window) (*Window, bool) {
	shared := common(&there.coverage, &local.coverage)
	switch mine, theirs := local.coverage.Len(), there.coverage.Len(); {
	case shared == mine:
		return there, true
	case shared == theirs:
		local.Revision, local.stored = there.Revision, there.stored
		return local, true
	case shared != 0 || mine+theirs > MaxFrames || there.coverage.ranges+local.coverage.ranges > MaxRanges ||
		len(there.coverage.times)+len(local.coverage.times) > MaxTimestamps || len(there.parts)+len(local.parts) > MaxParts:
		return nil, false
	}
	there.coverage = union(&there.coverage, &local.coverage)
	for i := range local.parts {
		from := &local.parts[i]
		to := there.at(from.place.Value())
		to.call(from.name.Value(), from.stats.Last)
		to.stats.merge(&from.stats)
	}
	return there, true
}
