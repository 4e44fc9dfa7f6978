package buffer

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// ledger is what became of one sensor's numbers.
type ledger struct {
	read, lost map[uint64]bool
}

// account reads all of b and says what became of each sensor's numbers.
func account(b *Buffer) (map[string]*ledger, error) {
	all := map[string]*ledger{}
	for r := b.Reader(); ; {
		var f telemetry.Frame
		_, err := r.Next(&f)
		if errors.Is(err, ErrEnd) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		l := all[f.ID]
		if l == nil {
			l = &ledger{read: map[uint64]bool{}, lost: map[uint64]bool{}}
			all[f.ID] = l
		}
		if !f.IsLoss() {
			if l.read[f.Seq] {
				return nil, fmt.Errorf("%s/%d comes twice", f.ID, f.Seq)
			}
			l.read[f.Seq] = true
			continue
		}
		for seq := f.Lost.Seqs.First; seq <= f.Lost.Seqs.Last; seq++ {
			l.lost[seq] = true
		}
	}
}

// TestBound fills buffers of both policies far beyond their bound, with kills
// and closes in between: no number goes unaccounted for, and the bound holds
// at every moment.
func TestBound(t *testing.T) {
	for _, tt := range []struct {
		name string
		drop Policy
	}{{"oldest", DropOldest}, {"newest", DropNewest}} {
		t.Run(tt.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { checkBound(t, tt.drop) })
		})
	}
}

func checkBound(t *rapid.T, drop Policy) {
	o := Options{MaxSize: MinMaxSize, SegmentSize: MinSegmentSize, Drop: drop, ReserveAhead: 4, BootID: "1"}
	d := newDisk()
	o.FS = d
	b := mustOpenRapid(t, o)
	used := map[string]uint64{} // numbers, by readings taken and refused
	freed := map[string]map[uint64]bool{}
	fault := string(make([]byte, maxFault))
	refused := map[string]int{}
	var clock int64
	t.Repeat(map[string]func(*rapid.T){
		"append": func(t *rapid.T) {
			for i := range rapid.IntRange(1, 300).Draw(t, "n") {
				clock++
				f := frame(sensorIDs[i%3], clock, 1)
				f.Faults = telemetry.Faults{fault, fault, fault, fault}
				err := b.Append(f)
				switch {
				case errors.Is(err, ErrDropped) && drop == DropNewest:
					refused[f.ID]++
				case err != nil:
					t.Fatal(err)
				case f.Seq < used[f.ID]:
					t.Fatalf("%s/%d handed out after %d", f.ID, f.Seq, used[f.ID])
				default:
					used[f.ID] = f.Seq + 1
				}
			}
		},
		"commit": func(t *rapid.T) {
			if err := b.Commit(); err != nil {
				t.Fatal(err)
			}
		},
		"free": func(t *rapid.T) {
			r := b.Reader()
			for range rapid.IntRange(1, 120).Draw(t, "n") {
				var f telemetry.Frame
				p, err := r.Next(&f)
				if errors.Is(err, ErrEnd) {
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if freed[f.ID] == nil {
					freed[f.ID] = map[uint64]bool{}
				}
				if f.IsLoss() {
					for seq := f.Lost.Seqs.First; seq <= f.Lost.Seqs.Last; seq++ {
						freed[f.ID][seq] = true
					}
				} else {
					freed[f.ID][f.Seq] = true
				}
				if err := b.Free(p); err != nil {
					t.Fatal(err)
				}
			}
		},
		"reopen": func(t *rapid.T) {
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			b = mustOpenRapid(t, o)
		},
		"kill": func(t *rapid.T) {
			d = d.killed()
			o.FS = d
			b = mustOpenRapid(t, o)
		},
		"": func(t *rapid.T) {
			if d.largest > o.MaxSize {
				t.Fatalf("%d bytes on disk, want at most %d", d.largest, o.MaxSize)
			}
			all, err := account(b)
			if err != nil {
				t.Fatal(err)
			}
			for id, next := range used {
				l := all[id]
				for seq := range next {
					if (l == nil || !l.read[seq] && !l.lost[seq]) && !freed[id][seq] {
						t.Fatalf("%s/%d of %d is neither there nor declared", id, seq, next)
					}
				}
			}
		},
	})
}

func mustOpenRapid(t *rapid.T, o Options) *Buffer {
	b, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRefusals has a full buffer refuse, be killed, and get room again: each
// refused reading is in exactly the declared numbers.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name  string
		crash bool
	}{{"undisturbed", false}, {"killed while full", true}} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisk()
			o := Options{FS: d, MaxSize: MinMaxSize, SegmentSize: MinSegmentSize, Drop: DropNewest, BootID: "1"}
			b := mustOpen(t, o)
			var taken, refused uint64
			fault := string(make([]byte, maxFault))
			for refused < 1000 {
				f := frame("a", 1, 1)
				f.Faults = telemetry.Faults{fault, fault, fault, fault}
				switch err := b.Append(f); {
				case errors.Is(err, ErrDropped):
					refused++
				case err != nil:
					t.Fatal(err)
				default:
					taken++
				}
			}
			if got := b.Stats(); got.Refused != refused || got.Lost[BufferFull] != refused || got.Frames != taken {
				t.Errorf("stats %+v, want %d refused and %d frames", got, refused, taken)
			}
			if tt.crash {
				o.FS = d.killed()
				b = mustOpen(t, o)
			}
			frames := drain(t, b.Reader())
			freeAll(t, b)
			if err := b.Commit(); err != nil {
				t.Fatal(err)
			}
			last := mustAppend(t, b, frame("a", 2, 1))
			var losses []telemetry.SeqRange
			for _, f := range slices.Concat(frames, drain(t, b.Reader())) {
				if f.IsLoss() {
					losses = append(losses, f.Lost.Seqs)
				}
			}
			if len(losses) == 0 || losses[0].First != taken || losses[len(losses)-1].Last != last.Seq-1 {
				t.Fatalf("declared %v, want from %d to %d", losses, taken, last.Seq-1)
			}
			if n := last.Seq - taken; n < refused || !tt.crash && n != refused || n > 3*refused+2*DefaultReserveAhead {
				t.Errorf("%d numbers declared for %d refused readings", n, refused)
			}
		})
	}
}

