package kafka

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

// encode lays all records of b in one record batch.
func encode(b *Batch) []byte {
	var rb recordBatch
	rb.reset()
	for _, e := range b.entries {
		rb.append(e.time, b.bodies[e.start:e.end])
	}
	return rb.finish()
}

// decodeKafkaGo reads what encode wrote with kafka-go, which checks the CRC.
func decodeKafkaGo(data []byte) ([]Record, error) {
	var set protocol.RecordSet
	if _, err := set.ReadFrom(bytes.NewReader(data)); err != nil {
		return nil, err
	}
	var records []Record
	for {
		r, err := set.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return records, nil
		}
		if err != nil {
			return nil, err
		}
		d := Record{Time: r.Time.UnixMilli()}
		if r.Key != nil {
			if d.Key, err = io.ReadAll(r.Key); err != nil {
				return nil, err
			}
		}
		if r.Value != nil {
			if d.Value, err = io.ReadAll(r.Value); err != nil {
				return nil, err
			}
		}
		for _, h := range r.Headers {
			d.Headers = append(d.Headers, Header{Key: h.Key, Value: h.Value})
		}
		records = append(records, d)
	}
}

// decodeFranz reads it with franz-go's codec.
func decodeFranz(data []byte) ([]Record, error) {
	var batch kmsg.RecordBatch
	if err := batch.ReadFrom(data[sizePrefix:]); err != nil {
		return nil, err
	}
	found, err := kfake.BatchRecords(batch)
	if err != nil {
		return nil, err
	}
	var records []Record
	for i, r := range found {
		if int(r.OffsetDelta) != i {
			return nil, errors.New("offset deltas are not consecutive")
		}
		d := Record{Time: batch.FirstTimestamp + r.TimestampDelta64, Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			d.Headers = append(d.Headers, Header{Key: h.Key, Value: h.Value})
		}
		records = append(records, d)
	}
	return records, nil
}

func check(t interface {
	Fatalf(format string, args ...any)
}, want []Record) {
	var b Batch
	for _, r := range want {
		b.Append("t", r)
	}
	for i := range want {
		if _, got := b.Record(i); !cmp.Equal(want[i], got, cmpopts.EquateEmpty()) {
			t.Fatalf("record %d in the batch (-want +got):\n%s", i, cmp.Diff(want[i], got))
		}
	}
	data := encode(&b)
	for name, decode := range map[string]func([]byte) ([]Record, error){"kafka-go": decodeKafkaGo, "franz-go": decodeFranz} {
		got, err := decode(data)
		if err != nil {
			t.Fatalf("%s cannot read the batch: %v", name, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s reads (-want +got):\n%s", name, diff)
		}
	}
}

func TestRecordBatchIsReadByOthers(t *testing.T) {
	text := rapid.SliceOfN(rapid.Byte(), 0, 300)
	record := rapid.Custom(func(t *rapid.T) Record {
		r := Record{
			Key:   text.Draw(t, "key"),
			Value: text.Draw(t, "value"),
			Time:  rapid.Int64Range(0, 4e12).Draw(t, "time"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			r.Headers = append(r.Headers, Header{Key: rapid.StringN(0, 20, 60).Draw(t, "name"), Value: text.Draw(t, "content")})
		}
		return r
	})
	rapid.Check(t, func(t *rapid.T) {
		check(t, rapid.SliceOfN(record, 1, 50).Draw(t, "records"))
	})
}

func FuzzRecordBatch(f *testing.F) {
	f.Add([]byte("greenhouse-7"), []byte(`{"id":"greenhouse-7"}`), "device", []byte("greenhouse-7"), int64(1763870400123), uint8(3))
	f.Add([]byte{}, []byte{}, "", []byte{}, int64(0), uint8(0))
	f.Fuzz(func(t *testing.T, key, value []byte, name string, content []byte, time int64, n uint8) {
		if time < 0 || time > 1<<50 {
			return // before 1970 or after the year 37000: no time of receipt
		}
		var records []Record
		for i := range int64(n) + 1 {
			records = append(records, Record{Key: key, Value: value, Headers: []Header{{Key: name, Value: content}}, Time: time + i*i})
		}
		check(t, records)
	})
}

// A null key and a null value are not the same as empty ones.
func TestNullsStayNull(t *testing.T) {
	var b Batch
	b.Append("t", Record{Key: []byte("k")})
	b.Append("t", Record{Key: []byte("k"), Value: []byte{}})
	b.Append("t", Record{Value: []byte("v")})
	got, err := decodeFranz(encode(&b))
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Value != nil || got[1].Value == nil || got[2].Key != nil {
		t.Errorf("null and empty are mixed up: %#v", got)
	}
}

func TestBatchKeepsItsMemory(t *testing.T) {
	var b Batch
	r := Record{Key: []byte("k"), Value: bytes.Repeat([]byte("v"), 200), Headers: []Header{{Key: "device", Value: []byte("k")}}}
	fill := func() {
		b.Reset()
		for range 100 {
			b.Append("t", r)
		}
	}
	fill()
	if n := testing.AllocsPerRun(10, fill); n != 0 {
		t.Errorf("filling a batch again allocates %v times, want 0", n)
	}
}

func BenchmarkRecordBatch(b *testing.B) {
	var batch Batch
	for range 1000 {
		batch.Append("t", Record{Key: []byte("greenhouse-7"), Value: bytes.Repeat([]byte("v"), 214), Headers: []Header{{Key: "device", Value: []byte("greenhouse-7")}}})
	}
	var rb recordBatch
	b.ReportAllocs()
	for b.Loop() {
		rb.reset()
		for _, e := range batch.entries {
			rb.append(e.time, batch.bodies[e.start:e.end])
		}
		b.SetBytes(int64(len(rb.finish())))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/record")
}
