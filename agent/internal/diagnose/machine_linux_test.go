package diagnose

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
)

// TestHost asks the machine of the test what every machine can answer.
func TestHost(t *testing.T) {
	m := Host()
	if m.Now().Before(past) || m.User() == "" {
		t.Errorf("it is %v, the user is %q", m.Now(), m.User())
	}
	if _, err := m.Synchronised(); err != nil {
		t.Errorf("Synchronised: %v", err)
	}
	dir := t.TempDir()
	if err := m.Writable(dir); err != nil {
		t.Errorf("Writable: %v", err)
	}
	none := filepath.Join(dir, "none")
	if err := m.Writable(none); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Writable of a file that is not: %v", err)
	}
	if s, err := m.FileSystem(dir); err != nil || s.Free <= 0 {
		t.Errorf("FileSystem: %+v, %v", s, err)
	}
	if _, err := m.FileSystem(none); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("FileSystem of a folder that is not: %v", err)
	}
	if s, err := m.FileSystem("/dev/shm"); err == nil && s.Type != "tmpfs" {
		t.Errorf("/dev/shm is on %q", s.Type)
	}
}
