package buffer

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// maxPadding is what a commit may waste of a page.
const maxPadding = pageSize / 4

// Commit makes all that was appended and freed before durable, and removes the
// segments that are done with. Appends go on meanwhile. After an error, what
// was appended since the last commit is in doubt, and is declared lost if the
// next power cut takes it; the buffer goes on in a new segment as soon as the
// disk lets it.
func (b *Buffer) Commit() error {
	b.slow.Lock()
	defer b.slow.Unlock()
	b.mu.Lock()
	closed := b.closed
	b.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if err := errors.Join(b.settleClocks(), b.commitSomewhere(false)); err != nil {
		return fmt.Errorf("commit buffer: %w", err)
	}
	return nil
}

// probeName is a file that is written to see whether the disk works.
const probeName = "probe"

// resume commits in a new segment, if the disk works again.
func (b *Buffer) resume() error {
	b.slow.Lock()
	defer b.slow.Unlock()
	b.mu.Lock()
	base, frozen := b.active().base, b.frozen
	b.mu.Unlock()
	if !frozen {
		// What fills the disk may be segments that are freed. If it fails, so
		// does the probe.
		_ = b.commit(nil, false)
	}
	if err := b.probe(); err != nil {
		return fmt.Errorf("probe the disk: %w", err)
	}
	err := b.rotateFrom(base)
	if err == nil {
		err = b.commit(nil, false)
	}
	b.doubt = nil // it was reported when it was new
	if err != nil {
		return fmt.Errorf("commit buffer: %w", err)
	}
	return nil
}

// rotateUnlocked is rotateFrom for one who holds no lock.
func (b *Buffer) rotateUnlocked(base Position) error {
	b.slow.Lock()
	defer b.slow.Unlock()
	return b.rotateFrom(base)
}

// probe has the medium take a page, in a file that is removed again: a failing
// disk must not be left with a segment of each attempt.
func (b *Buffer) probe() error {
	f, err := b.fs.Create(probeName)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, pageSize), 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), b.fs.Remove(probeName))
}

// commitSomewhere commits, in a new segment if the active one takes no more.
// slow is held.
func (b *Buffer) commitSomewhere(closing bool) error {
	b.mu.Lock()
	active := b.active().base
	renew := !b.full && (b.frozen || b.crowded())
	b.mu.Unlock()
	var err error
	if renew {
		err = b.rotateFrom(active)
	}
	if err == nil {
		err = b.commit(nil, closing)
	}
	err = errors.Join(b.doubt, err)
	b.doubt = nil
	return err
}

// crowded reports whether the active segment may be too full for what a commit,
// a close and an opening write.
func (b *Buffer) crowded() bool {
	need := int64(128 + maxBootID + 64*len(b.order))
	return int64(b.tail-b.active().base)+need > b.o.SegmentSize
}

// commit writes marks, losses and a commit record, or a close record, and
// waits for the medium. forced is a sensor whose mark must move on. slow is
// held.
func (b *Buffer) commit(forced *sensor, closing bool) error {
	b.mu.Lock()
	err := b.writeCommit(forced, closing)
	file, from, to, freed := b.file, b.durable, b.tail, b.stored
	base := b.active().base
	err = errors.Join(err, b.suspect)
	for _, s := range b.order {
		s.syncing = s.marked
		if s.own() {
			s.committed = s.next
		}
	}
	b.mu.Unlock()

	if from < to && b.suspect == nil {
		serr := file.Sync()
		b.mu.Lock()
		b.stats.Syncs++
		if serr != nil {
			b.sealed, b.frozen, b.suspect = true, true, serr
			err = errors.Join(err, serr)
		} else {
			b.stats.BytesSynced += (uint64((to-base-1)/pageSize-(from-base)/pageSize) + 1) * pageSize
			b.durable, b.safe = to, freed
			b.showClocks()
			for _, s := range b.order {
				s.mark = s.syncing
			}
		}
		b.mu.Unlock()
	}
	return errors.Join(err, b.removeFreed())
}

// writeCommit writes what a commit makes durable beside the frames. That there
// is no room for it, in a full buffer, is no error: the next segment's head says
// the same.
func (b *Buffer) writeCommit(forced *sensor, closing bool) error {
	err := func() error {
		for _, s := range b.order {
			if len(s.pending) > 0 && s.known && !b.full {
				if err := b.declare(s); err != nil {
					return err
				}
			}
			if mark, move := b.nextMark(s, s == forced); move {
				if err := b.writeMark(s, reasonNone, mark); err != nil {
					return err
				}
				s.marked = mark
			}
		}
		if !closing && b.tail == b.durable && b.freed == b.stored {
			return nil
		}
		b.enc.reset(b.tail)
		b.enc.commit(b.freed, b.durable, 0)
		if padding := b.padding(); padding > 0 && !closing {
			b.enc.reset(b.tail)
			b.enc.commit(b.freed, b.durable, padding)
		}
		if err := b.write(b.o.SegmentSize); err != nil {
			return err
		}
		b.stored = b.freed
		if closing {
			return b.writeClose()
		}
		return nil
	}()
	if errors.Is(err, errNoRoom) {
		return nil
	}
	return err
}

