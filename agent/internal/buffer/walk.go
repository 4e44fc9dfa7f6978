package buffer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
)

// Damage is a stretch of bytes that do not verify, or are not there.
type Damage struct {
	Segment  string   `json:"segment"`
	Position Position `json:"position"`
	Bytes    int64    `json:"bytes"`
	// What they are, in words: "bytes do not verify", say.
	What string `json:"what"`
}

// The words of Damage.What.
const (
	damagedBytes  = "bytes do not verify"
	damagedHeader = "bytes of the segment's header do not verify"
	missingBytes  = "bytes are missing: the segment's file is too short, or the next one's is gone"
)

// A visitor is shown all that is on the medium, in order. What a method returns ends
// the walk.
type visitor struct {
	segment func(*segment) error
	record  func(*record) error
	damage  func(Damage) error
}

// walk shows v every record of every segment, freed or not, and what does not
// verify. Bytes behind the last record of the newest segment are no damage: they may
// be a record that is being written.
func (i *Inspection) walk(ctx context.Context, v visitor) error {
	segs := slices.Clone(i.b.segs)
	for k := range segs {
		w := walker{i: i, v: v, seg: &segs[k], last: k == len(segs)-1}
		if !w.last {
			w.next = segs[k+1].base
		}
		err := ctx.Err()
		if err == nil {
			err = w.walk()
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was freed and removed meanwhile
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// walker walks over one segment.
type walker struct {
	i    *Inspection
	v    visitor
	seg  *segment
	last bool
	next Position // where the next segment begins
	pos  Position // behind what was shown
}

func (w *walker) walk() error {
	if w.v.segment != nil {
		if err := w.v.segment(w.seg); err != nil {
			return err
		}
	}
	w.pos = w.seg.base + headerSize
	if _, whole := w.i.headers[w.seg.base]; !whole {
		w.pos = w.seg.base
	}
	if w.last {
		w.seg.end = w.i.b.tail
	}
	scan := w.i.b.scanner()
	for scan.start(w.seg.base, w.seg.end); ; {
		rec, err := scan.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s at %d: %w", segmentName(w.seg.base), scan.pos, err)
		}
		if err := w.damagedTo(rec.pos); err != nil {
			return err
		}
		w.pos = rec.end()
		if err := w.v.record(&rec); err != nil {
			return err
		}
	}
	if w.last {
		return nil
	}
	if err := w.damagedTo(w.seg.end); err != nil || w.seg.end >= w.next {
		return err
	}
	return w.damaged(w.seg.end, w.next, missingBytes)
}

// damagedTo shows what is between the last record and end.
func (w *walker) damagedTo(end Position) error {
	if first := w.seg.base + headerSize; w.pos < first && end > w.pos {
		if err := w.damaged(w.pos, min(first, end), damagedHeader); err != nil {
			return err
		}
		w.pos = first
	}
	if w.pos >= end {
		return nil
	}
	return w.damaged(w.pos, end, damagedBytes)
}

func (w *walker) damaged(from, to Position, what string) error {
	if w.v.damage == nil {
		return nil
	}
	return w.v.damage(Damage{segmentName(w.seg.base), from, int64(to - from), what})
}
