package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seeds are frames and what is nearly one, for the fuzzers to vary.
var seeds = []string{
	`{"id":"greenhouse-7","name":"Greenhouse 7","place_id":"house-2","timestamp":1763870400123,"epoch":1763800000,"seq":70412,` +
		`"payload":{"temperature":21.37,"humidity":44.2,"pressure":1013.25,"luminosity":312.5},"faults":{"humidity":"nack"}}`,
	`{"id":"12434345","name":"S","place_id":"32347983","date":"2025-11-23T04:00:00.123Z","timestamp":1763870400123,` +
		`"payload":{"temperature":-5,"humidity":0,"pressure":1029,"luminosity":64999}}`,
	`{"id":"a","epoch":7,"lost":{"seq":[3,9],"reason":"buffer_full"}}`,
	`{"id":"a","epoch":7,"lost":{"seq":[9,3],"reason":"Full","x":0},"timestamp":1}`,
	`{ "id" : "\u00e9\ud83c\udf31\ud83c" , "id":"b/", "timestamp" : 1e3, "x":[{"y":[true,false,null]}] }`,
	`{"id":"a","timestamp":1,"payload":{"temperature":-0.0000005,"humidity":1e400,"pressure":2137e-2,"luminosity":1000000000.0000005}}`,
	`{"id":null,"timestamp":-9223372036854775809,"epoch":9007199254740992,"seq":-1,"faults":{"humidity":""}}`,
	`{"id":"a","timestamp":1,"epoch":7,"seq":3,"payload":{"humidity":44.2},"clock":"unsynced"}`,
	`{"clock":"estimated","id":"a","timestamp":1,"faults":{"humidity":"nack"},"clock":null}`,
	`{"id":"a","epoch":7,"clock":"Estimated","lost":{"seq":[3,9],"reason":"buffer_full"}}`,
	`{"id":"a","timestamp":1,"epoch":7,"seq":3,"payload":{"temperature":21.02},"raw":{"temperature":21.37,"humidity":44.2},"faults":{"humidity":"stuck"}}`,
	`{"raw":{"humidity":44.2,"humidity":null},"id":"a","timestamp":1,"raw":{}}`,
	`{"id":"a","epoch":7,"raw":{"pressure":1},"lost":{"seq":[3,9],"reason":"buffer_full"}}`,
	`[[[[[[[[[[[[[[[[[{}]]]]]]]]]]]]]]]]]`,
	"{\"id\":\"\xff\",\"timestamp\":1}",
	``, `null`, `01`, `{"a":1,}`, `"\u00"`, "\"\t\"",
}

// FuzzDecode compares the decoder with the reference: it must take the same
// frames, with the same content, and refuse the others for one of the reasons
// that there are.
func FuzzDecode(f *testing.F) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	var d Decoder
	f.Fuzz(func(t *testing.T, data []byte) { checkDecode(t, &d, data) })
}

// checkDecode compares what the decoder makes of data with the reference, and
// a frame that is taken with its canonical form.
func checkDecode(t interface{ Fatalf(string, ...any) }, d *Decoder, data []byte) {
	want, reasons := reference(data)
	original := bytes.Clone(data)
	var got Frame
	err := d.Decode(data, &got)
	if !bytes.Equal(original, data) {
		t.Fatalf("the decoder changed its input")
	}
	var refused *DecodeError
	switch {
	case err == nil && len(reasons) > 0:
		t.Fatalf("%s: taken, want it refused: %v", data, reasons)
	case err != nil && !errors.As(err, &refused):
		t.Fatalf("%s: error %v, want a *DecodeError", data, err)
	case err != nil && !reasons[refused.Reason]:
		t.Fatalf("%s: refused: %v, want one of %v", data, err, reasons)
	case err != nil && (refused.Offset < 0 || refused.Offset > len(data)):
		t.Fatalf("%s: offset %d of %d bytes", data, refused.Offset, len(data))
	}
	if diff := cmp.Diff(want, got, comparePayloads); diff != "" {
		t.Fatalf("%s: frame (-want +got):\n%s", data, diff)
	}
	if err != nil {
		return
	}
	var again Frame
	canonical := AppendFrame(nil, &got)
	if err := d.Decode(canonical, &again); err != nil {
		t.Fatalf("canonical form %s: %v", canonical, err)
	}
	if diff := cmp.Diff(got, again, comparePayloads); diff != "" || d.Unknown || d.Spaced {
		t.Fatalf("canonical form %s: unknown %v, spaced %v (-want +got):\n%s", canonical, d.Unknown, d.Spaced, diff)
	}
}

