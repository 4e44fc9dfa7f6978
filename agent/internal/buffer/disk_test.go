package buffer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
)

// errDead is what a disk answers to a process that was killed.
var errDead = errors.New("killed")

// disk is a folder on a simulated medium. What was not synced is known write
// by write and name by name, so that a power cut may keep, drop or tear each.
type disk struct {
	mu      sync.Mutex
	names   map[string]*inode
	medium  map[string]*inode // the names that a power cut leaves for certain
	changes []change          // of names since medium
	locked  *bool             // by the process that is alive
	ops     int
	deadAt  int // the operation at which the process is killed; 0: none
	dead    bool
	torn    bool // the last write was cut short by the kill
	largest int64
	rotten  map[string]int64 // the page of a file that cannot be read
	// fault, if not nil, may make an operation fail.
	fault func(op, name string) error
}

type inode struct {
	data   []byte
	synced []byte
	dirty  []write
}

// write is one that is not on the medium for certain. A nil data sets the
// size to off.
type write struct {
	off  int64
	data []byte
}

// change is a name that was made (node is not nil) or taken away.
type change struct {
	name string
	node *inode
}

func newDisk() *disk {
	return &disk{names: map[string]*inode{}, medium: map[string]*inode{}, locked: new(bool)}
}

// enter begins an operation; the caller holds mu. It returns errDead if the
// process is dead, and whether it dies with this operation.
func (d *disk) enter(op, name string) (dies bool, err error) {
	if d.dead {
		return false, errDead
	}
	d.ops++
	if d.ops == d.deadAt {
		d.dead = true
		return true, nil
	}
	if d.fault != nil {
		return false, d.fault(op, name)
	}
	return false, nil
}

func (d *disk) measure() {
	var n int64
	for _, node := range d.names {
		n += int64(len(node.data))
	}
	d.largest = max(d.largest, n)
}

func (d *disk) set(name string, node *inode) {
	if node == nil {
		delete(d.names, name)
	} else {
		d.names[name] = node
	}
	d.changes = append(d.changes, change{name, node})
}

func (d *disk) Create(name string) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dies, err := d.enter("create", name); dies || err != nil {
		return nil, orDead(err)
	}
	node := &inode{}
	d.set(name, node)
	return &diskFile{d, node, name}, nil
}

func (d *disk) Open(name string) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dies, err := d.enter("open", name); dies || err != nil {
		return nil, orDead(err)
	}
	node := d.names[name]
	if node == nil {
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	}
	return &diskFile{d, node, name}, nil
}

func (d *disk) Names() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dies, err := d.enter("names", ""); dies || err != nil {
		return nil, orDead(err)
	}
	return slices.Sorted(maps.Keys(d.names)), nil
}

func (d *disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dies, err := d.enter("rename", from); dies || err != nil {
		return orDead(err)
	}
	node := d.names[from]
	d.set(to, node)
	d.set(from, nil)
	return nil
}

func (d *disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dies, err := d.enter("remove", name); dies || err != nil {
		return orDead(err)
	}
	d.set(name, nil)
	return nil
}

func (d *disk) SyncDir() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dies, err := d.enter("syncdir", ""); dies || err != nil {
		return orDead(err)
	}
	d.medium, d.changes = maps.Clone(d.names), nil
	return nil
}

type unlocker struct{ locked *bool }

func (u unlocker) Close() error { *u.locked = false; return nil }

func (d *disk) Lock(string) (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dies, err := d.enter("lock", ""); dies || err != nil {
		return nil, orDead(err)
	}
	if *d.locked {
		return nil, ErrLocked
	}
	if d.names[lockName] == nil {
		d.set(lockName, &inode{})
	}
	*d.locked = true
	return unlocker{d.locked}, nil
}

func orDead(err error) error {
	if err == nil {
		return errDead
	}
	return err
}

type diskFile struct {
	d    *disk
	node *inode
	name string
}

func (f *diskFile) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if dies, err := f.d.enter("read", f.name); dies || err != nil {
		return 0, orDead(err)
	}
	if page, ok := f.d.rotten[f.name]; ok && off < (page+1)*pageSize && off+int64(len(p)) > page*pageSize {
		return 0, syscall.EIO
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *diskFile) WriteAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	dies, err := f.d.enter("write", f.name)
	if errors.Is(err, errDead) {
		return 0, err
	}
	if dies {
		// A kill cuts a write only between pages.
		n := int(min(pageSize-off%pageSize, int64(len(p))))
		f.d.torn = n < len(p)
		p = p[:n]
	}
	if err != nil {
		p = p[:len(p)/2] // a write that fails may have begun
	}
	w := write{off, slices.Clone(p)}
	f.node.dirty = append(f.node.dirty, w)
	f.node.data = w.apply(f.node.data)
	f.d.measure()
	if dies {
		err = errDead
	}
	return len(p), err
}

