package buffer

import (
	"errors"
	"io"
	"io/fs"
)

var errReadOnly = errors.New("buffer: opened for reading only")

// folder is what can be read of an FS.
type folder interface {
	Open(name string) (File, error)
	Names() ([]string, error)
}

// readOnlyFS is a folder of which all that writes is an error.
type readOnlyFS struct {
	folder

	extra    map[string]File // files that there are in memory only
	vanished func(Position)  // a segment that was there is gone; may be nil
}

func (r *readOnlyFS) Create(string) (File, error)    { return nil, errReadOnly }
func (r *readOnlyFS) Rename(string, string) error    { return errReadOnly }
func (r *readOnlyFS) Remove(string) error            { return errReadOnly }
func (r *readOnlyFS) SyncDir() error                 { return errReadOnly }
func (r *readOnlyFS) Lock(string) (io.Closer, error) { return nil, errReadOnly }

func (r *readOnlyFS) Open(name string) (File, error) {
	if f := r.extra[name]; f != nil {
		return f, nil
	}
	f, err := r.folder.Open(name)
	if err != nil {
		if base, ok := parseSegmentName(name); ok && errors.Is(err, fs.ErrNotExist) && r.vanished != nil {
			r.vanished(base)
		}
		return nil, err
	}
	return readOnlyFile{f}, nil
}

type readOnlyFile struct{ File }

func (readOnlyFile) WriteAt([]byte, int64) (int, error) { return 0, errReadOnly }
func (readOnlyFile) Sync() error                        { return errReadOnly }
func (readOnlyFile) Truncate(int64) error               { return errReadOnly }
func (readOnlyFile) Preallocate(int64) error            { return errReadOnly }
