package telemetry

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestReceiptAdd(t *testing.T) {
	const top = 1<<64 - 1
	tests := []struct {
		name string
		add  []SeqRange
		want []SeqRange
	}{
		{"one after the other", []SeqRange{{5, 5}, {6, 6}, {7, 9}}, []SeqRange{{5, 9}}},
		{"backwards", []SeqRange{{7, 9}, {6, 6}, {5, 5}}, []SeqRange{{5, 9}}},
		{"a gap", []SeqRange{{5, 5}, {7, 7}}, []SeqRange{{5, 5}, {7, 7}}},
		{"a gap closes", []SeqRange{{5, 5}, {7, 7}, {6, 6}}, []SeqRange{{5, 7}}},
		{"a gap before", []SeqRange{{7, 7}, {5, 5}}, []SeqRange{{5, 5}, {7, 7}}},
		{"twice", []SeqRange{{5, 7}, {5, 7}}, []SeqRange{{5, 7}}},
		{"within", []SeqRange{{5, 9}, {6, 7}}, []SeqRange{{5, 9}}},
		{"over all", []SeqRange{{5, 5}, {7, 7}, {9, 9}, {4, 10}}, []SeqRange{{4, 10}}},
		{"over some", []SeqRange{{1, 1}, {5, 5}, {7, 7}, {20, 20}, {5, 10}}, []SeqRange{{1, 1}, {5, 10}, {20, 20}}},
		{"from 0", []SeqRange{{1, 1}, {0, 0}}, []SeqRange{{0, 1}}},
		{"to the top", []SeqRange{{top, top}, {0, 0}, {top - 1, top - 1}}, []SeqRange{{0, 0}, {top - 1, top}}},
		{"everything", []SeqRange{{0, 0}, {top, top}, {0, top}}, []SeqRange{{0, top}}},
		{"nothing", []SeqRange{{5, 4}}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var r Receipt
			for _, seqs := range test.add {
				r.Add("a", 1, seqs)
			}
			var got []SeqRange
			if len(r.Frames) > 0 {
				got = r.Frames[0].Seqs
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReceiptKeepsSensorsAndEpochsApart(t *testing.T) {
	var r Receipt
	r.Add("a", 1, SeqRange{1, 1})
	r.Add("b", 1, SeqRange{2, 2})
	r.Add("a", 2, SeqRange{2, 2})
	r.Add("a", 1, SeqRange{2, 2})
	want := Receipt{Frames: []SensorReceipt{
		{ID: "a", Epoch: 1, Seqs: []SeqRange{{1, 2}}},
		{ID: "b", Epoch: 1, Seqs: []SeqRange{{2, 2}}},
		{ID: "a", Epoch: 2, Seqs: []SeqRange{{2, 2}}},
	}}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReceiptIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Receipt
		var set [64]bool
		for range rapid.IntRange(0, 20).Draw(t, "adds") {
			first := rapid.Uint64Range(0, 63).Draw(t, "first")
			last := rapid.Uint64Range(first, min(first+8, 63)).Draw(t, "last")
			r.Add("a", 1, SeqRange{first, last})
			for seq := first; seq <= last; seq++ {
				set[seq] = true
			}
		}
		for _, sensor := range r.Frames {
			for i := 1; i < len(sensor.Seqs); i++ {
				if sensor.Seqs[i].First < sensor.Seqs[i-1].Last+2 {
					t.Fatalf("%v has ranges that touch", sensor.Seqs)
				}
			}
		}
		for first := range uint64(64) {
			for last := first; last < 64; last++ {
				want := !slices.Contains(set[first:last+1], false)
				loss := Frame{ID: "a", Epoch: 1, Lost: Loss{Seqs: SeqRange{first, last}, Reason: "x"}}
				if got := r.Covers(&loss); got != want {
					t.Fatalf("%v covers %d to %d: %v, want %v", r.Frames, first, last, got, want)
				}
			}
			reading := Frame{ID: "a", Sequenced: true, Epoch: 1, Seq: first}
			if got := r.Covers(&reading); got != set[first] {
				t.Fatalf("%v covers %d: %v", r.Frames, first, got)
			}
		}
	})
}

func TestReceiptCovers(t *testing.T) {
	r := Receipt{Frames: []SensorReceipt{{ID: "a", Epoch: 1, Seqs: []SeqRange{{3, 5}}}}}
	tests := []struct {
		name  string
		frame Frame
		want  bool
	}{
		{"its reading", Frame{ID: "a", Sequenced: true, Epoch: 1, Seq: 4}, true},
		{"another sensor", Frame{ID: "b", Sequenced: true, Epoch: 1, Seq: 4}, false},
		{"another epoch", Frame{ID: "a", Sequenced: true, Epoch: 2, Seq: 4}, false},
		{"without seq", Frame{ID: "a", Epoch: 1, Seq: 4}, false},
		{"its loss", Frame{ID: "a", Epoch: 1, Lost: Loss{Seqs: SeqRange{3, 5}, Reason: "x"}}, true},
		{"a loss in part", Frame{ID: "a", Epoch: 1, Lost: Loss{Seqs: SeqRange{3, 6}, Reason: "x"}}, false},
	}
	for _, test := range tests {
		if got := r.Covers(&test.frame); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestDecodeReceipt(t *testing.T) {
	tests := []struct {
		json string
		want Receipt
	}{
		{`{"frames":[]}`, Receipt{}},
		{`{}`, Receipt{}},
		{`{"frames":null}`, Receipt{}},
		{`{"frames":[{"id":"a","epoch":1,"seq":[]}]}`, Receipt{}},
		{
			` { "v" : [2] , "frames" : [ { "epoch" : 0 , "seq" : [ [ 7 , 9 ] , [3,4] , [5,5] ] , "id" : "\u0061" , "x" : {} } ] } `,
			Receipt{Frames: []SensorReceipt{{ID: "a", Seqs: []SeqRange{{3, 5}, {7, 9}}}}},
		},
		{
			`{"frames":[{"id":"a","epoch":1,"seq":[[1,1]]},{"id":"b","epoch":1,"seq":[[1,1]]},{"id":"a","epoch":1,"seq":[[2,2]]}]}`,
			Receipt{Frames: []SensorReceipt{{ID: "a", Epoch: 1, Seqs: []SeqRange{{1, 2}}}, {ID: "b", Epoch: 1, Seqs: []SeqRange{{1, 1}}}}},
		},
	}
	got := Receipt{Frames: []SensorReceipt{{ID: "left over", Seqs: []SeqRange{{1, 2}}}}}
	for _, test := range tests {
		if err := DecodeReceipt([]byte(test.json), &got); err != nil {
			t.Errorf("%s: %v", test.json, err)
		}
		if diff := cmp.Diff(test.want.Frames, got.Frames, cmp.Comparer(func(a, b []SensorReceipt) bool {
			return slices.EqualFunc(a, b, func(a, b SensorReceipt) bool {
				return a.ID == b.ID && a.Epoch == b.Epoch && slices.Equal(a.Seqs, b.Seqs)
			})
		})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.json, diff)
		}
	}
}

func TestDecodeReceiptRefuses(t *testing.T) {
	tests := []struct {
		json   string // with a caret before the place that the error names
		reason string
		field  string
	}{
		{json: `‸`, reason: ReasonNotJSON},
		{json: `{"frames":[]}‸}`, reason: ReasonNotJSON},
		{json: `‸[]`, reason: ReasonWrongType},
		{json: `‸null`, reason: ReasonWrongType},
		{json: `{"frames":‸{}}`, reason: ReasonWrongType, field: "frames"},
		{json: `{"frames":[‸1]}`, reason: ReasonWrongType},
		{json: `{"frames":[‸null]}`, reason: ReasonWrongType},
		{json: `{"frames":[],‸"frames":[]}`, reason: ReasonDuplicateKey, field: "frames"},
		{json: `{"frames":[{"epoch":1,"seq":[]}‸]}`, reason: ReasonMissingID, field: "id"},
		{json: `{"frames":[{"id":"a","seq":[]}‸]}`, reason: ReasonMissingEpoch, field: "epoch"},
		{json: `{"frames":[{"id":"a","epoch":1}‸]}`, reason: ReasonMissingSeq, field: "seq"},
		{json: `{"frames":[{"id":‸7,"epoch":1,"seq":[]}]}`, reason: ReasonWrongType, field: "id"},
		{json: `{"frames":[{"id":‸"a/b","epoch":1,"seq":[]}]}`, reason: ReasonBadID, field: "id"},
		{json: `{"frames":[{"id":"a",‸"id":"a","epoch":1,"seq":[]}]}`, reason: ReasonDuplicateKey, field: "id"},
		{json: `{"frames":[{"id":"a","epoch":‸-1,"seq":[]}]}`, reason: ReasonOutOfRange, field: "epoch"},
		{json: `{"frames":[{"id":"a","epoch":‸1.0,"seq":[]}]}`, reason: ReasonWrongType, field: "epoch"},
		{json: `{"frames":[{"id":"a","epoch":1,"seq":‸7}]}`, reason: ReasonWrongType, field: "seq"},
		{json: `{"frames":[{"id":"a","epoch":1,"seq":[‸7]}]}`, reason: ReasonWrongType, field: "seq"},
		{json: `{"frames":[{"id":"a","epoch":1,"seq":[‸null]}]}`, reason: ReasonWrongType, field: "seq"},
		{json: `{"frames":[{"id":"a","epoch":1,"seq":[‸[7]]}]}`, reason: ReasonWrongType, field: "seq"},
		{json: `{"frames":[{"id":"a","epoch":1,"seq":[‸[7,6]]}]}`, reason: ReasonOutOfRange, field: "seq"},
		{json: `{"frames":[{"id":"a","epoch":1,"seq":[[7,‸9007199254740992]]}]}`, reason: ReasonOutOfRange, field: "seq"},
		{json: `{"x":[[[[[[[[[[[[[[[‸[]]]]]]]]]]]]]]]]}`, reason: ReasonTooDeep},
		{json: "{\"x\":\"‸\xff\"}", reason: ReasonInvalidUTF8},
	}
	for _, test := range tests {
		before, after, _ := strings.Cut(test.json, "‸")
		t.Run(before+after, func(t *testing.T) {
			got := Receipt{Frames: []SensorReceipt{{ID: "left over"}}}
			err := DecodeReceipt([]byte(before+after), &got)
			refused, ok := err.(*DecodeError) //nolint:errorlint // it returns no other
			if !ok {
				t.Fatalf("error %v, want a *DecodeError", err)
			}
			if refused.Reason != test.reason || refused.Field != test.field || refused.Offset != len(before) {
				t.Errorf("got %s %q at %d, want %s %q at %d (%v)",
					refused.Reason, refused.Field, refused.Offset, test.reason, test.field, len(before), err)
			}
			if len(got.Frames) > 0 {
				t.Errorf("receipt %v, want none", got)
			}
		})
	}
}
