package telemetry

import (
	"bytes"
	"math"
	"math/bits"
)

// The methods below pass over one value of an expected type. ok is false if
// there is none: null is absence, everything else is rejected.

const wantID = "want 1 to 128 bytes without slash and control characters"

// wrongType passes over a value that is not what is wanted.
func (s *scanner) wrongType(want string) {
	at := s.pos
	absent := s.peek() == 'n' && s.field != fieldUnknown
	if s.skip(); !absent {
		s.reject(ReasonWrongType, at, "want "+want)
	}
}

// text passes over a string, valid until the next string. One that has no
// UTF-8 form is rejected and has no value.
func (s *scanner) text() (b []byte, ok bool) {
	if s.peek() != '"' {
		s.wrongType("a string")
		return nil, false
	}
	b = s.str()
	return b, b != nil
}

// isNumber reports whether the cursor is at a number.
func (s *scanner) isNumber() bool {
	c := s.peek()
	return c == '-' || '0' <= c && c <= '9'
}

// micro passes over the value of a measure.
func (s *scanner) micro() (v Micro, ok bool) {
	if !s.isNumber() {
		s.wrongType("a number")
		return 0, false
	}
	at := s.pos
	text, u, fraction, plain := s.number()
	if text == nil {
		return 0, false
	}
	var high uint64
	if plain && fraction <= microDigits {
		high, u = bits.Mul64(u, powers[microDigits-fraction])
	} else {
		u = millionths(text)
	}
	if high > 0 || u > uint64(MaxMicro) {
		s.reject(ReasonOutOfRange, at, "want at most 1e9 units")
		return 0, false
	}
	if text[0] == '-' {
		return -Micro(u), true
	}
	return Micro(u), true
}

// integer passes over an integer of 64 bits.
func (s *scanner) integer() (v int64, ok bool) {
	if !s.isNumber() {
		s.wrongType("an integer")
		return 0, false
	}
	at := s.pos
	text, u, fraction, plain := s.number()
	switch {
	case text == nil:
		return 0, false
	case fraction > 0, !plain && bytes.ContainsAny(text, "eE"):
		s.reject(ReasonWrongType, at, "want an integer without fraction and exponent")
		return 0, false
	case plain && u <= math.MaxInt64 && text[0] != '-':
		return int64(u), true
	case plain && u <= -math.MinInt64 && text[0] == '-':
		return -int64(u), true
	}
	s.reject(ReasonOutOfRange, at, "want an integer of 64 bits")
	return 0, false
}

// counter passes over an epoch or a sequence number.
func (s *scanner) counter() (v uint64, ok bool) {
	at := s.pos
	i, ok := s.integer()
	if ok && (i < 0 || i > MaxSeq) {
		s.reject(ReasonOutOfRange, at, "want 0 to 2^53-1")
		return 0, false
	}
	return uint64(i), ok
}

// seqRange passes over a pair [first,last].
func (s *scanner) seqRange() (r SeqRange, ok bool) {
	if s.peek() != '[' {
		s.wrongType("a pair of integers")
		return r, false
	}
	at, n := s.pos, 0
	var bounds [2]uint64
	ok = true
	for more := s.open(']'); more; more = s.next(']') {
		if n < len(bounds) {
			v, isCounter := s.counter()
			bounds[n] = v
			ok = ok && isCounter
		} else {
			s.skip()
		}
		n++
	}
	r = SeqRange{First: bounds[0], Last: bounds[1]}
	switch {
	case !ok || n != len(bounds):
		s.reject(ReasonWrongType, at, "want a pair of integers")
		return r, false
	case r.First > r.Last:
		s.reject(ReasonOutOfRange, at, "want the first not to be after the last")
		return r, false
	}
	return r, true
}
