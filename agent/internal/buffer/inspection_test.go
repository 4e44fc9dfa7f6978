package buffer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

func mustInspect(t testing.TB, o Options) *Inspection {
	t.Helper()
	i, err := Inspect(o)
	if err != nil {
		t.Fatalf("Inspect: %v", err)
	}
	return i
}

// verified returns what Verify finds.
func verified(t testing.TB, i *Inspection) (findings []Finding) {
	t.Helper()
	done, err := i.Verify(t.Context(), func(f *Finding) error {
		findings = append(findings, *f)
		return nil
	})
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	counted := 0
	for _, f := range findings {
		if f.Kind != FindingNote {
			counted++
		}
	}
	if done.Findings != uint64(counted) {
		t.Errorf("%d findings counted, %d reported", done.Findings, counted)
	}
	return findings
}

// foretold returns what an agent that opens the buffer will read, by inspecting it,
// and what Verify finds.
func foretold(t testing.TB, i *Inspection) (frames []telemetry.Frame, findings []Finding) {
	t.Helper()
	declared := map[identityKey]bool{} // those that Verify must find
	err := i.opened(func(from Position) error {
		return i.follow(t.Context(), func(s *Shown) error {
			frames = append(frames, s.Frame)
			if s.derived || s.at >= from && s.IsLoss() {
				declared[identityKey{s.ID, s.Lost.Seqs.First}] = true
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	found := map[identityKey]bool{}
	findings = verified(t, i)
	for _, f := range findings {
		if f.Reason != "" {
			found[identityKey{f.Sensor, f.Seqs.First}] = true
		}
	}
	if diff := cmp.Diff(declared, found); diff != "" {
		t.Errorf("losses that Verify finds (-want +got):\n%s", diff)
	}
	return frames, findings
}

// contents returns the bytes of each file.
func (d *disk) contents() map[string][]byte {
	all := map[string][]byte{}
	for name, node := range d.names {
		all[name] = bytes.Clone(node.data)
	}
	return all
}

// agree inspects the folder on d, and then opens it: both must say the same of
// readings, and the first must change nothing.
func agree(t testing.TB, d *disk, o Options) []Finding {
	t.Helper()
	before := d.contents()
	o.FS = d
	i := mustInspect(t, o)
	got, findings := foretold(t, i)
	if _, err := i.Contents(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(before, d.contents(), bytes.Equal) || *d.locked || len(d.changes) > 0 {
		t.Fatal("inspecting it changed the folder")
	}
	o.FS, o.MaxSize = d.copy(), 64<<20
	want := drainRaw(t, mustOpen(t, o))
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(telemetry.Payload{})); diff != "" {
		t.Errorf("what is read after Open, and what was foretold (-want +got):\n%s", diff)
	}
	return findings
}

// drainRaw is drain, with readings that wait.
func drainRaw(t testing.TB, b *Buffer) (frames []telemetry.Frame) {
	t.Helper()
	r := b.Reader()
	r.raw = true
	for {
		var f telemetry.Frame
		p, err := r.Next(&f)
		if errors.Is(err, ErrEnd) {
			return frames
		}
		if err != nil {
			t.Fatal(err)
		}
		if !f.IsLoss() && r.head.boot != 0 {
			b.repair(&f, &r.head, p)
		}
		frames = append(frames, f)
	}
}

// TestInspectRefuses says for which folders there is no Inspection.
func TestInspectRefuses(t *testing.T) {
	newer := identity{}.encode()
	binary.LittleEndian.PutUint32(newer[8:], formatVersion+1)
	binary.LittleEndian.PutUint32(newer[12:], crc32.Checksum(newer[:12], castagnoli))
	for _, tt := range []struct {
		name string
		make func(dir string) error
		want error
	}{
		{"no folder", os.Remove, fs.ErrNotExist},
		{"a file", func(dir string) error { return errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600)) }, syscall.ENOTDIR},
		{"nothing", func(string) error { return nil }, ErrNoBuffer},
		{"another's file", func(dir string) error { return os.WriteFile(filepath.Join(dir, identityName), []byte("x"), 0o600) }, ErrNoBuffer},
		{"a newer version", func(dir string) error { return os.WriteFile(filepath.Join(dir, identityName), newer, 0o600) }, ErrNewerFormat},
		{"a segment of zeros", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, segmentName(0)), make([]byte, MinSegmentSize), 0o600)
		}, ErrNoBuffer},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "buffer")
			if err := errors.Join(os.Mkdir(dir, 0o700), tt.make(dir)); err != nil {
				t.Fatal(err)
			}
			if _, err := Inspect(Options{Dir: dir}); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

// TestInspectNewBuffer looks at a buffer with an identity and nothing else.
func TestInspectNewBuffer(t *testing.T) {
	d := newDisk()
	d.names[identityName] = &inode{data: fuzzIdentity.encode()}
	i := mustInspect(t, Options{FS: d})
	if findings := verified(t, i); findings != nil {
		t.Errorf("found %v", findings)
	}
	c, err := i.Contents(t.Context())
	if err != nil || c.Segments != 0 || c.Epoch != fuzzIdentity.epoch {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestReadOnly has nothing of a folder written.
func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	b := mustOpen(t, Options{Dir: dir})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	r := &readOnlyFS{folder: osReadDir(dir)}
	f, err := r.Open(segmentName(0))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, created := r.Create("x")
	_, locked := r.Lock(lockName)
	_, written := f.WriteAt([]byte{1}, 0)
	_, beneath := f.(readOnlyFile).File.WriteAt([]byte{1}, 0)
	for what, err := range map[string]error{
		"create": created, "lock": locked, "write": written, "write beneath": beneath,
		"rename": r.Rename(segmentName(0), "x"), "remove": r.Remove(segmentName(0)), "sync the folder": r.SyncDir(),
		"sync": f.Sync(), "truncate": f.Truncate(0), "preallocate": f.Preallocate(1 << 20),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// TestContents takes stock of readings that wait, of those of two sensors, of a
// declared loss, and of a sensor taken over from memory.
func TestContents(t *testing.T) {
	d := newDisk()
	o := Options{FS: d, SegmentSize: MinSegmentSize, BootID: "one", ReserveAhead: 8}
	b := mustOpen(t, o)
	memory := mustOpen(t, Options{FS: newMemory(), SegmentSize: MinSegmentSize, BootID: "one"})
	mustAppend(t, memory, frame("a", 500, 1))
	if err := errors.Join(b.adopt(memory), b.received(memory.Epoch())); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, b, frame("a", 1000, 1))
	mustAppend(t, b, frame("b", 2000, 1))
	mustCommit(t, b)
	o.FS, o.BootID = d.cutAll(), "two"
	b = mustOpen(t, o)
	mustWait(t, b, "b", 7)
	d = o.FS.(*disk)

	i := mustInspect(t, Options{FS: d, BootID: "two"})
	got, err := i.Contents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	marks := func(s SensorContents) SensorContents { s.Mark = 0; return s }
	for k := range got.Sensors {
		if s := &got.Sensors[k]; s.Mark < s.Next {
			t.Errorf("%s: mark %d, next %d", s.ID, s.Mark, s.Next)
		}
		got.Sensors[k] = marks(got.Sensors[k])
	}
	want := []SensorContents{
		{ID: "a", Name: "Sensor a", PlaceID: "house-2", Readings: 1, Oldest: 1000, Newest: 1000, Lost: map[string]uint64{PowerCut: 7}, Next: 8},
		{ID: "a", Name: "Sensor a", PlaceID: "house-2", Memory: memory.Epoch(), Readings: 1, Oldest: 500, Newest: 500, Next: 9},
		{ID: "b", Name: "Sensor b", PlaceID: "house-2", Readings: 2, Waiting: 1, Last: 8, Oldest: 2000, Newest: 2000, Lost: map[string]uint64{PowerCut: 7}, Next: 9},
	}
	if diff := cmp.Diff(want, got.Sensors); diff != "" {
		t.Errorf("sensors (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]BootClock{{Boot: 2, State: "waiting", Readings: 1}}, got.Clocks); diff != "" {
		t.Errorf("clocks (-want +got):\n%s", diff)
	}
	if got.Readings != 4 || got.Waiting != 1 || got.Oldest != 500 || got.Newest != 2000 || len(got.Damage) > 0 || got.BootID != "two" || got.Segments != 2 {
		t.Errorf("%+v", got)
	}
	var waiting []string
	err = i.Frames(t.Context(), false, func(s *Shown) error {
		if s.Waiting {
			waiting = append(waiting, fmt.Sprint(s.ID, s.Seq, " boot ", s.Boot, " after ", s.Boottime))
		}
		return nil
	})
	if err != nil || !slices.Equal(waiting, []string{"b8 boot 2 after 7s"}) {
		t.Errorf("waiting: %q, %v", waiting, err)
	}
}

// TestFramesAll shows what is freed and still on the medium only if it is wanted.
func TestFramesAll(t *testing.T) {
	d := newDisk()
	b := mustOpen(t, Options{FS: d, SegmentSize: MinSegmentSize, BootID: "0"})
	var after Position
	for i := range 10 {
		mustAppend(t, b, frame("a", int64(i), 1))
		if i == 5 {
			after = b.tail
		}
	}
	if err := b.Free(after); err != nil {
		t.Fatal(err)
	}
	mustCommit(t, b)
	i := mustInspect(t, Options{FS: d, BootID: "0"})
	for _, all := range []bool{false, true, false} {
		var seqs []uint64
		err := i.Frames(t.Context(), all, func(s *Shown) error {
			seqs = append(seqs, s.Seq)
			return nil
		})
		want := []uint64{6, 7, 8, 9}
		if all {
			want = []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
		}
		if err != nil || !slices.Equal(seqs, want) {
			t.Errorf("all %t: %v, %v, want %v", all, seqs, err, want)
		}
	}
}

// TestRawRecords compares the records of a small buffer with what they are.
func TestRawRecords(t *testing.T) {
	d := newDisk()
	b := mustOpen(t, Options{FS: d, SegmentSize: MinSegmentSize, BootID: "one", ReserveAhead: 8})
	f := frame("a", 1000, 21_370_000)
	f.Faults[telemetry.Humidity] = "nack"
	mustAppend(t, b, f)
	mustWait(t, b, "a", 2)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	seg := d.names[segmentName(0)]
	var got []string
	record := func(r *RawRecord) error {
		got = append(got, r.Type+" "+r.Content)
		return nil
	}
	if err := mustInspect(t, Options{FS: d}).Records(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	definition := `sensor index=0 next=0 mark=0 floor=0 epoch=0 id="a" name="Sensor a" place_id="house-2"`
	want := []string{
		"commit freed=0 durable=0", `boot boot=1 id="one"`, "commit freed=0 durable=0", definition, definition,
		"mark index=0 reason=none mark=8", fmt.Sprintf("commit freed=0 durable=%d", headerSize+30),
		`frame index=0 seq=0 timestamp=1000 temperature=21.37 humidity="nack"`,
		"frame index=0 seq=1 boot=1 boottime=2000 temperature=0.000002",
	}
	if diff := cmp.Diff(want, got[:min(len(want), len(got))]); diff != "" {
		t.Errorf("-want +got:\n%s\nall: %s", diff, strings.Join(got, "\n"))
	}
	if last := got[len(got)-1]; last != "close index=0 next=2" {
		t.Errorf("last is %q", last)
	}
	seg.data[headerSize]++
	got = nil
	if err := mustInspect(t, Options{FS: d}).Records(t.Context(), record); err != nil || got[0] != "damage bytes do not verify" {
		t.Errorf("damaged: %v, %v", got, err)
	}
}

// TestUnreadable has the medium refuse a page.
func TestUnreadable(t *testing.T) {
	s := store(t, 110, true, true)
	s.disk.rotten = map[string]int64{s.disk.segmentNames()[1]: 1}
	i := mustInspect(t, Options{FS: s.disk, BootID: "0"})
	if n := kinds(verified(t, i)); n[FindingDamage] != 1 || n[FindingLost] == 0 {
		t.Errorf("found %v", n)
	}
	s.disk.fault = func(op, name string) error {
		if op == "read" && name == s.disk.segmentNames()[1] {
			return syscall.EIO
		}
		return nil
	}
	if _, err := i.Verify(t.Context(), func(*Finding) error { return nil }); !errors.Is(err, syscall.EIO) {
		t.Errorf("Verify of a disk that fails: %v", err)
	}
	if _, err := i.Contents(t.Context()); !errors.Is(err, syscall.EIO) {
		t.Errorf("Contents of a disk that fails: %v", err)
	}
}

// TestInspectLive inspects a buffer over and over that another goroutine appends to,
// commits and frees as fast as it can: nothing of it is ever damaged or missing. Only
// where a write stands still for two looks is it taken for one that a crash cut.
func TestInspectLive(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir, SegmentSize: MinSegmentSize, MaxSize: 4 << 20, BootID: "1", ReserveAhead: 4}
	b := mustOpen(t, o)
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
	defer stop()
	var agent sync.WaitGroup
	agent.Go(func() {
		rng := rand.New(rand.NewPCG(1, 2))
		r := b.Reader()
		for i := int64(1); ctx.Err() == nil; i++ {
			f := frame(sensorIDs[i%3], i, 1)
			f.Faults[0] = strings.Repeat("x", int(i%maxFault))
			if err := b.Append(f); err != nil {
				t.Error(err)
			}
			if rng.IntN(20) > 0 {
				continue
			}
			for range 18 + rng.IntN(5) {
				p, err := r.Next(f)
				if errors.Is(err, ErrEnd) {
					break
				}
				if err == nil {
					err = b.Free(p)
				}
				if err != nil {
					t.Error(err)
				}
			}
			if err := b.Commit(); err != nil {
				t.Error(err)
			}
		}
	})
	looks := 0
	for ; ctx.Err() == nil && !t.Failed(); looks++ {
		i := mustInspect(t, Options{Dir: dir, BootID: "1"})
		if _, err := i.Verify(t.Context(), func(f *Finding) error {
			if f.Kind != FindingNote || f.Reason != "" && i.torn == 0 {
				t.Errorf("found %+v", f)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		c, err := i.Contents(t.Context())
		if err != nil || len(c.Damage) > 0 || len(c.Lost) > 0 {
			t.Errorf("contents %+v, %v", c, err)
		}
		next := map[string]uint64{}
		if err := i.Frames(t.Context(), looks%2 == 0, func(s *Shown) error {
			if s.IsLoss() || next[s.ID] > s.Seq {
				t.Errorf("%v, want %d or later", s.Frame, next[s.ID])
			}
			next[s.ID] = s.Seq + 1
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	stop()
	agent.Wait()
	t.Logf("%d looks", looks)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// halfWritten is a folder in which a segment is being written: up to the read with
// the number at, counted from 0, the old bytes are read, behind it the new ones, and
// by that one the new ones only behind the page of the first that differs.
type halfWritten struct {
	*disk
	name     string
	old, new []byte
	at, read int
}

func (h *halfWritten) Open(name string) (File, error) {
	f, err := h.disk.Open(name)
	if name == h.name && err == nil {
		f = halfWrittenFile{f, h}
	}
	return f, err
}

type halfWrittenFile struct {
	File
	h *halfWritten
}

func (f halfWrittenFile) ReadAt(p []byte, off int64) (int, error) {
	h := f.h
	data := bytes.Clone(h.new)
	if h.read < h.at {
		data = h.old
	} else if h.read == h.at {
		first := 0
		for h.old[first] == h.new[first] {
			first++
		}
		copy(data, h.old[:first/pageSize*pageSize+pageSize])
	}
	h.read++
	return bytes.NewReader(data).ReadAt(p, off)
}

// TestInspectWhileWritten has a reader see a page of a write and not the one before
// it, at each of the reads of a look: that is not damage.
func TestInspectWhileWritten(t *testing.T) {
	d := newDisk()
	b := mustOpen(t, Options{FS: d, SegmentSize: 64 << 10, MaxSize: 1 << 20, BootID: "1"})
	mustAppend(t, b, frame("b", 1, 1)) // it has no record behind what is being written
	var old []byte
	for i := range int64(400) {
		if i == 200 {
			old = bytes.Clone(d.names[segmentName(0)].data)
		}
		mustAppend(t, b, frame("a", i, 1))
	}
	d = d.killed()
	for at, reads := 0, 1; at < reads; at++ {
		h := &halfWritten{disk: d, name: segmentName(0), old: old, new: d.names[segmentName(0)].data, at: at}
		i := mustInspect(t, Options{FS: h, BootID: "1"})
		if findings := verified(t, i); findings != nil {
			t.Errorf("at read %d: found %v", at, findings)
		}
		reads = h.read
	}
}

// TestInspectTakenOver looks at sensors whose readings were in memory, and of which a
// crash may have taken some, freed or not.
func TestInspectTakenOver(t *testing.T) {
	for _, free := range []bool{false, true} {
		for _, closed := range []bool{false, true} {
			for _, boot := range []string{"one", "another"} {
				d := newDisk()
				o := Options{FS: d, SegmentSize: MinSegmentSize, BootID: "one", ReserveAhead: 8}
				b := mustOpen(t, o)
				memory := mustOpen(t, Options{FS: newMemory(), SegmentSize: MinSegmentSize, BootID: "one"})
				mustAppend(t, memory, frame("a", 500, 1))
				mustAppend(t, b, frame("a", 600, 1))
				if err := b.adopt(memory); err != nil {
					t.Fatal(err)
				}
				if free {
					if err := b.Free(b.tail); err != nil {
						t.Fatal(err)
					}
				}
				mustCommit(t, b)
				if closed {
					if err := b.Close(); err != nil {
						t.Fatal(err)
					}
				}
				o.BootID = boot
				for _, f := range agree(t, d.killed().copy(), o) {
					if f.Kind != FindingNote {
						t.Errorf("freed %t, closed %t, boot %s: found %+v", free, closed, boot, f)
					}
				}
			}
		}
	}
}

// TestInspectAtTheBound looks at a buffer that is full, again and again while it drops
// readings: what it dropped is declared, and nothing is damaged.
func TestInspectAtTheBound(t *testing.T) {
	for _, drop := range []Policy{DropOldest, DropNewest} {
		d := newDisk()
		o := Options{FS: d, SegmentSize: MinSegmentSize, MaxSize: MinMaxSize, Drop: drop, BootID: "1"}
		b := mustOpen(t, o)
		for i := range int64(6000) {
			f := frame(sensorIDs[i%3], i, 1)
			f.Faults[0] = strings.Repeat("x", maxFault)
			if err := b.Append(f); err != nil && !errors.Is(err, ErrDropped) {
				t.Fatal(err)
			}
			if i%50 == 0 {
				mustCommit(t, b)
			}
			if i%500 != 0 {
				continue
			}
			for _, boot := range []string{"1", "another"} {
				o.BootID = boot
				for _, f := range agree(t, d.copy(), o) {
					if f.Kind != FindingNote {
						t.Fatalf("after %d readings: found %+v", i, f)
					}
				}
			}
		}
	}
}
