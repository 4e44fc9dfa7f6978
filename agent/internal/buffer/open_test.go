package buffer

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// TestWhatACrashDeclares appends ten readings of which six are committed, ends
// the run in one way or another, and opens the buffer again.
func TestWhatACrashDeclares(t *testing.T) {
	const ahead = 20
	for _, tt := range []struct {
		name  string
		end   func(t *testing.T, b *Buffer, d *disk) *disk
		boot  string
		there int
		lost  telemetry.Loss
	}{
		{
			name: "closed", boot: "2", there: 10,
			end: func(t *testing.T, b *Buffer, d *disk) *disk {
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
				return d.cutAll()
			},
		},
		{
			name: "killed", boot: "1", there: 10,
			end: func(_ *testing.T, _ *Buffer, d *disk) *disk { return d.killed() },
		},
		{
			name: "killed, then the power cut with all written", boot: "2", there: 10,
			end:  func(_ *testing.T, _ *Buffer, d *disk) *disk { return d.killed() },
			lost: telemetry.Loss{Seqs: telemetry.SeqRange{First: 10, Last: ahead - 1}, Reason: PowerCut},
		},
		{
			name: "power cut", boot: "2", there: 6,
			end:  func(_ *testing.T, _ *Buffer, d *disk) *disk { return d.cutAll() },
			lost: telemetry.Loss{Seqs: telemetry.SeqRange{First: 6, Last: ahead - 1}, Reason: PowerCut},
		},
		{
			name: "unknown boot", boot: "", there: 10,
			end:  func(_ *testing.T, _ *Buffer, d *disk) *disk { return d.killed() },
			lost: telemetry.Loss{Seqs: telemetry.SeqRange{First: 10, Last: ahead - 1}, Reason: PowerCut},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisk()
			o := Options{FS: d, SegmentSize: MinSegmentSize, ReserveAhead: ahead, BootID: "1"}
			b := mustOpen(t, o)
			var want []telemetry.Frame
			for i := range int64(10) {
				want = append(want, mustAppend(t, b, frame("a", i, 1)))
				if i == 5 {
					if err := b.Commit(); err != nil {
						t.Fatal(err)
					}
				}
			}
			want = want[:tt.there]
			next := uint64(10)
			if tt.lost.Reason != "" {
				loss := want[0]
				loss.Timestamp, loss.Seq, loss.Payload, loss.Lost = 0, 0, telemetry.Payload{}, tt.lost
				want = append(want, loss)
				next = tt.lost.Seqs.Last + 1
			}
			o.FS, o.BootID = tt.end(t, b, d), tt.boot
			b = mustOpen(t, o)
			cmpFrames(t, drain(t, b.Reader()), want)
			if got := b.Stats().Lost[PowerCut]; tt.lost.Reason != "" && got != tt.lost.Seqs.Len() {
				t.Errorf("%d counted lost, want %d", got, tt.lost.Seqs.Len())
			}
			if f := mustAppend(t, b, frame("a", 11, 1)); f.Seq != next {
				t.Errorf("goes on at %d, want %d", f.Seq, next)
			}
			if tt.boot == "" {
				return // every end is a power cut then
			}
			// A kill right after that declares the same once more, and no more.
			want = drain(t, b.Reader())
			o.FS = o.FS.(*disk).killed()
			cmpFrames(t, drain(t, mustOpen(t, o).Reader()), want)
		})
	}
}

func TestLocked(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	b := mustOpen(t, o)
	if _, err := Open(o); !errors.Is(err, ErrLocked) {
		t.Errorf("second Open: %v, want %v", err, ErrLocked)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, o).Close(); err != nil {
		t.Error(err)
	}
}

// TestNewerFormat leaves a buffer of a later version as it is.
func TestNewerFormat(t *testing.T) {
	d := store(t, 9, false, true).disk
	p := d.names[identityName].data
	binary.LittleEndian.PutUint32(p[8:], formatVersion+1)
	binary.LittleEndian.PutUint32(p[12:], crc32.Checksum(p[:12], castagnoli))
	delete(d.names, lockName)
	before := contents(d)
	if _, err := Open(Options{FS: d}); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("Open: %v, want %v", err, ErrNewerFormat)
	}
	if diff := cmp.Diff(before, contents(d)); diff != "" {
		t.Errorf("touched: %s", diff)
	}
}