// TestFullAndCut has the power of a full buffer cut again and again.
func TestFullAndCut(t *testing.T) {
	d := newDisk()
	o := Options{FS: d, MaxSize: MinMaxSize, SegmentSize: MinSegmentSize, Drop: DropNewest, BootID: "0"}
	b := mustOpen(t, o)
	taken := map[uint64]bool{}
	for boot := range 200 {
		for range 1000 / (boot + 1) {
			f := frame("a", 1, 1)
			if err := b.Append(f); err == nil {
				taken[f.Seq] = true
			} else if !errors.Is(err, ErrDropped) {
				t.Fatal(err)
			}
		}
		if err := b.Commit(); err != nil {
			t.Fatal(err)
		}
		if d.largest > o.MaxSize {
			t.Fatalf("%d bytes on disk, want at most %d", d.largest, o.MaxSize)
		}
		d = d.cutAll()
		o.FS, o.BootID = d, fmt.Sprint(boot+1)
		b = mustOpen(t, o)
		var first telemetry.Frame
		if _, err := b.Reader().Next(&first); boot < 20 && (err != nil || first.Seq != 0 || first.IsLoss()) {
			t.Fatalf("after %d cuts the first frame is %v, %v", boot+1, first, err)
		}
	}
	all, err := account(b)
	if err != nil {
		t.Fatal(err)
	}
	for seq := range taken {
		if !all["a"].read[seq] && !all["a"].lost[seq] {
			t.Errorf("a/%d is missing", seq)
		}
	}
	freeAll(t, b)
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	f := mustAppend(t, b, frame("a", 1, 1))
	for seq := range f.Seq {
		if !all["a"].read[seq] && !all["a"].lost[seq] {
			t.Fatalf("a/%d is neither there nor declared", seq)
		}
	}
}

