package buffer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// The kinds of Finding.
const (
	FindingDamage = "damage" // bytes do not verify, are missing, or make no sense
	FindingLost   = "lost"   // readings are missing that no record declares; or will be declared for damage's sake
	FindingNote   = "note"   // all that is sound, and yet worth knowing
)

// A Finding is one thing that Verify saw.
type Finding struct {
	Kind     string
	Segment  string // "" is none
	Position Position
	Bytes    int64 // of damage

	// Readings that will be declared lost, if any.
	Sensor string
	Epoch  uint64
	Seqs   telemetry.SeqRange
	Reason string

	What string // in words, with what it means for readings
}

// Verified says how much Verify saw.
type Verified struct {
	Segments int
	Bytes    int64 // of records that verify
	Records  uint64
	Readings uint64 // among the records, freed ones included
	Findings uint64 // those that are no notes
}

// Verify checks every record of the buffer, and that the numbers of each sensor are
// without a gap that is not declared. It gives each finding to report, whose error
// ends it. What it says of readings is what a Reader will declare after the next
// Open, if there is no such thing before it as another damage.
func (i *Inspection) Verify(ctx context.Context, report func(*Finding) error) (Verified, error) {
	v := &verifier{i: i, report: report, numbers: map[sensorKey]*numbers{}}
	v.done.Segments = len(i.b.segs)
	steps := []func(context.Context) error{v.identity, v.records, v.readings}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return v.done, err
		}
	}
	return v.done, nil
}

type verifier struct {
	i       *Inspection
	report  func(*Finding) error
	done    Verified
	numbers map[sensorKey]*numbers
	defs    []*numbers // of the segment at hand; nil before the first
	started bool       // there was a segment before it

	here, before doubtful // of that segment and the one before it
	boot         uint64   // the latest
	rotten       bool     // the newest segment is damaged
	gap          bool     // there may be numbers that no record accounts for: a reader must tell
}

// doubtful is damage of a segment that may be what a power cut left.
type doubtful struct {
	damage  []Damage
	durable Position // all before it was on the medium
}

// numbers is what the log says of a sensor's numbers so far.
type numbers struct {
	label
	used uint64 // above all of its readings
	next uint64 // above all that are accounted for
	mark uint64
}

func (v *verifier) find(f Finding) error {
	if f.Kind != FindingNote {
		v.done.Findings++
	}
	return v.report(&f)
}

func (v *verifier) identity(context.Context) error {
	if !v.i.restored {
		return nil
	}
	return v.find(Finding{
		Kind: FindingDamage, Segment: identityName, Bytes: identitySize,
		What: "the identity does not verify; the agent will restore it from a segment, and no reading is missing for it",
	})
}

func (v *verifier) records(ctx context.Context) error {
	found := v.i.found
	err := v.i.walk(ctx, visitor{segment: v.segment, record: v.record, damage: v.damage})
	if err == nil {
		err = v.segment(nil)
	}
	if err == nil {
		before := v.done.Findings
		err = v.judge(!found.sameBoot() && found.closed == nil)
		v.rotten = v.done.Findings > before
	}
	if err != nil || v.i.torn == 0 {
		return err
	}
	tail := v.i.b.tail
	return v.find(Finding{
		Kind: FindingNote, Segment: v.i.segmentOf(tail), Position: tail, Bytes: v.i.torn,
		What: fmt.Sprintf("%d bytes behind the last record are being written, or were cut by a crash", v.i.torn),
	})
}

// segment begins a segment.
func (v *verifier) segment(*segment) error {
	err := v.judge(false)
	v.started = v.defs != nil
	v.before, v.here, v.defs = v.here, doubtful{}, []*numbers{}
	return err
}

func (v *verifier) damage(d Damage) error {
	v.here.damage = append(v.here.damage, d)
	v.gap = true
	return nil
}

