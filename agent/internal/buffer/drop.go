package buffer

import (
	"errors"
	"log/slog"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// carried is a loss whose record goes with the oldest segment, or which that
// segment's going makes.
type carried struct {
	sensor *sensor
	loss
}

// dropped is the range of a sensor's readings that went with dropped segments,
// as last declared. It grows from drop to drop while nobody frees it, so the
// declarations of a buffer that is full for years do not pile up.
type dropped struct {
	seqs telemetry.SeqRange
	at   Position // behind the declaration; 0 is none yet
}

// add makes the range longer, or starts another if it cannot.
func (d *dropped) add(seqs telemetry.SeqRange, freed Position) {
	if d.at > freed && d.seqs.Last+1 == seqs.First {
		d.seqs.Last = seqs.Last
		return
	}
	d.seqs = seqs
}

// covers reports whether the declaration, if it is behind end, says all that
// seqs says.
func (d *dropped) covers(seqs telemetry.SeqRange, end Position) bool {
	return d.at > end && d.seqs.First <= seqs.First && seqs.Last <= d.seqs.Last
}

// declared notes that the log says c before position at.
func (c *carried) declared(at Position) {
	c.sensor.end = max(c.sensor.end, at)
	if d := &c.sensor.dropped; c.reason == reasonBufferFull && c.seqs == d.seqs {
		d.at = at
	}
}

// dropOldest removes the oldest segment. The loss of what was not freed in it
// is on the medium first, if the medium takes it. slow is held.
func (b *Buffer) dropOldest() error {
	b.mu.Lock()
	if len(b.segs) < 2 {
		b.mu.Unlock()
		return errors.New("no segment to drop")
	}
	victim, end := b.segs[0], b.segs[1].head
	b.mu.Unlock()

	lost, err := b.unfreed(end)
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.carried = append(b.carried, lost...)
	written := b.declareCarried()
	b.mu.Unlock()
	if written == nil {
		if err := b.commit(nil, false); err != nil {
			return err
		}
	}
	b.mu.Lock()
	b.freed = max(b.freed, end)
	b.mu.Unlock()
	if written == nil {
		err = b.commit(nil, false)
	} else {
		// The next head declares them; the bound comes first.
		b.mu.Lock()
		b.safe = b.freed
		b.mu.Unlock()
		err = b.removeFreed()
	}
	b.o.Logger.Warn("buffer full, oldest segment dropped", slog.String("segment", segmentName(victim.base)))
	return err
}

// unfreed returns, as losses, all that is not freed before end.
func (b *Buffer) unfreed(end Position) ([]carried, error) {
	ranges := map[*sensor]telemetry.SeqRange{}
	var lost []carried
	freed := b.freedPosition()
	r := b.Reader()
	r.raw = true
	for {
		var f telemetry.Frame
		p, err := r.Next(&f)
		if err != nil && !errors.Is(err, ErrEnd) {
			return nil, err
		}
		if err != nil || p > end {
			break
		}
		b.mu.Lock()
		s := b.sensors[b.keyOf(&f)]
		b.mu.Unlock()
		if s == nil {
			continue
		}
		seqs := telemetry.SeqRange{First: f.Seq, Last: f.Seq}
		if f.IsLoss() {
			seqs = f.Lost.Seqs
			if why := reasonOf(f.Lost.Reason); why != reasonCorrupt {
				if why != reasonBufferFull || !s.dropped.covers(seqs, end) {
					lost = append(lost, carried{s, loss{seqs, why}})
				}
				continue
			}
		}
		if have, ok := ranges[s]; ok {
			seqs.First, seqs.Last = min(seqs.First, have.First), max(seqs.Last, have.Last)
		}
		ranges[s] = seqs
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.order {
		if seqs, ok := ranges[s]; ok {
			s.dropped.add(seqs, freed)
			lost = append(lost, carried{s, loss{s.dropped.seqs, reasonBufferFull}})
			b.stats.lost[reasonBufferFull] += seqs.Len()
		}
	}
	return lost, nil
}

// declareCarried records the carried losses in the active segment.
func (b *Buffer) declareCarried() error {
	if b.frozen {
		return errNoRoom
	}
	b.enc.reset(b.tail)
	for _, c := range b.carried {
		if !c.sensor.known {
			return errNoRoom
		}
		b.enc.loss(lossRecord{c.sensor.index, c.reason, c.seqs})
	}
	if len(b.enc.buf) == 0 {
		return nil
	}
	if err := b.write(b.o.SegmentSize); err != nil {
		return err
	}
	for _, c := range b.carried {
		c.declared(b.tail)
	}
	b.carried = nil
	b.notify()
	return nil
}

// keyOf returns what the frame that a Reader returned is numbered by.
func (b *Buffer) keyOf(f *telemetry.Frame) sensorKey {
	if f.Epoch == b.id.epoch {
		return sensorKey{id: f.ID}
	}
	return sensorKey{f.Epoch, f.ID}
}

func (b *Buffer) freedPosition() Position {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.freed
}

func reasonOf(name string) reason {
	for r, n := range reasonNames {
		if n == name {
			return reason(r)
		}
	}
	return reasonCorrupt
}
