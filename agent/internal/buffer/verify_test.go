package buffer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// TestVerifyOneByte changes each byte of each file, one at a time: what Verify says
// is what Open and a Reader then declare.
func TestVerifyOneByte(t *testing.T) {
	for _, tt := range []struct {
		name          string
		n, stride     int
		bulky, closed bool
	}{
		{name: "one segment, killed", n: 9, stride: 1},
		{name: "one segment, closed", n: 9, stride: 1, closed: true},
		{name: "three segments, killed", n: 110, stride: 301, bulky: true},
		{name: "three segments, closed", n: 110, stride: 307, bulky: true, closed: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := store(t, tt.n, tt.bulky, tt.closed)
			i := mustInspect(t, Options{FS: s.disk, BootID: "0"})
			if findings := verified(t, i); findings != nil {
				t.Fatalf("before it is damaged: %v", findings)
			}
			tail := i.b.tail
			newest := s.disk.segmentNames()[len(s.disk.segmentNames())-1]
			for name, node := range s.disk.names {
				base, segment := parseSegmentName(name)
				for off := 0; off < len(trimZeros(node.data)); off += tt.stride {
					for _, boot := range []string{"0", "another"} {
						d := s.disk.copy()
						d.names[name].data[off] ^= byte(1 + off%255)
						o := s.o
						o.BootID = boot
						what := fmt.Sprintf("byte %d of %s, boot %q", off, name, boot)
						findings := agree(t, d, o)
						if t.Failed() {
							t.Fatal(what)
						}
						sound := !slices.ContainsFunc(findings, func(f Finding) bool { return f.Kind != FindingNote })
						// What was not on the medium for certain a power cut may have torn.
						at, certain := base+Position(off), i.b.durable
						switch {
						case segment && name == newest && at >= lastRecord(t, i, tail):
							sound = !sound
						case segment && name == newest && at >= certain && boot == "another" && !tt.closed:
							sound = kinds(findings)[FindingDamage] > 0
						}
						if sound {
							t.Fatalf("%s: found %v", what, findings)
						}
					}
				}
			}
		})
	}
}

