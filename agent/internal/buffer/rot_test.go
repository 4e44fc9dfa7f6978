package buffer

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// stored is a buffer's folder and the readings in it.
type stored struct {
	disk   *disk
	o      Options
	frames []item     // and where each record ends
	starts []Position // of their records
}

// store makes a folder with n readings; bulky ones fill a segment with 50.
func store(t testing.TB, n int, bulky, closed bool) *stored {
	t.Helper()
	w := newWorld(Options{SegmentSize: MinSegmentSize, MaxSize: 64 << 20, ReserveAhead: 8})
	w.bulky = bulky
	steps := []error{w.open(), w.appendAll(n / 2), w.commit(), w.appendAll(n - n/2), w.commit(), w.readSome(n)}
	for _, err := range steps {
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(w.read) != n {
		t.Fatalf("%d readings, want %d", len(w.read), n)
	}
	s := &stored{o: w.o, frames: w.read}
	for _, it := range s.frames {
		var enc encoder
		enc.frame(0, &reading{Frame: &it.f}, it.f.Seq) // no index here is longer than a byte
		s.starts = append(s.starts, it.after-Position(len(enc.buf)))
	}
	if closed {
		if err := w.close(); err != nil {
			t.Fatal(err)
		}
	}
	s.disk = w.disk.killed().copy()
	return s
}

// hit returns the readings whose record holds the byte at off of the file.
func (s *stored) hit(name string, off int) map[identityKey]bool {
	hit := map[identityKey]bool{}
	base, ok := parseSegmentName(name)
	if !ok {
		return hit
	}
	pos := base + Position(off)
	for i, it := range s.frames {
		if s.starts[i] <= pos && pos < it.after {
			hit[identityKey{it.f.ID, it.f.Seq}] = true
		}
	}
	return hit
}

// verify opens the folder on d and checks that all readings but those hit come
// back, that those hit are declared, that nothing else comes, and that numbers
// go on above all that were used.
func (s *stored) verify(d *disk, boot string, hit map[identityKey]bool) error {
	o := s.o
	o.FS, o.BootID = d, boot
	b, err := Open(o)
	if err != nil {
		return err
	}
	want := map[identityKey]telemetry.Frame{}
	for _, it := range s.frames {
		want[identityKey{it.f.ID, it.f.Seq}] = it.f
	}
	var lost []telemetry.Frame
	for r := b.Reader(); ; {
		var f telemetry.Frame
		if _, err := r.Next(&f); errors.Is(err, ErrEnd) {
			break
		} else if err != nil {
			return err
		}
		if f.IsLoss() {
			lost = append(lost, f)
			continue
		}
		k := identityKey{f.ID, f.Seq}
		if f != want[k] {
			return fmt.Errorf("%v is %v, want %v", k, f, want[k])
		}
		delete(want, k)
	}
	for k := range want {
		if !hit[k] {
			return fmt.Errorf("%v is missing", k)
		}
		if !declared(lost, k) {
			return fmt.Errorf("%v is not declared", k)
		}
	}
	for _, it := range s.frames {
		if k := (identityKey{it.f.ID, it.f.Seq}); !hit[k] && declared(lost, k) {
			return fmt.Errorf("%v is declared and came back", k)
		}
	}
	for _, id := range sensorIDs {
		f := frame(id, 1<<40, 1)
		if err := b.Append(f); err != nil {
			return err
		}
		for _, it := range s.frames {
			if it.f.ID == id && it.f.Seq >= f.Seq {
				return fmt.Errorf("%s: %d used again", id, f.Seq)
			}
		}
	}
	return b.Close()
}

// TestOneByte changes each byte of each file, one at a time.
func TestOneByte(t *testing.T) {
	for _, tt := range []struct {
		name          string
		n, stride     int
		bulky, closed bool
	}{
		{name: "one segment, killed", n: 9, stride: 1},
		{name: "one segment, closed", n: 9, stride: 1, closed: true},
		{name: "three segments, killed", n: 110, stride: 23, bulky: true},
		{name: "three segments, closed", n: 110, stride: 29, bulky: true, closed: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := store(t, tt.n, tt.bulky, tt.closed)
			for name, node := range s.disk.names {
				used := len(trimZeros(node.data)) + 20
				for off := 0; off < min(used, len(node.data)); off += tt.stride {
					for _, boot := range []string{"0", "another"} {
						d := s.disk.copy()
						d.names[name].data[off] ^= byte(1 + off%255)
						if err := s.verify(d, boot, s.hit(name, off)); err != nil {
							t.Errorf("byte %d of %s, boot %q: %v", off, name, boot, err)
						}
					}
				}
			}
		})
	}
}

