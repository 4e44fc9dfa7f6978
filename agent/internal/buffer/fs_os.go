//go:build unix

package buffer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// OS returns the folder dir of the operating system, making it if it is not
// there.
func OS(dir string) (FS, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	return osDir(dir), nil
}

type osDir string

func (d osDir) path(name string) string { return filepath.Join(string(d), name) }

func (d osDir) open(name string, flag int) (File, error) {
	f, err := os.OpenFile(d.path(name), flag, 0o640)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d osDir) Create(name string) (File, error) {
	return d.open(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func (d osDir) Open(name string) (File, error) { return d.open(name, os.O_RDWR) }

func (d osDir) Names() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (d osDir) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }
func (d osDir) Remove(name string) error     { return os.Remove(d.path(name)) }

func (d osDir) SyncDir() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d osDir) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrLocked
	}
	return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
}

// osReadDir is a folder of the operating system, read without the right to write
// to it.
type osReadDir string

func (d osReadDir) Open(name string) (File, error) { return osDir(d).open(name, os.O_RDONLY) }
func (d osReadDir) Names() ([]string, error)       { return osDir(d).Names() }

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}
