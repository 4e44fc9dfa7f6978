package buffer

import "io"

// FS is the folder that a buffer lives in. Names have no path. All that is
// asked of a file system is asked here, so that a test can be one.
//
// A name made by Create or Rename, or taken away by Remove, is certain to
// survive a power cut only after SyncDir.
type FS interface {
	// Create makes a file for reading and writing. An older one of that name
	// is emptied.
	Create(name string) (File, error)
	// Open opens a file for reading and writing. The error is fs.ErrNotExist
	// if there is none.
	Open(name string) (File, error)
	// Names returns the names of the folder's files, sorted.
	Names() ([]string, error)
	// Rename gives a file another name, replacing one that has it.
	Rename(from, to string) error
	Remove(name string) error
	SyncDir() error
	// Lock takes the folder's lock, which ends when the returned closer is
	// closed or the process dies. The error is ErrLocked if another has it.
	Lock(name string) (io.Closer, error)
}

// File is a file of FS. Its methods may be called concurrently.
type File interface {
	io.ReaderAt
	// WriteAt is seen by every reader on return. It survives the process, and
	// after Sync the machine.
	io.WriterAt
	// Sync makes all written to the file durable, by whichever handle, but
	// not necessarily its times.
	Sync() error
	Size() (int64, error)
	Truncate(size int64) error
	// Preallocate makes the file size bytes long, zero-filled where nothing
	// was written, with room on the medium for all of it if the file system
	// can do that.
	Preallocate(size int64) error
	io.Closer
}
