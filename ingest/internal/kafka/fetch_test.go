package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
)

// exchangeConn is a connection whose answer is known.
type exchangeConn struct {
	io.Reader
	io.Writer
}

func answerOf(t testing.TB, version int16, response *fetch.Response) []byte {
	t.Helper()
	for _, topic := range response.Topics {
		for i := range topic.Partitions { // kafka-go cannot write an empty one
			topic.Partitions[i].RecordSet = protocol.RecordSet{Version: 2, Records: protocol.NewRecordReader(protocol.Record{Value: protocol.NewBytes([]byte("v"))})}
		}
	}
	var b bytes.Buffer
	if err := protocol.WriteResponse(&b, version, 0, response); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFetchSpeaksEveryVersion(t *testing.T) {
	o := &ConsumerOptions{MaxBytes: 1000, MaxWait: DefaultMaxWait}
	for version := int16(minFetchVersion); version <= maxFetchVersion; version++ {
		partition := fetch.ResponsePartition{Partition: 3, HighWatermark: 40, LastStableOffset: 39, LogStartOffset: 1,
			AbortedTransactions: []fetch.ResponseTransaction{{ProducerID: 1, FirstOffset: 2}, {ProducerID: 1, FirstOffset: 4}},
		}
		answer := answerOf(t, version, &fetch.Response{ThrottleTimeMs: 1, SessionID: 9, Topics: []fetch.ResponseTopic{{Topic: "t", Partitions: []fetch.ResponsePartition{partition}}}})
		var sent bytes.Buffer
		r := newFetchRequest("client", "t", 3, 17, o, make([]byte, 0, 1<<10))
		if !r.Required(map[protocol.ApiKey]int16{protocol.Fetch: version}) {
			t.Fatal("the transport would send and read it itself")
		}
		m, err := r.RawExchange(exchangeConn{bytes.NewReader(answer), &sent})
		if err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		a := m.(*fetchAnswer)
		var s recordSet
		if next, err := s.decode(a.records, 0); a.err != nil || a.highWatermark != 40 || err != nil || next != 1 || string(s.messages[0].Value) != "v" {
			t.Errorf("version %d: %+v, next %d, %v, %v", version, a, next, s.messages, err)
		}
		if &a.buf[0] != &r.buf[0] || cap(a.buf) != 1<<10 {
			t.Errorf("version %d: the answer is not in the memory that was given", version)
		}
		got, _, client, request, err := protocol.ReadRequest(&sent)
		if err != nil || got != version || client != "client" {
			t.Fatalf("version %d: sent version %d by %q: %v", version, got, client, err)
		}
		p := request.(*fetch.Request).Topics[0].Partitions[0]
		if p.Partition != 3 || p.FetchOffset != 17 || p.PartitionMaxBytes != 1000 || request.(*fetch.Request).MaxWaitTime != 250 {
			t.Errorf("version %d: sent %+v", version, request)
		}
		for n := range answer {
			if m, err := r.RawExchange(exchangeConn{bytes.NewReader(answer[:n]), io.Discard}); err == nil {
				t.Errorf("version %d: %d of %d bytes are taken for an answer: %+v", version, n, len(answer), m)
			}
		}
	}
}

func TestFetchTellsTheBrokersErrors(t *testing.T) {
	for name, test := range map[string]struct {
		response fetch.Response
		want     error
	}{
		"of the partition": {fetch.Response{Topics: []fetch.ResponseTopic{{Topic: "t", Partitions: []fetch.ResponsePartition{{ErrorCode: int16(kafkago.NotLeaderForPartition)}}}}}, kafkago.NotLeaderForPartition},
		"of the request":   {fetch.Response{ErrorCode: int16(kafkago.NotController)}, kafkago.NotController},
	} {
		m, err := parseFetchAnswer(answerOf(t, maxFetchVersion, &test.response)[4:], maxFetchVersion)
		if err != nil || !errors.Is(m.err, test.want) {
			t.Errorf("%s: %+v, %v; want %v", name, m, err, test.want)
		}
	}
}

func TestFetchRefuses(t *testing.T) {
	many := fetch.Response{Topics: []fetch.ResponseTopic{{Topic: "t", Partitions: make([]fetch.ResponsePartition, 2)}}}
	huge := binary.BigEndian.AppendUint32(nil, maxAnswer+1)
	for name, test := range map[string]struct {
		version int16
		answer  []byte
		want    string
	}{
		"an old broker":        {3, nil, "version 3 of Fetch: want 4 to 11"},
		"no topic":             {11, answerOf(t, 11, &fetch.Response{}), "0 topics"},
		"more than was asked":  {11, answerOf(t, 11, &many), "1 topics, 2 partitions"},
		"too large an answer":  {11, huge, "268435457 bytes: want at most 268435456"},
		"a size below nought":  {11, []byte{0xff, 0xff, 0xff, 0xff}, "-1 bytes"},
		"an answer of nothing": {11, []byte{0, 0, 0, 0}, "malformed"},
	} {
		r := newFetchRequest("c", "t", 0, 0, &ConsumerOptions{}, nil)
		r.Required(map[protocol.ApiKey]int16{protocol.Fetch: test.version})
		if m, err := r.RawExchange(exchangeConn{bytes.NewReader(test.answer), io.Discard}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %+v, %v; want %q", name, m, err, test.want)
		}
	}
}

func FuzzFetchAnswer(f *testing.F) {
	response := &fetch.Response{Topics: []fetch.ResponseTopic{{Topic: "t", Partitions: []fetch.ResponsePartition{{HighWatermark: 4}}}}}
	for version := int16(minFetchVersion); version <= maxFetchVersion; version++ {
		f.Add(answerOf(f, version, response)[4:], version)
	}
	f.Fuzz(func(t *testing.T, answer []byte, version int16) {
		a, err := parseFetchAnswer(answer, version)
		if err == nil && (len(a.records) > len(answer) || a == nil) {
			t.Fatalf("%d bytes of records in %d", len(a.records), len(answer))
		}
	})
}
