package writelog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/simulator/disk"
)

// logOf puts a log of sectors of 512 bytes together.
func logOf(count uint64, entries ...[]byte) []byte {
	return append(superblockOf(magic, version, count, 512), bytes.Join(entries, nil)...)
}

func superblockOf(magic, version, count uint64, sectorSize uint32) []byte {
	b := binary.LittleEndian.AppendUint64(nil, magic)
	b = binary.LittleEndian.AppendUint64(b, version)
	b = binary.LittleEndian.AppendUint64(b, count)
	b = binary.LittleEndian.AppendUint32(b, sectorSize)
	return append(b, make([]byte, max(int(sectorSize), 512)-len(b))...)
}

func entryOf(sector, sectors, flags, dataLen uint64, data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, sector)
	b = binary.LittleEndian.AppendUint64(b, sectors)
	b = binary.LittleEndian.AppendUint64(b, flags)
	b = binary.LittleEndian.AppendUint64(b, dataLen)
	return append(append(b, make([]byte, 512-len(b))...), data...)
}

// sectors are so many sectors, each with the given letter.
func sectors(letters string) []byte {
	var b []byte
	for _, letter := range []byte(letters) {
		b = append(b, bytes.Repeat([]byte{letter}, disk.SectorSize)...)
	}
	return b
}

func letters(b []byte) string {
	var s []byte
	for at := 0; at < len(b); at += disk.SectorSize {
		s = append(s, b[at])
	}
	return string(s)
}

