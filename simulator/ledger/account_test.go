package ledger

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

func TestTotals(t *testing.T) {
	seq := func(id string, seq uint64) telemetry.Frame {
		return telemetry.Frame{ID: id, Sequenced: true, Epoch: 5, Seq: seq, Timestamp: int64(seq)}
	}
	tests := []struct {
		name   string
		frames []telemetry.Frame
		want   Totals
	}{
		{"none", nil, Totals{}},
		{"in order", []telemetry.Frame{seq("a", 0), seq("a", 1), seq("b", 0)}, Totals{Kafka: 3}},
		{"delivered twice", []telemetry.Frame{seq("a", 0), seq("a", 1), seq("a", 0), seq("a", 1)}, Totals{Kafka: 2, Duplicates: 2}},
		{"a gap", []telemetry.Frame{seq("a", 0), seq("a", 4)}, Totals{Kafka: 2, Missing: 3}},
		{"a gap at the beginning", []telemetry.Frame{seq("a", 2)}, Totals{Kafka: 1, Missing: 2}},
		{"a gap filled late, twice", []telemetry.Frame{seq("a", 0), seq("a", 2), seq("a", 1), seq("a", 1)}, Totals{Kafka: 3, Duplicates: 1}},
		{
			"declared lost stays missing until it comes",
			[]telemetry.Frame{seq("a", 0), {ID: "a", Sequenced: true, Epoch: 5, Lost: telemetry.Loss{Seqs: telemetry.SeqRange{First: 1, Last: 2}, Reason: "power_cut"}}, seq("a", 3), seq("a", 2)},
			Totals{Kafka: 3, Missing: 1},
		},
		{"another epoch", []telemetry.Frame{seq("a", 1), {ID: "a", Sequenced: true, Epoch: 6, Seq: 0}}, Totals{Kafka: 2, Missing: 1}},
		{"by timestamp", []telemetry.Frame{{ID: "s", Timestamp: 7}, {ID: "s", Timestamp: 7}, {ID: "s", Timestamp: 9}}, Totals{Kafka: 2, Duplicates: 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var a Account
			for _, f := range test.frames {
				a.Frame(&f)
			}
			if diff := cmp.Diff(test.want, a.Totals()); diff != "" {
				t.Errorf("totals (-want +got):\n%s", diff)
			}
		})
	}
}

func TestARevisedWindowCountsOnce(t *testing.T) {
	var a Account
	a.Window("a/0-10", 8)
	a.Window("a/10-20", 10)
	a.Window("a/0-10", 10)
	if diff := cmp.Diff(Totals{Windows: 2, Windowed: 20}, a.Totals()); diff != "" {
		t.Errorf("totals (-want +got):\n%s", diff)
	}
}

func TestLatestIsTheNewestOfEachSensorInCountingOrder(t *testing.T) {
	var a Account
	for _, f := range []telemetry.Frame{
		{ID: "office-10", Timestamp: 1}, {ID: "office-2", Timestamp: 5}, {ID: "office-2", Timestamp: 3}, {ID: "cellar", Timestamp: 1},
	} {
		a.Frame(&f)
	}
	want := []telemetry.Frame{{ID: "cellar", Timestamp: 1}, {ID: "office-2", Timestamp: 5}, {ID: "office-10", Timestamp: 1}}
	got := a.Latest()
	if len(got) != len(want) {
		t.Fatalf("%d sensors, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("sensor %d is %v, want %v", i, got[i], want[i])
		}
	}
}
