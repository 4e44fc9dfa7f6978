package buffer

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// TestDiskErrors has the disk refuse one kind of operation for a while. What was
// stored is there, what was not has no number, but for readings in the middle of
// which a write failed: they are declared. Nothing is used twice.
func TestDiskErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		ops  string // that fail
		want error
	}{
		{"full", "create preallocate", syscall.ENOSPC},
		{"no write", "write", syscall.EIO},
		{"no sync", "sync", syscall.EIO},
		{"no sync of the folder", "syncdir", syscall.EIO},
		{"no removing", "remove", syscall.EIO},
		{"read-only", "create preallocate write truncate rename remove", syscall.EROFS},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisk()
			o := Options{FS: d, MaxSize: 64 << 20, SegmentSize: MinSegmentSize, ReserveAhead: 8, BootID: "1"}
			b := mustOpen(t, o)
			var stored []telemetry.Frame
			var failed int
			torn := uint64(0)
			if tt.name == "no write" || tt.name == "read-only" {
				torn = 1 // the first write that fails; the segment takes no more
			}
			appendSome := func(n int) {
				for i := range n {
					f := frame("a", int64(i), 1)
					f.Faults[0] = strings.Repeat("x", maxFault)
					switch err := b.Append(f); {
					case err == nil:
						stored = append(stored, *f)
					case errors.Is(err, tt.want):
						failed++
						if f.Sequenced {
							t.Fatalf("refused, and yet numbered: %v", f)
						}
					default:
						t.Fatalf("Append: %v, want %v", err, tt.want)
					}
				}
			}
			appendSome(100)
			d.fault = func(op, _ string) error {
				if strings.Contains(tt.ops, op) {
					return fmt.Errorf("%s: %w", op, tt.want)
				}
				return nil
			}
			appendSome(400)
			if err := b.Commit(); err != nil && !errors.Is(err, tt.want) {
				t.Fatalf("Commit: %v, want %v", err, tt.want)
			}
			appendSome(100)
			d.fault = nil
			appendSome(100)
			if err := b.Commit(); err != nil && !errors.Is(err, tt.want) { // of what was left behind
				t.Fatalf("Commit: %v, want %v", err, tt.want)
			}
			if err := b.Commit(); err != nil {
				t.Fatalf("Commit on a healthy disk: %v", err)
			}
			if tt.name != "no removing" && failed == 0 {
				t.Error("nothing failed")
			}
			if got := b.Stats(); got.Lost[DiskError] != torn || got.Refused != torn {
				t.Errorf("stats %+v, want %d refused", got, torn)
			}
			check := func(b *Buffer) {
				t.Helper()
				var frames []telemetry.Frame
				next := uint64(0)
				lost := uint64(0)
				for _, f := range drain(t, b.Reader()) {
					if f.IsLoss() {
						if f.Lost.Reason != DiskError || f.Lost.Seqs.First != next {
							t.Fatalf("declared %v, want %s from %d", f.Lost, DiskError, next)
						}
						lost += f.Lost.Seqs.Len()
						next = f.Lost.Seqs.Last + 1
						continue
					}
					if f.Seq != next {
						t.Fatalf("seq %d, want %d", f.Seq, next)
					}
					next++
					frames = append(frames, f)
				}
				cmpFrames(t, frames, stored)
				if lost != torn {
					t.Errorf("%d declared, want %d", lost, torn)
				}
			}
			check(b)
			o.FS = d.killed()
			check(mustOpen(t, o))
		})
	}
}

// TestNoNumberAboveTheDurableMark cuts the power after syncs failed: what the
// machine had handed out by then is never handed out again.
func TestNoNumberAboveTheDurableMark(t *testing.T) {
	d := newDisk()
	o := Options{FS: d, SegmentSize: MinSegmentSize, ReserveAhead: 8, BootID: "1"}
	b := mustOpen(t, o)
	mustAppend(t, b, frame("a", 1, 1))
	d.fault = func(op, _ string) error {
		if op == "sync" {
			return syscall.EIO
		}
		return nil
	}
	var sent uint64
	for i := range int64(100) {
		f := frame("a", i, 1)
		if b.Append(f) == nil {
			sent = f.Seq
		}
	}
	if sent == 0 || sent > 20 {
		t.Errorf("numbers up to %d, want only those that were reserved", sent)
	}
	o.FS, o.BootID = d.cutAll(), "2"
	b = mustOpen(t, o)
	if f := mustAppend(t, b, frame("a", 1, 1)); f.Seq <= sent {
		t.Errorf("seq %d after %d was sent", f.Seq, sent)
	}
}

