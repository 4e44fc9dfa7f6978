package verify

import (
	"bufio"
	"fmt"
	"io"
	"sync"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Key is the identity of a reading. Timestamp is 0 unless the frame has no
// sequence number.
type Key struct {
	ID         string
	Epoch, Seq uint64
	Timestamp  int64
}

// KeyOf returns the identity of f.
func KeyOf(f *telemetry.Frame) Key {
	if f.Sequenced {
		return Key{ID: f.ID, Epoch: f.Epoch, Seq: f.Seq}
	}
	return Key{ID: f.ID, Timestamp: f.Timestamp}
}

func (k Key) String() string {
	f := telemetry.Frame{ID: k.ID, Epoch: k.Epoch, Seq: k.Seq, Timestamp: k.Timestamp, Sequenced: k.Timestamp == 0}
	return telemetry.FrameID(&f)
}

// Journal is the agents' own record of what they sampled. It is safe for
// concurrent use.
//
// In a file it has one frame a line, as on the wire; an empty line says that
// the agents have started anew. An agent puts a reading into its buffer first
// and into the journal then, so a kill may take one line of each sensor whose
// reading is in the buffer: after a restart the journal vouches for one
// sequence number more, if none else does.
type Journal struct {
	mu     sync.Mutex
	file   io.Writer
	line   []byte
	err    error
	frames map[Key]telemetry.Frame
	last   map[string]Key // by sensor, since the start
	cut    map[Key]bool   // whose line a kill may have taken
}

// NewJournal returns an empty Journal. Each frame is also written to file,
// unless that is nil, by one Write.
func NewJournal(file io.Writer) *Journal {
	j := &Journal{file: file, frames: make(map[Key]telemetry.Frame), last: make(map[string]Key), cut: make(map[Key]bool)}
	if file != nil {
		_, j.err = file.Write([]byte("\n"))
	}
	return j
}

// Record notes that f was sampled. It keeps a copy.
func (j *Journal) Record(f *telemetry.Frame) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.add(f)
	if j.file != nil && j.err == nil {
		j.line = append(telemetry.AppendFrame(j.line[:0], f), '\n')
		_, j.err = j.file.Write(j.line)
	}
}

func (j *Journal) add(f *telemetry.Frame) {
	key := KeyOf(f)
	j.frames[key] = *f
	j.last[f.ID] = key
}

// Err returns the first error of writing the file.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// Len returns how many readings were sampled.
func (j *Journal) Len() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.frames)
}

// ReadJournal reads a journal's file. name is for its errors.
func ReadJournal(name string, r io.Reader) (*Journal, error) {
	j := NewJournal(nil)
	var decoder telemetry.Decoder
	lines := bufio.NewScanner(r)
	var torn error
	for number := 1; lines.Scan(); number++ {
		if len(lines.Bytes()) == 0 {
			torn = nil
			for id, key := range j.last {
				key.Seq++
				j.cut[key] = true
				delete(j.last, id)
			}
			continue
		}
		if torn != nil {
			return nil, torn
		}
		var f telemetry.Frame
		if err := decoder.Decode(lines.Bytes(), &f); err != nil {
			// Only the last line before a restart may be cut short.
			torn = fmt.Errorf("verify: %s:%d: %w", name, number, err)
			continue
		}
		j.add(&f)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("verify: %s: %w", name, err)
	}
	return j, nil
}
