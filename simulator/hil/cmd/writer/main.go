//go:build linux

// Writer writes numbered records to a file for as long as it can, and says of
// each, on standard output, when it believes it to be on the medium. It is what a
// test of power cuts is tested with:
//
//	writer append FILE     appends, and calls fdatasync: it is right
//	writer range FILE      preallocates, and calls sync_file_range: it is wrong, as
//	                       that neither flushes the disk's cache nor writes metadata
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A record is its number in so many bytes, a line feed included.
const recordSize = 64

// preallocated is room for more records than a test waits for.
const preallocated = 4 << 20

func main() {
	_, _ = fmt.Fprintln(os.Stderr, "writer:", run(os.Args[1:], os.Stdout))
	os.Exit(1)
}

// run returns only when something fails.
func run(args []string, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("want append FILE or range FILE")
	}
	f, err := os.OpenFile(args[1], os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	var persist func(off int64) error
	switch args[0] {
	case "append":
		persist = func(int64) error { return unix.Fdatasync(int(f.Fd())) }
	case "range":
		if err := unix.Fallocate(int(f.Fd()), 0, 0, preallocated); err != nil {
			return fmt.Errorf("fallocate: %w", err)
		}
		const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
		persist = func(off int64) error { return unix.SyncFileRange(int(f.Fd()), off, recordSize, all) }
	default:
		return fmt.Errorf("unknown way to write %q", args[0])
	}
	for n := int64(0); ; n++ {
		if _, err := fmt.Fprintf(f, "%0*d\n", recordSize-1, n); err != nil {
			return err
		}
		if err := persist(n * recordSize); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, n); err != nil {
			return err
		}
	}
}
