package telemetry

import (
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth bounds the nesting of arrays and objects in a message, the array of
// a batch included. A frame needs three levels.
const MaxDepth = 16

// maxSyntaxDepth is encoding/json's bound: a deeper message is not scanned on.
const maxSyntaxDepth = 10000

// scanner walks over a JSON text. It accepts what encoding/json accepts.
//
// There are two kinds of error. A syntax error ends the scan: the cursor goes
// to the end of the data, where every method finds nothing more, so callers
// look at syntax once, when they are done. A rejection is about a meaning; it
// is noted and the scan goes on, because only a text that has been scanned to
// its end is known to be JSON. The first of each kind counts.
type scanner struct {
	data     []byte
	pos      int
	depth    int    // of the open arrays and objects
	stack    []byte // closing brackets of what skip is in
	unquoted []byte // the last string, if it had to be decoded
	spaced   bool   // there was white space
	field    field  // the known field that the cursor is in

	syntax   *DecodeError
	rejected *DecodeError
}

func (s *scanner) reset(data []byte) {
	*s = scanner{data: data, stack: s.stack[:0], unquoted: s.unquoted}
}

// fail notes a syntax error at the cursor and ends the scan.
func (s *scanner) fail(want string) {
	if s.syntax == nil {
		s.syntax = &DecodeError{Reason: ReasonNotJSON, Offset: s.pos, Field: s.field.String(), Detail: "want " + want}
	}
	s.pos = len(s.data)
}

func (s *scanner) reject(reason string, offset int, detail string) {
	if s.rejected == nil {
		s.rejected = &DecodeError{Reason: reason, Offset: offset, Field: s.field.String(), Detail: detail}
	}
}

// peek returns the byte at the cursor, 0 at the end; no token begins with 0.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

// space passes over white space and returns the byte after it, as peek does.
func (s *scanner) space() byte {
	for ; s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.spaced = true
		default:
			return c
		}
	}
	return 0
}

// end expects that nothing follows.
func (s *scanner) end() {
	if s.space(); s.pos < len(s.data) {
		s.fail("the end of the message")
	}
}

// open passes the bracket at the cursor and reports whether the array or
// object that closes with the given bracket has a first element. With next it
// makes a loop:
//
//	for more := s.open(']'); more; more = s.next(']') {
//		... pass over one element ...
//	}
func (s *scanner) open(closing byte) (more bool) {
	s.depth++
	if s.depth > MaxDepth {
		if s.depth > maxSyntaxDepth {
			s.fail("less nesting")
			return false
		}
		s.reject(ReasonTooDeep, s.pos, "nested deeper than 16")
	}
	s.pos++
	if s.space() != closing {
		return true
	}
	s.close()
	return false
}

// next passes the comma and reports whether another element follows.
func (s *scanner) next(closing byte) (more bool) {
	switch s.space() {
	case ',':
		s.pos++
		s.space()
		return true
	case closing:
		s.close()
	default:
		s.fail("a comma or the end of the array or object")
	}
	return false
}

func (s *scanner) close() {
	s.pos++
	s.depth--
}

// key passes over a member's key and colon and returns the key, valid until
// the next string.
func (s *scanner) key() []byte {
	if s.peek() != '"' {
		s.fail("a key")
		return nil
	}
	key := s.str()
	if s.space() != ':' {
		s.fail("a colon")
		return nil
	}
	s.pos++
	s.space()
	return key
}

// skip passes over any value. It does not recurse, so no message can exhaust
// the stack.
func (s *scanner) skip() {
	s.stack = s.stack[:0]
	for {
		switch s.peek() {
		case '{':
			if s.open('}') {
				s.stack = append(s.stack, '}')
				s.key()
				continue
			}
		case '[':
			if s.open(']') {
				s.stack = append(s.stack, ']')
				continue
			}
		case '"':
			s.str()
		case 't':
			s.literal("true")
		case 'f':
			s.literal("false")
		case 'n':
			s.literal("null")
		default:
			s.number()
		}
		if !s.nextOuter() {
			return
		}
	}
}

// nextOuter goes on to the next value of the innermost array or object that
// skip is in and that has one.
func (s *scanner) nextOuter() bool {
	for top := len(s.stack) - 1; top >= 0; top-- {
		closing := s.stack[top]
		if s.next(closing) {
			if closing == '}' {
				s.key()
			}
			return true
		}
		s.stack = s.stack[:top]
	}
	return false
}

func (s *scanner) literal(word string) {
	if end := s.pos + len(word); end <= len(s.data) && string(s.data[s.pos:end]) == word {
		s.pos = end
		return
	}
	s.fail(word)
}

// number passes over a number and returns its text; nil is a syntax error.
func (s *scanner) number() []byte {
	start := s.pos
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return nil
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return nil
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return nil
		}
	}
	return s.data[start:s.pos]
}

// digits passes over at least one digit.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos]-'0' <= 9 {
		s.pos++
	}
	if s.pos == start {
		s.fail("a value")
		return false
	}
	return true
}

// str passes over a string and returns its value, valid until the next string.
func (s *scanner) str() []byte {
	start := s.pos + 1
	for i := start; i < len(s.data); i++ {
		switch c := s.data[i]; {
		case c == '"':
			s.pos = i + 1
			return s.data[start:i]
		case c == '\\' || c < ' ' || c >= utf8.RuneSelf:
			s.unquoted = append(s.unquoted[:0], s.data[start:i]...)
			s.pos = i
			return s.decodedStr()
		}
	}
	s.pos = len(s.data)
	s.fail("the end of the string")
	return nil
}

// decodedStr passes over the rest of a string that is not plain ASCII.
func (s *scanner) decodedStr() []byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return s.unquoted
		case c == '\\':
			s.escape()
		case c < ' ':
			s.fail("no control character in a string")
		case c < utf8.RuneSelf:
			s.unquoted = append(s.unquoted, c)
			s.pos++
		default:
			r, size := utf8.DecodeRune(s.data[s.pos:])
			if r == utf8.RuneError && size == 1 {
				s.reject(ReasonInvalidUTF8, s.pos, "want UTF-8")
			}
			s.unquoted = utf8.AppendRune(s.unquoted, r)
			s.pos += size
		}
	}
	s.fail("the end of the string")
	return nil
}

// escape passes over one escaped character, two escapes if they are a
// surrogate pair.
func (s *scanner) escape() {
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
			}
		}
		s.unquoted = utf8.AppendRune(s.unquoted, r)
		return
	default:
		s.fail("an escaped character")
		return
	}
	s.unquoted = append(s.unquoted, c)
	s.pos++
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
