package kafka

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go/protocol"
	"pgregory.net/rapid"
)

// stored is a record as testdata has it: what Kafka's own consumer read.
type stored struct {
	Offset  int64   `json:"offset"`
	Time    int64   `json:"time"`
	Key     *string `json:"key"`
	Value   *string `json:"value"`
	Headers []struct {
		Key   string  `json:"key"`
		Value *string `json:"value"`
	} `json:"headers"`
}

func (s *stored) message() Message {
	orNil := func(s *string) []byte {
		if s == nil {
			return nil
		}
		return []byte(*s)
	}
	m := Message{Offset: s.Offset, Record: Record{Time: s.Time, Key: orNil(s.Key), Value: orNil(s.Value)}}
	for _, h := range s.Headers {
		m.Headers = append(m.Headers, Header{Key: h.Key, Value: orNil(h.Value)})
	}
	return m
}

// exactly tells null from empty in keys and values, but not in lists.
var exactly = cmp.Options{equateEmpty[Message](), equateEmpty[Header]()}

func equateEmpty[T any]() cmp.Option {
	return cmp.FilterValues(func(a, b []T) bool { return len(a)+len(b) == 0 }, cmp.Comparer(func(_, _ []T) bool { return true }))
}

// TestDecodesLogsOfKafka reads partitions as a broker has them on its disk; README.md in
// testdata says how they were made.
func TestDecodesLogsOfKafka(t *testing.T) {
	for name, end := range map[string]int64{
		"none": 17, "gzip": 17, "snappy": 17, "lz4": 17, "zstd": 17, "transactions": 10, "appended": 4, "compacted": 70,
	} {
		t.Run(name, func(t *testing.T) {
			log, err := os.ReadFile(filepath.Join("testdata", name+".log"))
			if err != nil {
				t.Fatal(err)
			}
			lines, err := os.ReadFile(filepath.Join("testdata", name+".jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			var want []Message
			for line := range bytes.Lines(lines) {
				var s stored
				if err := json.Unmarshal(line, &s); err != nil {
					t.Fatal(err)
				}
				want = append(want, s.message())
			}
			// From every offset on, as if the group had committed it.
			for from := range end {
				after, _ := slices.BinarySearchFunc(want, from, func(m Message, at int64) int { return int(m.Offset - at) })
				var s recordSet
				next, err := s.decode(log, from)
				if err != nil || next != end {
					t.Fatalf("from %d: next %d, %v; want %d", from, next, err, end)
				}
				if diff := cmp.Diff(want[after:], s.messages, exactly); diff != "" {
					t.Fatalf("from %d (-kafka +decoded):\n%s", from, diff)
				}
			}
		})
	}
}

// readKafkaGo decodes a record set with kafka-go.
func readKafkaGo(set []byte) ([]Message, error) {
	var s protocol.RecordSet
	prefixed := append(binary.BigEndian.AppendUint32(nil, uint32(len(set))), set...)
	if _, err := s.ReadFrom(bytes.NewReader(prefixed)); err != nil {
		return nil, err
	}
	var messages []Message
	for s.Records != nil {
		r, err := s.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		m := Message{Offset: r.Offset, Record: Record{Time: r.Time.UnixMilli()}}
		for to, from := range map[*[]byte]protocol.Bytes{&m.Key: r.Key, &m.Value: r.Value} {
			if from != nil {
				if *to, err = io.ReadAll(from); err != nil {
					return nil, err
				}
			}
		}
		for _, h := range r.Headers {
			m.Headers = append(m.Headers, Header{Key: h.Key, Value: h.Value})
		}
		messages = append(messages, m)
	}
	return messages, nil
}

// encodeKafkaGo makes a batch with kafka-go, at a base offset.
func encodeKafkaGo(t interface{ Fatal(...any) }, messages []Message, base int64, compression protocol.Attributes) []byte {
	var records []protocol.Record
	for _, m := range messages {
		r := protocol.Record{Time: time.UnixMilli(m.Time)}
		if m.Key != nil {
			r.Key = protocol.NewBytes(m.Key)
		}
		if m.Value != nil {
			r.Value = protocol.NewBytes(m.Value)
		}
		for _, h := range m.Headers {
			r.Headers = append(r.Headers, protocol.Header{Key: h.Key, Value: h.Value})
		}
		records = append(records, r)
	}
	set := protocol.RecordSet{Version: 2, Attributes: compression, Records: protocol.NewRecordReader(records...)}
	var b bytes.Buffer
	if _, err := set.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	batch := b.Bytes()[sizePrefix:]
	binary.BigEndian.PutUint64(batch, uint64(base))
	return batch
}

// TestDecodesWhatOthersEncode: sets of batches, compressed in every way, with
// offsets missing between them, from any offset on and cut off anywhere.
func TestDecodesWhatOthersEncode(t *testing.T) {
	text := rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOfN(rapid.Byte(), 1, 200))
	rapid.Check(t, func(t *rapid.T) {
		var set []byte
		var want []Message
		var ends []int // of each batch
		var nexts []int64
		next := rapid.Int64Range(0, 1e12).Draw(t, "first offset")
		first := next
		for range rapid.IntRange(1, 4).Draw(t, "batches") {
			next += rapid.SampledFrom([]int64{0, 0, 1, 7}).Draw(t, "gap")
			var messages []Message
			base := next
			for range rapid.IntRange(1, 20).Draw(t, "records") {
				m := Message{Offset: next, Record: Record{Time: rapid.Int64Range(1, 4e12).Draw(t, "time"), Key: text.Draw(t, "key"), Value: text.Draw(t, "value")}}
				for range rapid.IntRange(0, 3).Draw(t, "headers") {
					m.Headers = append(m.Headers, Header{Key: rapid.SampledFrom([]string{"device", "", "reason"}).Draw(t, "name"), Value: text.Draw(t, "content")})
				}
				messages = append(messages, m)
				next++
			}
			set = append(set, encodeKafkaGo(t, messages, base, protocol.Attributes(rapid.IntRange(0, 4).Draw(t, "compression")))...)
			want = append(want, messages...)
			ends, nexts = append(ends, len(set)), append(nexts, next)
		}
		others, err := readKafkaGo(set)
		if err != nil || !cmp.Equal(want, others, exactly) {
			t.Fatalf("kafka-go does not read what it has written: %v", err)
		}
		from := rapid.Int64Range(first, nexts[0]-1).Draw(t, "from")
		size := rapid.IntRange(ends[0], len(set)).Draw(t, "size")
		whole := 0
		for whole < len(ends) && ends[whole] <= size {
			whole++
		}
		var wanted []Message
		for _, m := range want {
			if m.Offset >= from && m.Offset < nexts[whole-1] {
				wanted = append(wanted, m)
			}
		}
		var s recordSet
		for range 2 { // the second time in used memory
			s.reset()
			got, err := s.decode(set[:size], from)
			if err != nil || got != nexts[whole-1] {
				t.Fatalf("next %d, %v; want %d", got, err, nexts[whole-1])
			}
			if diff := cmp.Diff(wanted, s.messages, exactly); diff != "" {
				t.Fatalf("-want +got:\n%s", diff)
			}
		}
	})
}

// seal makes the checksums of the batches right.
func seal(set []byte) []byte {
	for b := set; len(b) >= offRecords; {
		n := int(binary.BigEndian.Uint32(b[offLength:])) + offEpoch
		if n < offRecords || n > len(b) {
			break
		}
		binary.BigEndian.PutUint32(b[offCRC:], crc32.Checksum(b[offAttributes:n], castagnoli))
		b = b[n:]
	}
	return set
}

func TestRefusesMalformedBatches(t *testing.T) {
	messages := []Message{
		{Offset: 5, Record: Record{Time: 1000, Key: []byte("k"), Value: []byte("v"), Headers: []Header{{Key: "device", Value: []byte("d")}}}},
		{Offset: 6, Record: Record{Time: 1001, Key: []byte("k"), Value: []byte("w")}},
	}
	sound := func() []byte { return encodeKafkaGo(t, messages, 5, 0) }
	second := func() []byte { return encodeKafkaGo(t, []Message{{Record: Record{Value: []byte("x"), Time: 1}}}, 7, 0) }
	put := binary.BigEndian
	for name, test := range map[string]struct {
		change func(b []byte) []byte
		want   string // in the error
	}{
		"an older format":        {func(b []byte) []byte { b[offMagic] = 1; return b }, "format 1: want 2 (Kafka 0.11 or later)"},
		"a bit has flipped":      {func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, "checksum does not match"},
		"cut off":                {func(b []byte) []byte { return b[:len(b)-1] }, ": cut off"},
		"cut off in its length":  {func(b []byte) []byte { return b[:offLength+2] }, ": cut off"},
		"too short":              {func(b []byte) []byte { put.PutUint32(b[offLength:], 20); return b[:offEpoch+20] }, "32 bytes: want at least 61"},
		"a negative offset":      {func(b []byte) []byte { b[0] = 0x80; return seal(b) }, "offsets -"},
		"a negative last delta":  {func(b []byte) []byte { b[offLastDelta] = 0x80; return seal(b) }, "offsets 5 and -"},
		"offsets past the last":  {func(b []byte) []byte { put.PutUint32(b[offLastDelta:], 0); return seal(b) }, "malformed record"},
		"fewer records":          {func(b []byte) []byte { put.PutUint32(b[offCount:], 1); return seal(b) }, "bytes after the last record"},
		"more records":           {func(b []byte) []byte { put.PutUint32(b[offCount:], 3); return seal(b) }, "malformed record"},
		"a record is too short":  {func(b []byte) []byte { b[len(b)-3] = 0; return seal(b) }, "malformed record"},
		"a record is too long":   {func(b []byte) []byte { b[offRecords] = 0x7e; return seal(b) }, "malformed record"},
		"an unknown compression": {func(b []byte) []byte { b[offAttributes+1] = 5; return seal(b) }, "compression 5 is not known"},
		"not compressed":         {func(b []byte) []byte { b[offAttributes+1] = 1; return seal(b) }, "gzip: "},
		"an offset comes twice": {func(b []byte) []byte {
			b[offRecords+3] = 2 // delta 1, as the record after has
			return seal(b)
		}, "malformed record"},
	} {
		t.Run(name, func(t *testing.T) {
			broken := test.change(sound())
			var s recordSet
			if next, err := s.decode(broken, 5); err == nil || !strings.Contains(err.Error(), test.want) || next != 5 || len(s.messages) != 0 {
				t.Errorf("next %d, %d messages, error %v; want %q", next, len(s.messages), err, test.want)
			}
			if strings.HasPrefix(name, "cut off") {
				return
			}
			// What comes before it is taken, and it is met again.
			put.PutUint64(broken, put.Uint64(broken)+1)
			s.reset()
			set := slices.Concat(encodeKafkaGo(t, messages[:1], 5, 0), broken, second())
			if next, err := s.decode(set, 5); err == nil || next != 6 || len(s.messages) != 1 {
				t.Errorf("after a sound batch: next %d, %d messages, error %v", next, len(s.messages), err)
			}
		})
	}
}

func TestInflatesNoMoreThanItMay(t *testing.T) {
	large := []Message{{Record: Record{Time: 1, Value: make([]byte, maxInflated)}}}
	var s recordSet
	if _, err := s.decode(encodeKafkaGo(t, large, 0, protocol.Zstd), 0); err == nil || !strings.Contains(err.Error(), "more than 134217728 bytes decompressed") {
		t.Errorf("error %v", err)
	}
}

func TestDecodingAgainKeepsItsMemory(t *testing.T) {
	var b Batch
	for range 100 {
		b.Append("t", Record{Key: []byte("k"), Value: bytes.Repeat([]byte("v"), 200), Headers: []Header{{Key: "device", Value: []byte("k")}}})
	}
	set := encode(&b)[sizePrefix:]
	var s recordSet
	decode := func() {
		s.reset()
		if _, err := s.decode(set, 0); err != nil {
			t.Fatal(err)
		}
	}
	decode()
	if n := testing.AllocsPerRun(10, decode); n != 0 {
		t.Errorf("decoding again allocates %v times, want 0", n)
	}
}

// FuzzRecordSet: whatever a broker sends is decoded or refused, and what is
// decoded is what kafka-go reads of it.
func FuzzRecordSet(f *testing.F) {
	logs, err := filepath.Glob("testdata/*.log")
	if err != nil || len(logs) == 0 {
		f.Fatalf("no logs in testdata: %v", err)
	}
	for _, name := range logs {
		log, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(log, int64(0))
		f.Add(log[:len(log)-3], int64(2))
	}
	f.Fuzz(func(t *testing.T, set []byte, from int64) {
		if from < 0 {
			return
		}
		seal(set)
		var s recordSet
		next, err := s.decode(set, from)
		if next < from {
			t.Fatalf("goes back from %d to %d", from, next)
		}
		at := from
		for i := range s.messages {
			if o := s.messages[i].Offset; o < at || o >= next {
				t.Fatalf("offset %d after %d, before %d", o, at, next)
			}
			at = s.messages[i].Offset + 1
		}
		if err != nil {
			return
		}
		for len(set) >= offRecords {
			n := int(binary.BigEndian.Uint32(set[offLength:])) + offEpoch
			if n > len(set) {
				break
			}
			compare(t, set[:n])
			set = set[n:]
		}
	})
}

// compare decodes a batch that is sound, or was passed over, as kafka-go does.
func compare(t *testing.T, batch []byte) {
	t.Helper()
	attributes := binary.BigEndian.Uint16(batch[offAttributes:])
	var s recordSet
	if _, err := s.decode(batch, 0); err != nil || attributes&attrControl != 0 {
		return
	}
	others, err := readKafkaGo(batch)
	if err != nil {
		t.Fatalf("kafka-go refuses it: %v", err)
	}
	if attributes&attrLogAppendTime != 0 { // which it does not know
		for i := range others {
			others[i].Time = s.messages[i].Time
		}
	}
	if diff := cmp.Diff(others, s.messages, exactly); diff != "" {
		t.Fatalf("-kafka-go +decoded:\n%s", diff)
	}
}

func BenchmarkRecordSet(b *testing.B) {
	var batch Batch
	for range 1000 {
		batch.Append("t", Record{Key: []byte("greenhouse-7"), Value: bytes.Repeat([]byte("v"), 214), Headers: []Header{{Key: "device", Value: []byte("greenhouse-7")}}})
	}
	set := encode(&batch)[sizePrefix:]
	b.SetBytes(int64(len(set)))
	b.ReportAllocs()
	var s recordSet
	for b.Loop() {
		s.reset()
		if _, err := s.decode(set, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/record")
}
