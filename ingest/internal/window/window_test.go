package window

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"testing"
	"time"
	"unique"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

func TestIntervalOf(t *testing.T) {
	for _, row := range []struct {
		t    int64
		size time.Duration
		want Interval
	}{
		{0, 10 * time.Second, Interval{0, 10_000}},
		{9_999, 10 * time.Second, Interval{0, 10_000}},
		{10_000, 10 * time.Second, Interval{10_000, 20_000}},
		{-1, 10 * time.Second, Interval{-10_000, 0}},
		{-10_000, 10 * time.Second, Interval{-10_000, 0}},
		{1_700_000_123_456, 5 * time.Minute, Interval{1_700_000_100_000, 1_700_000_400_000}},
	} {
		if got := IntervalOf(row.t, row.size); got != row.want {
			t.Errorf("IntervalOf(%d, %v) = %v, want %v", row.t, row.size, got, row.want)
		}
	}
}

// TestSizesDoNotMix: windows of another size are other windows.
func TestSizesDoNotMix(t *testing.T) {
	a, b := IntervalOf(0, 5*time.Minute).ID("s"), IntervalOf(0, 10*time.Minute).ID("s")
	if a == b || a != "s/0-300000" {
		t.Errorf("ids %q and %q", a, b)
	}
}

// TestNoPlace: a reading without a place is told to none.
func TestNoPlace(t *testing.T) {
	w := New("s", IntervalOf(0, time.Minute))
	for seq, place := range []string{"", "attic"} {
		f := telemetry.Frame{ID: "s", PlaceID: place, Sequenced: true, Seq: uint64(seq)}
		if counted, err := w.Count(&f); !counted || err != nil {
			t.Fatalf("counted %t, %v", counted, err)
		}
	}
	d, parts := w.Document(1, nil, nil)
	if len(parts) != 1 || parts[0].Place != "attic" || parts[0].Frames != 1 {
		t.Errorf("told %+v, want one frame in the attic", parts)
	}
	if states, ok := d.State[1].Value.([]PartState); !ok || len(states) != 2 {
		t.Errorf("stored %+v, want both parts", d.State[1])
	}
}

// TestInt128 compares with math/big.
func TestInt128(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sum, want := Int128{}, new(big.Int)
		for _, v := range rapid.SliceOfN(rapid.Int64Range(-int64(telemetry.MaxMicro), int64(telemetry.MaxMicro)), 1, 50).Draw(t, "values") {
			sum = sum.Plus(fromMicro(telemetry.Micro(v)))
			want.Add(want, big.NewInt(v))
			if got := square(telemetry.Micro(v)).Big(); got.Cmp(new(big.Int).Mul(big.NewInt(v), big.NewInt(v))) != 0 {
				t.Fatalf("square of %d: %v", v, got)
			}
		}
		if sum.Big().Cmp(want) != 0 || sum.String() != want.String() {
			t.Fatalf("sum %v, want %v", sum, want)
		}
		if parsed, err := ParseInt128(sum.String()); err != nil || parsed != sum {
			t.Fatalf("parsed %v, %v; want %v", parsed, err, sum)
		}
	})
}

func TestParseInt128Refuses(t *testing.T) {
	for _, s := range []string{"", "-", "+1", " 1", "01", "-0", "1.0", "1e3", "0x1", "170141183460469231731687303715884105728"} {
		if v, err := ParseInt128(s); err == nil {
			t.Errorf("%q: %v", s, v)
		}
	}
}

// TestSumsCannotOverflow: as many of the greatest values as a window takes.
func TestSumsCannotOverflow(t *testing.T) {
	most := new(big.Int).Mul(square(telemetry.MaxMicro).Big(), big.NewInt(MaxFrames))
	if most.BitLen() > 127 {
		t.Errorf("squares of %d frames take %d bits", MaxFrames, most.BitLen())
	}
}

