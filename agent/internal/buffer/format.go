package buffer

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
)

// Position is the offset of a byte in the log since the buffer was made. It
// grows, is never reused, and is opaque but for its order.
type Position uint64

const (
	formatVersion = 1

	identityMagic = "telltale"
	identitySize  = 40
	headerMagic   = "tellseg\n"
	headerSize    = 64

	prefixSize = 3 // type and length of a record
	crcSize    = 4
	maxPayload = 4096
	maxRecord  = prefixSize + maxPayload + crcSize
	minMark    = prefixSize + 3 + crcSize // the smallest record that moves numbers on: a mark
	minNumber  = prefixSize + 4 + crcSize // the smallest record that uses one up: a loss
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// recordType is the first byte of a record. A reader skips the types up to
// maxRecordType that it does not know.
type recordType byte

const (
	typeSensor recordType = 1 + iota
	typeFrame
	typeLoss
	typeMark
	typeCommit
	typeBoot
	typeClose
	typeClock

	maxRecordType recordType = 15
)

// identity is what makes a buffer this buffer.
type identity struct {
	epoch uint64 // of every frame
	salt  uint32 // of every CRC
}

func (id identity) encode() []byte {
	p := make([]byte, identitySize)
	copy(p, identityMagic)
	le := binary.LittleEndian
	le.PutUint32(p[8:], formatVersion)
	le.PutUint32(p[12:], crc32.Checksum(p[:12], castagnoli))
	le.PutUint64(p[16:], id.epoch)
	le.PutUint32(p[24:], id.salt)
	le.PutUint32(p[36:], crc32.Checksum(p[:36], castagnoli))
	return p
}

// decodeIdentity returns the identity in p, whether it is whole, and
// ErrNewerFormat if p is whole as far as its version, which is newer.
func decodeIdentity(p []byte) (identity, bool, error) {
	le := binary.LittleEndian
	if len(p) < 16 || string(p[:8]) != identityMagic || le.Uint32(p[12:]) != crc32.Checksum(p[:12], castagnoli) {
		return identity{}, false, nil
	}
	if v := le.Uint32(p[8:]); v > formatVersion {
		return identity{}, false, fmt.Errorf("%w: version %d, this program knows %d", ErrNewerFormat, v, formatVersion)
	}
	if len(p) < identitySize || le.Uint32(p[36:]) != crc32.Checksum(p[:36], castagnoli) {
		return identity{}, false, nil
	}
	return identity{epoch: le.Uint64(p[16:]), salt: le.Uint32(p[24:])}, true, nil
}

// header is the first 64 bytes of a segment.
type header struct {
	identity
	base    Position
	sensors uint32 // defined in the head
	head    uint32 // length of the head
	frames  uint64 // frame records in the log before this segment
	ahead   uint32 // see Options.ahead
}

func (h *header) put(p []byte) {
	copy(p, headerMagic)
	le := binary.LittleEndian
	le.PutUint32(p[8:], formatVersion)
	le.PutUint32(p[12:], h.sensors)
	le.PutUint64(p[16:], uint64(h.base))
	le.PutUint64(p[24:], h.epoch)
	le.PutUint32(p[32:], h.salt)
	le.PutUint32(p[36:], h.head)
	le.PutUint64(p[40:], h.frames)
	le.PutUint32(p[48:], h.ahead)
	le.PutUint32(p[60:], crc32.Checksum(p[:60], castagnoli))
}

// decodeHeader returns the header in p and whether it is whole and of this
// version.
func decodeHeader(p []byte) (header, bool) {
	le := binary.LittleEndian
	if len(p) < headerSize || string(p[:8]) != headerMagic || le.Uint32(p[8:]) != formatVersion ||
		le.Uint32(p[60:]) != crc32.Checksum(p[:60], castagnoli) {
		return header{}, false
	}
	return header{
		identity: identity{epoch: le.Uint64(p[24:]), salt: le.Uint32(p[32:])},
		base:     Position(le.Uint64(p[16:])),
		sensors:  le.Uint32(p[12:]),
		head:     le.Uint32(p[36:]),
		frames:   le.Uint64(p[40:]),
		ahead:    le.Uint32(p[48:]),
	}, true
}

const segmentSuffix = ".seg"

func segmentName(base Position) string { return fmt.Sprintf("%016x%s", uint64(base), segmentSuffix) }

// parseSegmentName is the inverse of segmentName.
func parseSegmentName(name string) (Position, bool) {
	if len(name) != 16+len(segmentSuffix) || name[16:] != segmentSuffix {
		return 0, false
	}
	v, err := strconv.ParseUint(name[:16], 16, 64)
	if err != nil || segmentName(Position(v)) != name {
		return 0, false
	}
	return Position(v), true
}

// checksum is the CRC of a record's type, length and payload. Two positions of
// a segment never have the same seed, so moved bytes do not verify.
func checksum(salt uint32, p Position, rec []byte) uint32 {
	return crc32.Update(salt^uint32(p)^uint32(p>>32), castagnoli, rec)
}

// A record is one that verified.
type record struct {
	pos     Position // of its first byte
	typ     recordType
	payload []byte // valid until the next one is read
}

func (r *record) end() Position {
	return r.pos + Position(prefixSize+len(r.payload)+crcSize)
}

// parseRecord returns the record at the start of p, which is at position pos,
// if one verifies there.
func parseRecord(salt uint32, pos Position, p []byte) (record, bool) {
	if len(p) < prefixSize+crcSize {
		return record{}, false
	}
	typ := recordType(p[0])
	if typ == 0 || typ > maxRecordType {
		return record{}, false
	}
	n := int(p[1]) | int(p[2])<<8
	if n > maxPayload || prefixSize+n+crcSize > len(p) {
		return record{}, false
	}
	body := p[:prefixSize+n]
	if binary.LittleEndian.Uint32(p[prefixSize+n:]) != checksum(salt, pos, body) {
		return record{}, false
	}
	return record{pos: pos, typ: typ, payload: body[prefixSize:]}, true
}

// An encoder builds consecutive records, the first of them at base.
type encoder struct {
	salt  uint32
	base  Position
	buf   []byte
	start int // of the record being built
}

func (e *encoder) reset(base Position) { e.base, e.buf = base, e.buf[:0] }

func (e *encoder) begin(t recordType) {
	e.start = len(e.buf)
	e.buf = append(e.buf, byte(t), 0, 0)
}

func (e *encoder) end() {
	n := len(e.buf) - e.start - prefixSize
	e.buf[e.start+1], e.buf[e.start+2] = byte(n), byte(n>>8)
	sum := checksum(e.salt, e.base+Position(e.start), e.buf[e.start:])
	e.buf = binary.LittleEndian.AppendUint32(e.buf, sum)
}