// lastRecord returns where the record that ends at tail begins.
func lastRecord(t *testing.T, i *Inspection, tail Position) (pos Position) {
	t.Helper()
	err := i.walk(t.Context(), visitor{record: func(rec *record) error {
		if rec.end() == tail {
			pos = rec.pos
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

// TestVerifyPages wipes whole pages.
func TestVerifyPages(t *testing.T) {
	s := store(t, 110, true, false)
	rng := rand.New(rand.NewPCG(1, 1))
	for name, node := range s.disk.names {
		for off := 0; off+pageSize <= len(node.data); off += pageSize {
			for _, boot := range []string{"0", "another"} {
				d := s.disk.copy()
				for i := off; i < off+pageSize; i++ {
					d.names[name].data[i] = byte(rng.Uint32())
				}
				o := s.o
				o.BootID = boot
				if agree(t, d, o); t.Failed() {
					t.Fatalf("page at %d of %s, boot %q", off, name, boot)
				}
			}
		}
	}
}

// TestVerifySegments removes, empties and shortens each segment.
func TestVerifySegments(t *testing.T) {
	s := store(t, 210, true, true)
	names := s.disk.segmentNames()
	for k, name := range names[:len(names)-1] {
		for what, harm := range map[string]func(*disk){
			"removed":   func(d *disk) { delete(d.names, name) },
			"emptied":   func(d *disk) { d.names[name].data = nil },
			"shortened": func(d *disk) { d.names[name].data = d.names[name].data[:5000] },
		} {
			d := s.disk.copy()
			harm(d)
			findings := agree(t, d, s.o)
			// That the first one was there, nothing in the folder says.
			if damage := kinds(findings)[FindingDamage]; (damage > 0) != (k > 0 || what != "removed") || kinds(findings)[FindingLost] == 0 && k > 0 {
				t.Errorf("segment %d %s: found %v", k, what, findings)
			}
			if t.Failed() {
				t.Fatalf("segment %d %s", k, what)
			}
		}
	}
}

func kinds(findings []Finding) map[string]int {
	n := map[string]int{}
	for _, f := range findings {
		n[f.Kind]++
	}
	return n
}

// TestInspectCrash inspects what kills and power cuts leave, over and over.
func TestInspectCrash(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 3))
	for run := range 40 {
		w := newWorld(Options{SegmentSize: MinSegmentSize, MaxSize: 64 << 20, ReserveAhead: 8})
		w.bulky = run%2 == 0
		torn := false // by a kill, which cannot be told from rot
		if err := w.open(); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			w.disk.deadAt = w.disk.ops + 1 + rng.IntN(300)
			for w.b != nil && w.disk.ops < w.disk.deadAt {
				errs := []error{w.append(sensorIDs[rng.IntN(len(sensorIDs))])}
				if rng.IntN(10) == 0 {
					errs = append(errs, w.commit(), w.readSome(20), w.free(rng.IntN(10)))
				}
				if err := errors.Join(errs...); err != nil {
					t.Fatal(err)
				}
			}
			cut := rng.IntN(2) == 0
			after := w.disk.killed()
			if cut {
				after = w.disk.cut(rng)
			}
			if len(after.names) > 1 {
				o := w.o
				if o.BootID = "another"; !cut && rng.IntN(2) == 0 {
					o.BootID = fmt.Sprint(w.boot)
				}
				torn = torn || w.disk.torn
				findings := agree(t, after.copy(), o)
				if kinds(findings)[FindingDamage] > 0 && !torn {
					t.Errorf("found %v", findings)
				}
				if t.Failed() {
					t.Fatalf("run %d", run)
				}
			}
			if err := w.restart(cut, rng); err != nil {
				t.Fatal(err)
			}
			w.disk.deadAt = 0
			if w.b == nil {
				break
			}
		}
	}
}

// TestWrongWithoutDamage has logs of which every byte verifies, and that no program
// should have written.
func TestWrongWithoutDamage(t *testing.T) {
	for _, tt := range []struct {
		harm func(*sensor)
		want string
	}{
		{func(s *sensor) { s.next++ }, "a: reading 4 is damaged or gone; the agent will declare it lost as corrupt"},
		{func(s *sensor) { s.next += 2 }, "a: readings 4 to 5 are damaged or gone; the agent will declare them lost as corrupt"},
		{func(s *sensor) { s.next-- }, "a: reading 3 comes after 3, so its number may name two readings"},
		{func(s *sensor) { s.mark, s.next = 1000, 64 }, "a: reading 64 is not below the mark 64, so a power cut may have its number used again"},
	} {
		d := newDisk()
		b := mustOpen(t, Options{FS: d, SegmentSize: MinSegmentSize, BootID: "0"})
		for i := range int64(5) {
			mustAppend(t, b, frame("a", i+1, 1))
			if i == 3 {
				tt.harm(b.sensors[sensorKey{id: "a"}])
			}
		}
		findings := agree(t, d.killed().copy(), Options{SegmentSize: MinSegmentSize, BootID: "0"})
		if len(findings) == 0 || findings[0].What != tt.want {
			t.Errorf("found %v, want %s", findings, tt.want)
		}
	}
}

// TestPowerCutIsNoDamage has a power cut tear what was being written, and an agent go
// on behind it: that is no damage, before and after, and the readings are lost to the cut.
func TestPowerCutIsNoDamage(t *testing.T) {
	for _, torn := range []uint64{1, 2} { // a hole, and the end
		d := newDisk()
		o := Options{FS: d, SegmentSize: MinSegmentSize, BootID: "1", ReserveAhead: 8}
		b := mustOpen(t, o)
		var from Position
		for seq := range uint64(3) {
			if seq == torn {
				from = b.tail
			}
			mustAppend(t, b, frame("a", 1, 1))
			if seq == 0 {
				mustCommit(t, b)
			}
		}
		d = d.killed().copy()
		d.names[segmentName(0)].data[from+5]++
		o.FS, o.BootID = d, "2"
		for range 2 {
			for _, f := range agree(t, d.copy(), o) {
				if f.Kind != FindingNote {
					t.Errorf("found %+v", f)
				}
			}
			b := mustOpen(t, o)
			mustAppend(t, b, frame("a", 4, 1))
			var lost []telemetry.Loss
			for _, f := range drain(t, b.Reader()) {
				if f.IsLoss() {
					lost = append(lost, f.Lost)
				}
			}
			if len(lost) == 0 || lost[0].Seqs.First != torn || slices.ContainsFunc(lost, func(l telemetry.Loss) bool { return l.Reason != PowerCut }) {
				t.Errorf("declared %v, want readings from %d on, as %s", lost, torn, PowerCut)
			}
			if n := b.Stats().Lost[Corrupt]; n > 0 {
				t.Errorf("%d counted as corrupt", n)
			}
			d = d.killed().copy()
			o.FS = d
		}
	}
}
