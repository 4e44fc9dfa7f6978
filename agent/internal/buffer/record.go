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
)

// label is what a sensor record says of a sensor and every frame repeats.
type label struct {
	id, name, placeID string
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
	e.str(r.id)
	e.str(r.name)
	e.str(r.placeID)
	e.end()
}

func (e *encoder) frame(index uint64, f *telemetry.Frame, seq uint64) {
	e.begin(typeFrame)
	e.uvarint(index)
	e.buf = append(e.buf, 0, 0)
	measures := len(e.buf) - 1
	e.uvarint(seq)
	e.varint(f.Timestamp)
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

func (e *encoder) boot(id string) {
	e.begin(typeBoot)
	e.str(id)
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
	r.id = string(d.bytes(maxString))
	r.name = string(d.bytes(maxString))
	r.placeID = string(d.bytes(maxString))
	return r, d.ok() && r.id != "" && r.index < maxSensors
}

// decodeFrame fills all of f but the sensor's label and the epoch, and
// returns the sensor's index. fault turns the bytes of a reason into a string.
func decodeFrame(p []byte, f *telemetry.Frame, fault func([]byte) string) (index uint64, ok bool) {
	d := decoder{p: p}
	index = d.uvarint()
	flags, measures := d.byte(), d.byte()
	f.Seq = d.seq()
	f.Timestamp = d.varint()
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
	return index, d.ok() && flags == 0 && f.Seq <= telemetry.MaxSeq
}

// decodeFrameSeq reads no more of a frame record than recovery needs.
func decodeFrameSeq(p []byte) (index, seq uint64, ok bool) {
	d := decoder{p: p}
	index = d.uvarint()
	d.byte()
	d.byte()
	seq = d.seq()
	return index, seq, !d.bad && seq <= telemetry.MaxSeq
}

func decodeLoss(p []byte) (lossRecord, bool) {
	d := decoder{p: p}
	r := lossRecord{index: d.uvarint(), reason: reason(d.byte())}
	r.seqs.First = d.seq()
	n := d.seq()
	r.seqs.Last = r.seqs.First + n
	return r, d.ok() && r.reason != reasonNone && r.reason.known() && r.seqs.Last <= telemetry.MaxSeq
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

func decodeBoot(p []byte) (string, bool) {
	d := decoder{p: p}
	id := string(d.bytes(maxBootID))
	return id, d.ok()
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
