package kafka

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
)

// Header is a key and a value beside a record's own.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record of a topic.
type Record struct {
	Key     []byte // decides the partition, unless PartitionKey does; nil is written as a null key
	Value   []byte // nil is a tombstone
	Headers []Header

	// PartitionKey decides the partition if it is not nil. It is not written.
	PartitionKey []byte

	// Time is when the record was received, Unix milliseconds. Brokers retain
	// by it, so it must not be the time of the reading inside.
	Time int64
}

// Batch collects records of any topics for one [Producer.Produce]. It copies
// all bytes it is given, and keeps its memory when it is reset. The zero Batch
// is empty and ready. It is not safe for concurrent use.
//
// A batch is not yet laid out by partition: how many there are is known only
// when Kafka can be reached, and may grow between two batches.
type Batch struct {
	topics  []string
	bodies  []byte
	entries []entry
}

// entry is one record in a batch: its body is bodies[start:end].
type entry struct {
	time       int64
	start, end int
	hash       uint32
	topic      int
}

// Len returns how many records the batch holds.
func (b *Batch) Len() int { return len(b.entries) }

// Size returns how many bytes the records take, without what encoding adds for
// each record and batch.
func (b *Batch) Size() int { return len(b.bodies) }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	b.topics = b.topics[:0]
	b.bodies = b.bodies[:0]
	b.entries = b.entries[:0]
}

// Append adds a copy of r, to be written to topic.
func (b *Batch) Append(topic string, r Record) {
	t := slices.Index(b.topics, topic)
	if t < 0 {
		t = len(b.topics)
		b.topics = append(b.topics, topic)
	}
	start := len(b.bodies)
	b.bodies = appendBody(b.bodies, &r)
	key := r.PartitionKey
	if key == nil {
		key = r.Key
	}
	b.entries = append(b.entries, entry{time: r.Time, start: start, end: len(b.bodies), hash: murmur2(key), topic: t})
}

// Record returns the i-th record and its topic. The slices are the batch's
// own: they are valid until it is appended to or reset.
func (b *Batch) Record(i int) (topic string, r Record) {
	e := b.entries[i]
	r, err := parseBody(b.bodies[e.start:e.end])
	if err != nil {
		panic("kafka: a batch holds a record that it cannot read: " + err.Error()) // Append wrote it
	}
	r.Time = e.time
	return b.topics[e.topic], r
}

// appendBody appends what of a record does not depend on its place in a batch:
// key, value and headers.
func appendBody(dst []byte, r *Record) []byte {
	dst = appendNullable(dst, r.Key)
	dst = appendNullable(dst, r.Value)
	dst = binary.AppendVarint(dst, int64(len(r.Headers)))
	for _, h := range r.Headers {
		dst = binary.AppendVarint(dst, int64(len(h.Key)))
		dst = append(dst, h.Key...)
		dst = appendNullable(dst, h.Value)
	}
	return dst
}

func appendNullable(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	dst = binary.AppendVarint(dst, int64(len(b)))
	return append(dst, b...)
}

func parseBody(body []byte) (Record, error) {
	p := bodyParser{rest: body}
	r := Record{Key: p.nullable(), Value: p.nullable()}
	if n := p.varint(); n > 0 && n <= int64(len(p.rest)) {
		r.Headers = make([]Header, n)
		for i := range r.Headers {
			r.Headers[i] = Header{Key: string(p.nullable()), Value: p.nullable()}
		}
	}
	if p.broken || len(p.rest) > 0 {
		return Record{}, errors.New("malformed record body")
	}
	return r, nil
}

type bodyParser struct {
	rest   []byte
	broken bool
}

func (p *bodyParser) varint() int64 {
	v, n := binary.Varint(p.rest)
	if n <= 0 {
		p.broken = true
		return 0
	}
	p.rest = p.rest[n:]
	return v
}

