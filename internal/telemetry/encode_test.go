package telemetry

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The examples of the contract. Their golden files are quoted in README.md.
var (
	exampleFrame = Frame{
		ID: "greenhouse-7", Name: "Greenhouse 7", PlaceID: "house-2", Timestamp: 1763870400123,
		Sequenced: true, Epoch: 6712453190227881, Seq: 70412,
		Payload: measured(21_370_000, 44_200_000, 1013_250_000, 312_500_000),
	}
	exampleFault = Frame{
		ID: "greenhouse-7.roof", Name: "Roof", PlaceID: "house-2", Timestamp: 1763870400125,
		Sequenced: true, Epoch: 6712453190227881, Seq: 70398,
		Payload: measured(-3_500_000),
		Faults:  Faults{Humidity: "nack"},
	}
	exampleUnsynced = Frame{
		ID: "greenhouse-7.roof", Name: "Roof", PlaceID: "house-2", Timestamp: 1763867000000,
		Sequenced: true, Epoch: 6712453190227881, Seq: 70397,
		Payload: measured(-3_250_000),
		Clock:   ClockUnsynced,
	}
	exampleCalibrated = Frame{
		ID: "greenhouse-7.roof", Name: "Roof", PlaceID: "house-2", Timestamp: 1763870401125,
		Sequenced: true, Epoch: 6712453190227881, Seq: 70399,
		Payload: measured(-3_850_000),
		Raw:     measured(-3_500_000, 71_250_000),
		Faults:  Faults{Humidity: "stuck"},
	}
	exampleLoss = Frame{
		ID: "greenhouse-7", Epoch: 6712453190227881,
		Lost: Loss{Seqs: SeqRange{70201, 70399}, Reason: "buffer_full"},
	}
	exampleReceipt = Receipt{Frames: []SensorReceipt{
		{ID: "greenhouse-7", Epoch: 6712453190227881, Seqs: []SeqRange{{70201, 70399}, {70412, 70412}}},
		{ID: "greenhouse-7.roof", Epoch: 6712453190227881, Seqs: []SeqRange{{70398, 70398}}},
	}}
	exampleSeed = Frame{
		ID: "12434345", Name: "Sensor 1", PlaceID: "32347983", Timestamp: 1763870400123,
		Payload: measured(21_000_000, 44_000_000, 1013_000_000, 312_000_000),
	}
)

// golden returns the content of a golden file, after writing it if asked to.
func golden(t *testing.T, name string, got []byte) string {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update && got != nil {
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(want), "\n")
}

