package buffer

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"syscall"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Failover is a Buffer on disk that fails over to one in memory: while the disk
// is full, failing or read-only, readings go there and are delivered from there,
// and when the disk works again it takes over what is left of them. So sampling
// goes on, and Open succeeds, whatever the disk does. Readings in memory have an
// epoch of their own. They do not survive the process; if the disk takes as much
// as a mark, which a full one does, they are declared lost then.
//
// Its methods may be called concurrently.
type Failover struct {
	o          Options
	memorySize int64
	updated    chan struct{}

	// committing serialises Commit and Close.
	committing sync.Mutex

	// mu is held for writing while readings change over between the two.
	mu        sync.RWMutex
	disk      *Buffer // nil before it could be opened
	memory    *Buffer // another one for each time that the disk fails; nil while it works
	failure   error   // of the disk; nil while it works
	failed    int     // how often it began to
	failovers map[string]uint64
	past      Stats     // counted by buffers in memory that are no more
	origin    time.Time // SetClock was called with it, if it is not zero
	closed    bool
}

// FailoverPosition is a position in each of the two buffers.
type FailoverPosition struct {
	disk, memory Position
	failed       int // the buffer in memory is of this failure of the disk
}

// OpenFailover opens the buffer that o describes, and takes at most memorySize
// bytes of memory, at least MinMaxSize, while the disk fails. The error is
// ErrNewerFormat, ErrLocked or one of the options.
func OpenFailover(o Options, memorySize int64) (*Failover, error) {
	checked := o
	if err := checked.complete(); err != nil {
		return nil, err
	}
	o.Logger = checked.Logger
	if memorySize < MinMaxSize {
		return nil, fmt.Errorf("buffer: memory size %d: want at least %d", memorySize, MinMaxSize)
	}
	o.updated = make(chan struct{}, 1)
	f := &Failover{o: o, memorySize: memorySize, updated: o.updated, failovers: map[string]uint64{}}
	disk, err := Open(o)
	switch {
	case err == nil:
		f.disk = disk
	case errors.Is(err, ErrNewerFormat), errors.Is(err, ErrLocked):
		return nil, err
	default:
		if err := f.failOver(err); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Append is Buffer.Append. It fails for the disk's sake only if memory fails too.
func (f *Failover) Append(frame *telemetry.Frame) error {
	return f.put(func(b *Buffer) error { return b.Append(frame) })
}

// AppendWaiting is Buffer.AppendWaiting, and as Append.
func (f *Failover) AppendWaiting(frame *telemetry.Frame, stamp time.Duration) error {
	return f.put(func(b *Buffer) error { return b.AppendWaiting(frame, stamp) })
}

func (f *Failover) put(to func(*Buffer) error) error {
	for {
		f.mu.RLock()
		b, onDisk := f.memory, f.failure == nil
		if onDisk {
			b = f.disk
		}
		err := to(b)
		f.mu.RUnlock()
		if !onDisk || !diskFailed(err) {
			return err
		}
		if err := f.failOver(err); err != nil {
			return err
		}
	}
}

// diskFailed reports whether an error of a Buffer is the disk's.
func diskFailed(err error) bool {
	return err != nil && !errors.Is(err, ErrDropped) && !errors.Is(err, ErrFrame) && !errors.Is(err, ErrClosed)
}

// failOver has readings go to memory, as the disk fails with cause.
func (f *Failover) failOver(cause error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrClosed
	}
	if f.failure != nil {
		return nil
	}
	o := f.o
	o.FS, o.MaxSize, o.SegmentSize = newMemory(), f.memorySize, max(f.memorySize/8, MinSegmentSize)
	memory, err := Open(o)
	if err != nil {
		return errors.Join(cause, err)
	}
	if !f.origin.IsZero() {
		memory.SetClock(f.origin)
	}
	f.memory, f.failure = memory, cause
	f.failed++
	f.failovers[DiskFault(cause)]++
	f.o.Logger.Error("buffer disk fails, readings go to memory",
		slog.String("reason", DiskFault(cause)), slog.Any("error", cause))
	return nil
}

// Commit is Buffer.Commit. While readings go to memory it tries the disk again,
// and returns to it if that succeeds; the error is the disk's, as long as it
// fails.
func (f *Failover) Commit() error {
	f.committing.Lock()
	defer f.committing.Unlock()
	return f.commit()
}

func (f *Failover) commit() error {
	f.mu.RLock()
	disk, memory, failed, closed := f.disk, f.memory, f.failure != nil, f.closed
	f.mu.RUnlock()
	if closed {
		return ErrClosed
	}
	if memory != nil {
		if err := memory.Commit(); err != nil {
			return err
		}
	}
	var err error
	if failed {
		err = f.comeBack()
		if err != nil {
			f.markMemory()
		}
	} else {
		err = disk.Commit()
	}
	if err == nil || errors.Is(err, ErrClosed) {
		return err
	}
	return errors.Join(err, f.failOver(err))
}

// markMemory has the disk expect what is in memory, if it takes that, as a full one
// does: so it is declared lost if the process ends.
func (f *Failover) markMemory() {
	f.mu.RLock()
	disk, memory := f.disk, f.memory
	f.mu.RUnlock()
	if disk != nil && memory != nil {
		_ = disk.expectInPlace(memory) // one that fails is tried again anyway
	}
}

// comeBack makes the disk take over from memory.
func (f *Failover) comeBack() error {
	if f.disk == nil {
		disk, err := Open(f.o)
		if err != nil {
			return err
		}
		f.mu.Lock()
		f.disk = disk
		if !f.origin.IsZero() {
			disk.SetClock(f.origin)
		}
		f.mu.Unlock()
	}
	if err := f.disk.resume(); err != nil {
		return err
	}
	// Most of it while sampling goes on, the rest while it waits.
	err := f.disk.adopt(f.memory)
	if err == nil {
		err = f.takeOver()
	}
	if err == nil {
		err = f.disk.Commit()
	}
	return err
}

// takeOver has the disk take over the rest of what is in memory, and readings go
// to it again.
func (f *Failover) takeOver() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.disk.adopt(f.memory)
	if err == nil {
		err = f.disk.received(f.memory.Epoch())
	}
	if err != nil {
		return err
	}
	f.o.Logger.Info("buffer disk works again")
	f.past.count(f.memory.Stats())
	f.memory, f.failure = nil, nil
	return nil
}