func TestRead(t *testing.T) {
	tests := []struct {
		name string
		log  []byte
		want []Entry
		err  string
	}{
		{"nothing yet", logOf(0), nil, ""},
		{
			"writes and flushes",
			logOf(4, entryOf(2, 2, 0, 0, sectors("ab")), entryOf(0, 0, flagFlush, 0, nil), entryOf(1, 1, flagFUA, 0, sectors("c")),
				entryOf(3, 1, flagFlush|flagFUA|flagMetadata, 0, sectors("d"))),
			[]Entry{
				{Write: disk.Write{Offset: 1024, Data: sectors("ab")}},
				{Flush: true},
				{Write: disk.Write{Offset: 512, Data: sectors("c"), Durable: true}},
				{Flush: true, Write: disk.Write{Offset: 1536, Data: sectors("d"), Durable: true}},
			},
			"",
		},
		{"a mark", logOf(2, entryOf(0, 0, flagMark, 5, nil), entryOf(0, 0, flagFlush, 0, nil)), []Entry{{}, {Flush: true}}, ""},
		{"more than is counted", logOf(1, entryOf(0, 0, flagFlush, 0, nil), []byte("half an entry")), []Entry{{Flush: true}}, ""},
		{"fewer than are counted", logOf(2, entryOf(0, 0, flagFlush, 0, nil)), nil, "entry 1 of 2: EOF"},
		{"data cut short", logOf(1, entryOf(0, 2, 0, 0, sectors("a"))), nil, "data of entry 0 of 1: EOF"},
		{"a discard", logOf(1, entryOf(0, 8, flagDiscard, 0, nil)), nil, "entry 0 of 1: a discard"},
		{"unknown flags", logOf(1, entryOf(0, 0, 32, 0, nil)), nil, "entry 0 of 1: flags 0x20"},
		{"a write of more than memory", logOf(1, entryOf(0, 1<<60, 0, 0, nil)), nil, "entry 0 of 1: a write of 1152921504606846976 sectors"},
		{"a write beyond all disks", logOf(1, entryOf(1<<63, 1, 0, 0, nil)), nil, "entry 0 of 1: a write to sector 9223372036854775808"},
		{"empty", nil, nil, "superblock: EOF"},
		{"a superblock cut short", logOf(0)[:100], nil, "superblock: unexpected EOF"},
		{"another magic", superblockOf(7, 1, 0, 512), nil, "magic 0x7, want 0x6a736677736872"},
		{"another version", superblockOf(magic, 2, 0, 512), nil, "version 2, want 1"},
		{"no sectors", superblockOf(magic, 1, 0, 0), nil, "sectors of 0 bytes, want a power of two from 512 to 65536"},
		{"odd sectors", superblockOf(magic, 1, 0, 1000), nil, "sectors of 1000 bytes, want a power of two from 512 to 65536"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Read(bytes.NewReader(test.log))
			if test.err != "" {
				if want := ErrFormat.Error() + ": " + test.err; err == nil || err.Error() != want || !errors.Is(err, ErrFormat) {
					t.Errorf("error %v, want %s", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEntries(t *testing.T) {
	if n, err := Entries(logOf(17)); n != 17 || err != nil {
		t.Errorf("%d entries, error %v, want 17", n, err)
	}
	if _, err := Entries(make([]byte, 512)); !errors.Is(err, ErrFormat) {
		t.Errorf("error %v of a log that is not begun, want ErrFormat", err)
	}
}

func TestReplay(t *testing.T) {
	write := func(sector int64, content string, durable bool) Entry {
		return Entry{Write: disk.Write{Offset: sector * disk.SectorSize, Data: sectors(content), Durable: durable}}
	}
	before := write(3, "f", false)
	before.Flush = true
	r := NewReplay(sectors("...."), []Entry{write(0, "ab", false), write(1, "c", true), {Flush: true}, write(2, "d", false), before})
	steps := []struct {
		lost, kept string
		cached     int
	}{
		{"....", "....", 0},
		{"....", "ab..", 1},
		{".c..", "ac..", 2},
		{"ac..", "ac..", 0},
		{"ac..", "acd.", 1},
		{"acd.", "acdf", 1},
	}
	for n, want := range steps {
		if err := r.Advance(n); err != nil {
			t.Fatal(err)
		}
		if r.Cached() != want.cached {
			t.Errorf("after %d entries %d writes are not flushed, want %d", n, r.Cached(), want.cached)
		}
		for cut, want := range map[disk.Cut]string{disk.LoseAll: want.lost, disk.LoseNone: want.kept} {
			image, err := r.Crash(cut, rand.New(rand.NewPCG(0, 0)))
			if err != nil {
				t.Fatal(err)
			}
			if got := letters(image); got != want {
				t.Errorf("after %d entries: %v leaves %q, want %q", n, cut, got, want)
			}
			clear(image) // nothing that comes later depends on it
		}
	}
	for _, n := range []int{4, 6} {
		if err := r.Advance(n); err == nil {
			t.Errorf("from entry 5 to %d of 5 without an error", n)
		}
	}
}

func TestReplayOntoASmallerDisk(t *testing.T) {
	entries := []Entry{{Write: disk.Write{Offset: 512, Data: sectors("ab")}}, {Flush: true}}
	r := NewReplay(sectors(".."), entries)
	if err := r.Advance(1); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Crash(disk.LoseNone, nil); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("crash: error %v", err)
	}
	if err := r.Advance(2); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("advance: error %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(logOf(2, entryOf(2, 2, flagFUA, 0, sectors("ab")), entryOf(0, 0, flagFlush, 0, nil)))
	f.Add(logOf(1, entryOf(0, 0, flagMark, 5, nil)))
	f.Add(superblockOf(magic, version, 1, 4096))
	f.Fuzz(func(t *testing.T, log []byte) {
		entries, err := Read(bytes.NewReader(log))
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("error %v is of no kind", err)
			}
			return
		}
		if n, err := Entries(log); err != nil || n != uint64(len(entries)) {
			t.Errorf("%d entries, but the superblock counts %d, error %v", len(entries), n, err)
		}
		total := 0
		for _, e := range entries {
			total += len(e.Write.Data)
			if e.Write.Offset < 0 || e.Write.Offset%disk.SectorSize != 0 || len(e.Write.Data)%disk.SectorSize != 0 {
				t.Errorf("a write of %d bytes at %d", len(e.Write.Data), e.Write.Offset)
			}
		}
		if total > len(log) {
			t.Errorf("%d bytes of data from a log of %d", total, len(log))
		}
	})
}