func freeAll(t testing.TB, b *Buffer) {
	t.Helper()
	for r := b.Reader(); ; {
		var f telemetry.Frame
		p, err := r.Next(&f)
		if errors.Is(err, ErrEnd) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Free(p); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDropsDoNotPileUp keeps a buffer full for many times its size.
func TestDropsDoNotPileUp(t *testing.T) {
	b := mustOpen(t, Options{FS: newDisk(), MaxSize: MinMaxSize, SegmentSize: MinSegmentSize, BootID: "1"})
	const n = 100_000
	for i := range int64(n) {
		mustAppend(t, b, frame("a", i, 1))
	}
	var losses []telemetry.Frame
	held := b.Stats().Frames
	frames := 0
	for _, f := range drain(t, b.Reader()) {
		if f.IsLoss() {
			losses = append(losses, f)
			continue
		}
		if want := n - held + uint64(frames); f.Seq != want {
			t.Fatalf("seq %d, want %d", f.Seq, want)
		}
		frames++
	}
	if len(losses) > 5 {
		t.Errorf("%d declarations, want one for each segment at most", len(losses))
	}
	if got, want := losses[len(losses)-1].Lost, (telemetry.Loss{Seqs: telemetry.SeqRange{Last: n - uint64(frames) - 1}, Reason: BufferFull}); got != want {
		t.Errorf("declared %v, want %v", got, want)
	}
	if got := b.Stats().Lost[BufferFull]; got != n-uint64(frames) {
		t.Errorf("%d counted lost, want %d", got, n-frames)
	}
}

// TestLowerBound opens a buffer with a lower bound than it was made with.
func TestLowerBound(t *testing.T) {
	o := Options{FS: newDisk(), MaxSize: 1 << 20, SegmentSize: 2 * MinSegmentSize, BootID: "1"}
	b := mustOpen(t, o)
	const n = 20_000
	for i := range int64(n) {
		mustAppend(t, b, frame("a", i, 1))
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	o.MaxSize, o.SegmentSize = MinMaxSize, MinSegmentSize
	b = mustOpen(t, o)
	mustAppend(t, b, frame("a", n, 1))
	if got := b.Stats().Bytes; got > o.MaxSize {
		t.Errorf("%d bytes, want at most %d", got, o.MaxSize)
	}
	all, err := account(b)
	if err != nil {
		t.Fatal(err)
	}
	for seq := range uint64(n + 1) {
		if !all["a"].read[seq] && !all["a"].lost[seq] {
			t.Fatalf("a/%d is neither there nor declared", seq)
		}
	}
}

// TestReaderInDroppedSegment reads on where the oldest segment is dropped
// under the reader.
func TestReaderInDroppedSegment(t *testing.T) {
	b := mustOpen(t, Options{FS: newDisk(), MaxSize: MinMaxSize, SegmentSize: MinSegmentSize, BootID: "1"})
	for i := range int64(10) {
		mustAppend(t, b, frame("a", i, 1))
	}
	r := b.Reader()
	var f telemetry.Frame
	if _, err := r.Next(&f); err != nil {
		t.Fatal(err)
	}
	for i := range int64(20_000) {
		mustAppend(t, b, frame("a", i, 1))
	}
	var last uint64
	lost := map[uint64]bool{}
	n := uint64(0)
	for _, f := range drain(t, r) {
		if f.IsLoss() {
			for seq := f.Lost.Seqs.First; seq <= f.Lost.Seqs.Last; seq++ {
				lost[seq] = true
			}
			continue
		}
		if f.Seq <= last {
			t.Fatalf("seq %d after %d", f.Seq, last)
		}
		last = f.Seq
		n++
	}
	if last != 20_009 {
		t.Errorf("ends at %d, want 20009", last)
	}
	if n+uint64(len(lost)) < 20_009 {
		t.Errorf("%d read and %d lost of 20009", n, len(lost))
	}
}
