package buffer

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
)

// rotateFrom begins a new segment, unless another caller did since the one at
// base was the active one. slow is held.
func (b *Buffer) rotateFrom(base Position) error {
	b.mu.Lock()
	if b.active().base != base {
		b.mu.Unlock()
		return nil
	}
	b.sealed = true
	b.mu.Unlock()
	if err := b.commit(nil, false); err != nil {
		b.doubt = err // what is not on the medium may be lost, and will be declared if so
	}
	b.mu.Lock()
	for !b.hasRoom(b.roomWanted()) {
		if b.o.Drop == DropNewest {
			b.full = true
			b.mu.Unlock()
			return nil
		}
		b.mu.Unlock()
		if err := b.dropOldest(); err != nil {
			return err
		}
		b.mu.Lock()
	}
	tail := b.tail
	b.mu.Unlock()
	return b.startSegment(tail)
}

// freshSegment begins a new segment for what cannot wait, even if the buffer is
// full. slow is held.
func (b *Buffer) freshSegment() error {
	b.mu.Lock()
	before := b.active().base
	b.mu.Unlock()
	if err := b.rotateFrom(before); err != nil {
		return err
	}
	b.mu.Lock()
	begun, tail := b.active().base != before, b.tail
	b.mu.Unlock()
	if begun {
		return nil
	}
	if err := b.makeRoom(); err != nil {
		return err
	}
	return b.startSegment(tail)
}

// makeRoom drops the oldest segments until there is room for one more, whatever
// the policy. slow is held.
func (b *Buffer) makeRoom() error {
	for {
		b.mu.Lock()
		enough := len(b.segs) < 2 || b.hasRoom(1)
		b.mu.Unlock()
		if enough {
			return nil
		}
		if err := b.dropOldest(); err != nil {
			return err
		}
	}
}

// roomWanted is how many segments there must be room for to begin one. With
// DropNewest one is spare, so that a full buffer can be recovered.
func (b *Buffer) roomWanted() int64 {
	if b.o.Drop == DropNewest {
		return 2
	}
	return 1
}

// hasRoom reports whether n more segments would keep the bound. mu is held.
func (b *Buffer) hasRoom(n int64) bool {
	seg := b.active()
	used := int64(b.tail - seg.base) // it is truncated first
	return b.size()-seg.size+used+n*b.o.SegmentSize <= b.o.MaxSize
}

// size is the size of all files. mu is held.
func (b *Buffer) size() int64 {
	n := int64(identitySize)
	for _, seg := range b.segs {
		n += seg.size
	}
	return n
}