func (p *bodyParser) nullable() []byte {
	n := p.varint()
	if n < 0 {
		return nil
	}
	return p.take(n)
}

func (p *bodyParser) take(n int64) []byte {
	if p.broken || n < 0 || n > int64(len(p.rest)) {
		p.broken = true
		return nil
	}
	b := p.rest[:n:n]
	p.rest = p.rest[n:]
	return b
}

// magic is the number of the format that record batches have.
const magic = 2

// Where the fields of a record batch are; its base offset comes first (Kafka
// protocol guide, "Record Batch", magic 2).
const (
	offLength     = 8
	offEpoch      = offLength + 4
	offMagic      = offEpoch + 4
	offCRC        = offMagic + 1
	offAttributes = offCRC + 4
	offLastDelta  = offAttributes + 2
	offFirstTime  = offLastDelta + 4
	offMaxTime    = offFirstTime + 8
	offProducer   = offMaxTime + 8
	offCount      = offProducer + 8 + 2 + 4
	offRecords    = offCount + 4
)

// sizePrefix is before a batch in a produce request: how many bytes it has.
const sizePrefix = 4

// maxRecordHead is how many bytes at most a record has before its body: a
// varint length, the attributes, a varint time delta and a varint offset delta.
const maxRecordHead = 5 + 1 + 10 + 5

// recordBatch encodes the records of one partition for one produce request.
type recordBatch struct {
	buf       []byte
	records   int
	firstTime int64
	maxTime   int64
}

// reset empties the batch and keeps its memory.
func (rb *recordBatch) reset() {
	rb.buf = append(rb.buf[:0], make([]byte, sizePrefix+offRecords)...)
	rb.records = 0
}

// append adds a record. reset must have been called before the first.
func (rb *recordBatch) append(time int64, body []byte) {
	if rb.records == 0 {
		rb.firstTime, rb.maxTime = time, time
	}
	rb.maxTime = max(rb.maxTime, time)
	timeDelta, offsetDelta := time-rb.firstTime, int64(rb.records)
	rb.buf = binary.AppendVarint(rb.buf, int64(1+varintLen(timeDelta)+varintLen(offsetDelta)+len(body)))
	rb.buf = append(rb.buf, 0) // attributes: none are defined
	rb.buf = binary.AppendVarint(rb.buf, timeDelta)
	rb.buf = binary.AppendVarint(rb.buf, offsetDelta)
	rb.buf = append(rb.buf, body...)
	rb.records++
}

// finish fills in the head and returns the encoding: an int32 with the size of
// what follows, then the batch, as a produce request carries it.
func (rb *recordBatch) finish() []byte {
	put := binary.BigEndian
	b := rb.buf[sizePrefix:]
	put.PutUint32(rb.buf, uint32(len(b)))
	put.PutUint64(b, 0) // base offset: the broker's to assign
	put.PutUint32(b[offLength:], uint32(len(b)-offEpoch))
	put.PutUint32(b[offEpoch:], ^uint32(0)) // leader epoch: the broker's
	b[offMagic] = magic
	put.PutUint16(b[offAttributes:], 0) // no compression, create time, not transactional
	put.PutUint32(b[offLastDelta:], uint32(rb.records-1))
	put.PutUint64(b[offFirstTime:], uint64(rb.firstTime))
	put.PutUint64(b[offMaxTime:], uint64(rb.maxTime))
	for i := offProducer; i < offCount; i++ {
		b[i] = 0xff // producer id, epoch and sequence -1: not idempotent
	}
	put.PutUint32(b[offCount:], uint32(rb.records))
	put.PutUint32(b[offCRC:], crc32.Checksum(b[offAttributes:], castagnoli))
	return rb.buf
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// varintLen returns how many bytes the zigzag varint of v takes.
func varintLen(v int64) int {
	n := 1
	for u := uint64(v)<<1 ^ uint64(v>>63); u >= 0x80; u >>= 7 {
		n++
	}
	return n
}
