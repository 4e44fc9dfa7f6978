package buffer

import (
	"errors"
	"fmt"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// The sensor records are repeated after this much, or as much as the segment
// has by then, so that damage to one page takes no others with it.
const minRepeat, maxRepeat = 8 << 10, 64 << 10

// errNoRoom says that the active segment takes no more of such records.
var errNoRoom = errors.New("segment is full")

func checkFrame(f *telemetry.Frame) error {
	switch {
	case f.ID == "":
		return fmt.Errorf("%w: it has no id", ErrFrame)
	case f.IsLoss():
		return fmt.Errorf("%w: it declares a loss", ErrFrame)
	case len(f.ID)+len(f.Name)+len(f.PlaceID) > maxString:
		return fmt.Errorf("%w: id, name and place_id are longer than %d bytes", ErrFrame, maxString)
	}
	if f.Clock != telemetry.ClockSynced && f.Clock != telemetry.ClockUnsynced {
		return fmt.Errorf("%w: its clock is %q", ErrFrame, f.Clock)
	}
	for m, fault := range f.Faults {
		if len(fault) > maxFault {
			return fmt.Errorf("%w: the fault of %v is longer than %d bytes", ErrFrame, telemetry.Measure(m), maxFault)
		}
	}
	return nil
}

// Append stores a reading and sets f.Epoch, f.Seq and f.Sequenced. On return
// it is in the page cache: it survives the process, and after Commit the
// machine. The strings of f are kept.
//
// If the reading was not stored, f is unchanged. If the buffer is full the error
// is ErrDropped: the sequence number is used up, and its loss will be declared. If
// the error wraps the disk's, nothing is used up, unless the disk failed in the
// middle of the reading itself: then its number must not name another, and is
// declared lost. ErrFrame and ErrClosed use up nothing.
func (b *Buffer) Append(f *telemetry.Frame) error {
	return b.put(&reading{Frame: f})
}

// put stores a reading of this buffer's own.
func (b *Buffer) put(r *reading) error {
	f := r.Frame
	if err := checkFrame(f); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s, err := b.sensor(label{sensorKey{id: f.ID}, f.Name, f.PlaceID})
	if err != nil {
		return err
	}
	if err := b.append(s, r); err != nil {
		return err
	}
	f.Epoch, f.Seq, f.Sequenced = b.id.epoch, s.next, true
	s.next++
	b.stats.Appended++
	return nil
}

// sensor returns the sensor with that label, making it if it is new.
func (b *Buffer) sensor(l label) (*sensor, error) {
	s := b.sensors[l.sensorKey]
	if s != nil && s.label == l {
		return s, nil
	}
	if b.headSize()+labelSize(l) > b.o.SegmentSize/4 {
		return nil, fmt.Errorf("%w: the names of all sensors do not fit into a segment of %d bytes", ErrFrame, b.o.SegmentSize)
	}
	if s == nil {
		s = &sensor{}
		b.sensors[l.sensorKey] = s
		b.order = append(b.order, s)
	}
	s.label = l
	s.index, s.known = b.indexes[l]
	return s, nil
}

// labelSize bounds the bytes that a sensor takes in a head.
func labelSize(l label) int64 {
	return int64(2 * (len(l.id) + len(l.name) + len(l.placeID) + 64))
}

// headSize bounds the size of the next segment's head.
func (b *Buffer) headSize() int64 {
	n := int64(headerSize + 2*clockSize*len(b.boots))
	for _, s := range b.order {
		n += labelSize(s.label)
	}
	return n
}

// append writes the reading's record, after what has to be done before.
func (b *Buffer) append(s *sensor, r *reading) error {
	for {
		if b.closed {
			return ErrClosed
		}
		if s.next > telemetry.MaxSeq {
			return fmt.Errorf("%w: the sensor's sequence numbers are used up", ErrFrame)
		}
		if b.full {
			if s.own() {
				b.refuse(s, reasonBufferFull)
			}
			return ErrDropped
		}
		var err error
		written, torn := false, false
		switch {
		case b.sealed:
			active := b.active().base
			err = b.waiting(func() error { return b.rotateFrom(active) })
		case !s.known:
			err = b.define(s)
		case len(s.pending) > 0 || s.markReason != reasonNone:
			err = b.declare(s)
		case s.own() && s.next >= s.mark:
			err = b.waiting(func() error { return b.reserve(s) })
		case b.tail >= b.repeat:
			err = b.repeatDefinitions()
		default:
			b.enc.reset(b.tail)
			b.encode(s, r)
			err = b.write(b.frameLimit())
			written, torn = err == nil, err != nil
		}
		switch {
		case written:
			b.wrote(s, r)
			return nil
		case errors.Is(err, errNoRoom):
			b.sealed = true
		case err != nil:
			if torn && s.own() {
				b.refuse(s, reasonDiskError)
			}
			return fmt.Errorf("append to buffer: %w", err)
		}
	}
}

// encode adds the record of r, which is a loss only if it is another buffer's.
func (b *Buffer) encode(s *sensor, r *reading) {
	if s.own() {
		b.enc.frame(s.index, r, s.next)
		return
	}
	if first := r.seqs().First; first > s.next {
		b.enc.loss(lossRecord{s.index, reasonReceived, telemetry.SeqRange{First: s.next, Last: first - 1}})
	}
	if r.IsLoss() {
		b.enc.loss(lossRecord{s.index, reasonOf(r.Lost.Reason), r.Lost.Seqs})
	} else {
		b.enc.frame(s.index, r, r.Seq)
	}
}

// wrote notes that the record of r ends at the tail.
func (b *Buffer) wrote(s *sensor, r *reading) {
	s.end = b.tail
	if !r.IsLoss() {
		b.frames++
	}
	if r.boot != 0 {
		b.noteClock(clockRecord{boot: r.boot, last: r.stamp}, b.tail)
	}
	b.notify()
}

// waiting calls fn, which waits for the medium, without mu.
func (b *Buffer) waiting(fn func() error) error {
	b.mu.Unlock()
	defer b.mu.Lock()
	b.slow.Lock()
	defer b.slow.Unlock()
	return fn()
}

// refuse uses up a sequence number for a reading that is not stored.
func (b *Buffer) refuse(s *sensor, why reason) {
	s.lose(telemetry.SeqRange{First: s.next, Last: s.next}, why)
	s.next++
	b.stats.Refused++
	b.stats.lost[why]++
	if why != reasonBufferFull || s.markReason == why && s.next <= s.marked {
		return
	}
	// The loss is recorded when there is room. Until then a mark stands for
	// it; if even that cannot be written, a crash forgets these refusals.
	if !s.known && b.define(s) != nil {
		return
	}
	ahead := min(max(b.o.ReserveAhead, 2*(s.next-s.recorded())), MaxReserveAhead)
	if mark := max(s.marked, min(s.next+ahead, telemetry.MaxSeq+1)); b.writeMark(s, why, mark) == nil {
		s.marked, s.markReason = mark, why
	}
}

func (b *Buffer) active() *segment { return &b.segs[len(b.segs)-1] }

// frameLimit is how far frames may fill a segment; the rest is kept for what
// must be said when they do.
func (b *Buffer) frameLimit() int64 { return b.o.SegmentSize - b.o.SegmentSize/16 }

// write appends what enc holds to the active segment, unless it would pass
// limit.
func (b *Buffer) write(limit int64) error {
	seg := b.active()
	off := int64(b.tail - seg.base)
	if b.frozen || off+int64(len(b.enc.buf)) > limit {
		return errNoRoom
	}
	n, err := b.file.WriteAt(b.enc.buf, off)
	b.stats.BytesWritten += uint64(n)
	if err != nil {
		b.sealed, b.frozen = true, true
		return err
	}
	b.tail += Position(n)
	seg.size = max(seg.size, off+int64(n))
	return nil
}

func (b *Buffer) sensorRecord(index int, d definition) *sensorRecord {
	return &sensorRecord{
		index: uint64(index), label: d.label,
		next: d.sensor.recorded(), mark: d.sensor.marked, floor: d.sensor.floor,
	}
}

// define writes the sensor record for a label that is new to the segment.
func (b *Buffer) define(s *sensor) error {
	if len(b.defs) == maxSensors {
		return errNoRoom
	}
	b.enc.reset(b.tail)
	d := definition{s.label, s}
	for range 2 {
		b.enc.sensor(b.sensorRecord(len(b.defs), d))
	}
	if err := b.write(b.o.SegmentSize); err != nil {
		return err
	}
	s.index, s.known = uint64(len(b.defs)), true
	b.indexes[s.label] = s.index
	b.defs = append(b.defs, d)
	b.repeat = min(b.repeat, b.tail+minRepeat)
	return nil
}

func (b *Buffer) repeatDefinitions() error {
	b.enc.reset(b.tail)
	for i, d := range b.defs {
		b.enc.sensor(b.sensorRecord(i, d))
	}
	b.enc.clocks(b.boots)
	if err := b.write(b.frameLimit()); err != nil {
		return err
	}
	b.repeat = b.nextRepeat()
	return nil
}

// nextRepeat is where the sensor records are due next, if all were just
// written.
func (b *Buffer) nextRepeat() Position {
	return b.tail + min(max(b.tail-b.active().base, minRepeat), maxRepeat)
}

// declare records the pending losses of s, and that readings are accepted
// again.
func (b *Buffer) declare(s *sensor) error {
	b.enc.reset(b.tail)
	for _, l := range s.pending {
		b.enc.loss(lossRecord{s.index, l.reason, l.seqs})
	}
	if s.markReason != reasonNone {
		b.enc.mark(markRecord{s.index, reasonNone, s.marked})
	}
	if err := b.write(b.o.SegmentSize); err != nil {
		return err
	}
	s.pending, s.markReason = s.pending[:0], reasonNone
	b.notify()
	return nil
}

func (b *Buffer) writeMark(s *sensor, why reason, mark uint64) error {
	b.enc.reset(b.tail)
	b.enc.mark(markRecord{s.index, why, mark})
	return b.write(b.o.SegmentSize)
}
