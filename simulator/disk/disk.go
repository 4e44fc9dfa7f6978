package disk

import (
	"io"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/telltale-iot/telltale/simulator/disk/nbd"
)

// Medium is what keeps its content without power.
type Medium interface {
	io.ReaderAt
	io.WriterAt
}

// Disk is a medium behind a volatile write cache, from the moment that its power
// comes on until it goes: then it is silent for good, and another Disk on the
// same medium is what one sees after the next power-on. It is an [nbd.Device],
// and safe for concurrent use.
type Disk struct {
	size int64

	mu     sync.Mutex
	medium Medium
	cache  []Write // in their order
	random *rand.Rand
	writes int // commands since power-on
	cutAt  int // after which of them the power goes; 0: none
	cut    Cut
	off    chan struct{}
	loss   Loss
	err    error // of the medium, when the power went
}

// Loss is what a cut took.
type Loss struct {
	Write  int   // the cut came after so many write commands
	Cached int   // of them, those that had not been flushed
	Bytes  int64 // of those, what did not reach the medium
}

// New returns a Disk of size bytes, a multiple of [SectorSize]. What is lost at
// random is decided by random.
func New(medium Medium, size int64, random *rand.Rand) *Disk {
	return &Disk{size: size, medium: medium, random: random, off: make(chan struct{})}
}

// Size returns the size in bytes.
func (d *Disk) Size() int64 { return d.size }

// ReadAt reads what was written last, wherever that is.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isOff() {
		return 0, nbd.ErrSilent
	}
	n, err := d.medium.ReadAt(p, off)
	if err != nil {
		return n, err
	}
	for _, w := range d.cache {
		from, to := max(off, w.Offset), min(off+int64(len(p)), w.Offset+int64(len(w.Data)))
		if from < to {
			copy(p[from-off:to-off], w.Data[from-w.Offset:])
		}
	}
	return n, nil
}

// Write puts p into the cache. With fua it survives a cut. If this is the write
// that the power goes after, it is not acknowledged: the error is
// [nbd.ErrSilent].
func (d *Disk) Write(p []byte, off int64, fua bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isOff() {
		return nbd.ErrSilent
	}
	d.cache = append(d.cache, Write{Offset: off, Data: slices.Clone(p), Durable: fua})
	d.writes++
	if d.writes == d.cutAt {
		d.powerOff(d.cut)
		return nbd.ErrSilent
	}
	return nil
}

// Flush brings the cache to the medium.
func (d *Disk) Flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isOff() {
		return nbd.ErrSilent
	}
	if _, err := LoseNone.Apply(d.medium, d.cache, nil); err != nil {
		return err
	}
	d.cache = nil
	return nil
}

// Writes returns how many write commands there were since power-on.
func (d *Disk) Writes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes
}

// CutAfter has the power go after that many further write commands; the last of
// them is in the cache then, and not acknowledged.
func (d *Disk) CutAfter(writes int, cut Cut) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cutAt, d.cut = d.writes+writes, cut
}

// Cut has the power go now, if it has not gone yet.
func (d *Disk) Cut(cut Cut) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.isOff() {
		d.powerOff(cut)
	}
}

func (d *Disk) powerOff(cut Cut) {
	d.loss = Loss{Write: d.writes, Cached: len(d.cache)}
	d.loss.Bytes, d.err = cut.Apply(d.medium, d.cache, d.random)
	d.cache = nil
	close(d.off)
}

func (d *Disk) isOff() bool {
	select {
	case <-d.off:
		return true
	default:
		return false
	}
}

// Off is closed when the power has gone. The medium is then as the cut has left
// it.
func (d *Disk) Off() <-chan struct{} { return d.off }

// Loss returns what the cut took, once Off is closed, and the error of the
// medium, if it took not even what it should have.
func (d *Disk) Loss() (Loss, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.loss, d.err
}
