package buffer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// ErrNoBuffer says that there is no buffer in a folder, or that neither its
// identity nor a segment's header can be read.
var ErrNoBuffer = errors.New("buffer: none is here")

// errChanged says that the buffer was changed while it was looked at.
var errChanged = errors.New("buffer: changes too fast to be looked at")

// attempts is how often Inspect looks at a folder that changes meanwhile.
const attempts = 100

// An Inspection is a look at a buffer that changes nothing, takes no lock and
// needs no right to write. Another process may have the buffer open: what is
// appended after Inspect is not seen, and what is freed and removed meanwhile is
// passed over. One goroutine uses it at a time; it needs no Close.
type Inspection struct {
	b        *Buffer // as the last run left it; never written
	fs       *readOnlyFS
	found    *recovery
	headers  map[Position]header
	size     int64 // of all files
	restored bool  // the identity is damaged; it was taken from a segment
	torn     int64 // bytes behind the last record of the newest segment
}

// Inspect looks at the buffer in o.Dir, or o.FS. Of o only these and BootID, the
// boot in which the agent would open the buffer, count. The error is ErrNoBuffer,
// ErrNewerFormat, or wraps the disk's.
func Inspect(o Options) (*Inspection, error) {
	var from folder = o.FS
	if o.FS == nil {
		from = osReadDir(o.Dir)
	}
	i, err := inspect(from, o.BootID)
	if err != nil {
		return nil, fmt.Errorf("inspect buffer %s: %w", o.Dir, err)
	}
	return i, nil
}

func inspect(from folder, boot string) (*Inspection, error) {
	var torn Position
	for range attempts {
		i, err := snapshot(from, boot)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNoFolder):
			continue // a segment was removed
		case errors.Is(err, errChanged):
			continue
		case err != nil:
			return nil, err
		case i.torn > 0 && i.b.tail != torn:
			torn = i.b.tail // perhaps it is being written just now
			continue
		}
		i.fs.vanished = i.vanished
		return i, nil
	}
	return nil, errChanged
}

// errNoFolder is the kind of an error of listing the folder.
var errNoFolder = errors.New("folder not readable")

// snapshot reads where the log begins and ends.
func snapshot(from folder, boot string) (*Inspection, error) {
	names, err := from.Names()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoFolder, err)
	}
	i := &Inspection{fs: &readOnlyFS{folder: from}}
	b := &Buffer{
		o: Options{BootID: boot, Logger: slog.New(slog.DiscardHandler)}, fs: i.fs,
		updated: make(chan struct{}, 1),
		sensors: map[sensorKey]*sensor{},
		boots:   map[uint64]*bootClock{},
		indexes: map[label]uint64{},
	}
	i.b = b
	if i.headers, err = b.listSegments(); err != nil {
		return nil, err
	}
	if err := i.identify(); err != nil {
		return nil, err
	}
	i.size = b.size()
	if err := i.freeze(); err != nil {
		return nil, err
	}
	b.enc.salt = b.id.salt
	if i.found, err = b.scanLog(i.headers); err != nil {
		return nil, err
	}
	i.torn = int64(max(i.found.end, b.tail) - b.tail)
	b.showClocks()
	b.stopped = !i.found.sameBoot() && i.found.closed == nil
	return i, i.unchanged(names)
}

// identify finds the buffer's identity, wherever it is whole.
func (i *Inspection) identify() error {
	id, whole, err := i.b.readIdentity()
	if err != nil {
		return err
	}
	for _, seg := range i.b.segs {
		if h, ok := i.headers[seg.base]; ok && !whole {
			id, i.restored = h.identity, true
		}
	}
	if !whole && !i.restored {
		return ErrNoBuffer
	}
	i.b.id = id
	return nil
}

