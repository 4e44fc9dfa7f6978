package buffer

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

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

// foretold returns what an agent that opens the buffer will read, by inspecting it.
func foretold(t testing.TB, i *Inspection) (frames []telemetry.Frame) {
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
	for _, f := range verified(t, i) {
		if f.Reason != "" {
			found[identityKey{f.Sensor, f.Seqs.First}] = true
		}
	}
	if diff := cmp.Diff(declared, found); diff != "" {
		t.Errorf("losses that Verify finds (-want +got):\n%s", diff)
	}
	return frames
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
	got := foretold(t, i)
	findings := verified(t, i)
	if _, err := i.Contents(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(before, d.contents(), bytes.Equal) || *d.locked || len(d.changes) > 0 {
		t.Fatal("inspecting it changed the folder")
	}
	o.FS = d.copy()
	want := drain(t, mustOpen(t, o).Reader())
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(telemetry.Payload{})); diff != "" {
		t.Errorf("what is read after Open, and what was foretold (-want +got):\n%s", diff)
	}
	return findings
}

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
		{name: "three segments, killed", n: 110, stride: 23, bulky: true},
		{name: "three segments, closed", n: 110, stride: 29, bulky: true, closed: true},
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
						last := name == newest && base+Position(off) >= lastRecord(t, i, tail)
						if sound != (segment && last) {
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

var _ = errors.Is