// startSegment makes the segment at base and makes it the active one. slow is
// held.
func (b *Buffer) startSegment(base Position) (err error) {
	b.mu.Lock()
	wasFrozen := b.frozen
	b.sealed, b.frozen = true, true // no record may come between the heads
	b.retire()
	head := b.encodeHead(base)
	b.mu.Unlock()
	defer func() {
		if err != nil {
			b.mu.Lock()
			b.frozen = wasFrozen
			b.mu.Unlock()
		}
	}()
	if int64(len(head.bytes)) > b.o.SegmentSize/2 {
		return fmt.Errorf("segment size %d is too small for %d sensors", b.o.SegmentSize, len(head.defs))
	}
	if b.file != nil {
		if err := b.truncateActive(base); err != nil {
			return err
		}
	}
	file, err := b.createSegment(base, head.bytes)
	if err != nil {
		return err
	}
	if b.file != nil {
		err := b.file.Close()
		if err != nil {
			b.o.Logger.Warn("buffer segment not closed", slog.Any("error", err))
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.segs); n > 0 {
		b.segs[n-1].end = base
	}
	b.segs = append(b.segs, segment{
		base: base, end: base, head: base + Position(head.size), frames: b.frames, ahead: b.o.ahead(), size: b.o.SegmentSize,
	})
	b.file, b.durable, b.tail = file, base, base+Position(len(head.bytes))
	b.stored = head.freed
	b.repeat = b.nextRepeat()
	b.sealed, b.frozen, b.suspect = false, false, nil
	b.stats.BytesWritten += uint64(len(head.bytes))
	b.adoptHead(head)
	b.unsaid = false
	b.notify()
	return nil
}

// retire forgets what nothing that is not freed needs any more. mu is held.
func (b *Buffer) retire() {
	maps.DeleteFunc(b.boots, func(_ uint64, c *bootClock) bool { return c.until <= b.safe })
	b.order = slices.DeleteFunc(b.order, func(s *sensor) bool {
		gone := !s.own() && s.end <= b.safe && !slices.ContainsFunc(b.carried, func(c carried) bool { return c.sensor == s })
		if gone {
			delete(b.sensors, s.label.sensorKey)
		}
		return gone
	})
}

func (b *Buffer) truncateActive(end Position) error {
	b.mu.Lock()
	base := b.active().base
	b.mu.Unlock()
	if err := b.file.Truncate(int64(end - base)); err != nil {
		return err
	}
	b.mu.Lock()
	b.active().size = int64(end - base)
	b.mu.Unlock()
	return nil
}

// createSegment makes a segment's file: nothing is left of it if that fails.
func (b *Buffer) createSegment(base Position, head []byte) (File, error) {
	name := segmentName(base)
	file, err := b.fs.Create(name)
	if err != nil {
		return nil, err
	}
	err = file.Preallocate(b.o.SegmentSize)
	if err == nil {
		_, err = file.WriteAt(head, 0)
	}
	if err == nil {
		err = b.fs.SyncDir()
	}
	if err != nil {
		return nil, errors.Join(err, file.Close(), b.fs.Remove(name))
	}
	return file, nil
}

// A head is the first bytes of a segment, and what its records say.
type head struct {
	bytes    []byte
	size     int // up to the end of the sensor records
	freed    Position
	defs     []definition
	recorded []uint64 // of each definition's sensor, after the losses
	carried  int
}

// encodeHead builds the head of a segment at base. mu is held.
func (b *Buffer) encodeHead(base Position) *head {
	h := &head{freed: b.freed, carried: len(b.carried)}
	enc := encoder{salt: b.id.salt, base: base, buf: make([]byte, headerSize, pageSize)}
	enc.commit(b.freed, min(b.durable, base), 0)
	for _, s := range b.order {
		h.defs = append(h.defs, definition{s.label, s})
		h.recorded = append(h.recorded, s.next)
	}
	for range 2 {
		for i, d := range h.defs {
			enc.sensor(b.sensorRecord(i, d))
		}
	}
	h.size = len(enc.buf)
	for range 2 {
		enc.clocks(b.boots)
	}
	for i, d := range h.defs {
		for _, l := range d.sensor.pending {
			enc.loss(lossRecord{uint64(i), l.reason, l.seqs})
		}
		if d.sensor.markReason != reasonNone {
			enc.mark(markRecord{uint64(i), reasonNone, d.sensor.marked})
		}
	}
	for _, c := range b.carried {
		for i, d := range h.defs {
			if d.sensor == c.sensor {
				enc.loss(lossRecord{uint64(i), c.reason, c.seqs})
			}
		}
	}
	enc.boot(b.boot, b.o.BootID)
	h.bytes = enc.buf
	hdr := header{
		identity: b.id, base: base, sensors: uint32(len(h.defs)), head: uint32(h.size), frames: b.frames,
		ahead: b.o.ahead(),
	}
	hdr.put(h.bytes)
	return h
}

// adoptHead takes the definitions of h over and what it declared as declared.
func (b *Buffer) adoptHead(h *head) {
	b.defs = h.defs
	b.indexes = make(map[label]uint64, len(h.defs))
	for _, s := range b.order {
		s.known = false
	}
	for i, d := range h.defs {
		b.indexes[d.label] = uint64(i)
		s := d.sensor
		s.declared(h.recorded[i])
		s.markReason = reasonNone
		if s.label == d.label {
			s.index, s.known = uint64(i), true
		}
	}
	for i := range b.carried[:h.carried] {
		b.carried[i].declared(b.tail)
	}
	b.carried = b.carried[h.carried:]
}

// declared takes from what is pending all below next.
func (s *sensor) declared(next uint64) {
	kept := s.pending[:0]
	for _, l := range s.pending {
		if l.seqs.Last >= next {
			l.seqs.First = max(l.seqs.First, next)
			kept = append(kept, l)
		}
	}
	s.pending = kept
}
