package buffer

import (
	"encoding/binary"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// reason says why readings are lost.
type reason byte

const (
	reasonNone reason = iota
	reasonPowerCut
	reasonCorrupt
	reasonBufferFull
	reasonDiskError
	// reasonReceived is of readings that another buffer had and that were freed
	// there: they are accounted for, and not declared.
	reasonReceived
)

// The reasons of declared losses: what Frame.Lost.Reason and Stats.Lost hold.
const (
	PowerCut   = "power_cut"   // the machine stopped before they were on the medium; an upper bound
	Corrupt    = "corrupt"     // their bytes were damaged, or their segment is missing
	BufferFull = "buffer_full" // dropped or refused, the buffer being at its bound
	DiskError  = "disk_error"  // refused, the disk being full, failing or read-only
)

var reasonNames = [...]string{"", PowerCut, Corrupt, BufferFull, DiskError}

func (r reason) known() bool    { return int(r) < len(reasonNames) }
func (r reason) String() string { return reasonNames[r] }

const (
	maxString = 1024 // bytes of an id, a name or a place
	maxFault  = 64   // bytes of a fault's reason
	maxBootID = 128
	maxBoot   = 1<<53 - 1
)

// label is what a sensor record says of a sensor and every frame repeats.
type label struct {
	sensorKey
	name, placeID string
}

// sensorKey is what a sensor's readings are numbered by. An epoch other than 0
// is another buffer's, whose readings this one has taken over.
type sensorKey struct {
	epoch uint64
	id    string
}

func (e *encoder) uvarint(v uint64) { e.buf = binary.AppendUvarint(e.buf, v) }
func (e *encoder) varint(v int64)   { e.buf = binary.AppendVarint(e.buf, v) }

func (e *encoder) str(s string) {
	e.uvarint(uint64(len(s)))
	e.buf = append(e.buf, s...)
}

// sensorRecord is the payload of a sensor record.
type sensorRecord struct {
	index             uint64
	next, mark, floor uint64
	label
}

func (e *encoder) sensor(r *sensorRecord) {
	e.begin(typeSensor)
	e.uvarint(r.index)
	e.uvarint(r.next)
	e.uvarint(r.mark)
	e.uvarint(r.floor)
	e.uvarint(r.epoch)
	e.str(r.id)
	e.str(r.name)
	e.str(r.placeID)
	e.end()
}

// The flags of a frame record.
const (
	flagBoottime = 1 << iota // a boot follows seq, and timestamp is that boot's CLOCK_BOOTTIME
	flagUnsynced             // timestamp is what an unsynchronised clock said
	flagRaw                  // what the chip measured follows the faults
)

// A reading is what a frame record says.
type reading struct {
	*telemetry.Frame
	boot  uint64 // not 0: it waits until the time of that boot is known
	stamp int64  // CLOCK_BOOTTIME in that boot, milliseconds
}

// seqs returns the numbers that it has.
func (r *reading) seqs() telemetry.SeqRange {
	if r.IsLoss() {
		return r.Lost.Seqs
	}
	return telemetry.SeqRange{First: r.Seq, Last: r.Seq}
}

func (e *encoder) frame(index uint64, r *reading, seq uint64) {
	f := r.Frame
	e.begin(typeFrame)
	e.uvarint(index)
	e.buf = append(e.buf, 0, 0)
	flags, measures := len(e.buf)-2, len(e.buf)-1
	e.uvarint(seq)
	switch {
	case r.boot != 0:
		e.buf[flags] = flagBoottime
		e.uvarint(r.boot)
		e.varint(r.stamp)
	case f.Clock == telemetry.ClockUnsynced:
		e.buf[flags] = flagUnsynced
		e.varint(f.Timestamp)
	default:
		e.varint(f.Timestamp)
	}
	for m := telemetry.Measure(0); m < telemetry.Measures; m++ {
		if v, ok := f.Payload.Get(m); ok {
			e.buf[measures] |= 1 << m
			e.varint(int64(v))
		}
	}
	for m, fault := range f.Faults {
		if fault != "" {
			e.buf[measures] |= 1 << (m + telemetry.Measures)
			e.str(fault)
		}
	}
	if !f.Raw.Empty() {
		e.buf[flags] |= flagRaw
		raw := len(e.buf)
		e.buf = append(e.buf, 0)
		for m := telemetry.Measure(0); m < telemetry.Measures; m++ {
			if v, ok := f.Raw.Get(m); ok {
				e.buf[raw] |= 1 << m
				e.varint(int64(v))
			}
		}
	}
	e.end()
}

// lossRecord is the payload of a loss record.
type lossRecord struct {
	index  uint64
	reason reason
	seqs   telemetry.SeqRange
}

func (e *encoder) loss(r lossRecord) {
	e.begin(typeLoss)
	e.uvarint(r.index)
	e.buf = append(e.buf, byte(r.reason))
	e.uvarint(r.seqs.First)
	e.uvarint(r.seqs.Last - r.seqs.First)
	e.end()
}

// markRecord is the payload of a mark record.
type markRecord struct {
	index  uint64
	reason reason
	mark   uint64
}

func (e *encoder) mark(r markRecord) {
	e.begin(typeMark)
	e.uvarint(r.index)
	e.buf = append(e.buf, byte(r.reason))
	e.uvarint(r.mark)
	e.end()
}

// commit adds a commit record with that much padding.
func (e *encoder) commit(freed, durable Position, padding int) {
	e.begin(typeCommit)
	e.uvarint(uint64(freed))
	e.uvarint(uint64(durable))
	e.buf = append(e.buf, make([]byte, padding)...)
	e.end()
}

// boot adds a boot record: the number of the boot in this buffer, and its id.
func (e *encoder) boot(boot uint64, id string) {
	e.begin(typeBoot)
	e.uvarint(boot)
	e.str(id)
	e.end()
}

// clockRecord is the payload of a clock record.
type clockRecord struct {
	boot   uint64
	state  clockState
	last   int64
	offset int64
}

func (e *encoder) clock(r clockRecord) {
	e.begin(typeClock)
	e.uvarint(r.boot)
	e.buf = append(e.buf, byte(r.state))
	e.varint(r.last)
	e.varint(r.offset)
	e.end()
}

// A decoder takes a payload apart. After the last field, ok says whether all
// of them were there and nothing else.
type decoder struct {
	p   []byte
	bad bool
}

func (d *decoder) ok() bool { return !d.bad && len(d.p) == 0 }

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.p)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.p = d.p[n:]
	return v
}

