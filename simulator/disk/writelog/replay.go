package writelog

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"

	"github.com/telltale-iot/telltale/simulator/disk"
)

// Replay goes along a log. It is not safe for concurrent use.
type Replay struct {
	entries []Entry
	next    int
	medium  memory
	cache   []disk.Write
}

// NewReplay returns the replay that begins with the disk as image, which it
// keeps and changes.
func NewReplay(image []byte, entries []Entry) *Replay {
	return &Replay{entries: entries, medium: image}
}

// Advance takes the log's entries up to n in, which must not be less than
// before.
func (r *Replay) Advance(n int) error {
	if n < r.next || n > len(r.entries) {
		return fmt.Errorf("writelog: from entry %d to %d of %d", r.next, n, len(r.entries))
	}
	for ; r.next < n; r.next++ {
		e := &r.entries[r.next]
		if e.Flush {
			if _, err := disk.LoseNone.Apply(r.medium, r.cache, nil); err != nil {
				return fmt.Errorf("writelog: before entry %d: %w", r.next, err)
			}
			r.cache = r.cache[:0]
		}
		if len(e.Write.Data) > 0 {
			r.cache = append(r.cache, e.Write)
		}
	}
	return nil
}

// Cached returns how many writes have not been flushed here.
func (r *Replay) Cached() int { return len(r.cache) }

// Crash returns what the disk is if its power goes here.
func (r *Replay) Crash(cut disk.Cut, random *rand.Rand) ([]byte, error) {
	image := slices.Clone(r.medium)
	if _, err := cut.Apply(image, r.cache, random); err != nil {
		return nil, fmt.Errorf("writelog: at entry %d: %w", r.next, err)
	}
	return image, nil
}

// memory is a medium in memory.
type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(m)) || int64(len(p)) > int64(len(m))-off {
		return 0, fmt.Errorf("%d bytes at %d of a disk of %d: %w", len(p), off, len(m), io.ErrShortWrite)
	}
	return copy(m[off:], p), nil
}
