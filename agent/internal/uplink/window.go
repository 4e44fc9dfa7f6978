package uplink

import (
	"slices"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// window is what is known of the frames that were read and are not freed, in
// the buffer's order. P is a position in the buffer.
type window[P any] struct {
	entries []entry[P]
	next    int    // the entry that the reader comes to next; those from there on were read before it went back
	origin  uint64 // how many entries were before entries[0]: numbers them for good
}

type entry[P any] struct {
	identity
	after     P
	sent      bool
	receipted bool
}

// identity is what a receipt tells frames apart by.
type identity struct {
	id         string
	epoch, seq uint64
	lost       telemetry.Loss
}

func identityOf(f *telemetry.Frame) identity {
	return identity{f.ID, f.Epoch, f.Seq, f.Lost}
}

func (i identity) coveredBy(r *telemetry.Receipt) bool {
	return r.Covers(&telemetry.Frame{ID: i.id, Sequenced: true, Epoch: i.epoch, Seq: i.seq, Lost: i.lost})
}

// pass records that the reader has read f and is now at after. It returns its
// entry, and whether the frames from there on are others than before, because
// the buffer has dropped some.
func (w *window[P]) pass(f *telemetry.Frame, after P) (e *entry[P], changed bool) {
	id := identityOf(f)
	if w.next < len(w.entries) && w.entries[w.next].identity != id {
		w.entries = slices.Delete(w.entries, w.next, len(w.entries))
		changed = true
	}
	if w.next == len(w.entries) {
		w.entries = append(w.entries, entry[P]{identity: id, after: after})
	}
	e = &w.entries[w.next]
	w.next++
	return e, changed
}

// receipt marks the frames that r covers. It returns how many are marked for
// the first time, and how many of them were to be sent again.
func (w *window[P]) receipt(r *telemetry.Receipt) (marked, late int) {
	for i := range w.entries {
		if e := &w.entries[i]; !e.receipted && e.coveredBy(r) {
			e.receipted = true
			marked++
			if i >= w.next {
				late++
			}
		}
	}
	return marked, late
}

// receiptNumbers marks the frames with the numbers [first, end) that are still
// there, and returns how many for the first time.
func (w *window[P]) receiptNumbers(first, end uint64) (marked int) {
	for n := max(first, w.origin); n < min(end, w.origin+uint64(len(w.entries))); n++ {
		if e := &w.entries[n-w.origin]; !e.receipted {
			e.receipted = true
			marked++
		}
	}
	return marked
}

// receipted reports whether all frames with the numbers [first, end) are.
func (w *window[P]) receipted(first, end uint64) bool {
	for n := max(first, w.origin); n < end; n++ {
		if !w.entries[n-w.origin].receipted {
			return false
		}
	}
	return true
}

// free takes the receipted frames off the front. It returns the position after
// them and whether there were any, and whether the reader is still before it.
func (w *window[P]) free() (after P, freed, overtaken bool) {
	n := 0
	for n < len(w.entries) && w.entries[n].receipted {
		after = w.entries[n].after
		n++
	}
	overtaken = n > w.next
	w.next = max(w.next-n, 0)
	w.origin += uint64(n)
	w.entries = slices.Delete(w.entries, 0, n)
	return after, n > 0, overtaken
}

// markSent records that the frames with the numbers [first, end) were sent.
func (w *window[P]) markSent(first, end uint64) {
	for n := max(first, w.origin); n < end; n++ {
		w.entries[n-w.origin].sent = true
	}
}

// number returns the number of the frame that comes next.
func (w *window[P]) number() uint64 { return w.origin + uint64(w.next) }
