package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/segmentio/kafka-go/compress"
)

// The bits of a record batch's attributes.
const (
	attrCompression   = 1<<3 - 1
	attrLogAppendTime = 1 << 3
	attrControl       = 1 << 5
)

// maxInflated bounds what the records of one compressed batch may become.
const maxInflated = 128 << 20

// recordSet decodes the record batches of a fetch. It keeps its memory: what it
// has decoded is good until it is reset.
type recordSet struct {
	messages []Message
	headers  []Header
	inflated []byte
	key      string // of the last header: nearly all records have the same
}

func (s *recordSet) reset() {
	s.messages, s.headers, s.inflated = s.messages[:0], s.headers[:0], s.inflated[:0]
}

// errCorrupt says that a record batch cannot be decoded.
var errCorrupt = errors.New("corrupt record batch")

// decode adds the records in data from an offset on, and returns the offset that
// comes after. That is beyond the last record where what follows is no record of a
// user: the marks of transactions, or what compaction has removed. A batch that is
// cut off is left for the next fetch.
//
// The error is of the batch that the returned offset is in; the records before it
// are there.
func (s *recordSet) decode(data []byte, offset int64) (next int64, err error) {
	next = offset
	for len(data) > 0 {
		n := len(data)
		if len(data) >= offEpoch {
			n = int(binary.BigEndian.Uint32(data[offLength:])) + offEpoch
		}
		if n > len(data) || len(data) < offEpoch {
			if next == offset {
				return next, fmt.Errorf("%w at offset %d: cut off", errCorrupt, next)
			}
			break
		}
		messages := len(s.messages)
		after, err := s.batch(data[:n], next)
		if err != nil {
			s.messages = s.messages[:messages]
			return next, fmt.Errorf("%w at offset %d: %w", errCorrupt, next, err)
		}
		next = max(next, after)
		data = data[n:]
	}
	return next, nil
}

// batch adds the records of one batch from an offset on.
func (s *recordSet) batch(b []byte, offset int64) (next int64, err error) {
	get := binary.BigEndian
	if len(b) > offMagic && b[offMagic] != magic {
		return 0, fmt.Errorf("format %d: want %d (Kafka 0.11 or later)", b[offMagic], magic)
	}
	if len(b) < offRecords {
		return 0, fmt.Errorf("%d bytes: want at least %d", len(b), offRecords)
	}
	if sum := crc32.Checksum(b[offAttributes:], castagnoli); sum != get.Uint32(b[offCRC:]) {
		return 0, errors.New("checksum does not match")
	}
	base, lastDelta := int64(get.Uint64(b)), int64(int32(get.Uint32(b[offLastDelta:])))
	next = base + lastDelta + 1
	if base < 0 || next <= base {
		return 0, fmt.Errorf("offsets %d and %d more", base, lastDelta)
	}
	attributes := get.Uint16(b[offAttributes:])
	if attributes&attrControl != 0 {
		return next, nil
	}
	records := b[offRecords:]
	if c := compress.Compression(attributes & attrCompression); c != compress.None {
		if records, err = s.inflate(c, records); err != nil {
			return 0, err
		}
	}
	first, greatest := int64(get.Uint64(b[offFirstTime:])), int64(get.Uint64(b[offMaxTime:]))
	p, least := bodyParser{rest: records}, base
	for n := get.Uint32(b[offCount:]); n > 0; n-- {
		r := bodyParser{rest: p.take(p.varint())}
		r.take(1) // attributes: none are defined
		m := Message{Record: Record{Time: first + r.varint()}, Offset: base + r.varint()}
		m.Key, m.Value = r.nullable(), r.nullable()
		m.Headers = s.header(&r)
		if p.broken || r.broken || len(r.rest) > 0 || m.Offset < least || m.Offset >= next {
			return 0, errors.New("malformed record")
		}
		least = m.Offset + 1
		if m.Offset < offset {
			continue // brokers answer with whole batches
		}
		if attributes&attrLogAppendTime != 0 {
			m.Time = greatest
		}
		s.messages = append(s.messages, m)
	}
	if len(p.rest) > 0 {
		return 0, errors.New("bytes after the last record")
	}
	return next, nil
}

// header takes a record's headers.
func (s *recordSet) header(r *bodyParser) []Header {
	start := len(s.headers)
	for n := r.varint(); n > 0 && !r.broken; n-- {
		if key := r.nullable(); string(key) != s.key {
			s.key = string(key)
		}
		s.headers = append(s.headers, Header{Key: s.key, Value: r.nullable()})
	}
	// If the slice has been moved, those of earlier records stay where they were.
	return s.headers[start:len(s.headers):len(s.headers)]
}

// inflate returns the decompressed records.
func (s *recordSet) inflate(c compress.Compression, data []byte) ([]byte, error) {
	codec := c.Codec()
	if codec == nil {
		return nil, fmt.Errorf("compression %d is not known", int8(c))
	}
	r := codec.NewReader(bytes.NewReader(data))
	defer func() { _ = r.Close() }() // what matters was read
	start := len(s.inflated)
	to := bytes.NewBuffer(s.inflated)
	n, err := to.ReadFrom(io.LimitReader(r, maxInflated+1))
	s.inflated = to.Bytes()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", codec.Name(), err)
	}
	if n > maxInflated {
		return nil, fmt.Errorf("%s: more than %d bytes decompressed", codec.Name(), maxInflated)
	}
	return s.inflated[start:], nil
}
