package telemetry

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeSmoke(t *testing.T) {
	var d Decoder
	var f Frame
	in := `{"id":"greenhouse-7","name":"Greenhouse 7","place_id":"house-2","timestamp":1763870400123,"epoch":1763800000,"seq":70412,"payload":{"temperature":21.37,"humidity":44.2,"pressure":1013.25,"luminosity":312.5},"faults":{"humidity":"nack"}}`
	if err := d.Decode([]byte(in), &f); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, string(AppendFrame(nil, &f))); diff != "" {
		t.Error(diff)
	}
	t.Log(testing.AllocsPerRun(100, func() { d.Decode([]byte(in), &f) }))
	n := 0
	if err := d.Each([]byte("["+in+", 1,"+in+"]"), func(raw []byte, f *Frame, err error) { n++; t.Log(len(raw), f.ID, err) }); err != nil || n != 3 {
		t.Fatal(err, n)
	}
	var r Receipt
	r.Add("a", 1, SeqRange{5, 9})
	r.Add("a", 1, SeqRange{3, 4})
	out := AppendReceipt(nil, &r)
	t.Log(string(out))
	if err := DecodeReceipt(out, &r); err != nil {
		t.Fatal(err)
	}
	t.Log(string(AppendReceipt(nil, &r)))
}

func BenchmarkDecode(b *testing.B) {
	var d Decoder
	var f Frame
	in := []byte(`{"id":"greenhouse-7","name":"Greenhouse 7","place_id":"house-2","timestamp":1763870400123,"epoch":1763800000,"seq":70412,"payload":{"temperature":21.37,"humidity":44.2,"pressure":1013.25,"luminosity":312.5}}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if err := d.Decode(in, &f); err != nil {
			b.Fatal(err)
		}
	}
}
