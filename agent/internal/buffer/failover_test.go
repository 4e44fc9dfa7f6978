package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// epochKey is what names a reading, whichever buffer it was put into.
type epochKey struct {
	epoch uint64
	identityKey
}

func keyOfFrame(f *telemetry.Frame) epochKey {
	return epochKey{f.Epoch, identityKey{f.ID, f.Seq}}
}

// flaky is a Failover on a disk that fails now and then, and what is known of
// its readings.
type flaky struct {
	disk *disk
	o    Options
	f    *Failover
	r    *FailoverReader
	boot int

	count    int64
	named    map[epochKey]int64 // the reading that has this identity, for good
	pending  map[epochKey]bool  // not freed
	memory   map[epochKey]bool  // of them, those that were taken while the disk failed, and that it has not taken over
	read     []telemetry.Frame
	after    []FailoverPosition
	excused  bool // a crash may have made losses that are upper bounds
	declared []telemetry.Frame
}

func newFlaky() *flaky {
	return &flaky{
		disk:  newDisk(),
		o:     Options{SegmentSize: 4 * MinSegmentSize, MaxSize: 64 << 20, ReserveAhead: 4, Rand: rand.NewChaCha8([32]byte{1})},
		named: map[epochKey]int64{}, pending: map[epochKey]bool{}, memory: map[epochKey]bool{},
	}
}

func (w *flaky) open() (err error) {
	w.o.FS, w.o.BootID = w.disk, fmt.Sprint(w.boot)
	if w.f, err = OpenFailover(w.o, 4<<20); err != nil {
		return err
	}
	w.f.SetClock(time.UnixMilli(0))
	w.rewind()
	return nil
}

func (w *flaky) rewind() { w.r, w.read, w.after = w.f.Reader(), nil, nil }

// fail makes the disk refuse the operations in ops with err.
func (w *flaky) fail(ops string, err error) {
	w.disk.mu.Lock()
	defer w.disk.mu.Unlock()
	w.disk.fault = func(op, _ string) error {
		if strings.Contains(ops, op) {
			return fmt.Errorf("%s: %w", op, err)
		}
		return nil
	}
}

func (w *flaky) heal() {
	w.disk.mu.Lock()
	defer w.disk.mu.Unlock()
	w.disk.fault = nil
}

func (w *flaky) append(id string, waiting bool) error {
	w.count++
	f := frame(id, w.count, telemetry.Micro(w.count))
	f.Faults[0] = strings.Repeat("x", maxFault)
	err := w.f.Append
	if waiting {
		err = func(f *telemetry.Frame) error { return w.f.AppendWaiting(f, time.Duration(w.count)*time.Millisecond) }
	}
	if err := err(f); err != nil {
		return fmt.Errorf("append: %w", err)
	}
	k := keyOfFrame(f)
	if _, ok := w.named[k]; ok {
		return fmt.Errorf("%v names two readings", k)
	}
	w.named[k], w.pending[k] = w.count, true
	if w.f.Stats().Fault != "" {
		w.memory[k] = true
	}
	return nil
}

func (w *flaky) commit() error {
	err := w.f.Commit()
	w.disk.mu.Lock()
	healthy := w.disk.fault == nil
	w.disk.mu.Unlock()
	if healthy && err != nil {
		err = w.f.Commit() // the first told of what was left behind
	}
	if healthy && err != nil {
		return fmt.Errorf("commit on a healthy disk: %w", err)
	}
	if (err == nil) != (w.f.Stats().Fault == "") {
		return fmt.Errorf("commit: %w, and the disk is said to fail by %q", err, w.f.Stats().Fault)
	}
	if err == nil {
		clear(w.memory)
	}
	return nil
}

func (w *flaky) readSome(n int) error {
	for range n {
		var f telemetry.Frame
		p, err := w.r.Next(&f)
		if errors.Is(err, ErrEnd) {
			return nil
		}
		if err != nil {
			return err
		}
		w.read, w.after = append(w.read, f), append(w.after, p)
		if f.IsLoss() {
			if err := w.loss(&f); err != nil {
				return err
			}
			continue
		}
		right := f.Timestamp == numberOf(&f) || f.Clock == telemetry.ClockEstimated
		if k := keyOfFrame(&f); w.named[k] != numberOf(&f) || !right {
			return fmt.Errorf("%v is the reading %d of %d, want %d", k, numberOf(&f), f.Timestamp, w.named[k])
		}
	}
	return nil
}

