package hil

import (
	"fmt"
	"io"
	"path"
	"strings"
)

// archive writes an initial file system: a cpio archive in the format newc
// (kernel documentation, driver-api/early-userspace/buffer-format). An entry is
//
//	 0      6                                                110
//	+------+------------------------------------------------+------+-----+------+-----+
//	| magic| 13 numbers of 8 hexadecimal digits             | name | pad | data | pad |
//	+------+------------------------------------------------+------+-----+------+-----+
//
// with the name ended by a zero and both padded to multiples of 4 bytes.
type archive struct {
	w       io.Writer
	folders map[string]bool
	inode   int
	err     error
}

// Types of files in an entry's mode (inode(7)).
const (
	modeFolder  = 0o040000
	modeFile    = 0o100000
	modeChar    = 0o020000
	cpioMagic   = "070701"
	cpioTrailer = "TRAILER!!!"
)

func newArchive(w io.Writer) *archive { return &archive{w: w, folders: make(map[string]bool)} }

// file adds a file, and the folders that it is in.
func (a *archive) file(name string, mode uint32, data []byte) {
	name = strings.TrimPrefix(path.Clean(name), "/")
	a.folder(path.Dir(name))
	a.entry(name, modeFile|mode, 0, 0, data)
}

// console adds the device that the kernel opens for its first process.
func (a *archive) console() {
	a.folder("dev")
	a.entry("dev/console", modeChar|0o600, 5, 1, nil)
}

func (a *archive) folder(name string) {
	if name == "." || a.folders[name] {
		return
	}
	a.folder(path.Dir(name))
	a.folders[name] = true
	a.entry(name, modeFolder|0o755, 0, 0, nil)
}

// close ends the archive and returns the first error.
func (a *archive) close() error {
	a.entry(cpioTrailer, 0, 0, 0, nil)
	return a.err
}

func (a *archive) entry(name string, mode, major, minor uint32, data []byte) {
	a.inode++
	header := cpioMagic
	for _, number := range []uint32{
		uint32(a.inode), mode, 0, 0, 1, 0, // owner 0:0, one link, of 1970
		uint32(len(data)), 0, 0, major, minor, uint32(len(name) + 1), 0,
	} {
		header += fmt.Sprintf("%08X", number)
	}
	header += name + "\x00"
	a.write([]byte(header + padding(len(header))))
	a.write(data)
	a.write([]byte(padding(len(data))))
}

func padding(n int) string { return "\x00\x00\x00"[:-n&3] }

func (a *archive) write(p []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(p)
	}
}