// TestFull: a window at any of its bounds takes what does not pass it, and
// nothing else.
func TestFull(t *testing.T) {
	sequenced := func(seq uint64) telemetry.Frame {
		return telemetry.Frame{ID: "s", PlaceID: "p", Sequenced: true, Epoch: 1, Seq: seq}
	}
	for name, c := range map[string]struct {
		fill           func(w *Window)
		taken, refused []telemetry.Frame
	}{
		"frames": {
			fill: func(w *Window) {
				w.parts = []part{{place: unique.Make("p"), name: unique.Make(""), stats: Stats{Frames: MaxFrames}}}
			},
			refused: []telemetry.Frame{sequenced(0)},
		},
		"ranges": {
			fill: func(w *Window) {
				for i := range uint64(MaxRanges) {
					count(t, w, sequenced(i*3+3))
				}
			},
			taken:   []telemetry.Frame{sequenced(2), sequenced(4), sequenced(MaxRanges*3 + 1)}, // adjacent
			refused: []telemetry.Frame{sequenced(0), sequenced(MaxRanges*3 + 3), {ID: "s", PlaceID: "p", Sequenced: true, Epoch: 2}},
		},
		"timestamps": {
			fill: func(w *Window) {
				for i := range int64(MaxTimestamps) {
					count(t, w, telemetry.Frame{ID: "s", PlaceID: "p", Timestamp: i})
				}
			},
			taken:   []telemetry.Frame{sequenced(7)},
			refused: []telemetry.Frame{{ID: "s", PlaceID: "p", Timestamp: MaxTimestamps}},
		},
		"places": {
			fill: func(w *Window) {
				for i := range MaxParts {
					f := sequenced(uint64(i))
					f.PlaceID = fmt.Sprint("p", i)
					count(t, w, f)
				}
			},
			taken:   []telemetry.Frame{{ID: "s", PlaceID: "p7", Sequenced: true, Epoch: 1, Seq: MaxParts}},
			refused: []telemetry.Frame{{ID: "s", PlaceID: "elsewhere", Sequenced: true, Epoch: 1, Seq: MaxParts + 1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := New("s", Interval{0, 86_400_000})
			c.fill(w)
			for _, f := range c.refused {
				if counted, err := w.Count(&f); counted || !errors.Is(err, ErrFull) {
					t.Errorf("%+v: counted %v, %v; want ErrFull", f, counted, err)
				}
			}
			for _, f := range c.taken {
				count(t, w, f)
			}
			if w.coverage.Len() < MaxFrames {
				if document := document(t, w); len(document) > 16<<20 {
					t.Errorf("its document has %d bytes of JSON", len(document))
				}
			}
		})
	}
}

func count(t *testing.T, w *Window, f telemetry.Frame) {
	t.Helper()
	if counted, err := w.Count(&f); !counted || err != nil {
		t.Fatalf("%+v: counted %v, %v", f, counted, err)
	}
}

// TestPlaceSumsFit: a place takes more frames than a window, as long as its
// sums cannot overflow.
func TestPlaceSumsFit(t *testing.T) {
	part := func(sensor string, value int64) *Part {
		p := &Part{Sensor: sensor, End: 1000, Revision: 1, PartState: PartState{Place: "p", Frames: MaxFrames, Last: 1}}
		sum := new(big.Int).Mul(big.NewInt(MaxFrames), big.NewInt(-value))
		squares := new(big.Int).Mul(sum, big.NewInt(-value))
		p.Temperature = &MomentsState{Count: MaxFrames, Sum: sum.String(), Squares: squares.String(), Min: -value, Max: -value}
		return p
	}
	p := NewPlace("p", Interval{0, 1000})
	for i := range 10 {
		if changed, err := p.Apply(part(fmt.Sprint("s", i), 1e12)); !changed || err != nil {
			t.Fatalf("sensor %d: %v, %v", i, changed, err)
		}
	}
	if _, err := p.Apply(part("absurd", int64(telemetry.MaxMicro))); !errors.Is(err, ErrFull) {
		t.Errorf("absurd values: %v, want ErrFull", err)
	}
	if n := p.Document(1); n.Fields[5].Value != int64(10) {
		t.Errorf("%v sensors, want 10", n.Fields[5])
	}
}

func TestMoments(t *testing.T) {
	var m Moments
	for _, v := range []telemetry.Micro{2e6, 4e6, 4e6, 4e6, 5e6, 5e6, 7e6, 9e6} {
		m.add(v)
	}
	if m.Total() != 40 || m.Mean() != 5 || m.StdDev() != 2 || m.Min != 2e6 || m.Max != 9e6 {
		t.Errorf("sum %v, mean %v, stddev %v, %v to %v", m.Total(), m.Mean(), m.StdDev(), m.Min, m.Max)
	}
	// Values so close together that doubles would cancel: exact here.
	m = Moments{}
	for _, v := range []telemetry.Micro{telemetry.MaxMicro, telemetry.MaxMicro - 2} {
		m.add(v)
	}
	if got := m.StdDev(); math.Abs(got-1e-6) > 1e-21 {
		t.Errorf("stddev %v, want 1e-6", got)
	}
}

func TestCoverageIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c Coverage
		seen := map[[2]uint64]bool{}
		for range rapid.IntRange(0, 60).Draw(t, "n") {
			epoch, seq := rapid.Uint64Range(0, 2).Draw(t, "epoch"), rapid.Uint64Range(0, 20).Draw(t, "seq")
			f := telemetry.Frame{Sequenced: true, Epoch: epoch, Seq: seq}
			if epoch == 0 {
				f = telemetry.Frame{Timestamp: int64(seq)}
			}
			if got, want := c.Add(&f), !seen[[2]uint64{epoch, seq}]; got != want {
				t.Fatalf("epoch %d, seq %d: added %v, want %v", epoch, seq, got, want)
			}
			seen[[2]uint64{epoch, seq}] = true
		}
		if c.Len() != uint64(len(seen)) {
			t.Fatalf("%d in the set, want %d", c.Len(), len(seen))
		}
		for _, e := range c.epochs {
			for i := range e.ranges {
				if r := e.ranges[i]; r.First > r.Last || i > 0 && r.First <= e.ranges[i-1].Last+1 {
					t.Fatalf("ranges %v", e.ranges)
				}
			}
		}
	})
}