// loss takes in a declared loss. Before the first crash none is of a reading
// that was taken.
func (w *flaky) loss(f *telemetry.Frame) error {
	w.declared = append(w.declared, *f)
	if w.excused {
		return nil
	}
	for seq := f.Lost.Seqs.First; seq <= f.Lost.Seqs.Last; seq++ {
		k := epochKey{f.Epoch, identityKey{f.ID, seq}}
		if _, ok := w.named[k]; ok {
			return fmt.Errorf("%v was taken, and is declared lost: %v", k, f.Lost)
		}
	}
	return nil
}

func (w *flaky) free(n int) error {
	n = min(n, len(w.read))
	if n == 0 {
		return nil
	}
	if err := w.f.Free(w.after[n-1]); err != nil {
		return err
	}
	for i := range w.read[:n] {
		k := keyOfFrame(&w.read[i])
		delete(w.pending, k)
		delete(w.memory, k)
	}
	w.read, w.after = w.read[n:], w.after[n:]
	return nil
}

// crash ends the process, and the machine if power is not nil. What was in
// memory is gone.
func (w *flaky) crash(power *rand.Rand) error {
	for k := range w.memory {
		delete(w.pending, k)
	}
	clear(w.memory)
	w.excused = true
	if power == nil {
		w.disk = w.disk.killed()
	} else {
		w.disk = w.disk.cut(power)
		w.boot++
	}
	return w.open()
}

// check heals the disk and looks whether all is there or declared.
func (w *flaky) check() error {
	w.heal()
	if err := w.commit(); err != nil {
		return err
	}
	if st := w.f.Stats(); st.Fault != "" || st.MemoryFrames != 0 {
		return fmt.Errorf("fault %q, %d readings in memory on a healthy disk", st.Fault, st.MemoryFrames)
	}
	w.rewind()
	if err := w.readSome(1 << 30); err != nil {
		return err
	}
	there := map[epochKey]bool{}
	for i := range w.read {
		if w.read[i].IsLoss() {
			continue
		}
		k := keyOfFrame(&w.read[i])
		if there[k] {
			return fmt.Errorf("%v comes twice", k)
		}
		there[k] = true
	}
	for k := range w.pending {
		if !there[k] && !w.isDeclared(k) {
			return fmt.Errorf("%v is missing and not declared", k)
		}
	}
	return nil
}

func (w *flaky) isDeclared(k epochKey) bool {
	for i := range w.declared {
		if d := &w.declared[i]; d.Epoch == k.epoch && declared([]telemetry.Frame{*d}, k.identityKey) {
			return true
		}
	}
	return false
}

// TestFailover runs generated histories on a disk that fails in all ways at any
// time, with kills and power cuts. Sampling never fails for the disk's sake; what
// is taken comes back once, under one identity, or is declared lost, but for what
// was in memory when the process ended.
func TestFailover(t *testing.T) {
	faults := []struct {
		ops string
		err error
	}{
		{"create preallocate", syscall.ENOSPC},
		{"write", syscall.EIO},
		{"sync", syscall.EIO},
		{"syncdir", syscall.EIO},
		{"create preallocate write truncate rename remove", syscall.EROFS},
		{"create open names read write sync syncdir size truncate preallocate rename remove lock", syscall.EIO},
	}
	rapid.Check(t, func(t *rapid.T) {
		w := newFlaky()
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		fault := func(t *rapid.T) {
			f := rapid.SampledFrom(faults).Draw(t, "fault")
			w.fail(f.ops, f.err)
		}
		if rapid.Bool().Draw(t, "fails at once") {
			fault(t)
		}
		check(w.open())
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				id, waiting := rapid.SampledFrom(sensorIDs).Draw(t, "id"), rapid.Bool().Draw(t, "waiting")
				for range rapid.IntRange(1, 5).Draw(t, "n") {
					check(w.append(id, waiting))
				}
			},
			"append many": func(t *rapid.T) {
				for i := range rapid.IntRange(50, 200).Draw(t, "n") {
					check(w.append(sensorIDs[i%len(sensorIDs)], false))
				}
			},
			"commit": func(*rapid.T) { check(w.commit()) },
			"read": func(t *rapid.T) {
				if err := w.readSome(rapid.IntRange(1, 200).Draw(t, "n")); err != nil && !errors.Is(err, syscall.EIO) {
					check(err)
				}
			},
			"free":   func(t *rapid.T) { check(w.free(rapid.IntRange(1, 200).Draw(t, "n"))) },
			"rewind": func(*rapid.T) { w.rewind() },
			"fault":  fault,
			"heal":   func(*rapid.T) { w.heal() },
			"check":  func(*rapid.T) { check(w.check()) },
			"kill":   func(*rapid.T) { check(w.crash(nil)) },
			"cut": func(t *rapid.T) {
				check(w.crash(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))))
			},
			"reopen": func(*rapid.T) {
				w.heal()
				if err := w.f.Commit(); err == nil {
					clear(w.memory)
				}
				if err := w.f.Close(); err != nil {
					check(err)
				}
				check(w.open())
			},
		})
		check(w.check())
	})
}