// TestPages wipes whole pages, as worn flash does.
func TestPages(t *testing.T) {
	s := store(t, 110, true, false)
	rng := rand.New(rand.NewPCG(1, 1))
	for name, node := range s.disk.names {
		for off := 0; off+pageSize <= len(node.data); off += pageSize {
			d := s.disk.copy()
			hit := map[identityKey]bool{}
			for i := off; i < off+pageSize; i++ {
				d.names[name].data[i] = byte(rng.Uint32())
				for k := range s.hit(name, i) {
					hit[k] = true
				}
			}
			for _, boot := range []string{"0", "another"} {
				if err := s.verify(d.copy(), boot, hit); err != nil {
					t.Errorf("page at %d of %s, boot %q: %v", off, name, boot, err)
				}
			}
		}
	}
}

// TestUnreadablePage has the medium refuse a page instead of changing it.
func TestUnreadablePage(t *testing.T) {
	s := store(t, 110, true, true)
	second := s.disk.segmentNames()[1]
	hit := map[identityKey]bool{}
	for i := pageSize; i < 2*pageSize; i++ {
		for k := range s.hit(second, i) {
			hit[k] = true
		}
	}
	d := s.disk.copy()
	d.rotten = map[string]int64{second: 1}
	if err := s.verify(d, "0", hit); err != nil {
		t.Error(err)
	}
}

// TestMissingSegment removes each segment in turn.
func TestMissingSegment(t *testing.T) {
	s := store(t, 210, true, true)
	names := s.disk.segmentNames()
	if len(names) < 4 {
		t.Fatalf("%d segments, want at least 4", len(names))
	}
	for i, name := range names[:len(names)-1] { // of the newest nothing is known elsewhere
		d := s.disk.copy()
		size := len(d.names[name].data)
		delete(d.names, name)
		hit := map[identityKey]bool{}
		base, _ := parseSegmentName(name)
		for _, it := range s.frames {
			if it.after > base && it.after <= base+Position(size) {
				hit[identityKey{it.f.ID, it.f.Seq}] = true
			}
		}
		if err := s.verify(d, "0", hit); err != nil {
			t.Errorf("without segment %d of %d: %v", i, len(names), err)
		}
	}
}