// freeze notes how far the newest segment is written. A reader may see a page of a
// write and not yet the one before it; but what is before a byte that was seen is
// there for every later read.
func (i *Inspection) freeze() error {
	b := i.b
	for len(b.segs) > 0 {
		seg := b.active()
		b.o.SegmentSize = seg.size
		end, err := b.lastByte(seg.base, seg.base+Position(seg.size))
		if err != nil {
			return err
		}
		if end == seg.base {
			b.segs = b.segs[:len(b.segs)-1] // it is being made
			continue
		}
		seg.size = min(seg.size, int64(end-seg.base)+crcSize) // a CRC may end with zeros
		if _, whole := i.headers[seg.base]; whole {
			return nil
		}
		p, err := b.readFile(segmentName(seg.base), headerSize)
		if err != nil {
			return err
		}
		if h, ok := decodeHeader(p); ok && h.base == seg.base {
			i.headers[seg.base] = h
		}
		return nil
	}
	return nil
}

// unchanged returns errChanged if segments seem to be missing, and the folder is
// no longer what was listed.
func (i *Inspection) unchanged(names []string) error {
	segs := i.b.segs
	for k := range segs[:max(len(segs)-1, 0)] {
		if segs[k].end == segs[k+1].base {
			continue
		}
		now, err := i.fs.Names()
		if err != nil {
			return err
		}
		if !slices.Equal(names, now) {
			return errChanged
		}
		return nil
	}
	return nil
}

// vanished takes a segment that was removed out of what is looked at: all before
// the head of the next one is freed.
func (i *Inspection) vanished(base Position) {
	b := i.b
	b.mu.Lock()
	defer b.mu.Unlock()
	for k := range b.segs[:max(len(b.segs)-1, 0)] {
		if b.segs[k].base == base {
			b.segs = b.segs[k+1:]
			b.freed = max(b.freed, b.segs[0].head)
			return
		}
	}
}

// A Shown frame is one that a reader returns, or would if it did not wait.
type Shown struct {
	telemetry.Frame
	// Boot is not 0 if the time rests on the clock of that boot of the machine.
	Boot     uint64
	Boottime time.Duration // CLOCK_BOOTTIME in that boot
	Waiting  bool          // that clock is not known yet: Timestamp is no time

	at      Position // of its record, or of the one that shows that readings are missing
	derived bool     // it declares what no record does
}

// Frames calls fn for every reading and loss, oldest first, from the cursor on, or
// with all from the first on the medium. Unlike a Reader it goes on behind readings
// that wait. The frame is valid until fn returns; its error ends the call.
func (i *Inspection) Frames(ctx context.Context, all bool, fn func(*Shown) error) error {
	b := i.b
	if all && len(b.segs) > 0 {
		cursor := b.freed
		b.freed = b.segs[0].base
		defer func() { b.freed = max(b.freed, cursor) }()
	}
	return i.follow(ctx, fn)
}

// follow calls fn for what a reader returns, readings that wait included, from the
// cursor on.
func (i *Inspection) follow(ctx context.Context, fn func(*Shown) error) error {
	b := i.b
	if len(b.segs) == 0 {
		return nil
	}
	r := b.Reader()
	r.raw = true
	var s Shown
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		p, err := r.Next(&s.Frame)
		if errors.Is(err, ErrEnd) || errors.Is(err, fs.ErrNotExist) { // the newest is freed by now, too
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s at %d: %w", segmentName(r.scan.base), r.scan.pos, err)
		}
		s.at, s.derived = p-1, s.IsLoss() && p == r.scan.pos+1
		s.Boot, s.Boottime, s.Waiting = 0, 0, false
		if !s.IsLoss() && r.head.boot != 0 {
			s.Boot, s.Boottime = r.head.boot, time.Duration(r.head.timestamp)*time.Millisecond
			s.Waiting = !b.repair(&s.Frame, &r.head, p)
		}
		if err := fn(&s); err != nil {
			return err
		}
	}
}

// segmentOf returns the name of the segment in which p is.
func (i *Inspection) segmentOf(p Position) string {
	segs := i.b.segs
	for k := range slices.Backward(segs) {
		if segs[k].base <= p {
			return segmentName(segs[k].base)
		}
	}
	return ""
}
