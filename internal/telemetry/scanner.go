package telemetry

// MaxDepth bounds the nesting of objects and arrays in a frame or a receipt,
// which is itself the first level. A frame needs three.
const MaxDepth = 16

// maxSyntaxDepth is encoding/json's bound: it refuses to scan a deeper message.
const maxSyntaxDepth = 10000

// scanner walks over a JSON text. It accepts what encoding/json accepts.
//
// There are two kinds of error, and the first of each counts. A syntax error
// ends the scan: the cursor goes to the end of the data, where every method
// finds nothing more, so callers look at syntax once, when they are done. A
// rejection is about what the text means; it is noted and the scan goes on,
// because only a text that has been scanned to its end is known to be JSON.
type scanner struct {
	data     []byte
	pos      int
	depth    int    // how many arrays and objects are open
	maxDepth int    // more than that are rejected
	stack    []byte // closing brackets of what skip is in
	unquoted []byte // the last string, if it had to be decoded
	field    field  // the known field that the cursor is in

	spaced  bool   // there was white space
	unknown bool   // there were unknown fields
	twice   fields // of which there were duplicates

	syntax   *DecodeError
	rejected *DecodeError
}

func (s *scanner) reset(data []byte) {
	s.data, s.pos, s.depth, s.maxDepth = data, 0, 0, MaxDepth
	s.syntax = nil
	s.begin()
}

// begin forgets what is known of the message so far but for its syntax.
func (s *scanner) begin() {
	s.field, s.spaced, s.unknown, s.twice, s.rejected = fieldUnknown, false, false, 0, nil
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
	if c := s.peek(); c > ' ' {
		return c
	}
	return s.spaces()
}

// spaces is the part of space that is seldom needed, apart so that the other
// is inlined.
func (s *scanner) spaces() byte {
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
	if s.depth > s.maxDepth {
		if s.depth > maxSyntaxDepth {
			s.fail("at most 10000 levels")
			return false
		}
		s.reject(ReasonTooDeep, s.pos, "want at most 16 levels")
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
	if rest := s.data[s.pos:]; len(rest) > 1 && rest[0] == ',' && rest[1] > ' ' {
		s.pos++ // no white space: the usual case, with less to do
		return true
	}
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

// member passes over a key and returns its field. If that is unknown or in seen
// already, the value is passed over too, and fieldUnknown is returned.
func (s *scanner) member(seen *fields, l *layout) field {
	at := s.pos
	f, key := l.after(s.field)
	if !s.passKey(key) {
		s.field = fieldUnknown
		f = l.fieldOf(s.key())
	}
	s.field = f
	switch {
	case f == fieldUnknown:
		s.unknown = true
	case seen.has(f):
		s.reject(ReasonDuplicateKey, at, "want it once")
		s.twice.add(f)
	default:
		seen.add(f)
		return f
	}
	s.skip()
	return fieldUnknown
}

// passKey passes over the key, if it is at the cursor in its canonical form. To
// guess a key is faster than to read it.
func (s *scanner) passKey(key string) bool {
	rest := s.data[s.pos:]
	n := len(key)
	if n == 0 || len(rest) < n+4 || string(rest[1:1+n]) != key ||
		rest[0] != '"' || rest[n+1] != '"' || rest[n+2] != ':' || rest[n+3] <= ' ' {
		return false
	}
	s.pos += n + len(`"":`)
	return true
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