// seq reads a sequence number or a mark.
func (d *decoder) seq() uint64 {
	v := d.uvarint()
	if v > telemetry.MaxSeq+1 {
		d.bad = true
	}
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.p)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.p = d.p[n:]
	return v
}

func (d *decoder) byte() byte {
	if len(d.p) == 0 {
		d.bad = true
		return 0
	}
	v := d.p[0]
	d.p = d.p[1:]
	return v
}

func (d *decoder) bytes(limit int) []byte {
	n := d.uvarint()
	if d.bad || n > uint64(limit) || n > uint64(len(d.p)) {
		d.bad = true
		return nil
	}
	v := d.p[:n]
	d.p = d.p[n:]
	return v
}

func decodeSensor(p []byte) (sensorRecord, bool) {
	d := decoder{p: p}
	r := sensorRecord{index: d.uvarint(), next: d.seq(), mark: d.seq(), floor: d.seq()}
	r.epoch = d.seq()
	r.id = string(d.bytes(maxString))
	r.name = string(d.bytes(maxString))
	r.placeID = string(d.bytes(maxString))
	return r, d.ok() && r.id != "" && r.index < maxSensors
}

// frameHead is how a frame record begins.
type frameHead struct {
	index, boot, seq uint64
	timestamp        int64 // Unix, or the boot's if there is one; milliseconds
	measures         byte
	unsynced, raw    bool
}