// padding returns how much would fill the page in which a commit with the
// records in enc ends, if that page's rest is small, and too small for another
// commit like this one: the medium writes whole pages, and would write this one
// again with the next commit.
func (b *Buffer) padding() int {
	base := b.active().base
	end := int64(b.tail-base) + int64(len(b.enc.buf))
	rest := (pageSize - end%pageSize) % pageSize
	if rest > maxPadding || rest >= end-int64(b.durable-base) || end+rest > b.frameLimit() {
		return 0
	}
	return int(rest)
}

// nextMark returns the mark that s should have, and whether it is time to
// write it.
func (b *Buffer) nextMark(s *sensor, forced bool) (uint64, bool) {
	if !s.own() || !s.known || s.markReason != reasonNone || s.next == s.committed && !forced {
		return 0, false
	}
	ahead := min(max(b.o.ReserveAhead, 2*(s.next-s.committed)), MaxReserveAhead)
	return min(s.next+ahead, telemetry.MaxSeq+1), s.marked < s.next+(ahead+1)/2
}

// writeClose records the exact next numbers and the losses still pending.
func (b *Buffer) writeClose() error {
	for _, s := range b.order {
		if len(s.pending) > 0 && s.known {
			if err := b.declare(s); err != nil {
				return err
			}
		}
	}
	const perRecord = 256
	for from := 0; from < len(b.defs); from += perRecord {
		part := b.defs[from:min(from+perRecord, len(b.defs))]
		b.enc.reset(b.tail)
		b.enc.begin(typeClose)
		b.enc.uvarint(uint64(len(part)))
		for i, d := range part {
			b.enc.uvarint(uint64(from + i))
			b.enc.uvarint(d.sensor.next)
		}
		b.enc.end()
		if err := b.write(b.o.SegmentSize); err != nil {
			return err
		}
	}
	return nil
}

// reserve moves the mark of s on. slow is held.
func (b *Buffer) reserve(s *sensor) error {
	b.mu.Lock()
	enough := s.next < s.mark
	b.mu.Unlock()
	if enough {
		return nil
	}
	if err := b.commit(s, false); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.next >= s.mark {
		b.sealed = true // there was no room for the mark
	}
	return nil
}

// removeFreed removes the segments of which nothing is needed any more. slow
// is held.
func (b *Buffer) removeFreed() error {
	b.mu.Lock()
	n := 0
	for n < len(b.segs)-1 && b.segs[n+1].head <= b.safe {
		n++
	}
	gone := b.segs[:n:n]
	b.segs = b.segs[n:]
	oldest := b.segs[0]
	b.mu.Unlock()
	if n == 0 {
		return nil
	}
	for i, seg := range gone {
		if err := b.fs.Remove(segmentName(seg.base)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.mu.Lock()
			b.segs = append(append([]segment{}, gone[i:]...), b.segs...)
			b.mu.Unlock()
			return err
		}
	}
	floors := b.readFloors(oldest)
	b.mu.Lock()
	b.full = b.full && !b.hasRoom(b.roomWanted())
	for key, next := range floors {
		if s := b.sensors[key]; s != nil {
			s.floor = next
		}
	}
	b.mu.Unlock()
	b.o.Logger.Debug("buffer segments removed", slog.Int("segments", n))
	return b.fs.SyncDir()
}

// readFloors returns each sensor's next number at the head of seg.
func (b *Buffer) readFloors(seg segment) map[sensorKey]uint64 {
	floors := map[sensorKey]uint64{}
	scan := b.scanner()
	for scan.start(seg.base, seg.head); ; {
		rec, err := scan.next()
		if err != nil {
			return floors
		}
		if r, ok := decodeSensor(rec.payload); ok && rec.typ == typeSensor {
			floors[r.sensorKey] = r.next
		}
	}
}

func (b *Buffer) scanner() scanner {
	return scanner{fs: b.fs, salt: b.id.salt, open: b.openFile}
}

// openFile returns the file of the segment at base if it is the active one's.
func (b *Buffer) openFile(base Position) File {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.file == nil || b.active().base != base {
		return nil
	}
	return b.file
}