func TestExplain(t *testing.T) {
	gap := func(first, last uint64, reason string) Gap {
		return Gap{Epoch: 1, Seqs: telemetry.SeqRange{First: first, Last: last}, Reason: reason}
	}
	loss := func(epoch, first, last uint64, reason string) Declared {
		return Declared{Sensor: "s", Epoch: epoch, Loss: telemetry.Loss{Seqs: telemetry.SeqRange{First: first, Last: last}, Reason: reason}}
	}
	for name, c := range map[string]struct {
		gaps          []Gap
		losses        []Declared
		missing, lost []Gap
	}{
		"nothing":            {},
		"nothing declared":   {[]Gap{gap(3, 5, "")}, nil, []Gap{gap(3, 5, "")}, nil},
		"all declared":       {[]Gap{gap(3, 5, "")}, []Declared{loss(1, 0, 9, "a")}, nil, []Gap{gap(3, 5, "a")}},
		"the middle":         {[]Gap{gap(3, 5, "")}, []Declared{loss(1, 4, 4, "a")}, []Gap{gap(3, 3, ""), gap(5, 5, "")}, []Gap{gap(4, 4, "a")}},
		"another epoch":      {[]Gap{gap(3, 5, "")}, []Declared{loss(2, 0, 9, "a")}, []Gap{gap(3, 5, "")}, nil},
		"the shortest names": {[]Gap{gap(3, 7, "")}, []Declared{loss(1, 0, 9, "a"), loss(1, 4, 5, "b")}, nil, []Gap{gap(3, 3, "a"), gap(4, 5, "b"), gap(6, 7, "a")}},
		"neighbours join":    {[]Gap{gap(3, 6, "")}, []Declared{loss(1, 3, 4, "a"), loss(1, 5, 6, "a")}, nil, []Gap{gap(3, 6, "a")}},
		"two gaps":           {[]Gap{gap(3, 3, ""), gap(9, 9, "")}, []Declared{loss(1, 9, 9, "a")}, []Gap{gap(3, 3, "")}, []Gap{gap(9, 9, "a")}},
	} {
		for range 2 {
			missing, lost := Explain(c.gaps, c.losses)
			if diff := cmp.Diff(c.missing, missing); diff != "" {
				t.Errorf("%s: missing: -want +got:\n%s", name, diff)
			}
			if diff := cmp.Diff(c.lost, lost); diff != "" {
				t.Errorf("%s: lost: -want +got:\n%s", name, diff)
			}
			for i, j := 0, len(c.losses)-1; i < j; i, j = i+1, j-1 { // in another order
				c.losses[i], c.losses[j] = c.losses[j], c.losses[i]
			}
		}
	}
}