func (d *decoder) frameHead() (h frameHead) {
	h.index = d.uvarint()
	flags := d.byte()
	h.measures = d.byte()
	h.seq = d.seq()
	if flags&flagBoottime != 0 {
		h.boot = d.uvarint()
		d.bad = d.bad || h.boot == 0 || h.boot > maxBoot
	}
	h.unsynced, h.raw = flags&flagUnsynced != 0, flags&flagRaw != 0
	h.timestamp = d.varint()
	d.bad = d.bad || flags&^flagRaw > flagUnsynced || h.seq > telemetry.MaxSeq
	return h
}

// decodeFrame fills all of f but the sensor's label and the epoch. If h.boot is
// not 0, f.Timestamp is that boot's. fault turns the bytes of a reason into a
// string.
func decodeFrame(p []byte, f *telemetry.Frame, fault func([]byte) string) (h frameHead, ok bool) {
	d := decoder{p: p}
	h = d.frameHead()
	f.Seq, f.Timestamp = h.seq, h.timestamp
	if h.unsynced {
		f.Clock = telemetry.ClockUnsynced
	}
	measures := h.measures
	for m := telemetry.Measure(0); m < telemetry.Measures; m++ {
		if measures&(1<<m) != 0 {
			f.Payload.Set(m, telemetry.Micro(d.varint()))
		}
	}
	if measures>>telemetry.Measures != 0 {
		for m := range f.Faults {
			if measures&(1<<(m+telemetry.Measures)) != 0 {
				f.Faults[m] = fault(d.bytes(maxFault))
			}
		}
	}
	if h.raw {
		d.raw(&f.Raw)
	}
	return h, d.ok()
}

// raw reads what the chip measured.
func (d *decoder) raw(p *telemetry.Payload) {
	measures := d.byte()
	d.bad = d.bad || measures == 0 || measures >= 1<<telemetry.Measures
	for m := telemetry.Measure(0); m < telemetry.Measures; m++ {
		if measures&(1<<m) != 0 {
			p.Set(m, telemetry.Micro(d.varint()))
		}
	}
}

// decodeFrameHead reads no more of a frame record than recovery needs.
func decodeFrameHead(p []byte) (h frameHead, ok bool) {
	d := decoder{p: p}
	h = d.frameHead()
	return h, !d.bad
}

func decodeLoss(p []byte) (lossRecord, bool) {
	d := decoder{p: p}
	r := lossRecord{index: d.uvarint(), reason: reason(d.byte())}
	r.seqs.First = d.seq()
	n := d.seq()
	r.seqs.Last = r.seqs.First + n
	known := r.reason != reasonNone && r.reason.known() || r.reason == reasonReceived
	return r, d.ok() && known && r.seqs.Last <= telemetry.MaxSeq
}

func decodeMark(p []byte) (markRecord, bool) {
	d := decoder{p: p}
	r := markRecord{index: d.uvarint(), reason: reason(d.byte()), mark: d.seq()}
	return r, d.ok() && r.reason.known()
}

func decodeCommit(p []byte) (freed, durable Position, ok bool) {
	d := decoder{p: p}
	freed, durable = Position(d.uvarint()), Position(d.uvarint())
	return freed, durable, !d.bad
}

func decodeBoot(p []byte) (boot uint64, id string, ok bool) {
	d := decoder{p: p}
	boot = d.uvarint()
	id = string(d.bytes(maxBootID))
	return boot, id, d.ok() && boot <= maxBoot
}

func decodeClock(p []byte) (clockRecord, bool) {
	d := decoder{p: p}
	r := clockRecord{boot: d.uvarint(), state: clockState(d.byte()), last: d.varint(), offset: d.varint()}
	return r, d.ok() && r.boot > 0 && r.boot <= maxBoot && r.state <= clockEstimated
}

// decodeClose calls fn for each sensor of a close record.
func decodeClose(p []byte, fn func(index, next uint64)) bool {
	d := decoder{p: p}
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		index, next := d.uvarint(), d.seq()
		if !d.bad {
			fn(index, next)
		}
	}
	return d.ok()
}