func (w write) apply(data []byte) []byte {
	if w.data == nil {
		return resize(data, int(w.off))
	}
	if end := int(w.off) + len(w.data); end > len(data) {
		data = resize(data, end)
	}
	copy(data[w.off:], w.data)
	return data
}

func resize(data []byte, n int) []byte {
	if n <= len(data) {
		return data[:n:n]
	}
	return append(data, make([]byte, n-len(data))...)
}

func (f *diskFile) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	dies, err := f.d.enter("sync", f.name)
	if dies || f.d.dead {
		return errDead
	}
	if err == nil {
		f.node.synced = slices.Clone(f.node.synced)
		for _, w := range f.node.dirty {
			f.node.synced = w.apply(f.node.synced)
		}
	}
	// What a failed sync did not write is clean all the same, as on Linux.
	f.node.dirty = nil
	return err
}

func (f *diskFile) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if dies, err := f.d.enter("size", f.name); dies || err != nil {
		return 0, orDead(err)
	}
	return int64(len(f.node.data)), nil
}

func (f *diskFile) resize(op string, size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if dies, err := f.d.enter(op, f.name); dies || err != nil {
		return orDead(err)
	}
	w := write{off: size}
	f.node.dirty = append(f.node.dirty, w)
	f.node.data = w.apply(f.node.data)
	f.d.measure()
	return nil
}

func (f *diskFile) Truncate(size int64) error    { return f.resize("truncate", size) }
func (f *diskFile) Preallocate(size int64) error { return f.resize("preallocate", size) }
func (f *diskFile) Close() error                 { return nil }

// killed returns the disk as a new process finds it after kill -9.
func (d *disk) killed() *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	n := newDisk()
	n.names, n.medium, n.changes = maps.Clone(d.names), maps.Clone(d.medium), slices.Clone(d.changes)
	return n
}

// cut returns the disk as a power cut leaves it: of what was not synced, each
// name and each write is there, is not, or is in part.
func (d *disk) cut(rng *rand.Rand) *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	keep := []float64{0, 0.5, 0.9, 1}[rng.IntN(4)]
	n := newDisk()
	names := maps.Clone(d.medium)
	for _, c := range d.changes {
		if rng.Float64() >= keep {
			continue
		}
		if c.node == nil {
			delete(names, c.name)
		} else {
			names[c.name] = c.node
		}
	}
	for name, node := range names {
		data := slices.Clone(node.synced)
		for _, w := range node.dirty {
			switch {
			case rng.Float64() < keep:
				data = w.apply(data)
			case w.data != nil && rng.IntN(2) == 0:
				data = w.tear(rng).apply(data)
			}
		}
		n.names[name] = &inode{data: data, synced: slices.Clone(data)}
	}
	n.medium = maps.Clone(n.names)
	return n
}

// unsynced returns how many bytes of segments a power cut may take or tear.
func (d *disk) unsynced() (n uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, node := range d.names {
		for _, w := range node.dirty {
			n += uint64(len(w.data))
		}
	}
	return n
}

// cutAll returns the disk as a power cut leaves it that takes all it can.
func (d *disk) cutAll() *disk {
	n := newDisk()
	for name, node := range d.medium {
		n.names[name] = &inode{data: slices.Clone(node.synced), synced: slices.Clone(node.synced)}
	}
	n.medium = maps.Clone(n.names)
	return n
}

// tear returns a part of w: its beginning, its end, or something between.
func (w write) tear(rng *rand.Rand) write {
	from, to := 0, len(w.data)
	if rng.IntN(2) == 0 {
		from = rng.IntN(len(w.data) + 1)
	}
	if rng.IntN(2) == 0 {
		to = from + rng.IntN(len(w.data)-from+1)
	}
	return write{w.off + int64(from), append([]byte{}, w.data[from:to]...)}
}

// copy returns a disk with the same files, all of them on the medium.
func (d *disk) copy() *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := newDisk()
	for name, node := range d.names {
		n.names[name] = &inode{data: slices.Clone(node.data), synced: slices.Clone(node.data)}
	}
	n.medium = maps.Clone(n.names)
	return n
}

// segmentNames returns the names of the segments in order.
func (d *disk) segmentNames() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(d.names)) {
		if _, ok := parseSegmentName(name); ok {
			names = append(names, name)
		}
	}
	return names
}