// TestOpenOnABrokenDisk has the disk refuse everything from the start.
func TestOpenOnABrokenDisk(t *testing.T) {
	w := newFlaky()
	w.fail("create", syscall.EROFS)
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	if st := w.f.Stats(); st.Fault != "read_only" {
		t.Errorf("fault %q, want read_only", st.Fault)
	}
	for range 10 {
		if err := w.append("a", true); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.f.Commit(); !errors.Is(err, syscall.EROFS) {
		t.Errorf("Commit: %v, want %v", err, syscall.EROFS)
	}
	if err := w.check(); err != nil {
		t.Fatal(err)
	}
	if len(w.read) != 10 {
		t.Errorf("%d readings, want 10", len(w.read))
	}
}

// TestNewerFormatIsNoFault does not open beside a buffer that it cannot read.
func TestNewerFormatIsNoFault(t *testing.T) {
	d := newDisk()
	lock, err := d.Lock("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFailover(Options{FS: d}, 1<<20); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v, want %v", err, ErrLocked)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	newer := fuzzIdentity.encode()
	binary.LittleEndian.PutUint32(newer[8:], formatVersion+1)
	binary.LittleEndian.PutUint32(newer[12:], crc32.Checksum(newer[:12], castagnoli))
	d.names[identityName] = &inode{data: newer}
	if _, err := OpenFailover(Options{FS: d}, 1<<20); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("got %v, want %v", err, ErrNewerFormat)
	}
	if _, err := OpenFailover(Options{FS: d}, 1); err == nil {
		t.Error("took one byte of memory")
	}
}

// TestFailoverConcurrently samples, delivers and commits at once, on a disk that
// fails every other commit. Every reading is delivered.
func TestFailoverConcurrently(t *testing.T) {
	const n = 5000
	w := newFlaky()
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	var sampling, others sync.WaitGroup
	stop := make(chan struct{})
	var mu sync.Mutex
	taken, delivered := map[epochKey]telemetry.Micro{}, map[epochKey]telemetry.Micro{}
	for _, id := range sensorIDs {
		sampling.Go(func() {
			for i := range n {
				f := frame(id, int64(i), telemetry.Micro(i))
				if err := w.f.Append(f); err != nil {
					t.Errorf("Append: %v", err)
					return
				}
				mu.Lock()
				taken[keyOfFrame(f)] = telemetry.Micro(i)
				mu.Unlock()
			}
		})
	}
	others.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if i%4 == 0 {
				w.fail("create write", syscall.EIO)
			} else {
				w.heal()
			}
			_ = w.f.Commit()
		}
	})
	deliver := func() {
		var f telemetry.Frame
		p, err := w.r.Next(&f)
		if err != nil {
			return
		}
		if !f.IsLoss() {
			delivered[keyOfFrame(&f)] = telemetry.Micro(numberOf(&f))
		}
		if err := w.f.Free(p); err != nil {
			t.Errorf("Free: %v", err)
		}
	}
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				deliver()
			}
		}
	})
	sampling.Wait()
	close(stop)
	others.Wait()
	w.heal()
	if err := w.commit(); err != nil {
		t.Fatal(err)
	}
	w.rewind()
	for w.f.Stats().Frames > 0 {
		deliver()
	}
	if diff := cmp.Diff(taken, delivered); diff != "" {
		t.Errorf("taken and delivered (-taken +delivered):\n%s", diff)
	}
	if len(w.f.Stats().Failovers) == 0 {
		t.Error("the disk never failed")
	}
}
