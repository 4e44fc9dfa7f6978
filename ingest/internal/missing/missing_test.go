package missing

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	size = 10 * time.Second
	base = 1_700_000_000_000 // Unix ms, the start of a window
)

// options asks for the windows from the first to before the last, an hour after.
func options(s Store, first, last int) Options {
	return Options{
		Store: s, From: time.UnixMilli(base + int64(first)*size.Milliseconds()), To: time.UnixMilli(base + int64(last)*size.Milliseconds()),
		Frames: true, Window: size, Settle: time.Minute, Now: func() time.Time { return time.UnixMilli(base + 3_600_000) },
	}
}

func reading(sensor string, epoch, seq uint64, ms int64) telemetry.Frame {
	return telemetry.Frame{ID: sensor, Timestamp: base + ms, Sequenced: true, Epoch: epoch, Seq: seq}
}

func run1(t interface{ Fatal(...any) }, o Options) *Report {
	var only *Report
	if err := Run(context.Background(), o, func(r *Report) error {
		only = r
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return only
}

// short is the report's ranges as text: state epoch:first-last.
func short(r *Report) []string {
	lines := []string{}
	for _, s := range r.Ranges {
		lines = append(lines, fmt.Sprintf("%s%s %d:%d-%d", s.State, s.Reason, s.Epoch, s.First, s.Last))
	}
	return lines
}

// each stores and windows the readings first to last of an epoch, a second apart from ms on.
func (s *twin) each(sensor string, epoch, first, last uint64, ms int64) {
	for seq := first; seq <= last; seq++ {
		s.reading(reading(sensor, epoch, seq, ms+int64(seq-first)*1000), size, true, true)
	}
}

func TestMissing(t *testing.T) {
	tests := []struct {
		name    string
		world   func(*twin)
		options func(*Options)
		want    []string
		verdict string
	}{
		{"complete", func(s *twin) { s.each("a", 7, 0, 19, 0) }, nil, []string{"present 7:0-19"}, VerdictComplete},
		{"a gap in a window", func(s *twin) { s.each("a", 7, 0, 3, 0); s.each("a", 7, 6, 8, 6000) }, nil,
			[]string{"present 7:0-3", "missing 7:4-5", "present 7:6-8"}, VerdictMissing},
		{"a gap between two windows", func(s *twin) { s.each("a", 7, 0, 3, 0); s.each("a", 7, 6, 8, 10_000) }, nil,
			[]string{"present 7:0-3", "missing 7:4-5", "present 7:6-8"}, VerdictMissing},
		{"a gap before the interval", func(s *twin) { s.each("a", 7, 0, 3, -50_000); s.each("a", 7, 6, 8, 0) }, nil,
			[]string{"missing 7:4-5", "present 7:6-8"}, VerdictMissing},
		{"a gap after the interval", func(s *twin) { s.each("a", 7, 0, 3, 0); s.each("a", 7, 6, 8, 100_000) }, nil,
			[]string{"present 7:0-3", "missing 7:4-5"}, VerdictMissing},
		{"a gap over all of the interval", func(s *twin) { s.each("a", 7, 0, 3, -50_000); s.each("a", 7, 6, 8, 100_000) }, nil,
			[]string{"missing 7:4-5"}, VerdictMissing},
		{"an epoch that does not begin with 0", func(s *twin) { s.each("a", 7, 2, 3, 0) }, nil,
			[]string{"missing 7:0-1", "present 7:2-3"}, VerdictMissing},
		{"an epoch that begins after the interval", func(s *twin) { s.each("a", 7, 0, 3, 0); s.each("a", 8, 2, 3, 100_000) }, nil,
			[]string{"present 7:0-3", "missing 8:0-1"}, VerdictMissing},
		{"an epoch that is over", func(s *twin) { s.each("a", 7, 0, 3, -50_000) }, nil, []string{}, VerdictSilent},
		{"two epochs", func(s *twin) { s.each("a", 9, 0, 3, 0); s.each("a", 7, 0, 3, 10_000) }, nil,
			[]string{"present 7:0-3", "present 9:0-3"}, VerdictComplete},
		{"declared", func(s *twin) {
			s.each("a", 7, 0, 3, 0)
			s.each("a", 7, 9, 9, 10_000)
			s.declare("a", 7, 3, 6, "buffer_full")
			s.declare("b", 7, 7, 8, "corrupt")
			s.declare("a", 8, 7, 8, "corrupt")
		}, nil, []string{"present 7:0-3", "lostbuffer_full 7:4-6", "missing 7:7-8", "present 7:9-9", "missing 8:0-6", "lostcorrupt 8:7-8"}, VerdictMissing},
		{"declared and stored", func(s *twin) { s.each("a", 7, 0, 9, 0); s.declare("a", 7, 2, 4, "power_cut") }, nil,
			[]string{"present 7:0-9"}, VerdictComplete},
		{"declared after the last reading", func(s *twin) { s.each("a", 7, 0, 3, 0); s.declare("a", 7, 4, 5, "refused_in_future") }, nil,
			[]string{"present 7:0-3", "lostrefused_in_future 7:4-5"}, VerdictLost},
		{"declared after the last reading, before the interval", func(s *twin) {
			s.each("a", 7, 0, 3, -50_000)
			s.declare("a", 7, 4, 5, "refused_in_future")
		}, nil, []string{"lostrefused_in_future 7:4-5"}, VerdictLost},
		{"at another time", func(s *twin) {
			s.each("a", 7, 0, 3, 0)
			s.each("a", 7, 4, 5, -500_000)
			s.each("a", 7, 6, 7, 6000)
		}, nil, []string{"present 7:0-3", "elsewhere 7:4-5", "present 7:6-7"}, VerdictComplete},
		{"stored and in no window", func(s *twin) { s.each("a", 7, 0, 3, 0); s.reading(reading("a", 7, 4, 4000), size, true, false) }, nil,
			[]string{"present 7:0-3", "no_window 7:4-4"}, VerdictMissing},
		{"in a window and not stored", func(s *twin) { s.each("a", 7, 0, 3, 0); s.reading(reading("a", 7, 4, 4000), size, false, true) }, nil,
			[]string{"present 7:0-3", "no_frame 7:4-4"}, VerdictMissing},
		{"in a window and deleted", func(s *twin) { s.each("a", 7, 0, 3, 0); s.reading(reading("a", 7, 4, 4000), size, false, true) },
			func(o *Options) { o.FramesTTL = 59 * time.Minute }, []string{"present 7:0-4"}, VerdictComplete},
		{"windows only", func(s *twin) { s.each("a", 7, 0, 3, 0); s.reading(reading("a", 7, 4, 4000), size, false, true) },
			func(o *Options) { o.Frames = false }, []string{"present 7:0-4"}, VerdictComplete},
		{"not in a window yet", func(s *twin) {
			s.each("a", 7, 0, 3, 0)
			s.reading(reading("a", 7, 4, 4000), size, true, false)
			s.reading(reading("a", 7, 6, 6000), size, true, false)
		}, func(o *Options) { o.Now = func() time.Time { return time.UnixMilli(base + 20_000) } },
			[]string{"present 7:0-3", "not_yet 7:4-4", "not_yet 7:5-5", "not_yet 7:6-6"}, VerdictNotYet},
		{"a gap that may be young", func(s *twin) { s.each("a", 7, 0, 3, 0); s.each("a", 7, 6, 6, 50_000) },
			func(o *Options) { o.Now = func() time.Time { return time.UnixMilli(base + 100_000) } },
			[]string{"present 7:0-3", "not_yet 7:4-5", "present 7:6-6"}, VerdictNotYet},
		{"windows of two sizes", func(s *twin) {
			s.each("a", 7, 0, 3, 0)
			for seq := range uint64(4) {
				s.reading(reading("a", 7, seq, int64(seq)*1000), 2*size, false, true)
			}
		}, nil, []string{"present 7:0-3"}, VerdictComplete},
		{"a window of another size, half in the interval", func(s *twin) {
			s.reading(reading("a", 7, 0, 0), 2*size, true, true)
			s.reading(reading("a", 7, 1, 12_000), 2*size, true, true)
		}, func(o *Options) { o.From = o.From.Add(size) }, []string{"present 7:0-1"}, VerdictComplete},
		{"an interval within a window", func(s *twin) {
			s.each("a", 7, 0, 9, 0)
			s.reading(reading("a", 7, 10, 500), size, true, false)
			s.reading(reading("a", 7, 11, 9_500), size, true, false)
		},
			func(o *Options) { o.From, o.To = o.From.Add(4*time.Second), o.From.Add(5*time.Second) },
			[]string{"present 7:0-9", "no_window 7:10-11"}, VerdictMissing},
		{"nothing but losses", func(s *twin) { s.declare("a", 7, 0, 5, "refused_before_2000") }, nil, []string{"lostrefused_before_2000 7:0-5"}, VerdictLost},
		{"nothing at all", func(*twin) {}, nil, []string{}, VerdictSilent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newTwin()
			tt.world(s)
			o := options(s, 0, 6)
			o.Sensors = []string{"a"}
			if tt.options != nil {
				tt.options(&o)
			}
			r := run1(t, o)
			if diff := gocmp.Diff(tt.want, short(r)); diff != "" || r.Verdict != tt.verdict {
				t.Errorf("verdict %s, want %s\n-want +got:\n%s", r.Verdict, tt.verdict, diff)
			}
		})
	}
}

// TestUnsequenced: of frames without seq it is said whether they are stored and
// in a window, and that nothing is known of what is missing.
func TestUnsequenced(t *testing.T) {
	s := newTwin()
	for n, fate := range []struct{ stored, windowed bool }{{true, true}, {true, true}, {true, false}, {false, true}} {
		s.reading(telemetry.Frame{ID: "a", Timestamp: base + int64(n)*1000}, size, fate.stored, fate.windowed)
	}
	r := run1(t, options(s, 0, 6))
	if want := (Unsequenced{Present: 3, NoWindow: 1, NoFrame: 1}); r.Unsequenced != want || r.Verdict != VerdictMissing || r.Unaccounted() != 2 {
		t.Errorf("%+v", r)
	}
	s = newTwin()
	s.reading(telemetry.Frame{ID: "a", Timestamp: base}, size, true, true)
	if r := run1(t, options(s, 0, 6)); r.Verdict != VerdictUnknown || !r.Accounted() {
		t.Errorf("%+v", r)
	}
}

// TestSensors: all sensors of which anything is stored, in order; those named;
// those at a place, also if they are silent now.
func TestSensors(t *testing.T) {
	s := newTwin()
	s.each("b", 1, 0, 3, 0)
	s.each("a", 1, 0, 3, -500_000)
	s.reading(reading("d", 1, 0, 0), size, true, false)
	s.declare("c", 1, 0, 0, "corrupt")
	for _, tt := range []struct {
		options func(*Options)
		want    []string
	}{
		{func(*Options) {}, []string{"a", "b", "c", "d"}},
		{func(o *Options) { o.Sensors = []string{"d", "b", "d"} }, []string{"b", "d"}},
		{func(o *Options) { o.Place = "p-a" }, []string{"a"}},
		{func(o *Options) { o.Place = "p-b" }, []string{"b"}},
		{func(o *Options) { o.Place = "elsewhere" }, nil},
	} {
		o := options(s, 0, 6)
		tt.options(&o)
		var got []string
		if err := Run(t.Context(), o, func(r *Report) error {
			got = append(got, r.Sensor)
			return nil
		}); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%v, %v, want %v", got, err, tt.want)
		}
	}
}

