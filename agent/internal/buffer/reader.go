package buffer

import (
	"errors"
	"io"
	"io/fs"
	"sort"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// A Reader returns the frames of a buffer in order: readings, and losses where
// they are declared. It follows the sequence numbers of each sensor, so that
// numbers which damage took are declared lost by the record that shows it. One
// goroutine uses it at a time; it needs no Close.
type Reader struct {
	b      *Buffer
	scan   scanner
	from   Position // records before it are followed, not returned
	blind  bool     // what is before this segment is missing, unless it was read
	defs   []readDefinition
	tracks map[sensorKey]*track
	faults map[string]string

	cut *cut // what a power cut may have torn of the segment; nil: not looked for yet

	raw   bool      // readings that wait are returned, too
	head  frameHead // of the reading returned last
	waits bool      // the record at hand is of a reading that waits
}

// readDefinition is a sensor record of the segment being read.
type readDefinition struct {
	label
	track *track // nil: no such index
}

// track is how far a sensor's readings are accounted for.
type track struct {
	next uint64
	end  Position // behind the last record that told so
}

// Reader returns a reader that starts at the first frame not freed.
func (b *Buffer) Reader() *Reader {
	r := &Reader{b: b, scan: b.scanner(), faults: map[string]string{}}
	r.Seek(b.freedPosition())
	return r
}

// Seek makes the frame just behind p the next one, or the first not freed if
// p is freed.
func (r *Reader) Seek(p Position) {
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	r.seek(p)
}

func (r *Reader) seek(p Position) {
	segs := r.b.segs
	p = max(p, r.b.freed)
	i := max(sort.Search(len(segs), func(i int) bool { return segs[i].base > p })-1, 0)
	if i > 0 && p < segs[i].head {
		i-- // what it says of missing numbers rests on the segment before
	}
	r.from, r.blind = p, p < segs[i].base
	r.tracks = make(map[sensorKey]*track, len(r.tracks))
	r.enter(i)
}

func (r *Reader) enter(i int) {
	r.defs, r.cut = r.defs[:0], nil
	r.scan.start(r.b.segs[i].base, r.b.limit(i))
}

// limit is where the records of segment i end. mu is held.
func (b *Buffer) limit(i int) Position {
	if i == len(b.segs)-1 {
		return b.tail
	}
	return b.segs[i].end
}

// Next fills f with the next frame and returns the position just behind it, to
// be given to Free once the frame is done with. It returns ErrEnd when there is
// nothing more for now, or when the next reading waits until its time is known.
// Any other error is the disk's: the next call tries again. It allocates nothing for a reading whose sensor and
// fault reasons it has seen.
func (r *Reader) Next(f *telemetry.Frame) (Position, error) {
	for {
		rec, err := r.record()
		if err != nil {
			return 0, err
		}
		*f = telemetry.Frame{}
		var behind Position
		switch rec.typ {
		case typeSensor:
			behind = r.sensor(&rec, f)
		case typeFrame:
			behind = r.frame(&rec, f)
		case typeLoss:
			behind = r.loss(&rec, f)
		}
		if r.waits {
			r.waits = false
			*f = telemetry.Frame{}
			return 0, ErrEnd
		}
		if behind > r.from {
			f.Sequenced = true
			return behind, nil
		}
	}
}

// record returns the next record of the log.
func (r *Reader) record() (record, error) {
	for {
		rec, err := r.scan.next()
		switch {
		case err == nil:
			return rec, nil
		case errors.Is(err, io.EOF):
			if !r.advance() {
				return record{}, ErrEnd
			}
		case errors.Is(err, fs.ErrNotExist) && r.removed():
		default:
			return record{}, err
		}
	}
}

// advance moves the reader's limit, or the reader to the next segment, and
// reports whether there is anything to read.
func (r *Reader) advance() bool {
	b := r.b
	b.mu.Lock()
	defer b.mu.Unlock()
	i := sort.Search(len(b.segs), func(i int) bool { return b.segs[i].base >= r.scan.base })
	if i == len(b.segs) || b.segs[i].base != r.scan.base {
		r.seek(b.freed)
		return true
	}
	if limit := b.limit(i); limit > r.scan.limit {
		r.scan.limit = limit
		return true
	}
	if i == len(b.segs)-1 {
		return false
	}
	r.blind = true
	r.enter(i + 1)
	return true
}

// removed reports whether the reader's segment is gone on purpose, and moves
// it on if so.
func (r *Reader) removed() bool {
	b := r.b
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, seg := range b.segs {
		if seg.base != r.scan.base {
			continue
		}
		// It was removed by another hand: the next one shows what is missing.
		if i == len(b.segs)-1 {
			return false
		}
		r.blind = true
		r.enter(i + 1)
		return true
	}
	r.seek(b.freed)
	return true
}

// The methods that follow take a record in. They return the position behind
// the frame that they made f, or 0.

func (r *Reader) sensor(rec *record, f *telemetry.Frame) Position {
	d, ok := decodeSensor(rec.payload)
	if !ok {
		return 0
	}
	t := r.tracks[d.sensorKey]
	if t == nil {
		t = &track{next: d.next}
		if r.blind {
			t.next = min(d.floor, d.next)
		}
		r.tracks[d.sensorKey] = t
	}
	for uint64(len(r.defs)) <= d.index {
		r.defs = append(r.defs, readDefinition{})
	}
	r.defs[d.index] = readDefinition{d.label, t}
	behind := r.missing(rec, f, &r.defs[d.index], d.next)
	if behind == 0 {
		t.end = rec.end()
	}
	return behind
}

func (r *Reader) frame(rec *record, f *telemetry.Frame) Position {
	head, ok := decodeFrame(rec.payload, f, r.fault)
	if !ok {
		return 0
	}
	d := r.definition(head.index)
	if d == nil {
		return 0
	}
	if seq := f.Seq; seq > d.track.next {
		*f = telemetry.Frame{}
		return r.missing(rec, f, d, seq)
	}
	if head.boot != 0 && !r.raw && rec.end() > r.from && !r.b.repair(f, &head, rec.end()) {
		r.waits, r.scan.pos = true, rec.pos
		return 0
	}
	r.head = head
	d.track.next, d.track.end = max(d.track.next, f.Seq+1), rec.end()
	r.identify(f, d)
	return rec.end()
}

func (r *Reader) loss(rec *record, f *telemetry.Frame) Position {
	l, ok := decodeLoss(rec.payload)
	if !ok {
		return 0
	}
	d := r.definition(l.index)
	if d == nil {
		return 0
	}
	if p := r.missing(rec, f, d, l.seqs.First); p != 0 {
		return p
	}
	d.track.next, d.track.end = max(d.track.next, l.seqs.Last+1), rec.end()
	if l.reason == reasonReceived {
		return 0
	}
	r.declare(f, d, l.seqs, l.reason)
	return rec.end()
}

func (r *Reader) declare(f *telemetry.Frame, d *readDefinition, seqs telemetry.SeqRange, why reason) {
	r.identify(f, d)
	f.Lost = telemetry.Loss{Seqs: seqs, Reason: why.String()}
}

func (r *Reader) identify(f *telemetry.Frame, d *readDefinition) {
	f.ID, f.Name, f.PlaceID, f.Epoch = d.id, d.name, d.placeID, d.epoch
	if d.epoch == 0 {
		f.Epoch = r.b.id.epoch
	}
}

// missing makes f the loss of all that is not accounted for below next, if
// there is any, and has rec read again. The position behind such a loss is
// within rec, which is neither before the loss nor behind it.
func (r *Reader) missing(rec *record, f *telemetry.Frame, d *readDefinition, next uint64) Position {
	t := d.track
	if next <= t.next {
		return 0
	}
	seqs := telemetry.SeqRange{First: t.next, Last: next - 1}
	t.next = next
	r.scan.pos = rec.pos
	why := reasonCorrupt
	if r.torn(t.end, rec.pos) {
		why = reasonPowerCut
	}
	r.declare(f, d, seqs, why)
	if rec.pos >= r.from {
		r.b.derived(seqs.Len(), rec.pos, why)
	}
	return rec.pos + 1
}

// cut is what a power cut may have torn of a segment.
type cut struct {
	from   Position   // all before it was on the medium
	damage []Position // where each damage begins
}

// torn reports whether a power cut may have torn all that is damaged from one position
// in the segment to another, and something is.
func (r *Reader) torn(from, to Position) bool {
	if from < r.scan.base {
		return false
	}
	if r.cut == nil {
		r.cut = r.b.cutOf(r.scan.base, r.scan.limit)
	}
	i := sort.Search(len(r.cut.damage), func(i int) bool { return r.cut.damage[i] >= from })
	return i < len(r.cut.damage) && r.cut.damage[i] < to && r.cut.damage[i] >= r.cut.from
}

// cutOf reads the segment at base, and whether the machine stopped while it was
// written. What cannot be read was not torn by that.
func (b *Buffer) cutOf(base, limit Position) *cut {
	c := &cut{}
	boot, closed := uint64(0), false
	scan := b.scanner()
	for scan.start(base, limit); ; {
		end := scan.pos
		rec, err := scan.next()
		if err != nil {
			break
		}
		if rec.pos > end {
			c.damage = append(c.damage, end)
		}
		closed = rec.typ == typeClose
		switch rec.typ {
		case typeCommit:
			if _, durable, ok := decodeCommit(rec.payload); ok {
				c.from = max(c.from, durable)
			}
		case typeBoot:
			if n, _, ok := decodeBoot(rec.payload); ok {
				boot = max(boot, n)
			}
		}
	}
	if closed || !b.stoppedIn(base, boot) {
		c.damage = nil
	}
	return c
}

// stoppedIn reports whether the segment behind the one at base is of a later boot.
func (b *Buffer) stoppedIn(base Position, boot uint64) bool {
	b.mu.Lock()
	i := sort.Search(len(b.segs), func(i int) bool { return b.segs[i].base > base })
	if i == len(b.segs) {
		b.mu.Unlock()
		return b.stopped
	}
	scan := b.scanner()
	scan.start(b.segs[i].base, b.limit(i))
	b.mu.Unlock()
	for {
		rec, err := scan.next()
		if err != nil || rec.typ == typeFrame {
			return false
		}
		if rec.typ == typeBoot {
			n, _, ok := decodeBoot(rec.payload)
			return ok && n > boot
		}
	}
}

// definition returns the sensor with that index. If its record is damaged, a
// later copy in the segment says the same.
func (r *Reader) definition(index uint64) *readDefinition {
	if index < uint64(len(r.defs)) && r.defs[index].track != nil {
		return &r.defs[index]
	}
	ahead := r.b.scanner()
	for ahead.base, ahead.pos, ahead.limit = r.scan.base, r.scan.pos, r.scan.limit; ; {
		rec, err := ahead.next()
		if err != nil {
			return nil
		}
		if rec.typ != typeSensor {
			continue
		}
		d, ok := decodeSensor(rec.payload)
		if !ok || d.index != index {
			continue
		}
		t := r.tracks[d.sensorKey]
		if t == nil {
			t = &track{next: d.floor}
			r.tracks[d.sensorKey] = t
		}
		for uint64(len(r.defs)) <= index {
			r.defs = append(r.defs, readDefinition{})
		}
		r.defs[index] = readDefinition{d.label, t}
		return &r.defs[index]
	}
}

func (r *Reader) fault(p []byte) string {
	if s, ok := r.faults[string(p)]; ok {
		return s
	}
	s := string(p)
	r.faults[s] = s
	return s
}
