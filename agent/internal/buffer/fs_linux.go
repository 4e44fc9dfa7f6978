package buffer

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Sync is fdatasync: a preallocated file's size does not change, so only its
// bytes are written.
func (f osFile) Sync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("fdatasync %s: %w", f.Name(), err)
		}
	}
}

func (f osFile) Preallocate(size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP):
			return f.Truncate(size) // FAT and some network file systems
		default:
			return fmt.Errorf("fallocate %s: %w", f.Name(), err)
		}
	}
}