// TestDamageIsDeclaredUntilFreed damages a reading in the middle of a segment
// and the last two of it, which are of two sensors, and frees one frame a run.
func TestDamageIsDeclaredUntilFreed(t *testing.T) {
	s := store(t, 110, true, true)
	names := s.disk.segmentNames()
	end, _ := parseSegmentName(names[1])
	last := 0
	for i, it := range s.frames {
		if it.after < end {
			last = i
		}
	}
	want := map[identityKey]bool{}
	for _, i := range []int{last / 3, last - 1, last} {
		s.disk.names[names[0]].data[s.starts[i]+20]++
		want[identityKey{s.frames[i].f.ID, s.frames[i].f.Seq}] = true
	}
	if len(want) != 3 {
		t.Fatalf("damaged %v, want three", want)
	}

	seen := map[identityKey]bool{}
	for runs := 0; ; runs++ {
		if runs > len(s.frames) {
			t.Fatal("no end")
		}
		o := s.o
		o.FS, o.BootID = s.disk, "0"
		b := mustOpen(t, o)
		var f telemetry.Frame
		p, err := b.Reader().Next(&f)
		if errors.Is(err, ErrEnd) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		k := identityKey{f.ID, f.Seq}
		if f.IsLoss() {
			k.seq = f.Lost.Seqs.First
			if f.Lost.Reason != Corrupt || f.Lost.Seqs.Len() != 1 || !want[k] {
				t.Errorf("declared %v", f)
			}
		}
		if seen[k] {
			t.Errorf("%v comes twice", k)
		}
		seen[k] = true
		if err := b.Free(p); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != len(s.frames) {
		t.Errorf("%d readings and losses, want %d", len(seen), len(s.frames))
	}
}

// TestDamagedMark cuts the power after readings were sent whose numbers a mark
// had let through, and that mark is damaged: their numbers are not used again.
func TestDamagedMark(t *testing.T) {
	d := newDisk()
	o := Options{FS: d, SegmentSize: MinSegmentSize, ReserveAhead: 8, BootID: "1"}
	b := mustOpen(t, o)
	var sent uint64
	for i := range int64(12) {
		sent = mustAppend(t, b, frame("a", i, 1)).Seq
	}
	d = d.cutAll()
	data := d.names[segmentName(0)].data
	var mark Position
	scan := scanner{fs: d, salt: b.id.salt}
	for scan.start(0, Position(len(data))); ; {
		rec, err := scan.next()
		if err != nil {
			break
		}
		if rec.typ == typeMark {
			mark = rec.pos
		}
	}
	data[mark+5]++
	o.FS, o.BootID = d, "2"
	if f := mustAppend(t, mustOpen(t, o), frame("a", 1, 1)); f.Seq <= sent {
		t.Errorf("seq %d, and %d was sent", f.Seq, sent)
	}
}

// TestTornTail opens a buffer with half a record at its end in the same boot:
// what was never synced is not left behind unsynced.
func TestTornTail(t *testing.T) {
	d := newDisk()
	o := Options{FS: d, SegmentSize: MinSegmentSize, BootID: "1"}
	b := mustOpen(t, o)
	var want []telemetry.Frame
	for i := range int64(10) {
		want = append(want, mustAppend(t, b, frame("a", i, 1)))
	}
	d = d.killed()
	f, err := d.Open(segmentName(0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{byte(typeFrame), 40, 0}, int64(b.tail)); err != nil {
		t.Fatal(err)
	}
	o.FS = d
	b = mustOpen(t, o)
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	o.FS, o.BootID = d.cutAll(), "2"
	var got []telemetry.Frame
	for _, f := range drain(t, mustOpen(t, o).Reader()) {
		if !f.IsLoss() {
			got = append(got, f)
		}
	}
	cmpFrames(t, got, want)
}

// TestHiddenMarks cuts the power when all numbers below the marks have been sent, and
// damages each stretch of records of the newest segment, its head included: no number
// is used again.
func TestHiddenMarks(t *testing.T) {
	for _, tt := range []struct {
		ahead   uint64
		sensors []string
		commits []int // how many readings of each sensor come before each
	}{
		{1, sensorIDs, []int{1, 3, 2}},
		{3, sensorIDs, []int{0, 9, 1, 1}},
		{8, sensorIDs[:1], []int{5, 2, 7}},
		{8, sensorIDs[:1], []int{2, 20}},
		{64, sensorIDs[:1], []int{20, 20}},
		{64, sensorIDs[:2], []int{3, 3}},
	} {
		d := newDisk()
		o := Options{FS: d, SegmentSize: MinSegmentSize, ReserveAhead: tt.ahead, BootID: "1"}
		b := mustOpen(t, o)
		sent := map[string]uint64{}
		send := func(id string) {
			// The smallest reading, so that damage hides as many as can be.
			sent[id] = mustAppend(t, b, &telemetry.Frame{ID: id, Timestamp: 1}).Seq
		}
		for _, id := range tt.sensors {
			send(id)
		}
		d = d.cutAll()
		fill(d.names[segmentName(0)].data[b.durable:][:23], rotten)
		o.FS, o.BootID = d, "2"
		b = mustOpen(t, o) // with losses in the head
		for _, n := range tt.commits {
			for range n {
				for _, id := range tt.sensors {
					send(id)
				}
			}
			mustCommit(t, b)
		}
		for key, s := range b.sensors {
			for range s.mark - s.next {
				send(key.id)
			}
		}
		d = d.cutAll()
		base := b.active().base
		records := recordsOf(t, d, b, base)
		for from := range records {
			for to := range records[from:] {
				first, last := records[from], records[from+to]
				o.FS, o.BootID = d.copy(), "3"
				fill(o.FS.(*disk).names[segmentName(base)].data[first.pos-base:last.end()-base], rotten)
				for key, s := range mustOpen(t, o).sensors {
					if s.next <= sent[key.id] {
						t.Errorf("%d ahead, commits %v, damage from %d to %d: %s goes on at %d, and %d was sent",
							tt.ahead, tt.commits, first.pos, last.end(), key.id, s.next, sent[key.id])
					}
				}
			}
		}
	}
}

// recordsOf returns the records on d of the segment of b at base, which is the newest.
func recordsOf(t *testing.T, d *disk, b *Buffer, base Position) (records []record) {
	t.Helper()
	scan := scanner{fs: d, salt: b.id.salt}
	for scan.start(base, b.tail); ; {
		rec, err := scan.next()
		if errors.Is(err, io.EOF) {
			return records
		}
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, rec)
	}
}

// TestLogWithoutReserve opens a log of before the header told how far marks lie ahead:
// what is torn may then hide as much as it ever could.
func TestLogWithoutReserve(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ahead uint32 // in the header
		least uint64 // by how much numbers go on behind the mark
		most  uint64
	}{
		{"as it is", 8, 0, 100},
		{"old", 0, 3 * MaxReserveAhead, 3 * MaxReserveAhead},
	} {
		d := newDisk()
		o := Options{FS: d, SegmentSize: MinSegmentSize, ReserveAhead: 8, BootID: "1"}
		b := mustOpen(t, o)
		mustAppend(t, b, &telemetry.Frame{ID: sensorIDs[0], Timestamp: 1})
		mustCommit(t, b)
		mark := b.order[0].mark
		d = d.cutAll()
		data := d.names[segmentName(0)].data
		h, ok := decodeHeader(data[:headerSize])
		if !ok || h.ahead != 8 {
			t.Fatalf("header %+v, %t: want 8 ahead", h, ok)
		}
		h.ahead = tt.ahead
		h.put(data)
		fill(data[b.tail:][:23], rotten)
		o.FS, o.BootID = d, "2"
		b = mustOpen(t, o)
		if next := b.order[0].next; next < mark+tt.least || next > mark+tt.most {
			t.Errorf("%s: goes on at %d, want %d to %d", tt.name, next, mark+tt.least, mark+tt.most)
		}
		if got := b.active().ahead; got != 8 {
			t.Errorf("%s: the new segment says %d ahead, want 8", tt.name, got)
		}
	}
}

// TestOptionsThatUseMore begins a segment when numbers are used in other ways than the
// header of the last one says, and goes on with it otherwise.
func TestOptionsThatUseMore(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Options)
		anew   bool
		ahead  uint32
	}{
		{"the same", func(*Options) {}, false, 8},
		{"less ahead", func(o *Options) { o.ReserveAhead = 4 }, false, 8},
		{"more ahead", func(o *Options) { o.ReserveAhead = 16 }, true, 16},
		{"refusals", func(o *Options) { o.Drop = DropNewest }, true, 0},
	} {
		o := Options{FS: newDisk(), SegmentSize: MinSegmentSize, ReserveAhead: 8, BootID: "1"}
		b := mustOpen(t, o)
		mustAppend(t, b, &telemetry.Frame{ID: sensorIDs[0], Timestamp: 1})
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		tt.change(&o)
		b = mustOpen(t, o)
		if anew := len(b.segs) > 1; anew != tt.anew || b.active().ahead != tt.ahead {
			t.Errorf("%s: a new segment: %t, which says %d ahead, want %t, %d", tt.name, anew, b.active().ahead, tt.anew, tt.ahead)
		}
	}
}