// FuzzEach compares the walk over a batch with encoding/json's elements, each
// decoded alone.
func FuzzEach(f *testing.F) {
	for i, seed := range seeds {
		f.Add([]byte(seed))
		f.Add([]byte("[" + seed + " , " + seeds[(i+1)%len(seeds)] + "]"))
	}
	f.Add([]byte(`[]`))
	f.Add([]byte(` [ ] []`))
	var each, single Decoder
	f.Fuzz(func(t *testing.T, data []byte) {
		var raws []string
		err := each.Each(data, func(raw []byte, got *Frame, err error) {
			raws = append(raws, string(raw))
			unknown, spaced := each.Unknown, each.Spaced
			var want Frame
			wantErr := single.Decode(raw, &want)
			if reasonOf(err) != reasonOf(wantErr) {
				t.Errorf("%s: %v, alone %v", raw, err, wantErr)
			}
			if diff := cmp.Diff(&want, got, comparePayloads); diff != "" {
				t.Errorf("%s (-alone +in the batch):\n%s", raw, diff)
			}
			if unknown != single.Unknown || spaced != single.Spaced {
				t.Errorf("%s: unknown %v, spaced %v; alone %v, %v", raw, unknown, spaced, single.Unknown, single.Spaced)
			}
		})
		if !json.Valid(data) {
			if reasonOf(err) != ReasonNotJSON {
				t.Fatalf("got %v, want %s", err, ReasonNotJSON)
			}
			for _, raw := range raws {
				if !json.Valid([]byte(raw)) {
					t.Fatalf("%s was given as a frame", raw)
				}
			}
			return
		}
		var want []json.RawMessage
		switch trimmed := bytes.TrimSpace(data); trimmed[0] {
		case '[':
			if err := json.Unmarshal(data, &want); err != nil {
				t.Fatal(err)
			}
		case '{':
			want = []json.RawMessage{trimmed}
		default:
			if reason := reasonOf(err); reason != ReasonWrongType && reason != ReasonInvalidUTF8 {
				t.Fatalf("got %v, want %s", err, ReasonWrongType)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(raws) != len(want) {
			t.Fatalf("%d frames, want %d", len(raws), len(want))
		}
		for i := range want {
			if raws[i] != string(want[i]) {
				t.Errorf("frame %d is %s, want %s", i, raws[i], want[i])
			}
		}
	})
}

// reasonOf returns the reason of a decoder's error, "" if there is none.
func reasonOf(err error) string {
	var refused *DecodeError
	if errors.As(err, &refused) {
		return refused.Reason
	}
	return ""
}

// FuzzReceipt compares the receipts that are taken with encoding/json's
// reading of them.
func FuzzReceipt(f *testing.F) {
	f.Add([]byte(`{"frames":[{"id":"greenhouse-7","epoch":1763800000,"seq":[[70400,70412],[70414,70414]]}]}`))
	f.Add([]byte(`{"frames":[{"seq":[[5,6],[1,2],[3,4]],"epoch":0,"id":"a","x":[]},{"id":"a","epoch":0,"seq":[[9,9]]}],"y":{}}`))
	f.Add([]byte(`{"frames":[{"id":"a","epoch":1,"seq":[[2,1],null]}]}`))
	f.Add([]byte(`{"frames":null}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var got Receipt
		err := DecodeReceipt(data, &got)
		if (reasonOf(err) == ReasonNotJSON) != !json.Valid(data) {
			t.Fatalf("got %v, encoding/json says valid: %v", err, json.Valid(data))
		}
		if err != nil {
			if reasonOf(err) == "" || len(got.Frames) > 0 {
				t.Fatalf("error %v with %v", err, got)
			}
			return
		}
		// Maps, because the fields of a struct would match in any case.
		var receipt map[string]json.RawMessage
		var sensors []map[string]json.RawMessage
		mustUnmarshal(t, data, &receipt)
		if raw, ok := receipt["frames"]; ok {
			mustUnmarshal(t, raw, &sensors)
		}
		var want Receipt
		for _, sensor := range sensors {
			var id string
			var epoch uint64
			var seqs [][2]uint64
			mustUnmarshal(t, sensor["id"], &id)
			mustUnmarshal(t, sensor["epoch"], &epoch)
			mustUnmarshal(t, sensor["seq"], &seqs)
			for _, s := range seqs {
				want.Add(id, epoch, SeqRange{s[0], s[1]})
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("receipt (-want +got):\n%s", diff)
		}
		var again Receipt
		if err := DecodeReceipt(AppendReceipt(nil, &got), &again); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Fatalf("again (-want +got):\n%s", diff)
		}
	})
}

func mustUnmarshal(t *testing.T, data []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%s was taken: %v", data, err)
	}
}
