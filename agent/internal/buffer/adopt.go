package buffer

import (
	"errors"
	"fmt"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// adopt takes over all that from, which is a buffer in the memory of this
// process, has and is not freed, under its own identity. Called again it goes on
// where it was. If the process ends before all is here, the rest is declared lost
// at the next Open.
func (b *Buffer) adopt(from *Buffer) error {
	err := b.expect(from)
	r := from.Reader()
	r.raw = true
	for err == nil {
		var f telemetry.Frame
		if _, err = r.Next(&f); err == nil {
			err = b.adoptFrame(&f, &r.head)
		}
	}
	if errors.Is(err, ErrEnd) {
		return nil
	}
	return fmt.Errorf("take over from memory: %w", err)
}

// expect defines the sensors of from and marks, on the medium, up to which number
// their readings may come: so that what a crash takes of them is declared.
func (b *Buffer) expect(from *Buffer) error {
	durable, base, err := b.markExpected(from)
	if errors.Is(err, errNoRoom) {
		if err := b.rotateUnlocked(base); err != nil {
			return err
		}
		durable, _, err = b.markExpected(from)
	}
	if err != nil || durable {
		return err
	}
	return b.Commit()
}

// expectInPlace does so if the active segment takes it: a disk that is full may,
// as that is preallocated.
func (b *Buffer) expectInPlace(from *Buffer) error {
	durable, _, err := b.markExpected(from)
	if err != nil || durable {
		return err
	}
	b.slow.Lock()
	defer b.slow.Unlock()
	return b.commit(nil, false)
}

// markExpected writes the definitions and marks that are missing for from. It
// returns whether all of them are on the medium, and the active segment.
func (b *Buffer) markExpected(from *Buffer) (durable bool, base Position, err error) {
	type expected struct {
		label
		floor, next uint64
	}
	var all []expected
	from.mu.Lock()
	for _, s := range from.order {
		l := s.label
		l.epoch = from.id.epoch
		all = append(all, expected{l, s.floor, s.next})
	}
	from.mu.Unlock()

	b.mu.Lock()
	defer b.mu.Unlock()
	durable, base = true, b.active().base
	for _, e := range all {
		s, err := b.foreignSensor(e.label, e.floor)
		if err != nil {
			return false, base, err
		}
		// As many as since the last time may come before the next.
		ahead := max(b.o.ReserveAhead, 2*(e.next-min(s.committed, e.next)))
		if s.mark >= e.next+ahead/2 {
			continue
		}
		durable = false
		if err := b.moveExpected(s, min(e.next+ahead, telemetry.MaxSeq+1)); err != nil {
			return false, base, err
		}
		s.committed = e.next
	}
	return durable, base, nil
}

// moveExpected writes a mark of a sensor of another buffer. mu is held.
func (b *Buffer) moveExpected(s *sensor, mark uint64) error {
	before := s.marked
	s.marked = max(before, mark)
	err := b.writeMarked(s)
	if err != nil {
		s.marked = before
	}
	return err
}

func (b *Buffer) writeMarked(s *sensor) error {
	if !s.known {
		return b.define(s)
	}
	return b.writeMark(s, reasonNone, s.marked)
}

// foreignSensor returns the sensor, making it if it is new. mu is held.
func (b *Buffer) foreignSensor(l label, next uint64) (*sensor, error) {
	fresh := b.sensors[l.sensorKey] == nil
	s, err := b.sensor(l)
	if err == nil && fresh {
		s.next, s.floor, s.end = next, next, b.tail
	}
	return s, err
}

// adoptFrame takes a reading or a loss over.
func (b *Buffer) adoptFrame(f *telemetry.Frame, head *frameHead) error {
	r := reading{Frame: f}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !f.IsLoss() && head.boot != 0 {
		// Both buffers are of one boot of the machine.
		r.boot, r.stamp = b.boot, head.timestamp
	}
	seqs := r.seqs()
	s, err := b.foreignSensor(label{sensorKey{f.Epoch, f.ID}, f.Name, f.PlaceID}, seqs.First)
	if err != nil {
		return err
	}
	if seqs.Last < s.next {
		return nil // it is here
	}
	if err := b.append(s, &r); err != nil {
		return err
	}
	s.next = seqs.Last + 1
	return nil
}

// received notes, when no more readings with that epoch will come, that what is
// missing of them up to the marks was freed where it was, or never taken.
func (b *Buffer) received(epoch uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.order {
		if s.label.epoch != epoch || s.next >= s.marked || !s.known {
			continue
		}
		b.enc.reset(b.tail)
		b.enc.loss(lossRecord{s.index, reasonReceived, telemetry.SeqRange{First: s.next, Last: s.marked - 1}})
		if err := b.write(b.o.SegmentSize); err != nil && !errors.Is(err, errNoRoom) {
			return err
		} else if err == nil {
			s.next = s.marked
		}
	}
	return nil
}