const goldenState = `{"sensor_id":"s","start_agg_tm":0,"end_agg_tm":10000,"revision":2,` +
	`"missing_ranges":[{"epoch":1,"first":3,"last":3}],"lost_ranges":[{"epoch":1,"first":4,"last":4,"reason":"buffer_full"}],` +
	`"epochs":[{"epoch":1,"first":2,"last":5}],` +
	`"coverage":[{"epoch":1,"seq":[{"first":2,"last":2},{"first":5,"last":5}]},{"timestamps":[7000]}],` +
	`"parts":[{"place_id":"p","sensor_name":"n","count_measures":3,"first_tm":2000,"last_tm":7000,` +
	`"temperature":{"count":2,"sum":"-3","squares":"5","min":-2,"max":-1}}]}`

// FuzzRestore: any state is refused, or restored to a window whose own state is
// the same.
func FuzzRestore(f *testing.F) {
	f.Add([]byte(goldenState))
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"sensor_id":"s","end_agg_tm":1,"revision":1,"coverage":[{"epoch":1,"seq":[{"first":5,"last":4}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s State
		if json.Unmarshal(data, &s) != nil {
			return
		}
		w, err := Restore(&s)
		if err != nil {
			return
		}
		missing, lost := w.StoredGaps()
		again := w.state(w.Revision, missing, lost)
		r, err := Restore(&again)
		if err != nil {
			t.Fatalf("state of a restored window is refused: %v", err)
		}
		final := r.state(r.Revision, missing, lost)
		if diff := cmp.Diff(again, final); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestRestore(t *testing.T) {
	var s State
	if err := json.Unmarshal([]byte(goldenState), &s); err != nil {
		t.Fatal(err)
	}
	w, err := Restore(&s)
	if err != nil {
		t.Fatal(err)
	}
	missing, lost := w.StoredGaps()
	again, err := json.Marshal(w.state(w.Revision, missing, lost))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(goldenState, string(again)); diff != "" {
		t.Errorf("-state +restored and taken again:\n%s", diff)
	}
	for name, spoil := range map[string]func(*State){
		"no sensor":           func(s *State) { s.Sensor = "" },
		"no revision":         func(s *State) { s.Revision = 0 },
		"no interval":         func(s *State) { s.End = s.Start },
		"counts differ":       func(s *State) { s.Parts[0].Frames++ },
		"no frames":           func(s *State) { s.Coverage, s.Parts = nil, nil },
		"epoch without range": func(s *State) { s.Coverage[0].Seqs = nil },
		"same timestamp":      func(s *State) { s.Coverage[1].Timestamps = []int64{7000, 7000} },
		"ranges overlap":      func(s *State) { s.Coverage[0].Seqs = []SeqState{{2, 5}, {5, 5}} },
		"sum is not a number": func(s *State) { s.Parts[0].Temperature.Sum = "x" },
		"no squares":          func(s *State) { s.Parts[0].Temperature.Squares = "" },
		"more than counted":   func(s *State) { s.Parts[0].Temperature.Count = 4 },
		"gap backwards":       func(s *State) { s.Missing[0].First, s.Missing[0].Last = 4, 3 },
	} {
		var s State
		if err := json.Unmarshal([]byte(goldenState), &s); err != nil {
			t.Fatal(err)
		}
		spoil(&s)
		if _, err := Restore(&s); err == nil {
			t.Errorf("%s: restored", name)
		}
	}
}

func TestOptionsValidate(t *testing.T) {
	good := Options{Size: time.Minute, Reorder: 0, Idle: time.Second, MaxOpen: 1}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Options){
		"too small":        func(o *Options) { o.Size = time.Second - 1 },
		"too large":        func(o *Options) { o.Size = 24*time.Hour + time.Millisecond },
		"not in ms":        func(o *Options) { o.Size = time.Second + time.Microsecond },
		"negative reorder": func(o *Options) { o.Reorder = -1 },
		"no idle":          func(o *Options) { o.Idle = 0 },
		"none open":        func(o *Options) { o.MaxOpen = 0 },
	} {
		o := good
		spoil(&o)
		if o.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
