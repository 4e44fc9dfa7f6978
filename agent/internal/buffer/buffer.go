package buffer

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// The errors that callers may test for.
var (
	// ErrEnd says that a Reader has returned all there is for now.
	ErrEnd = errors.New("buffer: end")
	// ErrDropped says that the buffer is at its bound and its policy is
	// DropNewest. The reading's loss will be in the stream.
	ErrDropped = errors.New("buffer: full, reading dropped")
	// ErrLocked says that another process has the buffer open.
	ErrLocked = errors.New("buffer: in use by another process")
	// ErrNewerFormat says that a newer version of this program made the buffer.
	ErrNewerFormat = errors.New("buffer: made by a newer version")
	// ErrFrame says that a frame cannot be stored, whatever the buffer's state.
	ErrFrame = errors.New("buffer: frame cannot be stored")
	// ErrClosed says that the buffer is closed.
	ErrClosed = errors.New("buffer: closed")
)

// Policy says what goes when the buffer is at its bound.
type Policy uint8

// The policies.
const (
	DropOldest Policy = iota // the oldest segment
	DropNewest               // the reading at hand
)

// The bounds and defaults of Options.
const (
	DefaultMaxSize      = 256 << 20
	DefaultSegmentSize  = 4 << 20
	DefaultReserveAhead = 64

	MinSegmentSize  = 16 << 10
	MaxSegmentSize  = 1 << 30
	MinMaxSize      = 4 * MinSegmentSize
	MaxReserveAhead = 4096

	maxSensors = 4096
)

// Options says where a buffer is and how it behaves. Zero values mean the
// defaults.
type Options struct {
	Dir string
	FS  FS // nil: the folder Dir of the operating system

	// MaxSize bounds the bytes of all files, preallocated ones included.
	MaxSize int64
	// SegmentSize is the size of a segment. No more than a quarter of MaxSize
	// is used.
	SegmentSize int64
	Drop        Policy

	// BootID names this boot of the machine. If it is the one of the last
	// run, the page cache has survived and so has every reading. "" is
	// unknown.
	BootID string
	// ReserveAhead is how many sequence numbers a mark lies ahead at least:
	// the slack in what a power cut declares lost.
	ReserveAhead uint64

	Rand   io.Reader // nil: crypto/rand
	Logger *slog.Logger

	updated chan struct{} // what Buffer.Updated returns; nil: its own
}

