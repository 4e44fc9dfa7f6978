package buffer

import (
	"bytes"
	"errors"
	"io"
)

const (
	chunkSize = 128 << 10
	pageSize  = 4096
)

// A scanner returns the records of one segment that verify, in order. It opens
// the file anew for each chunk, unless it is open as the active segment's, so it
// holds nothing between calls, and a segment may be removed under it.
type scanner struct {
	fs    FS
	open  func(base Position) File // nil, or returns the file if that is open
	salt  uint32
	base  Position // of the segment
	pos   Position // where the next record is looked for
	limit Position // where to stop: the segment's end, or its tail
	buf   []byte   // a chunk of the file
	at    Position // of buf[0]
}

// start goes to the first record of the segment at base.
func (s *scanner) start(base, limit Position) {
	s.base, s.pos, s.limit = base, base+headerSize, limit
	s.buf, s.at = s.buf[:0], s.pos
}

// next returns the next record, and io.EOF at the limit. The record starts
// behind the end of the one before if bytes between them do not verify.
func (s *scanner) next() (record, error) {
	for s.pos < s.limit {
		w, err := s.window()
		if err != nil {
			return record{}, err
		}
		last := s.pos+Position(len(w)) == s.limit
		i := 0
		for ; i < len(w) && (last || i == 0 || len(w)-i >= maxRecord); i++ {
			if w[i] == 0 || recordType(w[i]) > maxRecordType {
				continue
			}
			if rec, ok := parseRecord(s.salt, s.pos+Position(i), w[i:]); ok {
				s.pos = rec.end()
				return rec, nil
			}
		}
		s.pos += Position(i)
	}
	return record{}, io.EOF
}

// window returns the bytes from pos on: to the limit, or enough for a record.
func (s *scanner) window() ([]byte, error) {
	have := s.at + Position(len(s.buf))
	if s.pos >= s.at && s.pos < have && (have >= s.limit || have-s.pos >= maxRecord) {
		return s.buf[s.pos-s.at : min(have, s.limit)-s.at], nil
	}
	n := int(min(s.limit-s.pos, chunkSize))
	if cap(s.buf) < n {
		s.buf = make([]byte, n)
	}
	s.buf, s.at = s.buf[:n], s.pos
	if s.readOpen() {
		return s.buf, nil
	}
	if err := readSegment(s.fs, s.base, s.pos, s.buf); err != nil {
		s.buf = s.buf[:0]
		return nil, err
	}
	return s.buf, nil
}

// readOpen fills buf from the segment's file if that is open and whole. If not, or
// if it is closed meanwhile, readSegment has to.
func (s *scanner) readOpen() bool {
	if s.open == nil {
		return false
	}
	file := s.open(s.base)
	if file == nil {
		return false
	}
	n, err := file.ReadAt(s.buf, int64(s.pos-s.base))
	return err == nil && n == len(s.buf)
}

// readSegment fills p from position pos on. A page that cannot be read while
// another can is rotten: it is filled with bytes that start no record. If none
// can, it is the disk that fails, and the error says so.
func readSegment(fs FS, base, pos Position, p []byte) error {
	f, err := fs.Open(segmentName(base))
	if err != nil {
		return err
	}
	defer f.Close()
	off := int64(pos - base)
	n, err := f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		clear(p[n:])
		return nil
	}
	failed := err
	readable := false
	for len(p) > 0 {
		page := p[:min(len(p), pageSize-int(off%pageSize))]
		n, err := f.ReadAt(page, off)
		switch {
		case err == nil:
			readable = true
		case errors.Is(err, io.EOF):
			readable = true
			clear(page[n:])
		default:
			fill(page[n:], rotten)
		}
		p, off = p[len(page):], off+int64(len(page))
	}
	if !readable {
		return failed
	}
	return nil
}

// rotten is no record's type, and not the zero of what was never written.
const rotten = 0xff

func fill(p []byte, v byte) {
	for i := range p {
		p[i] = v
	}
}

// trimZeros returns p without the zeros at its end.
func trimZeros(p []byte) []byte { return bytes.TrimRight(p, "\x00") }
