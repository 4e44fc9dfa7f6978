package telemetry

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestFrameID(t *testing.T) {
	tests := []struct {
		frame Frame
		want  string
	}{
		{Frame{ID: "greenhouse-7", Sequenced: true, Epoch: 6712453190227881, Seq: 70412, Timestamp: 1}, "greenhouse-7/6712453190227881/70412"},
		{Frame{ID: "a", Sequenced: true}, "a/0/0"},
		{Frame{ID: "12434345", Timestamp: 1763870400123}, "12434345/1763870400123"},
		{Frame{ID: "a", Timestamp: -5}, "a/-5"},
		{Frame{ID: "a", Epoch: 7, Lost: Loss{Seqs: SeqRange{3, 9}, Reason: "power_cut"}}, "a/7/3-9"},
		{Frame{ID: strings.Repeat("i", 128), Sequenced: true, Epoch: MaxSeq, Seq: MaxSeq}, strings.Repeat("i", 128) + "/9007199254740991/9007199254740991"},
	}
	for _, test := range tests {
		if got := FrameID(&test.frame); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

func TestFrameIDIsTheIdentity(t *testing.T) {
	type identity struct {
		id                string
		sequenced, isLoss bool
		numbers           [3]uint64
	}
	of := func(f Frame) identity {
		switch {
		case f.IsLoss():
			return identity{f.ID, false, true, [3]uint64{f.Epoch, f.Lost.Seqs.First, f.Lost.Seqs.Last}}
		case f.Sequenced:
			return identity{f.ID, true, false, [3]uint64{f.Epoch, f.Seq}}
		}
		return identity{f.ID, false, false, [3]uint64{uint64(f.Timestamp)}}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := frames().Draw(t, "a"), frames().Draw(t, "b")
		if rapid.Bool().Draw(t, "same sensor") {
			b.ID = a.ID
		}
		if (FrameID(&a) == FrameID(&b)) != (of(a) == of(b)) {
			t.Fatalf("%s and %s", FrameID(&a), FrameID(&b))
		}
	})
}

func TestValidID(t *testing.T) {
	tests := []struct {
		id   string
		want bool
	}{
		{"a", true},
		{"greenhouse-7.roof", true},
		{"12434345", true},
		{"Gewächshaus 7 🌱", true},
		{"\u00a0", true},
		{strings.Repeat("i", 128), true},
		{"", false},
		{strings.Repeat("i", 129), false},
		{"a/b", false},
		{"/", false},
		{"a\x00", false},
		{"a\n", false},
		{"a\x7f", false},
		{"a\u0080", false},
		{"\u009f", false},
		{"\xff", false},
		{"a\xc2", false},
	}
	for _, test := range tests {
		if got := ValidID(test.id); got != test.want {
			t.Errorf("%q: %v, want %v", test.id, got, test.want)
		}
	}
}

func TestValidReason(t *testing.T) {
	tests := []struct {
		reason string
		want   bool
	}{
		{"nack", true},
		{"refused_out_of_range_2", true},
		{strings.Repeat("r", 32), true},
		{"", false},
		{strings.Repeat("r", 33), false},
		{"Nack", false},
		{"not ready", false},
		{"é", false},
	}
	for _, test := range tests {
		if got := ValidReason(test.reason); got != test.want {
			t.Errorf("%q: %v, want %v", test.reason, got, test.want)
		}
	}
}