func (o *Options) complete() error {
	if o.Dir == "" && o.FS == nil {
		return errors.New("buffer: no Dir")
	}
	if o.MaxSize == 0 {
		o.MaxSize = DefaultMaxSize
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = DefaultSegmentSize
	}
	if o.ReserveAhead == 0 {
		o.ReserveAhead = DefaultReserveAhead
	}
	switch {
	case o.MaxSize < MinMaxSize:
		return fmt.Errorf("buffer: MaxSize %d: want at least %d", o.MaxSize, MinMaxSize)
	case o.SegmentSize < MinSegmentSize || o.SegmentSize > MaxSegmentSize:
		return fmt.Errorf("buffer: SegmentSize %d: want %d to %d", o.SegmentSize, MinSegmentSize, MaxSegmentSize)
	case o.Drop > DropNewest:
		return fmt.Errorf("buffer: Drop %d: unknown policy", o.Drop)
	case o.ReserveAhead > MaxReserveAhead:
		return fmt.Errorf("buffer: ReserveAhead %d: want at most %d", o.ReserveAhead, MaxReserveAhead)
	case len(o.BootID) > maxBootID:
		return fmt.Errorf("buffer: BootID of %d bytes: want at most %d", len(o.BootID), maxBootID)
	}
	o.SegmentSize = min(o.SegmentSize, (o.MaxSize-identitySize)/4)
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// ahead is what the header of a segment says of the numbers used while it is written:
// each has a record, and marks lie ahead by this, or by twice what was used since the
// last commit. 0 is neither: readings may be refused.
func (o *Options) ahead() uint32 {
	if o.Drop == DropNewest {
		return 0
	}
	return uint32(o.ReserveAhead)
}

// A segment is one file of the log.
type segment struct {
	base   Position
	end    Position // where its records end; of the active one, see Buffer.tail
	head   Position // the end of its head
	frames uint64   // in the log before it
	ahead  uint32   // as its header says
	size   int64    // of the file
}

// Buffer is a log of readings on disk. Its methods may be called concurrently.
type Buffer struct {
	o    Options
	fs   FS
	lock io.Closer
	id   identity

	updated chan struct{}

	// slow serialises what waits for the medium: commit, rotation, dropping.
	// It is taken before mu.
	slow  sync.Mutex
	doubt error // of a segment left behind uncommitted; slow guards it
	// suspect is why the active segment's last sync failed. The kernel may
	// have thrown away what it could not write, and would say success next
	// time. slow guards it, too.
	suspect error

	// mu guards all that follows and is never held while the medium is
	// waited for, but for writes to the page cache.
	mu      sync.Mutex
	closed  bool
	sensors map[sensorKey]*sensor
	order   []*sensor // of sensors, in the order in which they appeared
	segs    []segment // in order; the last is the active one
	file    File      // of the active segment
	tail    Position  // where the next record goes
	durable Position  // all before it is on the medium
	defs    []definition
	indexes map[label]uint64 // of defs
	repeat  Position         // where the definitions are due again
	sealed  bool             // no more frames go to the active segment
	frozen  bool             // nothing at all does
	full    bool             // at the bound, with DropNewest
	freed   Position         // all before it is done with
	stored  Position         // freed, as the log records it
	safe    Position         // freed, as the medium records it
	carried []carried        // losses of a dropped segment that no other declares yet
	enc     encoder
	frames  uint64 // frame records in the log, since it was made
	boot    uint64 // the number of this boot of the machine
	boots   map[uint64]*bootClock
	origin  *int64 // SetClock was called with it, Unix milliseconds
	stopped bool   // the machine did, since the active segment was written; of an Inspection
	unsaid  bool   // clocks are settled, and no record of the active segment says so
	stats   counters
	counted counted // by the last Stats
}

// A definition is a sensor record of the active segment; its place in
// Buffer.defs is its index.
type definition struct {
	label  label
	sensor *sensor
}

// sensor is what the buffer knows of one sensor id.
type sensor struct {
	label label  // the latest
	index uint64 // of label in the active segment
	known bool   // index is valid

	end        Position // behind its last reading, or its last record read at opening
	next       uint64   // the next reading's sequence number
	floor      uint64   // its first reading in the oldest segment
	mark       uint64   // durable: next is below it, or no reading is accepted
	marked     uint64   // the greatest mark written
	syncing    uint64   // marked, at the start of the commit under way
	markReason reason   // of the last mark written
	committed  uint64   // next, at the last commit; of another buffer's sensor, when it was marked last

	pending []loss // refused readings that no record declares yet
	dropped dropped
}

type loss struct {
	seqs   telemetry.SeqRange
	reason reason
}

// own reports whether the buffer numbers the sensor's readings.
func (s *sensor) own() bool { return s.label.epoch == 0 }

// lose adds the range to what is to be declared.
func (s *sensor) lose(seqs telemetry.SeqRange, why reason) {
	if n := len(s.pending); n > 0 {
		last := &s.pending[n-1]
		if last.reason == why && last.seqs.Last+1 == seqs.First {
			last.seqs.Last = seqs.Last
			return
		}
	}
	s.pending = append(s.pending, loss{seqs, why})
}

// recorded is the number below which all readings are in the log or declared.
func (s *sensor) recorded() uint64 {
	if len(s.pending) > 0 {
		return s.pending[0].seqs.First
	}
	return s.next
}

// Epoch returns the epoch of every frame in the buffer: 53 random bits, drawn
// when it was made.
func (b *Buffer) Epoch() uint64 { return b.id.epoch }

// Updated returns a channel that receives after something was appended. It
// holds one signal, so a receiver that reads to ErrEnd misses nothing.
func (b *Buffer) Updated() <-chan struct{} { return b.updated }

func (b *Buffer) notify() {
	select {
	case b.updated <- struct{}{}:
	default:
	}
}

// Free says that all before p is done with. It touches no file: the next
// Commit makes it durable and removes the segments that hold nothing else. A
// power cut before that makes the readings come again.
func (b *Buffer) Free(p Position) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p > b.tail {
		return fmt.Errorf("buffer: free position %d, the log ends at %d", p, b.tail)
	}
	b.freed = max(b.freed, p)
	return nil
}

// Close commits, records the exact next sequence numbers, so that nothing is
// declared lost at the next Open, and gives up the lock. The buffer is closed
// whatever the error.
func (b *Buffer) Close() error {
	b.slow.Lock()
	defer b.slow.Unlock()
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return ErrClosed
	}
	b.closed = true
	b.mu.Unlock()
	err := b.commitSomewhere(true)
	err = errors.Join(err, b.file.Close(), b.lock.Close())
	if err != nil {
		return fmt.Errorf("close buffer: %w", err)
	}
	return nil
}
