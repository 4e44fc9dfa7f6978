package telemetry

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// str passes over a string and returns its value, valid until the next string;
// nil if it has no UTF-8 form, or after a syntax error.
func (s *scanner) str() []byte {
	start := s.pos + 1
	rest := s.data[start:]
	n := 0
	for len(rest)-n >= 8 {
		if w := special(binary.LittleEndian.Uint64(rest[n:])); w != 0 {
			n += bits.TrailingZeros64(w) / 8
			break
		}
		n += 8
	}
	for n < len(rest) && special(uint64(rest[n]))&0x80 == 0 {
		n++
	}
	if n < len(rest) && rest[n] == '"' {
		s.pos = start + n + 1
		return rest[:n]
	}
	s.pos = start + n
	s.unquoted = append(s.unquoted[:0], rest[:n]...)
	return s.decodedStr()
}

// special finds the bytes, of the eight in w, that do not stand for themselves
// in a string: quote, backslash, control characters and all but ASCII. The high
// bit of the lowest such byte is set in the result. (x-1 sets it if x is 0, and
// borrows from the byte above, which is why only the lowest counts.)
func special(w uint64) uint64 {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	quote, backslash := w^ones*'"', w^ones*'\\'
	return (w | (w - ones*' ') | (quote - ones) | (backslash - ones)) & highs
}

// decodedStr passes over the rest of a string that is not plain ASCII.
func (s *scanner) decodedStr() []byte {
	valid := true
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			if !valid {
				return nil
			}
			return s.unquoted
		case c == '\\':
			valid = s.escape() && valid
		case c < ' ':
			s.fail("no control character in a string")
		case c < utf8.RuneSelf:
			s.unquoted = append(s.unquoted, c)
			s.pos++
		default:
			r, size := utf8.DecodeRune(s.data[s.pos:])
			if r == utf8.RuneError && size == 1 {
				s.reject(ReasonInvalidUTF8, s.pos, "want UTF-8")
				valid = false
			}
			s.unquoted = utf8.AppendRune(s.unquoted, r)
			s.pos += size
		}
	}
	s.fail("the end of the string")
	return nil
}

// escape passes over one escaped character, two escapes if they are a
// surrogate pair. Half of a pair is rejected, and false returned.
func (s *scanner) escape() (valid bool) {
	start := s.pos
	s.pos++
	c := s.peek()
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		s.pos--
		r := s.unicodeEscape()
		if utf16.IsSurrogate(r) {
			r = s.lowSurrogate(r)
			if r == utf8.RuneError {
				s.reject(ReasonInvalidUTF8, start, "want a surrogate pair")
				return false
			}
		}
		s.unquoted = utf8.AppendRune(s.unquoted, r)
		return true
	default:
		s.fail("an escaped character")
		return false
	}
	s.unquoted = append(s.unquoted, c)
	s.pos++
	return true
}

// lowSurrogate returns the character of the pair that begins with high, or
// RuneError if the cursor is at no low surrogate, and then does not move.
func (s *scanner) lowSurrogate(high rune) rune {
	if s.pos+1 >= len(s.data) || s.data[s.pos] != '\\' || s.data[s.pos+1] != 'u' {
		return utf8.RuneError
	}
	start := s.pos
	r := utf16.DecodeRune(high, s.unicodeEscape())
	if r == utf8.RuneError && s.syntax == nil {
		s.pos = start
	}
	return r
}

// unicodeEscape passes over \uXXXX and returns its code unit.
func (s *scanner) unicodeEscape() rune {
	var r rune
	s.pos += len(`\u`)
	for range 4 {
		c := s.peek()
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			s.fail("four hexadecimal digits")
			return utf8.RuneError
		}
		r = r<<4 | rune(c)
		s.pos++
	}
	return r
}
