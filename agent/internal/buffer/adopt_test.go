package buffer

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"
)

// failed returns a Failover with n readings in memory, on a disk that works
// again.
func failed(t *testing.T, o Options, n int) *flaky {
	t.Helper()
	w := newFlaky()
	w.o = o
	w.o.Rand = rand.NewChaCha8([32]byte{1})
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	w.fail("create preallocate write sync", syscall.ENOSPC)
	for i := range n {
		if err := w.append(sensorIDs[i%len(sensorIDs)], false); err != nil {
			t.Fatal(err)
		}
	}
	if st := w.f.Stats(); st.MemoryFrames != uint64(n) || st.Fault != "disk_full" || st.Failovers["disk_full"] != 1 {
		t.Fatalf("stats %+v, want all %d readings in memory, for disk_full", st, n)
	}
	w.heal()
	return w
}

// TestKilledWhileTakingOver ends the process or the power at each operation of
// the disk while it takes over what is in memory: from the first reading that it
// has, all are there or declared lost.
func TestKilledWhileTakingOver(t *testing.T) {
	const n = 90 // into a second segment
	o := Options{SegmentSize: MinSegmentSize, MaxSize: 64 << 20, ReserveAhead: 4}
	whole := failed(t, o, n)
	before := whole.disk.ops
	if err := whole.commit(); err != nil {
		t.Fatal(err)
	}
	partly := 0
	for at := before + 1; at <= whole.disk.ops; at++ {
		for _, power := range []*rand.Rand{nil, rand.New(rand.NewPCG(uint64(at), 1))} {
			w := failed(t, o, n)
			w.disk.deadAt = at
			_ = w.f.Commit()
			expected := w.pending
			w.memory = nil
			if err := w.crash(power); err != nil {
				t.Fatal(err)
			}
			if err := w.readSome(1 << 30); err != nil {
				t.Fatal(err)
			}
			there := map[epochKey]bool{}
			for i := range w.read {
				if !w.read[i].IsLoss() {
					there[keyOfFrame(&w.read[i])] = true
				}
			}
			if len(there) > 0 && len(w.declared) > 0 {
				partly++
			}
			for k := range expected {
				if len(there) > 0 && !there[k] && !w.isDeclared(k) {
					t.Errorf("operation %d, power %v: %v is neither there nor declared", at, power != nil, k)
				}
			}
		}
	}
	if partly == 0 {
		t.Error("no crash left a part")
	}
}

// TestTakenOverIsDropped overfills a buffer that has taken over from memory:
// what it drops is declared under the identity that it has.
func TestTakenOverIsDropped(t *testing.T) {
	w := failed(t, Options{SegmentSize: MinSegmentSize, MaxSize: MinMaxSize, ReserveAhead: 4}, 60)
	w.excused = true
	for i := range 2000 {
		if i%50 == 0 {
			if err := w.commit(); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.append(sensorIDs[i%len(sensorIDs)], i%3 == 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := w.check(); err != nil {
			t.Fatal(err)
		}
		epochs := map[uint64]uint64{}
		for _, d := range w.declared {
			if d.Lost.Reason != BufferFull {
				t.Errorf("declared %v, want %s", d.Lost, BufferFull)
			}
			epochs[d.Epoch] += d.Lost.Seqs.Len()
		}
		if len(epochs) != 2 {
			t.Errorf("readings declared lost by epoch: %v, want those of both", epochs)
		}
		w.declared = nil
		if err := w.f.Close(); err != nil {
			t.Fatal(err)
		}
		w.boot++
		if err := w.open(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKilledWhileTheDiskIsFull ends the process, or the power, while readings go to
// memory because the disk has no room for another segment: the one that there is
// takes the marks from which they are declared lost.
func TestKilledWhileTheDiskIsFull(t *testing.T) {
	for _, power := range []*rand.Rand{nil, rand.New(rand.NewPCG(1, 1))} {
		w := newFlaky()
		if err := w.open(); err != nil {
			t.Fatal(err)
		}
		w.fail("create preallocate", syscall.ENOSPC)
		appendSome := func(n int) {
			for i := range n {
				if err := w.append(sensorIDs[i%len(sensorIDs)], false); err != nil {
					t.Fatal(err)
				}
			}
		}
		for w.f.Stats().Fault == "" {
			appendSome(1)
		}
		for range 5 {
			appendSome(30)
			if err := w.commit(); err != nil {
				t.Fatal(err)
			}
		}
		appendSome(30)
		inMemory := w.memory
		w.memory = nil
		if err := w.crash(power); err != nil {
			t.Fatal(err)
		}
		if err := w.readSome(1 << 30); err != nil {
			t.Fatal(err)
		}
		if len(inMemory) < 180 {
			t.Fatalf("%d readings were in memory, want 180", len(inMemory))
		}
		for k := range inMemory {
			if !w.isDeclared(k) {
				t.Errorf("power %v: %v was in memory and is not declared", power != nil, k)
			}
		}
		for _, d := range w.declared {
			if d.Epoch != w.f.Epoch() && d.Lost.Reason != DiskError {
				t.Errorf("declared %v, want %s", d.Lost, DiskError)
			}
		}
	}
}

// TestStoppedWhileTheDiskIsFull closes the buffer when all that was in memory is
// delivered: nothing of it is declared lost.
func TestStoppedWhileTheDiskIsFull(t *testing.T) {
	w := newFlaky()
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	w.fail("create preallocate", syscall.ENOSPC)
	for i := 0; w.f.Stats().MemoryFrames < 100; i++ {
		if err := w.append(sensorIDs[i%len(sensorIDs)], false); err != nil {
			t.Fatal(err)
		}
	}
	steps := []error{w.commit(), w.readSome(1 << 30), w.free(1 << 30)}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	if err := w.f.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Close: %v, want %v", err, syscall.ENOSPC)
	}
	w.heal()
	w.excused = true
	if err := errors.Join(w.open(), w.readSome(1<<30)); err != nil {
		t.Fatal(err)
	}
	if len(w.declared) > 0 || len(w.read) > 0 {
		t.Errorf("declared %v, read %v, want nothing", w.declared, w.read)
	}
}

// TestSyncFailsWhileTakingOver has one sync fail, each in turn, while the disk takes
// over from memory. Nothing is lost by that, so nothing is declared, not even when
// the buffer is opened anew.
func TestSyncFailsWhileTakingOver(t *testing.T) {
	o := Options{SegmentSize: MinSegmentSize, MaxSize: 64 << 20, ReserveAhead: 4}
	for at := 1; ; at++ {
		w := failed(t, o, 30)
		syncs := 0
		w.disk.fault = func(op, _ string) error {
			if op == "sync" {
				if syncs++; syncs == at {
					return syscall.EIO
				}
			}
			return nil
		}
		err := w.f.Commit()
		w.heal()
		if err := errors.Join(w.check(), w.f.Close(), w.open(), w.check()); err != nil {
			t.Fatalf("sync %d: %v", at, err)
		}
		if len(w.declared) > 0 {
			t.Errorf("sync %d: declared %v, and nothing is lost", at, w.declared)
		}
		if err == nil && syncs < at {
			break // all of them were tried
		}
	}
}
