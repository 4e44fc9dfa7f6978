package buffer

import (
	"slices"
	"testing"
)

// tornAt returns the disk as a power cut leaves it that comes in the middle of
// the n-th write to name which is not on the medium yet: it has keep of that
// write, all of those before if before is true, and all of those behind if behind
// is.
func (d *disk) tornAt(name string, n int, keep func([]byte) write, before, behind bool) *disk {
	cut := d.cutAll()
	node := d.names[name]
	data := slices.Clone(node.synced)
	for i, w := range node.dirty {
		switch {
		case i == n && w.data != nil:
			part := keep(w.data)
			part.off += w.off
			data = part.apply(data)
		case i < n && before, i > n && behind, w.data == nil:
			data = w.apply(data)
		}
	}
	cut.names[name] = &inode{data: data, synced: slices.Clone(data)}
	cut.medium[name] = cut.names[name]
	return cut
}

// TestEveryByteOfAWrite cuts the power at every byte of every write that was not
// synced: its beginning is on the medium, or its end, with zeros in between, and
// what was written before or after it is there or is not.
func TestEveryByteOfAWrite(t *testing.T) {
	for _, tt := range []struct {
		name    string
		history func(*world) error
	}{
		{"a new buffer", func(w *world) error { return w.appendAll(4) }},
		{"readings, a new label and a mark", func(w *world) error {
			if err := w.appendAll(12); err != nil {
				return err
			}
			if err := w.commit(); err != nil {
				return err
			}
			return w.appendAll(6)
		}},
		{"readings that wait, and their clock", func(w *world) error {
			if err := w.close(); err != nil {
				return err
			}
			w.reboot(true)
			if err := w.open(); err != nil {
				return err
			}
			if err := w.appendAll(4); err != nil {
				return err
			}
			if err := w.commit(); err != nil {
				return err
			}
			if err := w.appendAll(2); err != nil {
				return err
			}
			w.sync()
			w.b.mu.Lock()
			defer w.b.mu.Unlock()
			w.b.settle() // a commit that is cut before its sync
			w.b.enc.reset(w.b.tail)
			w.b.enc.clocks(w.b.boots)
			return w.b.write(w.b.o.SegmentSize)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fresh := func() *world {
				w := newWorld(Options{SegmentSize: MinSegmentSize, MaxSize: 1 << 20, ReserveAhead: 4})
				if err := w.open(); err != nil {
					t.Fatal(err)
				}
				if err := tt.history(w); err != nil {
					t.Fatal(err)
				}
				return w
			}
			whole := fresh()
			name := segmentName(whole.b.active().base)
			cuts := 0
			for n, dirty := range whole.disk.names[name].dirty {
				for at := range len(dirty.data) + 1 {
					for variant := range 8 {
						w := fresh()
						keep := func(p []byte) write { return write{0, slices.Clone(p[:at])} }
						if variant&1 != 0 {
							keep = func(p []byte) write { return write{int64(at), append([]byte{}, p[at:]...)} }
						}
						w.disk = w.disk.tornAt(name, n, keep, variant&2 != 0, variant&4 != 0)
						if err := w.reopenAfterCut(); err != nil {
							t.Fatalf("write %d, byte %d, variant %03b: %v", n, at, variant, err)
						}
						cuts++
					}
				}
			}
			if cuts < 200 {
				t.Errorf("%d cuts, want more to cut at", cuts)
			}
		})
	}
}

// reopenAfterCut opens what a power cut has left and checks it.
func (w *world) reopenAfterCut() error {
	w.b, w.done = nil, map[identityKey]bool{}
	w.reboot(false)
	w.clean, w.unsure = false, true
	if err := w.open(); err != nil {
		return err
	}
	if err := w.check(); err != nil {
		return err
	}
	return w.appendAll(3)
}

// TestCutBetweenSendAndCommit cuts the power when readings have been sent that no
// commit made durable. Their numbers are declared lost, and name no others.
func TestCutBetweenSendAndCommit(t *testing.T) {
	for n := 1; n <= 300; n++ {
		d := newDisk()
		o := Options{FS: d, SegmentSize: MinSegmentSize, ReserveAhead: 8, BootID: "1"}
		b := mustOpen(t, o)
		for i := range n {
			mustAppend(t, b, frame("a", int64(i), 1))
		}
		sent := drain(t, b.Reader())
		if len(sent) != n {
			t.Fatalf("%d sent, want %d", len(sent), n)
		}
		o.FS, o.BootID = d.cutAll(), "2"
		b = mustOpen(t, o)
		there := map[uint64]bool{}
		for _, f := range drain(t, b.Reader()) {
			first, last, what := f.Seq, f.Seq, "there"
			if f.IsLoss() {
				first, last, what = f.Lost.Seqs.First, f.Lost.Seqs.Last, f.Lost.Reason
			}
			if what != "there" && what != PowerCut {
				t.Fatalf("%d to %d are lost by %s", first, last, what)
			}
			for ; first <= last; first++ {
				there[first] = true
			}
		}
		for _, f := range sent {
			if !there[f.Seq] {
				t.Fatalf("%d of %d sent is neither there nor declared", f.Seq, n)
			}
		}
		if f := mustAppend(t, b, frame("a", 1, 1)); f.Seq < uint64(n) || f.Seq > uint64(3*n+16) {
			t.Fatalf("number %d comes after %d were sent", f.Seq, n)
		}
	}
}
