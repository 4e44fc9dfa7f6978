package missing

import (
	"cmp"
	"slices"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// run is a range of sequence numbers with what is known of their time, Unix
// milliseconds: all were sampled from least to greatest, the first at from or
// before, and the last at to or after.
type run struct {
	telemetry.SeqRange
	least, greatest int64
	from, to        int64
}

// set is a set of sequence numbers as runs, ascending, neither overlapping nor
// adjacent.
type set []run

// from returns the index of the first run that does not end before seq.
func (s set) from(seq uint64) int {
	// Most come in order.
	if n := len(s); n == 0 || s[n-1].Last < seq {
		return n
	}
	i, _ := slices.BinarySearchFunc(s, seq, func(r run, seq uint64) int { return cmp.Compare(r.Last, seq) })
	return i
}

// add puts r in.
func (s *set) add(r run) {
	i := s.from(max(r.First, 1) - 1) // adjacent is near enough
	j := i
	for ; j < len(*s) && (*s)[j].First <= r.Last+1; j++ {
		e := &(*s)[j]
		r.least, r.greatest = min(r.least, e.least), max(r.greatest, e.greatest)
		if e.First < r.First {
			r.First, r.from = e.First, e.from
		}
		if e.Last > r.Last {
			r.Last, r.to = e.Last, e.to
		}
	}
	if j == i+1 {
		(*s)[i] = r
		return
	}
	*s = slices.Replace(*s, i, j, r)
}

// remove takes a range out.
func (s *set) remove(out telemetry.SeqRange) {
	i := s.from(out.First)
	j := i
	var rest []run
	for ; j < len(*s) && (*s)[j].First <= out.Last; j++ {
		if e := (*s)[j]; e.First < out.First {
			e.Last = out.First - 1
			rest = append(rest, e)
		}
		if e := (*s)[j]; e.Last > out.Last {
			e.First = out.Last + 1
			rest = append(rest, e)
		}
	}
	*s = slices.Replace(*s, i, j, rest...)
}

// has reports whether seq is in the set.
func (s set) has(seq uint64) bool {
	i := s.from(seq)
	return i < len(s) && s[i].First <= seq
}

// within returns what of the set is in a range.
func (s set) within(r telemetry.SeqRange) set {
	var found set
	for i := s.from(r.First); i < len(s) && s[i].First <= r.Last; i++ {
		part := s[i]
		part.First, part.Last = max(r.First, part.First), min(r.Last, part.Last)
		found = append(found, part)
	}
	return found
}

// gaps returns what is between the runs, taken between the end of the one and
// the beginning of the next.
func (s set) gaps() set {
	var gaps set
	for i := 1; i < len(s); i++ {
		a, b := &s[i-1], &s[i]
		gaps = append(gaps, run{
			SeqRange: telemetry.SeqRange{First: a.Last + 1, Last: b.First - 1},
			least:    min(a.to, b.from), greatest: max(a.to, b.from),
		})
	}
	return gaps
}
