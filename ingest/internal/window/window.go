package window

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"time"

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
	parts    []part // ascending by place

	// What was stored with Revision, to tell whether a store would change it.
	frames        uint64
	missing, lost []Gap
}

// part is what a sensor read at one place.
type part struct {
	place string
	name  string // of the sensor, in the latest frame
	stats Stats
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
	// Of two frames with the same timestamp the greater name counts, so that
	// the order in which they came does not.
	if p.stats.Frames == 0 || f.Timestamp > p.stats.Last || f.Timestamp == p.stats.Last && f.Name > p.name {
		p.name = f.Name
	}
	p.stats.add(f)
	return true, nil
}

// at returns the part at a place, made if absent.
func (w *Window) at(place string) *part {
	// Nearly every window has one part.
	if len(w.parts) == 1 && w.parts[0].place == place {
		return &w.parts[0]
	}
	i, found := slices.BinarySearchFunc(w.parts, place, comparePlace)
	if !found {
		w.parts = slices.Insert(w.parts, i, part{place: place})
	}
	return &w.parts[i]
}

func (w *Window) wasAt(place string) bool {
	_, found := slices.BinarySearchFunc(w.parts, place, comparePlace)
	return found
}

func comparePlace(p part, place string) int { return cmp.Compare(p.place, place) }

// Name returns the sensor's name in its latest frame.
func (w *Window) Name() string {
	name, last := "", int64(0)
	for i, p := range w.parts {
		if i == 0 || p.stats.Last > last || p.stats.Last == last && p.name > name {
			name, last = p.name, p.stats.Last
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
func (w *Window) StoredGaps() (missing, lost []Gap) { return w.missing, w.lost }

// Stored notes that the window has been stored with its present content as
// the given revision, with these gaps.
func (w *Window) Stored(revision int64, missing, lost []Gap) {
	w.Revision = revision
	w.frames = w.coverage.Len()
	w.missing, w.lost = missing, lost
}

// Changed reports whether the window with these gaps differs from what was
// stored. A set of frames only grows, so its size tells.
func (w *Window) Changed(missing, lost []Gap) bool {
	return w.Revision == 0 || w.frames != w.coverage.Len() ||
		!slices.Equal(w.missing, missing) || !slices.Equal(w.lost, lost)
}

// Reconcile returns the window of the frames in either of stored, which
// another has stored, and local, which has been counted without knowledge of
// it. It reports false when that cannot be computed from the two: their sets of
// frames overlap, and neither holds the other, or they may be too many. The
// frames must then be counted again into stored.
//
// The result is stored or local, changed; the other must not be used any more.
func Reconcile(stored, local *Window) (*Window, bool) {
	shared := common(&stored.coverage, &local.coverage)
	switch mine, theirs := local.coverage.Len(), stored.coverage.Len(); {
	case shared == mine:
		return stored, true
	case shared == theirs:
		local.Revision = stored.Revision
		local.frames, local.missing, local.lost = stored.frames, stored.missing, stored.lost
		return local, true
	case shared != 0 || mine+theirs > MaxFrames || stored.coverage.ranges+local.coverage.ranges > MaxRanges ||
		len(stored.coverage.times)+len(local.coverage.times) > MaxTimestamps || len(stored.parts)+len(local.parts) > MaxParts:
		return nil, false
	}
	stored.coverage = union(&stored.coverage, &local.coverage)
	for i := range local.parts {
		from := &local.parts[i]
		to := stored.at(from.place)
		if to.stats.Frames == 0 || from.stats.Last > to.stats.Last || from.stats.Last == to.stats.Last && from.name > to.name {
			to.name = from.name
		}
		to.stats.merge(&from.stats)
	}
	return stored, true
}