// TestErrors: a store that fails is an error, and so is what cannot be asked.
func TestErrors(t *testing.T) {
	away := errors.New("away")
	s := newTwin()
	s.err = away
	for _, sensors := range [][]string{nil, {"a"}} {
		o := options(s, 0, 6)
		o.Sensors = sensors
		if err := Run(t.Context(), o, func(*Report) error { return nil }); !errors.Is(err, away) {
			t.Errorf("%v", err)
		}
	}
	s = newTwin()
	s.each("a", 1, 0, 0, 0)
	if err := Run(t.Context(), options(s, 0, 6), func(*Report) error { return away }); !errors.Is(err, away) {
		t.Errorf("%v", err)
	}
	if err := Run(t.Context(), options(s, 6, 6), func(*Report) error { return nil }); err == nil {
		t.Error("an empty interval is asked for")
	}
}

// TestOutput holds both forms of a report with everything in it.
func TestOutput(t *testing.T) {
	s := newTwin()
	s.each("greenhouse-7", 7, 2, 3, 0)
	s.each("greenhouse-7", 7, 12, 15, 20_000)
	s.each("greenhouse-7", 7, 10, 10, -900_000)
	s.reading(reading("greenhouse-7", 7, 16, 24_000), size, true, false)
	s.reading(reading("greenhouse-7", 7, 17, 25_000), size, false, true)
	s.declare("greenhouse-7", 7, 0, 1, "power_cut")
	s.declare("greenhouse-7", 7, 4, 8, "buffer_full")
	s.each("greenhouse-8", 6712453190227881, 0, 19, 0)
	s.reading(telemetry.Frame{ID: "kitchen", Timestamp: base}, size, true, true)
	s.each("shed", 1, 0, 0, -900_000)
	for name, write := range map[string]func(*Report, *bytes.Buffer) error{
		"report.txt":  func(r *Report, b *bytes.Buffer) error { return r.WriteText(b) },
		"report.json": func(r *Report, b *bytes.Buffer) error { return r.WriteJSON(b) },
	} {
		var out bytes.Buffer
		if err := Run(t.Context(), options(s, 0, 6), func(r *Report) error { return write(r, &out) }); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(string(want), out.String()); diff != "" {
			t.Errorf("%s: -golden +got:\n%s", name, diff)
		}
	}
}

