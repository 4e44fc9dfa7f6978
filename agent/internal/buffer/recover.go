package buffer

import (
	"errors"
	"io"
	"log/slog"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// recovery is what a scan of the last segments finds.
type recovery struct {
	b       *Buffer
	boot    string // of the last run
	cursor  bool   // a commit record was found
	closed  map[*sensor]bool
	told    map[*sensor]*told
	scanned uint64   // segments
	ahead   uint64   // the greatest of theirs
	unsure  bool     // one of theirs is not known
	damage  uint64   // bytes that do not verify
	hidden  uint64   // those, and the records of sensors whose own record is among them
	inHead  bool     // the record at hand is in a segment's head
	cutHead bool     // a head is damaged
	end     Position // behind the last byte that is not zero
}

// told is how much was hidden when a record last told all of a sensor's numbers, and
// its mark.
type told struct{ numbers, mark uint64 }

// recover brings the buffer to the state in which the last run left it, and
// declares what is lost. slow is held.
func (b *Buffer) recover(headers map[Position]header) error {
	if err := b.removeBlank(headers); err != nil {
		return err
	}
	r, err := b.scanLog(headers)
	if err != nil {
		return err
	}
	sameBoot := r.sameBoot()
	if !sameBoot {
		b.boot++
	}
	r.resume(sameBoot)
	if r.mustBeginAnew() || b.usesMore() {
		if err := b.beginAnew(r); err != nil {
			return err
		}
	} else if err := b.goOn(); err != nil {
		return err
	}
	// The bound may be lower than at the last run.
	for b.o.Drop == DropOldest && len(b.segs) > 1 && b.size() > b.o.MaxSize {
		if err := b.dropOldest(); err != nil {
			return err
		}
	}
	return nil
}

// scanLog reads where the last run left the buffer, and writes nothing.
func (b *Buffer) scanLog(headers map[Position]header) (*recovery, error) {
	b.layOut(headers)
	r := &recovery{b: b, told: map[*sensor]*told{}}
	if n := len(b.segs); n > 0 {
		first := n - 1
		for first > 0 && !b.headIsWhole(first, headers) {
			first--
		}
		for i := first; i < n; i++ {
			_, whole := headers[b.segs[i].base]
			if err := r.segment(i, whole); err != nil {
				return nil, err
			}
		}
		for key, next := range b.readFloors(b.segs[0]) {
			if s := b.sensors[key]; s != nil {
				s.floor = next
			}
		}
	}
	if !r.cursor && len(b.segs) > 0 {
		b.freed = b.segs[0].base
	}
	b.freed = min(b.freed, b.tail)
	b.safe, b.stored = b.freed, b.freed
	return r, nil
}

// removeBlank removes a last segment that is all zeros: nothing in it was ever
// durable.
func (b *Buffer) removeBlank(headers map[Position]header) error {
	for n := len(b.segs); n > 0; n-- {
		seg := b.segs[n-1]
		blank, err := b.lastIsBlank(headers)
		if err != nil || !blank {
			return err
		}
		if err := b.fs.Remove(segmentName(seg.base)); err != nil {
			return err
		}
		b.segs = b.segs[:n-1]
	}
	return nil
}

// lastIsBlank reports whether the last segment is all zeros.
func (b *Buffer) lastIsBlank(headers map[Position]header) (bool, error) {
	seg := b.active()
	if _, whole := headers[seg.base]; whole {
		return false, nil
	}
	end, err := b.lastByte(seg.base, seg.base+Position(seg.size))
	return err == nil && end == seg.base, err
}

// lastByte returns the position behind the last byte from pos to limit that
// is not zero, or pos.
func (b *Buffer) lastByte(pos, limit Position) (Position, error) {
	base := b.segs[len(b.segs)-1].base
	buf := make([]byte, min(limit-pos, chunkSize))
	end := pos
	for pos < limit {
		p := buf[:min(limit-pos, chunkSize)]
		if err := readSegment(b.fs, base, pos, p); err != nil {
			return 0, err
		}
		if n := len(trimZeros(p)); n > 0 {
			end = pos + Position(n)
		}
		pos += Position(len(p))
	}
	return end, nil
}

// layOut fills in what the headers say of the segments.
func (b *Buffer) layOut(headers map[Position]header) {
	for i := len(b.segs) - 1; i >= 0; i-- {
		seg := &b.segs[i]
		seg.end = seg.base + Position(seg.size)
		if i < len(b.segs)-1 {
			seg.end = min(seg.end, b.segs[i+1].base)
		}
		if h, ok := headers[seg.base]; ok {
			seg.head, seg.frames, seg.ahead = seg.base+Position(h.head), h.frames, h.ahead
			continue
		}
		seg.head = b.findHead(*seg)
		if i < len(b.segs)-1 {
			seg.frames = b.segs[i+1].frames
		}
	}
}

// findHead returns the end of the head of a segment whose header is damaged.
func (b *Buffer) findHead(seg segment) Position {
	scan := b.scanner()
	head := seg.base + headerSize
	for scan.start(seg.base, seg.end); ; {
		rec, err := scan.next()
		if err != nil || rec.typ != typeCommit && rec.typ != typeSensor {
			return head
		}
		head = rec.end()
	}
}

// headIsWhole reports whether segment i defines all sensors that it should.
func (b *Buffer) headIsWhole(i int, headers map[Position]header) bool {
	seg := b.segs[i]
	h, ok := headers[seg.base]
	if !ok {
		return false
	}
	defined := map[uint64]bool{}
	scan := b.scanner()
	for scan.start(seg.base, seg.end); ; {
		rec, err := scan.next()
		if err != nil {
			return false
		}
		switch rec.typ {
		case typeSensor:
			if d, ok := decodeSensor(rec.payload); ok {
				defined[d.index] = true
			}
		case typeBoot:
			return len(defined) == int(h.sensors)
		case typeFrame:
			return false
		}
	}
}

// sameBoot reports whether the last run was in this boot of the machine.
func (r *recovery) sameBoot() bool { return r.boot != "" && r.boot == r.b.o.BootID }

// mustBeginAnew reports whether the last segment must not be written again.
func (r *recovery) mustBeginAnew() bool {
	return len(r.b.segs) == 0 || r.damage > 0 || !r.sameBoot() && r.closed == nil || r.b.crowded()
}

// usesMore reports whether numbers will be used in other ways than the last segment's
// header says.
func (b *Buffer) usesMore() bool {
	said, will := b.active().ahead, b.o.ahead()
	return said != 0 && (will == 0 || will > said)
}

// segment takes the records of segment i in.
func (r *recovery) segment(i int, wholeHeader bool) error {
	b, seg := r.b, r.b.segs[i]
	last := i == len(b.segs)-1
	b.defs, b.indexes = nil, map[label]uint64{}
	b.frames = max(b.frames, seg.frames)
	r.ahead, r.unsure = max(r.ahead, uint64(seg.ahead)), r.unsure || seg.ahead == 0
	r.scanned++
	r.inHead = true
	if !wholeHeader {
		r.gap(headerSize)
	}
	if r.end != 0 && r.end < seg.base {
		r.gap(seg.base - r.end)
	}
	b.tail = seg.base + headerSize
	scan := b.scanner()
	for scan.start(seg.base, seg.end); ; {
		rec, err := scan.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if rec.pos > b.tail {
			r.gap(rec.pos - b.tail)
		}
		b.tail = rec.end()
		r.record(&rec)
	}
	r.end = seg.end
	if last {
		end, err := b.lastByte(b.tail, seg.end)
		if err != nil {
			return err
		}
		r.end = end
	}
	if r.end > b.tail {
		r.gap(r.end - b.tail)
	}
	return nil
}

func (r *recovery) gap(n Position) {
	r.damage += uint64(n)
	r.hidden += uint64(n)
	r.cutHead = r.cutHead || r.inHead
	r.closed = nil
}

func (r *recovery) record(rec *record) {
	b := r.b
	if rec.typ != typeClose {
		r.closed = nil
	}
	switch rec.typ {
	case typeSensor:
		if d, ok := decodeSensor(rec.payload); ok {
			r.sensor(rec, &d)
		}
	case typeFrame:
		if h, ok := decodeFrameHead(rec.payload); ok {
			b.frames++
			r.used(rec, h.index, h.seq)
			if h.boot != 0 {
				b.noteClock(clockRecord{boot: h.boot, last: h.timestamp}, rec.end())
			}
		}
	case typeLoss:
		if l, ok := decodeLoss(rec.payload); ok {
			r.used(rec, l.index, l.seqs.Last)
		}
	case typeMark:
		if m, ok := decodeMark(rec.payload); ok {
			if s := r.sensorOf(rec, m.index); s != nil {
				s.marked, s.markReason = max(s.marked, m.mark), m.reason
				r.told[s].mark = r.hidden
			}
		}
	case typeCommit:
		if freed, durable, ok := decodeCommit(rec.payload); ok {
			b.freed, b.durable, r.cursor = max(b.freed, freed), max(b.durable, durable), true
			for s, told := range r.told {
				if told.mark == r.hidden { // else a mark may be hidden that came before this
					s.committed = s.next
				}
			}
		}
	case typeBoot:
		if boot, id, ok := decodeBoot(rec.payload); ok {
			b.boot, r.boot = max(b.boot, boot), id
			r.inHead = false
		}
	case typeClock:
		if c, ok := decodeClock(rec.payload); ok {
			b.noteClock(c, rec.end())
		}
	case typeClose:
		if r.closed == nil {
			r.closed = map[*sensor]bool{}
		}
		decodeClose(rec.payload, func(index, next uint64) {
			if s := r.sensorOf(rec, index); s != nil {
				s.next = max(s.next, next)
				r.closed[s] = true
			}
		})
	}
}

func (r *recovery) sensor(rec *record, d *sensorRecord) {
	b := r.b
	s := b.sensors[d.sensorKey]
	if s == nil {
		s = &sensor{}
		b.sensors[d.sensorKey] = s
		b.order = append(b.order, s)
		r.told[s] = &told{}
		if r.hidden == 0 { // it is new, or in a head, which a commit came before
			s.committed = d.next
		}
	}
	s.label, s.floor = d.label, d.floor
	s.next, s.marked = max(s.next, d.next), max(s.marked, d.mark)
	s.end = rec.end()
	*r.told[s] = told{r.hidden, r.hidden}
	for uint64(len(b.defs)) <= d.index {
		b.defs = append(b.defs, definition{})
	}
	b.defs[d.index] = definition{d.label, s}
	b.indexes[d.label] = d.index
}

// sensorOf returns the sensor with that index. If its record is damaged, so far, rec is
// hidden, too.
func (r *recovery) sensorOf(rec *record, index uint64) *sensor {
	if index < uint64(len(r.b.defs)) && r.b.defs[index].sensor != nil {
		return r.b.defs[index].sensor
	}
	r.hidden += uint64(rec.end() - rec.pos)
	return nil
}

func (r *recovery) used(rec *record, index, seq uint64) {
	if s := r.sensorOf(rec, index); s != nil {
		s.next, s.end = max(s.next, seq+1), rec.end()
		r.told[s].numbers = r.hidden
	}
}

// resume sets each sensor's next number to one that was certainly never used,
// and declares those between lost.
func (r *recovery) resume(sameBoot bool) {
	b := r.b
	for _, s := range b.order {
		next, why := s.next, reasonPowerCut
		switch {
		case !s.own():
			// The rest was in the memory of the process that ended.
			next, why = max(next, s.marked), reasonDiskError
		case r.closed[s]:
		case sameBoot && r.told[s].numbers == r.hidden:
			if s.markReason != reasonNone {
				next, why = max(next, s.marked), s.markReason
			}
		default:
			next = min(max(next, s.marked, r.hiddenMark(s)), telemetry.MaxSeq+1)
			switch {
			case s.markReason != reasonNone:
				why = s.markReason
			case sameBoot:
				why = reasonCorrupt
			}
		}
		if next > s.next {
			seqs := telemetry.SeqRange{First: s.next, Last: next - 1}
			s.lose(seqs, why)
			b.stats.lost[why] += seqs.Len()
			b.o.Logger.Warn("readings declared lost", slog.String("sensor", s.label.id),
				slog.Uint64("first", seqs.First), slog.Uint64("last", seqs.Last), slog.String("reason", why.String()))
		}
		s.next, s.committed = next, next
		s.marked = max(s.marked, next)
	}
	if r.damage > 0 {
		b.o.Logger.Error("buffer damaged", slog.Uint64("bytes", r.damage))
	}
}

// hiddenMark returns a number that no mark of s among what is hidden is above, or 0:
// see README.md.
func (r *recovery) hiddenMark(s *sensor) uint64 {
	hidden := r.hidden - r.told[s].mark
	if hidden == 0 {
		return 0
	}
	from := s.next
	if r.cutHead || r.unsure {
		from = max(from, s.marked)
	}
	if r.unsure {
		return from + (1+hidden/minMark)*MaxReserveAhead
	}
	readings := 1 + hidden/minNumber
	ahead := min(max(r.ahead, 2*(s.next+readings-s.committed)), MaxReserveAhead)
	return from + readings + r.scanned*ahead
}

// goOn appends to the last segment. slow is held.
func (b *Buffer) goOn() (err error) {
	// The process may have been killed before the segment's name was certain.
	if err := b.fs.SyncDir(); err != nil {
		return err
	}
	if b.file, err = b.fs.Open(segmentName(b.active().base)); err != nil {
		return err
	}
	b.mu.Lock()
	b.durable = b.active().base
	b.repeat = b.tail
	for _, s := range b.order {
		s.index, s.known = b.indexes[s.label]
		if len(s.pending) > 0 || s.markReason != reasonNone {
			if err == nil {
				err = b.declare(s)
			}
		}
	}
	if err == nil {
		b.enc.reset(b.tail)
		b.enc.boot(b.boot, b.o.BootID)
		err = b.write(b.o.SegmentSize)
	}
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return b.commit(nil, false)
}

// beginAnew seals the last segment, if there is one, and begins the next with
// the losses in its head. slow is held.
func (b *Buffer) beginAnew(r *recovery) error {
	b.tail = r.end
	b.sealed, b.frozen = true, true
	for i := range b.segs {
		if err := b.seal(i); err != nil {
			return err
		}
	}
	if n := len(b.segs); n > 0 {
		b.segs[n-1].end = b.tail
		if err := b.makeRoom(); err != nil {
			return err
		}
	}
	if err := b.startSegment(b.tail); err != nil {
		return err
	}
	b.full = b.o.Drop == DropNewest && !b.hasRoom(b.roomWanted())
	return b.commit(nil, false)
}

// seal cuts what a segment's file has behind its end, where a crash came before
// its truncation. The last one may have been written in this boot, and not be
// on the medium yet.
func (b *Buffer) seal(i int) error {
	seg, last := &b.segs[i], i == len(b.segs)-1
	end := seg.end
	if last {
		end = b.tail
	}
	size := int64(end - seg.base)
	if seg.size <= size && !last {
		return nil
	}
	f, err := b.fs.Open(segmentName(seg.base))
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if err == nil && last {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	seg.size = size
	return nil
}