func TestGolden(t *testing.T) {
	tests := []struct {
		file string
		json []byte
	}{
		{"frame.json", AppendFrame(nil, &exampleFrame)},
		{"fault.json", AppendFrame(nil, &exampleFault)},
		{"calibrated.json", AppendFrame(nil, &exampleCalibrated)},
		{"unsynced.json", AppendFrame(nil, &exampleUnsynced)},
		{"loss.json", AppendFrame(nil, &exampleLoss)},
		{"batch.json", AppendBatch(nil, []Frame{exampleFrame, exampleFault, exampleLoss})},
		{"receipt.json", AppendReceipt(nil, &exampleReceipt)},
	}
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			if diff := cmp.Diff(golden(t, test.file, test.json), string(test.json)); diff != "" {
				t.Errorf("(-golden +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeGolden(t *testing.T) {
	tests := []struct {
		file string
		want []Frame
	}{
		{"frame.json", []Frame{exampleFrame}},
		{"fault.json", []Frame{exampleFault}},
		{"calibrated.json", []Frame{exampleCalibrated}},
		{"unsynced.json", []Frame{exampleUnsynced}},
		{"loss.json", []Frame{exampleLoss}},
		{"seed.json", []Frame{exampleSeed}},
		{"batch.json", []Frame{exampleFrame, exampleFault, exampleLoss}},
	}
	var d Decoder
	for _, test := range tests {
		t.Run(test.file, func(t *testing.T) {
			var got []Frame
			err := d.Each([]byte(golden(t, test.file, nil)), func(_ []byte, f *Frame, err error) {
				if err != nil || d.Unknown || d.Spaced {
					t.Errorf("error %v, unknown %v, spaced %v", err, d.Unknown, d.Spaced)
				}
				got = append(got, *f)
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, comparePayloads); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("receipt.json", func(t *testing.T) {
		var got Receipt
		if err := DecodeReceipt([]byte(golden(t, "receipt.json", nil)), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(exampleReceipt, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestAppendFrameLeavesOut(t *testing.T) {
	tests := []struct {
		name  string
		frame Frame
		want  string
	}{
		{"what is empty", Frame{ID: "a"}, `{"id":"a","timestamp":0}`},
		{"an epoch that is not sequenced", Frame{ID: "a", Epoch: 7, Seq: 3}, `{"id":"a","timestamp":0}`},
		{"nothing of the first reading", Frame{ID: "a", Sequenced: true}, `{"id":"a","timestamp":0,"epoch":0,"seq":0}`},
		{"no zero value", Frame{ID: "a", Payload: measured(0, 0)}, `{"id":"a","timestamp":0,"payload":{"temperature":0,"humidity":0}}`},
		{
			"a reading's fields of a loss",
			Frame{
				ID: "a", Name: "A", PlaceID: "p", Timestamp: 1, Sequenced: true, Epoch: 7, Seq: 3, Payload: measured(1),
				Faults: Faults{Humidity: "nack"}, Clock: ClockUnsynced, Lost: Loss{Reason: "x"},
			},
			`{"id":"a","name":"A","place_id":"p","epoch":7,"lost":{"seq":[0,0],"reason":"x"}}`,
		},
	}
	for _, test := range tests {
		if got := string(AppendFrame(nil, &test.frame)); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

func TestAppendBatch(t *testing.T) {
	a, b := Frame{ID: "a"}, Frame{ID: "b"}
	tests := []struct {
		frames []Frame
		want   string
	}{
		{nil, `>[]`},
		{[]Frame{a}, `>{"id":"a","timestamp":0}`},
		{[]Frame{a, b}, `>[{"id":"a","timestamp":0},{"id":"b","timestamp":0}]`},
	}
	for _, test := range tests {
		if got := string(AppendBatch([]byte(">"), test.frames)); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

// frames generates every frame that the contract allows.
func frames() *rapid.Generator[Frame] {
	text := rapid.StringN(0, MaxText, MaxText)
	counter := rapid.Uint64Range(0, MaxSeq)
	reason := rapid.StringMatching(`[a-z0-9_]{1,32}`)
	clock := rapid.OneOf(rapid.SampledFrom([]string{"", string(ClockUnsynced), string(ClockEstimated)}), reason)
	return rapid.Custom(func(t *rapid.T) (f Frame) {
		f.ID = rapid.StringN(1, MaxID, MaxID).Filter(ValidID).Draw(t, "id")
		f.Name = text.Draw(t, "name")
		f.PlaceID = text.Draw(t, "place_id")
		if rapid.Bool().Draw(t, "loss") {
			f.Epoch = counter.Draw(t, "epoch")
			f.Lost.Seqs.First = counter.Draw(t, "first")
			f.Lost.Seqs.Last = rapid.Uint64Range(f.Lost.Seqs.First, MaxSeq).Draw(t, "last")
			f.Lost.Reason = reason.Draw(t, "reason")
			return f
		}
		f.Timestamp = rapid.Int64().Draw(t, "timestamp")
		if f.Sequenced = rapid.Bool().Draw(t, "sequenced"); f.Sequenced {
			f.Epoch, f.Seq = counter.Draw(t, "epoch"), counter.Draw(t, "seq")
		}
		f.Clock = Clock(clock.Draw(t, "clock"))
		for m := range Measure(Measures) {
			switch rapid.IntRange(0, 2).Draw(t, m.String()) {
			case 1:
				f.Payload.Set(m, Micro(rapid.Int64Range(-int64(MaxMicro), int64(MaxMicro)).Draw(t, "value")))
			case 2:
				f.Faults[m] = reason.Draw(t, "fault")
			}
			if rapid.IntRange(0, 3).Draw(t, "raw "+m.String()) == 3 {
				f.Raw.Set(m, Micro(rapid.Int64Range(-int64(MaxMicro), int64(MaxMicro)).Draw(t, "raw")))
			}
		}
		return f
	})
}

func TestRoundTrip(t *testing.T) {
	var d Decoder
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(frames(), 1, 5).Draw(t, "frames")
		batch := AppendBatch(nil, want)
		var compact bytes.Buffer
		if err := json.Compact(&compact, batch); err != nil || !bytes.Equal(compact.Bytes(), batch) {
			t.Fatalf("%s is not compact JSON: %v", batch, err)
		}
		var got []Frame
		if err := d.Each(batch, func(raw []byte, f *Frame, err error) {
			if err != nil || d.Unknown || d.Spaced {
				t.Fatalf("%s: error %v, unknown %v, spaced %v", raw, err, d.Unknown, d.Spaced)
			}
			if canonical := AppendFrame(nil, f); !bytes.Equal(canonical, raw) {
				t.Fatalf("%s became %s", raw, canonical)
			}
			got = append(got, *f)
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, comparePayloads); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

func TestAppendString(t *testing.T) {
	tests := []struct{ s, want string }{
		{``, `""`},
		{"\"\\/\b\f\n\r\t", `"\"\\/\b\f\n\r\t"`},
		{"\x00\x1f\x7f", `"\u0000\u001f` + "\x7f" + `"`},
		{"é🌱<&>\u2028", "\"é🌱<&>\u2028\""},
		{"a\xffb\xc3", `"a` + "\ufffd" + `b` + "\ufffd" + `"`},
		{"\xed\xa0\x80", "\"\ufffd\ufffd\ufffd\""},
	}
	for _, test := range tests {
		if got := string(appendString(nil, test.s)); got != test.want {
			t.Errorf("%q: got %s, want %s", test.s, got, test.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "s"))
		var got string
		if err := json.Unmarshal(appendString(nil, s), &got); err != nil || got != strings.ToValidUTF8(s, "\ufffd") && !strings.Contains(got, "\ufffd") {
			t.Fatalf("%q became %q: %v", s, got, err)
		}
	})
}
