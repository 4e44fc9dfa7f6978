package disk

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/simulator/disk/nbd"
)

// medium is a medium in memory.
type medium []byte

func (m medium) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(p, m[off:]), nil
}

func (m medium) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, io.ErrShortWrite
	}
	return copy(m[off:], p), nil
}

func random() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// sectors are so many sectors, each with the given letter.
func sectors(letters string) []byte {
	var b []byte
	for _, letter := range []byte(letters) {
		b = append(b, bytes.Repeat([]byte{letter}, SectorSize)...)
	}
	return b
}

// letters is the inverse of sectors; a sector that is not all of one letter is '?'.
func letters(b []byte) string {
	var s []byte
	for sector := range slices.Chunk(b, SectorSize) {
		letter := sector[0]
		if !bytes.Equal(sector, bytes.Repeat([]byte{letter}, SectorSize)) {
			letter = '?'
		}
		s = append(s, letter)
	}
	return string(s)
}

func TestCut(t *testing.T) {
	type step func(*testing.T, *Disk)
	write := func(sector int64, content string) step {
		return func(t *testing.T, d *Disk) {
			if err := d.Write(sectors(content), sector*SectorSize, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	through := func(sector int64, content string) step {
		return func(t *testing.T, d *Disk) {
			if err := d.Write(sectors(content), sector*SectorSize, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	flush := func(t *testing.T, d *Disk) {
		if err := d.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name  string
		steps []step
		cut   Cut
		want  string
		loss  Loss
	}{
		{"what was not flushed is lost", []step{write(1, "ab")}, LoseAll, "....", Loss{1, 1, 1024}},
		{"or not", []step{write(1, "ab")}, LoseNone, ".ab.", Loss{1, 1, 0}},
		{"what was flushed is not", []step{write(1, "ab"), flush, write(2, "c")}, LoseAll, ".ab.", Loss{2, 1, 512}},
		{"what was written through is not", []step{write(0, "a"), through(1, "b"), write(2, "c")}, LoseAll, ".b..", Loss{3, 3, 1024}},
		{"the last one written stays", []step{write(0, "aaa"), write(1, "bb"), write(2, "c")}, LoseNone, "abc.", Loss{3, 3, 0}},
		{"an older write does not come over one written through", []step{write(0, "aa"), through(0, "b")}, LoseNone, "ba..", Loss{2, 2, 0}},
		{"a newer one may be lost over it", []step{through(0, "b"), write(0, "aa")}, LoseAll, "b...", Loss{2, 2, 1024}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := medium(sectors("...."))
			d := New(m, int64(len(m)), random())
			for _, step := range test.steps {
				step(t, d)
			}
			d.Cut(test.cut)
			if got := letters(m); got != test.want {
				t.Errorf("the medium has %q, want %q", got, test.want)
			}
			if loss, err := d.Loss(); loss != test.loss || err != nil {
				t.Errorf("loss %+v, error %v, want %+v", loss, err, test.loss)
			}
		})
	}
}

func TestCutAfter(t *testing.T) {
	m := medium(sectors("...."))
	d := New(m, int64(len(m)), random())
	if err := d.Write(sectors("a"), 0, false); err != nil {
		t.Fatal(err)
	}
	d.CutAfter(2, LoseNone)
	if err := d.Write(sectors("b"), SectorSize, false); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.Off():
		t.Fatal("the power went one write too early")
	default:
	}
	if err := d.Write(sectors("c"), 2*SectorSize, false); !errors.Is(err, nbd.ErrSilent) {
		t.Fatalf("the write that the power went after: error %v", err)
	}
	<-d.Off()
	if got := letters(m); got != "abc." {
		t.Errorf("the medium has %q: the last write should be in the cache when the power goes", got)
	}
	for name, operation := range map[string]func() error{
		"read":  func() error { _, err := d.ReadAt(make([]byte, SectorSize), 0); return err },
		"write": func() error { return d.Write(sectors("x"), 0, true) },
		"flush": d.Flush,
	} {
		if err := operation(); !errors.Is(err, nbd.ErrSilent) {
			t.Errorf("%s without power: error %v, want silence", name, err)
		}
	}
	d.Cut(LoseAll)
	if loss, err := d.Loss(); loss != (Loss{Write: 3, Cached: 3}) || err != nil {
		t.Errorf("loss %+v, error %v", loss, err)
	}
	if got := letters(m); got != "abc." {
		t.Errorf("the medium has %q, written to without power", got)
	}
}

func TestAMediumThatFailsIsReported(t *testing.T) {
	m := medium(sectors(".."))
	d := New(m, 2*int64(len(m)), random())
	if err := d.Write(sectors("a"), 3*SectorSize, true); err != nil {
		t.Fatal(err)
	}
	if err := d.Flush(); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("flush: error %v", err)
	}
	d.Cut(LoseAll)
	if _, err := d.Loss(); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("cut: error %v", err)
	}
}

// TestDiskEqualsItsHistory compares a disk with the list of all that was written
// to it: a read returns the newest, and a cut leaves the result of one of the
// choices that it has, all of which are tried.
func TestDiskEqualsItsHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 6
		type write struct {
			at      int
			content string
			durable bool
			flushed bool
		}
		var history []write
		replay := func(kept func(write, int, int) bool) string {
			state := []byte("......")
			for n, w := range history {
				for i := range w.content {
					if kept(w, n, i) {
						state[w.at+i] = w.content[i]
					}
				}
			}
			return string(state)
		}
		m := medium(sectors("......"))
		d := New(m, size*SectorSize, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
		cut := rapid.SampledFrom(Cuts()).Draw(t, "cut")
		letter := byte('A')
		for pending := 0; pending < 5; {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				if err := d.Flush(); err != nil {
					t.Fatal(err)
				}
				for i := range history {
					history[i].flushed = true
				}
				pending = 0
			case 1:
				at := rapid.IntRange(0, size-1).Draw(t, "at")
				n := rapid.IntRange(1, size-at).Draw(t, "n")
				b := make([]byte, n*SectorSize)
				if _, err := d.ReadAt(b, int64(at)*SectorSize); err != nil {
					t.Fatal(err)
				}
				newest := replay(func(write, int, int) bool { return true })
				if got := letters(b); got != newest[at:at+n] {
					t.Fatalf("read %q, want %q", got, newest[at:at+n])
				}
			default:
				at := rapid.IntRange(0, size-1).Draw(t, "at")
				w := write{at: at, durable: rapid.IntRange(0, 3).Draw(t, "fua") == 0}
				for range rapid.IntRange(1, min(3, size-at)).Draw(t, "n") {
					w.content += string(letter)
					letter++
				}
				b := sectors(w.content)
				if err := d.Write(b, int64(at)*SectorSize, w.durable); err != nil {
					t.Fatal(err)
				}
				clear(b) // the disk keeps a copy
				history = append(history, w)
				pending++
			}
			if letter > 'z' {
				break
			}
		}
		d.Cut(cut)
		got := letters(m)
		// choices has a bit for each thing that the cut decides.
		choice := make(map[[2]int]int)
		for n, w := range history {
			for i := range w.content {
				switch {
				case w.durable || w.flushed:
				case cut == LoseSome:
					if i == 0 {
						choice[[2]int{n, 0}] = len(choice)
					}
				case cut == Tear:
					choice[[2]int{n, i}] = len(choice)
				}
			}
		}
		for choices := range 1 << len(choice) {
			want := replay(func(w write, n, i int) bool {
				switch {
				case w.durable || w.flushed || cut == LoseNone:
					return true
				case cut == LoseSome:
					return choices>>choice[[2]int{n, 0}]&1 == 1
				case cut == Tear:
					return choices>>choice[[2]int{n, i}]&1 == 1
				}
				return false
			})
			if got == want {
				return
			}
		}
		t.Fatalf("%v left %q, which nothing of %+v does", cut, got, history)
	})
}

// TestARandomCutIsNotAlwaysTheSame holds that each outcome happens, which the
// property above does not ask for.
func TestARandomCutIsNotAlwaysTheSame(t *testing.T) {
	for cut, want := range map[Cut][]string{
		LoseSome: {"..", "ab", "cd"},
		Tear:     {"..", ".b", ".d", "a.", "ab", "ad", "c.", "cb", "cd"},
	} {
		seen := make(map[string]bool)
		rnd := random()
		for range 1000 {
			m := medium(sectors(".."))
			d := New(m, int64(len(m)), rnd)
			for _, content := range []string{"ab", "cd"} {
				if err := d.Write(sectors(content), 0, false); err != nil {
					t.Fatal(err)
				}
			}
			d.Cut(cut)
			seen[letters(m)] = true
		}
		if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, want) {
			t.Errorf("%v left %q, want %q", cut, got, want)
		}
	}
}
