package buffer

import (
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
)

// memory is an FS that survives nothing: where readings go while the disk
// fails. It occupies what was written, however much is preallocated.
type memory struct {
	mu    sync.RWMutex
	files map[string]*memoryFile
}

func newMemory() *memory { return &memory{files: map[string]*memoryFile{}} }

func (m *memory) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := &memoryFile{fs: m}
	m.files[name] = f
	return f, nil
}

func (m *memory) Open(name string) (File, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if f := m.files[name]; f != nil {
		return f, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (m *memory) Names() ([]string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Sorted(maps.Keys(m.files)), nil
}

func (m *memory) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[to] = m.files[from]
	delete(m.files, from)
	return nil
}

func (m *memory) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, name)
	return nil
}

func (m *memory) SyncDir() error                 { return nil }
func (m *memory) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// memoryFile is one of its files: zeros behind data, up to size.
type memoryFile struct {
	fs   *memory
	data []byte
	size int64
}

func (f *memoryFile) ReadAt(p []byte, off int64) (n int, err error) {
	f.fs.mu.RLock()
	defer f.fs.mu.RUnlock()
	if off < int64(len(f.data)) {
		n = copy(p, f.data[off:])
	}
	zeros := min(int64(len(p)), max(f.size-off, int64(n)))
	clear(p[n:zeros])
	if int(zeros) < len(p) {
		return int(zeros), io.EOF
	}
	return len(p), nil
}

func (f *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	end := off + int64(len(p))
	if gap := off - int64(len(f.data)); gap > 0 {
		f.data = append(f.data, make([]byte, gap)...)
	}
	n := copy(f.data[off:], p)
	f.data = append(f.data, p[n:]...)
	f.size = max(f.size, end)
	return len(p), nil
}

func (f *memoryFile) Size() (int64, error) {
	f.fs.mu.RLock()
	defer f.fs.mu.RUnlock()
	return f.size, nil
}

func (f *memoryFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.data = f.data[:min(int64(len(f.data)), size)]
	f.size = size
	return nil
}

func (f *memoryFile) Preallocate(size int64) error { return f.Truncate(size) }
func (f *memoryFile) Sync() error                  { return nil }
func (f *memoryFile) Close() error                 { return nil }