// TestSet holds the set against one of single numbers.
func TestSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s set
		naive := map[uint64]bool{}
		for range rapid.IntRange(0, 40).Draw(t, "operations") {
			first := rapid.Uint64Range(0, 40).Draw(t, "first")
			r := telemetry.SeqRange{First: first, Last: first + rapid.Uint64Range(0, 6).Draw(t, "more")}
			in := rapid.Bool().Draw(t, "add")
			if in {
				s.add(run{SeqRange: r})
			} else {
				s.remove(r)
			}
			for seq := r.First; seq <= r.Last; seq++ {
				naive[seq] = in
			}
			for i, e := range s {
				if e.First > e.Last || i > 0 && s[i-1].Last >= e.First {
					t.Fatalf("%v", s)
				}
			}
			for seq := range uint64(50) {
				if s.has(seq) != naive[seq] {
					t.Fatalf("has(%d) is %v in %v", seq, s.has(seq), s)
				}
			}
		}
	})
}

// TestAgreesWithTheNaive: over the whole of a random history every reading of
// every epoch has the state that its own fate says; and where the history is cut
// in two, what is missing or lost is so in one of the two at least, and nothing
// else is.
func TestAgreesWithTheNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newTwin()
		type key struct{ epoch, seq uint64 }
		want := map[key]string{}
		ms := int64(0)
		for epoch := range uint64(rapid.IntRange(1, 3).Draw(t, "epochs")) {
			present := map[uint64]State{}
			end := uint64(0)
			for seq := range uint64(rapid.IntRange(1, 25).Draw(t, "readings")) {
				ms += rapid.Int64Range(1, 9000).Draw(t, "pause")
				at := ms
				if rapid.IntRange(0, 9).Draw(t, "jump") == 0 {
					at = rapid.Int64Range(0, 300_000).Draw(t, "to")
				}
				f := reading("a", epoch, seq, at)
				switch rapid.IntRange(0, 7).Draw(t, "fate") {
				case 0, 1: // it never comes
					continue
				case 2:
					present[seq] = NoWindow
				case 3:
					present[seq] = NoFrame
				default:
					present[seq] = Present
				}
				s.reading(f, size, present[seq] != NoFrame, present[seq] != NoWindow)
				end = seq + 1
			}
			lost := map[uint64]string{}
			for range rapid.IntRange(0, 3).Draw(t, "losses") {
				first := rapid.Uint64Range(0, 24).Draw(t, "first")
				last := first + rapid.Uint64Range(0, 3).Draw(t, "more")
				s.declare("a", epoch, first, last, "corrupt")
				for seq := first; seq <= last; seq++ {
					lost[seq] = "corrupt"
				}
				end = max(end, last+1)
			}
			for seq := range end {
				switch state := present[seq]; {
				case state != "":
					want[key{epoch, seq}] = string(state)
				case lost[seq] != "":
					want[key{epoch, seq}] = "lost corrupt"
				default:
					want[key{epoch, seq}] = "missing"
				}
			}
		}
		states := func(first, last int) map[key]string {
			got := map[key]string{}
			o := options(s, first, last)
			o.Sensors = []string{"a"}
			for _, r := range run1(t, o).Ranges {
				state := string(r.State)
				if r.Reason != "" {
					state += " " + r.Reason
				}
				for seq := r.First; seq <= r.Last; seq++ {
					if before, ok := got[key{r.Epoch, seq}]; ok {
						t.Fatalf("%d/%d is %s and %s", r.Epoch, seq, before, state)
					}
					got[key{r.Epoch, seq}] = state
				}
			}
			return got
		}
		const begin, finish = -1, 100
		if diff := gocmp.Diff(want, states(begin, finish)); diff != "" {
			t.Fatalf("-naive +got:\n%s", diff)
		}
		cut := rapid.IntRange(0, 30).Draw(t, "cut")
		a, b := states(begin, cut), states(cut, finish)
		for k, state := range want {
			switch ofA, ofB := a[k], b[k]; {
			case ofA != state && ofB != state:
				t.Fatalf("%v is %s, and %q and %q in the halves", k, state, ofA, ofB)
			case state == string(Missing) || state == "lost corrupt":
				for _, of := range []string{ofA, ofB} {
					if of != "" && of != state {
						t.Fatalf("%v is %s, and %s in a half", k, state, of)
					}
				}
			}
		}
	})
}
