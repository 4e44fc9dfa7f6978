package window

import (
	"cmp"
	"slices"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Coverage is the set of the frames counted in a window, by identity: ranges
// of sequence numbers for each epoch, and the timestamps of the frames that
// have no sequence number. The zero Coverage is empty.
type Coverage struct {
	epochs []epochCoverage // ascending by epoch
	times  []int64         // ascending
	ranges int             // of all epochs
}

type epochCoverage struct {
	epoch  uint64
	ranges []telemetry.SeqRange // ascending, neither overlapping nor adjacent
}

// Add puts the identity of f in the set and reports whether it was absent.
func (c *Coverage) Add(f *telemetry.Frame) bool {
	if !f.Sequenced {
		return c.addTime(f.Timestamp)
	}
	e := c.at(f.Epoch)
	before := len(e.ranges)
	added := e.add(f.Seq)
	c.ranges += len(e.ranges) - before
	return added
}

// fits reports whether the set with f in it is not larger than a window's may
// be.
func (c *Coverage) fits(f *telemetry.Frame) bool {
	if !f.Sequenced {
		if len(c.times) < MaxTimestamps {
			return true
		}
		_, found := slices.BinarySearch(c.times, f.Timestamp)
		return found
	}
	if c.ranges < MaxRanges {
		return true
	}
	at, found := slices.BinarySearchFunc(c.epochs, f.Epoch, compareEpoch)
	if !found {
		return false
	}
	ranges := c.epochs[at].ranges
	i := c.epochs[at].search(f.Seq)
	return i < len(ranges) && ranges[i].First <= f.Seq+1 || i > 0 && ranges[i-1].Last+1 == f.Seq
}

func (c *Coverage) addTime(t int64) bool {
	n := len(c.times)
	if n == 0 || c.times[n-1] < t {
		c.times = append(c.times, t)
		return true
	}
	i, found := slices.BinarySearch(c.times, t)
	if !found {
		c.times = slices.Insert(c.times, i, t)
	}
	return !found
}

// at returns the coverage of an epoch, made if absent.
func (c *Coverage) at(epoch uint64) *epochCoverage {
	i, found := slices.BinarySearchFunc(c.epochs, epoch, compareEpoch)
	if !found {
		c.epochs = slices.Insert(c.epochs, i, epochCoverage{epoch: epoch})
	}
	return &c.epochs[i]
}

func (e *epochCoverage) add(seq uint64) bool {
	// Frames mostly come in order, so the last range is looked at first.
	i := len(e.ranges)
	if i > 0 {
		last := &e.ranges[i-1]
		switch {
		case seq == last.Last+1:
			last.Last = seq
			return true
		case seq >= last.First && seq <= last.Last:
			return false
		case seq < last.First:
			i = e.search(seq)
		}
	}
	// Every range before i ends before seq, and the range at i does not.
	if i < len(e.ranges) && e.ranges[i].First <= seq {
		return false
	}
	after := i > 0 && e.ranges[i-1].Last+1 == seq
	before := i < len(e.ranges) && seq+1 == e.ranges[i].First
	switch {
	case after && before:
		e.ranges[i-1].Last = e.ranges[i].Last
		e.ranges = slices.Delete(e.ranges, i, i+1)
	case after:
		e.ranges[i-1].Last = seq
	case before:
		e.ranges[i].First = seq
	default:
		e.ranges = slices.Insert(e.ranges, i, telemetry.SeqRange{First: seq, Last: seq})
	}
	return true
}

// search returns the index of the first range that does not end before seq.
func (e *epochCoverage) search(seq uint64) int {
	i, _ := slices.BinarySearchFunc(e.ranges, seq, func(r telemetry.SeqRange, seq uint64) int {
		return cmp.Compare(r.Last, seq)
	})
	return i
}

// Len returns how many frames are in the set.
func (c *Coverage) Len() uint64 {
	n := uint64(len(c.times))
	for _, e := range c.epochs {
		for _, r := range e.ranges {
			n += r.Len()
		}
	}
	return n
}

// Unsequenced returns how many frames in the set have no sequence number.
func (c *Coverage) Unsequenced() int { return len(c.times) }

// common returns how many frames are in both sets.
func common(a, b *Coverage) uint64 {
	var n uint64
	merge(a.times, b.times, cmp.Compare[int64], func(_, _ *int64) { n++ })
	merge(a.epochs, b.epochs, compareEpochs, func(x, y *epochCoverage) {
		for i, j := 0, 0; i < len(x.ranges) && j < len(y.ranges); {
			r, s := x.ranges[i], y.ranges[j]
			if first, last := max(r.First, s.First), min(r.Last, s.Last); first <= last {
				n += last - first + 1
			}
			if r.Last < s.Last {
				i++
			} else {
				j++
			}
		}
	})
	return n
}

// union returns the frames that are in a or in b. It shares nothing with them.
func union(a, b *Coverage) Coverage {
	var u Coverage
	u.times = slices.Concat(a.times, b.times)
	slices.Sort(u.times)
	u.times = slices.Compact(u.times)
	for _, c := range []*Coverage{a, b} {
		for _, e := range c.epochs {
			at := u.at(e.epoch)
			at.ranges = append(at.ranges, e.ranges...)
		}
	}
	for i := range u.epochs {
		u.epochs[i].ranges = coalesce(u.epochs[i].ranges)
		u.ranges += len(u.epochs[i].ranges)
	}
	return u
}

// coalesce sorts ranges and joins those that overlap or are adjacent, in place.
func coalesce(ranges []telemetry.SeqRange) []telemetry.SeqRange {
	slices.SortFunc(ranges, func(a, b telemetry.SeqRange) int { return cmp.Compare(a.First, b.First) })
	joined := ranges[:0]
	for _, r := range ranges {
		if n := len(joined); n > 0 && r.First <= joined[n-1].Last+1 {
			joined[n-1].Last = max(joined[n-1].Last, r.Last)
		} else {
			joined = append(joined, r)
		}
	}
	return joined
}

func compareEpoch(e epochCoverage, epoch uint64) int { return cmp.Compare(e.epoch, epoch) }

func compareEpochs(a, b epochCoverage) int { return cmp.Compare(a.epoch, b.epoch) }

// merge calls fn for each pair of equal elements of two sorted slices.
func merge[T any](a, b []T, compare func(T, T) int, fn func(x, y *T)) {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch c := compare(a[i], b[j]); {
		case c < 0:
			i++
		case c > 0:
			j++
		default:
			fn(&a[i], &b[j])
			i++
			j++
		}
	}
}