// SetClock is Buffer.SetClock.
func (f *Failover) SetClock(origin time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.origin.IsZero() {
		f.origin = origin
	}
	for _, b := range []*Buffer{f.disk, f.memory} {
		if b != nil {
			b.SetClock(f.origin)
		}
	}
}

// Epoch is Buffer.Epoch of the one on disk, 0 if it could not be opened yet.
func (f *Failover) Epoch() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.disk == nil {
		return 0
	}
	return f.disk.Epoch()
}

// Free says that all before p is done with.
func (f *Failover) Free(p FailoverPosition) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var err error
	if f.disk != nil {
		err = f.disk.Free(p.disk)
	}
	if f.memory != nil && p.failed == f.failed {
		err = errors.Join(err, f.memory.Free(p.memory))
	}
	return err
}

// Updated returns a channel that receives after something was appended. It
// holds one signal, so a receiver that reads to ErrEnd misses nothing.
func (f *Failover) Updated() <-chan struct{} { return f.updated }

// Close commits and closes both. What the disk cannot take over from memory is
// lost, and the error says how much that is.
func (f *Failover) Close() error {
	f.committing.Lock()
	defer f.committing.Unlock()
	err := f.commit()
	if errors.Is(err, ErrClosed) {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.failure != nil {
		n := f.memory.Stats().Frames
		switch {
		case n > 0:
			err = errors.Join(err, fmt.Errorf("buffer: %d readings in memory are lost", n))
		case f.disk != nil: // marks may stand for readings that were delivered
			err = errors.Join(err, f.disk.received(f.memory.Epoch()))
		}
	}
	for _, b := range []*Buffer{f.disk, f.memory} {
		if b != nil {
			err = errors.Join(err, b.Close())
		}
	}
	return err
}

// Stats returns the state and the counters of both together.
func (f *Failover) Stats() Stats {
	f.mu.RLock()
	disk, memory, failure, past := f.disk, f.memory, f.failure, f.past
	failovers := maps.Clone(f.failovers)
	f.mu.RUnlock()
	s := Stats{Lost: map[string]uint64{}, Failovers: failovers}
	if disk != nil {
		s = disk.Stats()
		s.Failovers = failovers
	}
	s.count(past)
	if memory != nil {
		m := memory.Stats()
		s.count(m)
		s.Frames += m.Frames
		s.MemoryFrames = m.Frames
		if s.Oldest == 0 || m.Oldest != 0 && m.Oldest < s.Oldest {
			s.Oldest = m.Oldest
		}
	}
	if failure != nil {
		s.Fault = DiskFault(failure)
	}
	return s
}

// count adds what another buffer has counted.
func (s *Stats) count(other Stats) {
	s.Appended += other.Appended
	s.Refused += other.Refused
	for reason, n := range other.Lost {
		if s.Lost == nil {
			s.Lost = map[string]uint64{}
		}
		s.Lost[reason] += n
	}
}

// DiskFault returns why the disk does not take readings: disk_full, read_only or
// disk_error.
func DiskFault(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "disk_full"
	case errors.Is(err, syscall.EROFS):
		return "read_only"
	}
	return DiskError
}

// FailoverReader reads the disk's frames, and then those in memory. One goroutine
// uses it at a time.
type FailoverReader struct {
	f            *Failover
	disk, memory *Reader
	at           FailoverPosition
}

// Reader returns a reader that starts at the first frame not freed.
func (f *Failover) Reader() *FailoverReader { return &FailoverReader{f: f} }

// Next is Reader.Next.
func (r *FailoverReader) Next(frame *telemetry.Frame) (FailoverPosition, error) {
	r.f.mu.RLock()
	if r.disk == nil && r.f.disk != nil {
		r.disk = r.f.disk.Reader()
	}
	if r.at.failed != r.f.failed || r.f.memory == nil {
		r.memory, r.at.memory, r.at.failed = nil, 0, r.f.failed
	}
	if r.memory == nil && r.f.memory != nil {
		r.memory = r.f.memory.Reader()
	}
	r.f.mu.RUnlock()
	err := ErrEnd
	if r.disk != nil {
		var p Position
		if p, err = r.disk.Next(frame); err == nil {
			r.at.disk = p
			return r.at, nil
		}
	}
	if r.memory != nil {
		p, merr := r.memory.Next(frame)
		if merr == nil {
			r.at.memory = p
			return r.at, nil
		}
		if !errors.Is(merr, ErrEnd) {
			err = merr
		}
	}
	return FailoverPosition{}, err
}
