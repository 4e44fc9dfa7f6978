package telemetry

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of the contract's strings, in bytes of UTF-8.
const (
	MaxID     = 128 // a sensor's id
	MaxText   = 256 // a name, a place's id
	MaxReason = 32  // why a measure could not be read, why readings are lost
)

// ValidID reports whether s can be a sensor's id: 1 to [MaxID] bytes of UTF-8
// without slash, which separates the parts of a [FrameID], and without control
// characters.
func ValidID(s string) bool {
	return s != "" && len(s) <= MaxID && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return r == '/' || unicode.IsControl(r) })
}

// ValidReason reports whether s can be the reason of a fault or a loss, or a
// clock: [a-z0-9_]{1,32}, so that it can be a metric's label as it is.
func ValidReason(s string) bool {
	if s == "" || len(s) > MaxReason {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_':
		default:
			return false
		}
	}
	return true
}

// FrameID returns the identity of a frame as text, the _id of its document:
// {id}/{epoch}/{seq} of a sequenced reading, {id}/{timestamp} of another, and
// {id}/{epoch}/{first}-{last} of a declared loss. Two frames are the same
// exactly if their FrameIDs are.
func FrameID(f *Frame) string {
	buf := make([]byte, 0, MaxID+3*20)
	buf = append(buf, f.ID...)
	buf = append(buf, '/')
	switch {
	case f.IsLoss():
		buf = strconv.AppendUint(buf, f.Epoch, 10)
		buf = append(buf, '/')
		buf = strconv.AppendUint(buf, f.Lost.Seqs.First, 10)
		buf = append(buf, '-')
		buf = strconv.AppendUint(buf, f.Lost.Seqs.Last, 10)
	case f.Sequenced:
		buf = strconv.AppendUint(buf, f.Epoch, 10)
		buf = append(buf, '/')
		buf = strconv.AppendUint(buf, f.Seq, 10)
	default:
		buf = strconv.AppendInt(buf, f.Timestamp, 10)
	}
	return string(buf)
}
