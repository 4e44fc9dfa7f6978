package buffer

import (
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Stats is a buffer's state and what it did since it was opened.
type Stats struct {
	Frames   uint64 // readings not freed
	Bytes    int64  // of all files, preallocation included
	Segments int
	Used     int64 // bytes of the records not freed
	Capacity int64 // how many such bytes have room at least before Options.Drop decides
	Oldest   int64 // timestamp of the first reading not freed, Unix milliseconds; 0: none, or not known yet

	Appended uint64            // readings
	Refused  uint64            // readings that Append did not take
	Lost     map[string]uint64 // readings declared lost, by reason

	MemoryFrames uint64            // of Frames, those in memory, as the disk fails
	Fault        string            // why readings go to memory, see DiskFault; "": they do not
	Failovers    map[string]uint64 // how often they began to, by that reason

	BytesWritten uint64 // handed to the file system
	BytesSynced  uint64 // of whole pages, that commits made the medium write
	Syncs        uint64
}

// counters is what Stats says of the time since Open.
type counters struct {
	Appended, Refused                uint64
	BytesWritten, BytesSynced, Syncs uint64

	lost      [len(reasonNames)]uint64
	derivedAt Position // losses that damage shows are counted up to here
}

// derived counts a loss that the record at p showed, once.
func (b *Buffer) derived(n uint64, p Position, why reason) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p >= b.stats.derivedAt {
		b.stats.derivedAt = p + 1
		b.stats.lost[why] += n
	}
}

// counted is how many frame records there are before a position.
type counted struct {
	at     Position
	frames uint64
}

// Stats returns the buffer's state. It reads what was freed since it was last
// called, in the segment of the cursor.
func (b *Buffer) Stats() Stats {
	b.mu.Lock()
	s := Stats{
		Bytes:    b.size(),
		Segments: len(b.segs),
		Used:     int64(b.tail - min(max(b.freed, b.segs[0].base), b.tail)),
		// When it is full, a segment may be freed in part, and roomWanted more do
		// not fit.
		Capacity:     b.o.MaxSize - (b.roomWanted()+1)*b.o.SegmentSize,
		Appended:     b.stats.Appended,
		Refused:      b.stats.Refused,
		Lost:         make(map[string]uint64, len(reasonNames)-1),
		BytesWritten: b.stats.BytesWritten,
		BytesSynced:  b.stats.BytesSynced,
		Syncs:        b.stats.Syncs,
	}
	for r, name := range reasonNames[1:] {
		s.Lost[name] = b.stats.lost[r+1]
	}
	frames, freed, known := b.frames, b.freed, b.counted
	segs := append([]segment{}, b.segs...)
	segs[len(segs)-1].end = b.tail
	b.mu.Unlock()

	before, oldest := b.count(segs, freed, known)
	s.Frames, s.Oldest = frames-min(before.frames, frames), oldest
	b.mu.Lock()
	b.counted = before
	b.mu.Unlock()
	return s
}

// count returns how many frames there are before freed, and the timestamp of
// the first one behind. known is an earlier result.
func (b *Buffer) count(segs []segment, freed Position, known counted) (before counted, oldest int64) {
	for i, seg := range segs {
		if freed >= seg.end && i < len(segs)-1 {
			continue
		}
		scan := b.scanner()
		scan.start(seg.base, seg.end)
		before = counted{scan.pos, seg.frames}
		if seg.base < known.at && known.at <= freed && known.at <= seg.end {
			before, scan.pos = known, known.at
		}
		for {
			rec, err := scan.next()
			if err != nil {
				break
			}
			if rec.end() <= freed {
				before.at = rec.end()
			}
			if rec.typ != typeFrame {
				continue
			}
			if rec.end() <= freed {
				before.frames++
				continue
			}
			var f telemetry.Frame
			h, ok := decodeFrame(rec.payload, &f, func([]byte) string { return "" })
			if !ok {
				continue
			}
			if h.boot != 0 && !b.repair(&f, &h, rec.end()) {
				return before, 0
			}
			return before, f.Timestamp
		}
	}
	return before, 0
}