func contents(d *disk) map[string]string {
	all := map[string]string{}
	for name, node := range d.names {
		all[name] = string(node.data)
	}
	return all
}

// TestIdentityRestored takes the identity away: the segments still say it.
func TestIdentityRestored(t *testing.T) {
	s := store(t, 9, false, true)
	delete(s.disk.names, identityName)
	if err := s.verify(s.disk, "0", nil); err != nil {
		t.Error(err)
	}
	if got := slices.Sorted(maps.Keys(s.disk.names)); !slices.Contains(got, identityName) {
		t.Errorf("files %v, want %s again", got, identityName)
	}
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
	}{
		{"nowhere", Options{}},
		{"too small", Options{MaxSize: MinMaxSize - 1}},
		{"segment too small", Options{SegmentSize: MinSegmentSize - 1}},
		{"segment too large", Options{SegmentSize: MaxSegmentSize + 1}},
		{"no such policy", Options{Drop: DropNewest + 1}},
		{"reserves too much", Options{ReserveAhead: MaxReserveAhead + 1}},
		{"boot id too long", Options{BootID: string(make([]byte, maxBootID+1))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name != "nowhere" {
				tt.o.FS = newDisk()
			}
			if _, err := Open(tt.o); err == nil {
				t.Errorf("Open(%+v) succeeded", tt.o)
			}
		})
	}
}

// TestFramesRefused lists frames that no buffer takes. They use up no number.
func TestFramesRefused(t *testing.T) {
	long := string(make([]byte, maxString))
	b := mustOpen(t, Options{FS: newDisk(), SegmentSize: MinSegmentSize})
	for _, tt := range []struct {
		name string
		f    telemetry.Frame
	}{
		{"no id", telemetry.Frame{}},
		{"loss", telemetry.Frame{ID: "a", Lost: telemetry.Loss{Reason: PowerCut}}},
		{"long name", telemetry.Frame{ID: "a", Name: long}},
		{"long fault", telemetry.Frame{ID: "a", Faults: telemetry.Faults{1: long}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := b.Append(&tt.f); !errors.Is(err, ErrFrame) {
				t.Errorf("Append: %v, want %v", err, ErrFrame)
			}
		})
	}
	if f := mustAppend(t, b, frame("a", 1, 1)); f.Seq != 0 {
		t.Errorf("seq %d, want 0", f.Seq)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Append(frame("a", 1, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("Append after Close: %v, want %v", err, ErrClosed)
	}
	if err := b.Commit(); !errors.Is(err, ErrClosed) {
		t.Errorf("Commit after Close: %v, want %v", err, ErrClosed)
	}
}

// TestKilledBeforeTheNameOfItsSegment kills the process when it has written a
// segment's head, and the segment's name is not certain yet. What the next
// process commits there survives a power cut.
func TestKilledBeforeTheNameOfItsSegment(t *testing.T) {
	o := Options{SegmentSize: MinSegmentSize, BootID: "one"}
	var d *disk
	for at := 1; ; at++ {
		d = newDisk()
		d.deadAt = at
		o.FS = d
		b, err := Open(o)
		for err == nil {
			err = b.Append(readingOfFour())
		}
		names := d.segmentNames()
		if len(names) == 2 && d.medium[names[1]] == nil && len(trimZeros(d.names[names[1]].data)) > headerSize {
			break
		}
		if len(names) > 2 {
			t.Fatal("no such moment")
		}
	}
	d = d.killed()
	o.FS = d
	b := mustOpen(t, o)
	kept := mustAppend(t, b, readingOfFour())
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	o.FS, o.BootID = d.cutAll(), "two"
	for _, f := range drain(t, mustOpen(t, o).Reader()) {
		if f == kept {
			return
		}
	}
	t.Errorf("%v was committed and is gone", kept)
}