// judge reports the damage of the segment before. If the machine stopped while that
// was written, what was not on the medium for certain is no damage.
func (v *verifier) judge(stopped bool) error {
	doubtful := v.before
	v.before.damage = nil
	for _, d := range doubtful.damage {
		f := Finding{Kind: FindingDamage, Segment: d.Segment, Position: d.Position, Bytes: d.Bytes}
		f.What = fmt.Sprintf("%d %s", d.Bytes, d.What)
		switch {
		case stopped && d.What != missingBytes && d.Position >= doubtful.durable:
			f.Kind = FindingNote
			f.What += "; they were not on the medium for certain when the machine stopped"
		case d.Position+Position(d.Bytes) <= v.i.b.freedPosition():
			f.What += "; all before the cursor is delivered, so no reading is missing for them"
		}
		if err := v.find(f); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) record(rec *record) error {
	v.done.Records++
	v.done.Bytes += int64(rec.end() - rec.pos)
	ok := true
	switch rec.typ {
	case typeSensor:
		var d sensorRecord
		if d, ok = decodeSensor(rec.payload); ok {
			v.sensor(&d)
		}
	case typeFrame:
		var h frameHead
		if h, ok = decodeFrameHead(rec.payload); ok {
			v.done.Readings++
			return v.reading(rec, &h)
		}
	case typeLoss:
		var l lossRecord
		if l, ok = decodeLoss(rec.payload); ok {
			v.account(v.sensorOf(l.index), l.seqs)
		}
	case typeMark:
		var m markRecord
		if m, ok = decodeMark(rec.payload); ok {
			if n := v.sensorOf(m.index); n != nil {
				n.mark = max(n.mark, m.mark)
			}
		}
	case typeCommit:
		var freed, durable Position
		if freed, durable, ok = decodeCommit(rec.payload); ok {
			v.here.durable = max(v.here.durable, durable)
		}
		if ok && max(freed, durable) > rec.pos {
			return v.wrong(rec, fmt.Sprintf("the cursor %d is behind the end of what was written; the agent will begin at the end of the log", max(freed, durable)))
		}
	case typeBoot:
		var boot uint64
		if boot, _, ok = decodeBoot(rec.payload); ok {
			later := boot > v.boot
			v.boot = max(v.boot, boot)
			return v.judge(later)
		}
	case typeClock:
		_, ok = decodeClock(rec.payload)
	case typeClose:
		ok = decodeClose(rec.payload, func(uint64, uint64) {})
	}
	if !ok {
		return v.wrong(rec, fmt.Sprintf("a record of type %d verifies and makes no sense: no such program wrote it", rec.typ))
	}
	return nil
}

func (v *verifier) wrong(rec *record, what string) error {
	return v.find(Finding{
		Kind: FindingDamage, Segment: v.i.segmentOf(rec.pos), Position: rec.pos, Bytes: int64(rec.end() - rec.pos), What: what,
	})
}

func (v *verifier) sensor(d *sensorRecord) {
	n := v.numbers[d.sensorKey]
	if n == nil {
		n = &numbers{next: d.next}
		v.numbers[d.sensorKey] = n
		v.gap = v.gap || v.started && d.floor < d.next
	}
	v.gap = v.gap || d.next != n.next
	n.label, n.mark = d.label, max(n.mark, d.mark)
	if missing := int(d.index) + 1 - len(v.defs); missing > 0 {
		v.defs = append(v.defs, make([]*numbers, missing)...)
	}
	v.defs[d.index] = n
}

// sensorOf returns the sensor with that index, nil if its record is damaged.
func (v *verifier) sensorOf(index uint64) *numbers {
	if index < uint64(len(v.defs)) {
		return v.defs[index]
	}
	return nil
}

// account notes that a record of n has these numbers.
func (v *verifier) account(n *numbers, seqs telemetry.SeqRange) {
	if n == nil || seqs.First > n.next {
		v.gap = true
		return
	}
	n.next = max(n.next, seqs.Last+1)
}

func (v *verifier) reading(rec *record, h *frameHead) error {
	n := v.sensorOf(h.index)
	v.account(n, telemetry.SeqRange{First: h.seq, Last: h.seq})
	if n == nil {
		return nil // whether it can be read all the same, a reader knows
	}
	used := n.used
	n.used = max(n.used, h.seq+1)
	switch {
	case h.seq < used:
		return v.wrong(rec, fmt.Sprintf("%s: reading %d comes after %d, so its number may name two readings", n.id, h.seq, used-1))
	case n.epoch == 0 && h.seq >= n.mark && v.done.Findings == 0 && v.here.damage == nil: // else it may be a mark that is damaged
		return v.wrong(rec, fmt.Sprintf("%s: reading %d is not below the mark %d, so a power cut may have its number used again", n.id, h.seq, n.mark))
	}
	return nil
}

// readings finds the numbers that no record accounts for, and what an agent that
// opened the buffer now would declare besides.
func (v *verifier) readings(ctx context.Context) error {
	i := v.i
	b := i.b
	if len(b.segs) == 0 {
		return nil
	}
	end, newest := b.tail, i.segmentOf(b.tail)
	if cursor := b.freed; !v.gap && i.torn == 0 && cursor >= b.segs[0].base {
		b.freed = max(cursor, b.active().head) // a reader would find nothing before
		defer func() { b.freed = max(cursor, b.segs[0].base) }()
	}
	return i.opened(func(from Position) error {
		return i.follow(ctx, func(s *Shown) error {
			if !s.IsLoss() {
				return nil
			}
			opening, segment := s.at >= from, i.segmentOf(s.at)
			if opening {
				s.at, segment = end, newest
			}
			switch {
			case s.derived && s.Lost.Reason == PowerCut:
				return v.lost(FindingNote, segment, s, "were being written when the machine stopped; the agent will declare them lost as ")
			case s.derived:
				return v.lost(FindingLost, segment, s, "are damaged or gone; the agent will declare them lost as ")
			case !opening:
				return nil
			case v.rotten && s.Epoch == b.id.epoch:
				return v.lost(FindingLost, segment, s, "may have been taken, and are damaged; an agent that opens the buffer will declare them lost as ")
			}
			return v.lost(FindingNote, segment, s, "may have been taken; an agent that opens the buffer will declare them lost as ")
		})
	})
}

func (v *verifier) lost(kind, segment string, s *Shown, what string) error {
	seqs := s.Lost.Seqs
	which := fmt.Sprintf("readings %d to %d", seqs.First, seqs.Last)
	if seqs.First == seqs.Last {
		which = fmt.Sprintf("reading %d", seqs.First)
		what = strings.NewReplacer("are damaged", "is damaged", "were being", "was being", "and are", "and is", "declare them", "declare it").Replace(what)
	}
	return v.find(Finding{
		Kind: kind, Segment: segment, Position: s.at,
		Sensor: s.ID, Epoch: s.Epoch, Seqs: seqs, Reason: s.Lost.Reason,
		What: s.ID + ": " + which + " " + what + s.Lost.Reason,
	})
}

// opened calls fn while the log goes on, in memory, with what Open would begin the
// next segment with. from is where that is.
func (i *Inspection) opened(fn func(from Position) error) error {
	b := i.b
	if len(b.segs) == 0 {
		return nil
	}
	segs, tail, order, sensors, boots := b.segs, b.tail, b.order, b.sensors, b.boots
	saved := make([]sensor, len(order))
	b.order, b.sensors, b.boots = slices.Clone(order), maps.Clone(sensors), maps.Clone(boots)
	for k, s := range order {
		saved[k] = *s
	}
	defer func() {
		b.segs, b.tail, b.order, b.sensors, b.boots = segs, tail, order, sensors, boots
		for k, s := range order {
			*s = saved[k]
		}
		i.fs.extra = nil
	}()
	if !i.found.sameBoot() {
		b.boot++
		defer func() { b.boot-- }()
	}
	i.found.resume(i.found.sameBoot())
	base := max(i.found.end, tail)
	if i.found.mustBeginAnew() {
		b.retire()
	}
	head := b.encodeHead(base)
	name := segmentName(base)
	file, err := newMemory().Create(name)
	if err != nil {
		return err
	}
	if _, err := file.WriteAt(head.bytes, 0); err != nil {
		return err
	}
	i.fs.extra = map[string]File{name: file}
	b.segs = append(slices.Clone(segs), segment{base: base, head: base + Position(head.size), size: int64(len(head.bytes))})
	b.segs[len(segs)-1].end = base
	b.tail = base + Position(len(head.bytes))
	return fn(base)
}