// TestReadErrors has reads fail for a while: that loses nothing.
func TestReadErrors(t *testing.T) {
	d := newDisk()
	b := mustOpen(t, Options{FS: d, SegmentSize: MinSegmentSize, BootID: "1"})
	want := []telemetry.Frame{mustAppend(t, b, frame("a", 1, 1)), mustAppend(t, b, frame("a", 2, 1))}
	r := b.Reader()
	d.fault = func(op, _ string) error {
		if op == "read" {
			return syscall.EIO
		}
		return nil
	}
	for range 3 {
		if _, err := r.Next(new(telemetry.Frame)); !errors.Is(err, syscall.EIO) {
			t.Fatalf("Next: %v, want %v", err, syscall.EIO)
		}
	}
	d.fault = nil
	cmpFrames(t, drain(t, r), want)
}

// TestFailedSync has one sync fail: while segments are begun, and while what
// was freed is made durable.
func TestFailedSync(t *testing.T) {
	bulky := func(i int64) *telemetry.Frame {
		f := frame("a", i, 1)
		text := strings.Repeat("x", maxFault)
		f.Faults = telemetry.Faults{text, text, text, text}
		return f
	}
	t.Run("rotation", func(t *testing.T) {
		d := newDisk()
		b := mustOpen(t, Options{FS: d, SegmentSize: MinSegmentSize, ReserveAhead: 4096, BootID: "1"})
		mustAppend(t, b, bulky(0))
		d.fault = func(op, name string) error {
			if op == "sync" && name == segmentName(0) {
				return syscall.EIO
			}
			return nil
		}
		for i := range int64(100) {
			mustAppend(t, b, bulky(i))
		}
		if err := b.Commit(); !errors.Is(err, syscall.EIO) {
			t.Errorf("Commit: %v, want %v", err, syscall.EIO)
		}
		if err := b.Commit(); err != nil {
			t.Errorf("next Commit: %v", err)
		}
	})
	t.Run("free", func(t *testing.T) {
		d := newDisk()
		o := Options{FS: d, SegmentSize: MinSegmentSize, ReserveAhead: 4096, BootID: "1"}
		b := mustOpen(t, o)
		var want []telemetry.Frame
		for i := range int64(100) {
			want = append(want, mustAppend(t, b, bulky(i)))
		}
		if err := b.Commit(); err != nil {
			t.Fatal(err)
		}
		freeAll(t, b)
		d.fault = func(op, _ string) error {
			if op == "sync" {
				return syscall.EIO
			}
			return nil
		}
		if err := b.Commit(); !errors.Is(err, syscall.EIO) {
			t.Errorf("Commit: %v, want %v", err, syscall.EIO)
		}
		o.FS, o.BootID = d.cutAll(), "2"
		got := drain(t, mustOpen(t, o).Reader())
		cmpFrames(t, got[:min(len(got), len(want))], want)
	})
}

// TestSyncFailsOnce has the kernel drop what one sync should have written, and
// say success from then on. Then the power is cut.
func TestSyncFailsOnce(t *testing.T) {
	for at := 1; at < 20; at++ {
		for n := int64(1); n < 50; n++ {
			if err := syncFailsOnce(t, at, n); err != nil {
				t.Errorf("sync %d of %d readings failed: %v", at, n, err)
			}
		}
	}
}

func syncFailsOnce(t *testing.T, at int, n int64) error {
	d := newDisk()
	o := Options{FS: d, SegmentSize: MinSegmentSize, ReserveAhead: 4, BootID: "1"}
	b := mustOpen(t, o)
	syncs := 0
	d.fault = func(op, _ string) error {
		if op == "sync" {
			if syncs++; syncs == at {
				return syscall.EIO
			}
		}
		return nil
	}
	handed := map[uint64]bool{}
	for i := range n {
		f := frame("a", i, 1)
		if err := b.Append(f); err == nil {
			handed[f.Seq] = true
		} else if !errors.Is(err, syscall.EIO) {
			return err
		}
		if i%10 == 9 {
			if err := b.Commit(); err != nil && !errors.Is(err, syscall.EIO) {
				return err
			}
		}
	}
	o.FS, o.BootID = d.cutAll(), "2"
	b = mustOpen(t, o)
	all, err := account(b)
	if err != nil {
		return err
	}
	l := all["a"]
	if l == nil {
		l = &ledger{}
	}
	for seq := range handed {
		if !l.read[seq] && !l.lost[seq] {
			return fmt.Errorf("%d is neither there nor declared", seq)
		}
	}
	if f := mustAppend(t, b, frame("a", 1, 1)); handed[f.Seq] {
		return fmt.Errorf("%d is used again", f.Seq)
	}
	return nil
}
