package buffer

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
)

func TestCheckFormat(t *testing.T) {
	dir := t.TempDir()
	if err := CheckFormat(filepath.Join(dir, "none")); err != nil {
		t.Errorf("no buffer: %v", err)
	}
	b := mustOpen(t, Options{Dir: dir})
	defer b.Close()
	before, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckFormat(dir); err != nil {
		t.Errorf("an open buffer: %v", err)
	}
	after, err := os.ReadDir(dir)
	if err != nil || len(after) != len(before) {
		t.Errorf("%d files, %v; before %d", len(after), err, len(before))
	}

	newer := identity{}.encode()
	binary.LittleEndian.PutUint32(newer[8:], formatVersion+1)
	binary.LittleEndian.PutUint32(newer[12:], crc32.Checksum(newer[:12], castagnoli))
	name := filepath.Join(dir, identityName)
	if err := os.WriteFile(name, newer, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CheckFormat(dir); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("a newer version: %v, want ErrNewerFormat", err)
	}
	if err := os.WriteFile(name, []byte("torn"), 0o600); err != nil { // the agent restores it
		t.Fatal(err)
	}
	if err := CheckFormat(dir); err != nil {
		t.Errorf("a torn identity: %v", err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(name, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := CheckFormat(dir); err == nil {
		t.Error("an identity that cannot be read: no error")
	}
}
