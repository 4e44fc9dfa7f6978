// Package writelog makes of one run of a machine all the states in which a power
// cut could have left its disk.
//
// A log has everything that was written to a disk and when it was flushed, in
// their order, in the format of Linux' dm-log-writes. QEMU's block driver
// blklogwrites makes one. A [Replay] goes along it and says at each place what a
// cut leaves.
//
// QEMU logs a write when it has been done, so of those that were under way at
// once the log has one order of the possible ones; and a write that ends while a
// flush is under way is taken for flushed.
//
// Sources:
//   - Linux, Documentation/admin-guide/device-mapper/log-writes.rst and
//     drivers/md/dm-log-writes.c
//   - QEMU, block/blklogwrites.c
package writelog

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/telltale-iot/telltale/simulator/disk"
)

// A log consists of sectors. The first is the superblock, then come the entries,
// each a sector and the data of the write, if it is one. All integers are
// little-endian.
//
//	0       8         16        24           28
//	+-------+---------+---------+------------+- - -
//	| magic | version | entries | sectorsize | zeros
//	+-------+---------+---------+------------+- - -
//
//	0        8         16      24         32
//	+--------+---------+-------+----------+- - -
//	| sector | sectors | flags | data_len | zeros, or data_len bytes of a mark
//	+--------+---------+-------+----------+- - -
//
// The superblock counts the entries up to a flush; those behind are not read.
const (
	magic   = 0x6a736677736872
	version = 1

	superblockSize = 28
	entrySize      = 32
	maxSectorSize  = 1 << 16
	maxWrite       = 64 << 20

	flagFlush    = 1 << 0
	flagFUA      = 1 << 1
	flagDiscard  = 1 << 2
	flagMark     = 1 << 3
	flagMetadata = 1 << 4
	knownFlags   = flagFlush | flagFUA | flagDiscard | flagMark | flagMetadata
)

// ErrFormat says that a log is none, or has what this package does not know how
// to replay.
var ErrFormat = errors.New("writelog: not a log that can be replayed")

// Entry is what was done to the disk: first the flush, if there is one, then the
// write, if it has data.
type Entry struct {
	Flush bool
	Write disk.Write
}

// Entries returns how many entries the log that begins with superblock has by
// now. Its maker counts those before a flush before it says that they are
// flushed.
func Entries(superblock []byte) (uint64, error) {
	entries, _, err := parseSuperblock(superblock)
	return entries, err
}

func parseSuperblock(b []byte) (entries uint64, sectorSize int64, err error) {
	if len(b) < superblockSize {
		return 0, 0, fmt.Errorf("%w: a superblock of %d bytes", ErrFormat, len(b))
	}
	if m := binary.LittleEndian.Uint64(b); m != magic {
		return 0, 0, fmt.Errorf("%w: magic %#x, want %#x", ErrFormat, m, uint64(magic))
	}
	if v := binary.LittleEndian.Uint64(b[8:]); v != version {
		return 0, 0, fmt.Errorf("%w: version %d, want %d", ErrFormat, v, version)
	}
	size := binary.LittleEndian.Uint32(b[24:])
	if size < disk.SectorSize || size > maxSectorSize || size&(size-1) != 0 {
		return 0, 0, fmt.Errorf("%w: sectors of %d bytes, want a power of two from %d to %d", ErrFormat, size, disk.SectorSize, maxSectorSize)
	}
	return binary.LittleEndian.Uint64(b[16:]), int64(size), nil
}

// Read reads a log. Its marks are left out. A log with a discard is refused, as
// nothing says what that leaves.
func Read(r io.Reader) ([]Entry, error) {
	in := bufio.NewReader(r)
	superblock, err := in.Peek(superblockSize)
	if err != nil {
		return nil, fmt.Errorf("%w: superblock: %w", ErrFormat, err)
	}
	count, sectorSize, err := parseSuperblock(superblock)
	if err != nil {
		return nil, err
	}
	sector := make([]byte, sectorSize)
	if _, err := io.ReadFull(in, sector); err != nil {
		return nil, fmt.Errorf("%w: superblock: %w", ErrFormat, err)
	}
	var entries []Entry
	for n := range count {
		if _, err := io.ReadFull(in, sector); err != nil {
			return nil, fmt.Errorf("%w: entry %d of %d: %w", ErrFormat, n, count, err)
		}
		e, length, err := parseEntry(sector, sectorSize)
		if err != nil {
			return nil, fmt.Errorf("%w: entry %d of %d: %w", ErrFormat, n, count, err)
		}
		if length > 0 {
			var data bytes.Buffer // grows with what is there, whatever length says
			if _, err := io.CopyN(&data, in, length); err != nil {
				return nil, fmt.Errorf("%w: data of entry %d of %d: %w", ErrFormat, n, count, err)
			}
			e.Write.Data = data.Bytes()
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// parseEntry returns an entry, and how much data follows it. A mark is an entry
// in which nothing is done.
func parseEntry(b []byte, sectorSize int64) (e Entry, length int64, err error) {
	sector, sectors, flags := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
	switch {
	case flags&^uint64(knownFlags) != 0:
		return e, 0, fmt.Errorf("flags %#x", flags)
	case flags&flagDiscard != 0:
		return e, 0, errors.New("a discard")
	case flags&flagMark != 0:
		return e, 0, nil
	case sectors > uint64(maxWrite/sectorSize):
		return e, 0, fmt.Errorf("a write of %d sectors", sectors)
	case sector > uint64(1<<62/sectorSize):
		return e, 0, fmt.Errorf("a write to sector %d", sector)
	}
	e.Flush = flags&flagFlush != 0
	e.Write.Offset = int64(sector) * sectorSize
	e.Write.Durable = flags&flagFUA != 0
	return e, int64(sectors) * sectorSize, nil
}
