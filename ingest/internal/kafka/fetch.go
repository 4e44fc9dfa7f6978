package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
)

// The versions of Fetch that are spoken: with 4 came the record batch, with 11
// end the fields that kafka-go knows.
const (
	minFetchVersion = 4
	maxFetchVersion = 11
)

// maxAnswer bounds the answer to one fetch. Brokers keep to the bytes that are
// asked for, but for a single record batch that is larger.
const maxAnswer = 256 << 20

// fetchRequest asks for records of one partition. The transport lets it take its
// answer from the connection itself, as bytes, in memory that is used again:
// kafka-go would decode it record by record, for half of what a consumer costs.
type fetchRequest struct {
	fetch.Request
	clientID string
	version  int16  // that the connection speaks
	buf      []byte // for the answer
}

func newFetchRequest(clientID, topic string, partition int, offset int64, o *ConsumerOptions, buf []byte) *fetchRequest {
	return &fetchRequest{clientID: clientID, buf: buf, Request: fetch.Request{
		ReplicaID:    -1,
		MaxWaitTime:  int32(o.MaxWait.Milliseconds()),
		MinBytes:     1,
		MaxBytes:     int32(o.MaxBytes),
		SessionEpoch: -1, // no fetch session
		Topics: []fetch.RequestTopic{{Topic: topic, Partitions: []fetch.RequestPartition{{
			Partition:          int32(partition),
			CurrentLeaderEpoch: -1,
			FetchOffset:        offset,
			LogStartOffset:     -1,
			PartitionMaxBytes:  int32(o.MaxBytes),
		}}}},
	}}
}

// Required implements protocol.RawExchanger: the transport calls RawExchange if
// it says so, on a connection of these versions.
func (r *fetchRequest) Required(versions map[protocol.ApiKey]int16) bool {
	r.version = versions[protocol.Fetch]
	return true
}

// RawExchange implements protocol.RawExchanger.
func (r *fetchRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if r.version < minFetchVersion || r.version > maxFetchVersion {
		return nil, fmt.Errorf("the broker speaks version %d of Fetch: want %d to %d (Kafka 0.11 or later)", r.version, minFetchVersion, maxFetchVersion)
	}
	const correlation = 0 // one request at a time is under way on a connection
	if err := protocol.WriteRequest(rw, r.version, correlation, r.clientID, &r.Request); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(rw, size[:]); err != nil {
		return nil, err
	}
	n := int32(binary.BigEndian.Uint32(size[:]))
	if n < 0 || n > maxAnswer {
		return nil, fmt.Errorf("an answer of %d bytes: want at most %d", n, maxAnswer)
	}
	if int(n) > cap(r.buf) {
		r.buf = make([]byte, n)
	}
	r.buf = r.buf[:n]
	if _, err := io.ReadFull(rw, r.buf); err != nil {
		return nil, err
	}
	return parseFetchAnswer(r.buf, r.version)
}

// fetchAnswer is the answer for one partition.
type fetchAnswer struct {
	buf           []byte // all of it
	err           error  // that the broker answers
	highWatermark int64  // offset after the last record there is
	records       []byte // record batches, the last of which may be cut off
}

// ApiKey implements protocol.Message.
//
//nolint:revive // the interface has the name
func (*fetchAnswer) ApiKey() protocol.ApiKey { return protocol.Fetch }

var errFetchAnswer = errors.New("malformed answer to a fetch")

// parseFetchAnswer reads an answer without its size (Kafka protocol guide, Fetch
// Response).
func parseFetchAnswer(buf []byte, version int16) (*fetchAnswer, error) {
	p := answerParser{rest: buf}
	a := &fetchAnswer{buf: buf}
	p.take(4 + 4) // correlation id, throttle time
	if version >= 7 {
		code := p.int16()
		p.take(4) // session
		if !p.broken && code != 0 {
			a.err = kafkago.Error(code)
			return a, nil
		}
	}
	topics := p.int32()
	p.take(int(p.int16())) // its name
	partitions := p.int32()
	p.take(4) // its number
	if topics != 1 || partitions != 1 {
		return nil, fmt.Errorf("%w: %d topics, %d partitions", errFetchAnswer, topics, partitions)
	}
	if code := p.int16(); code != 0 {
		a.err = kafkago.Error(code)
	}
	a.highWatermark = p.int64()
	p.take(8) // last stable offset
	if version >= 5 {
		p.take(8) // log start offset
	}
	if aborted := int(p.int32()); aborted > 0 {
		p.take(min(aborted, len(buf)) * 16)
	}
	if version >= 11 {
		p.take(4) // preferred read replica
	}
	if n := int(p.int32()); n > 0 {
		a.records = p.take(n)
	}
	if p.broken {
		return nil, errFetchAnswer
	}
	return a, nil
}

// answerParser takes fields from the front. It is broken, and all that it
// returns nought, once there were too few bytes.
type answerParser struct {
	rest   []byte
	broken bool
}

func (p *answerParser) take(n int) []byte {
	if p.broken || n < 0 || n > len(p.rest) {
		p.broken = true
		return make([]byte, 8)
	}
	b := p.rest[:n:n]
	p.rest = p.rest[n:]
	return b
}

func (p *answerParser) int16() int16 { return int16(binary.BigEndian.Uint16(p.take(2))) }
func (p *answerParser) int32() int32 { return int32(binary.BigEndian.Uint32(p.take(4))) }
func (p *answerParser) int64() int64 { return int64(binary.BigEndian.Uint64(p.take(8))) }
