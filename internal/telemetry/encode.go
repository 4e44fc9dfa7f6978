package telemetry

import (
	"strconv"
	"unicode/utf8"
)

// AppendFrame appends the canonical JSON of f: the fields in the order of the
// contract, no white space, the shortest decimals, nothing that is empty. Equal
// frames have equal bytes. Invalid UTF-8 is replaced by U+FFFD.
func AppendFrame(dst []byte, f *Frame) []byte {
	dst = append(dst, `{"id":`...)
	dst = appendString(dst, f.ID)
	if f.Name != "" {
		dst = append(dst, `,"name":`...)
		dst = appendString(dst, f.Name)
	}
	if f.PlaceID != "" {
		dst = append(dst, `,"place_id":`...)
		dst = appendString(dst, f.PlaceID)
	}
	if f.IsLoss() {
		dst = append(dst, `,"epoch":`...)
		dst = strconv.AppendUint(dst, f.Epoch, 10)
		dst = append(dst, `,"lost":{"seq":`...)
		dst = appendSeqRange(dst, f.Lost.Seqs)
		dst = append(dst, `,"reason":`...)
		dst = appendString(dst, f.Lost.Reason)
		return append(dst, `}}`...)
	}
	dst = append(dst, `,"timestamp":`...)
	dst = strconv.AppendInt(dst, f.Timestamp, 10)
	if f.Sequenced {
		dst = append(dst, `,"epoch":`...)
		dst = strconv.AppendUint(dst, f.Epoch, 10)
		dst = append(dst, `,"seq":`...)
		dst = strconv.AppendUint(dst, f.Seq, 10)
	}
	dst = appendPayload(dst, `,"payload":`, &f.Payload)
	dst = appendPayload(dst, `,"raw":`, &f.Raw)
	dst = appendFaults(dst, &f.Faults)
	if f.Clock != ClockSynced {
		dst = append(dst, `,"clock":`...)
		dst = appendString(dst, string(f.Clock))
	}
	return append(dst, '}')
}

// AppendBatch appends the frames: one as an object, another number as an array.
func AppendBatch(dst []byte, frames []Frame) []byte {
	if len(frames) == 1 {
		return AppendFrame(dst, &frames[0])
	}
	dst = append(dst, '[')
	for i := range frames {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendFrame(dst, &frames[i])
	}
	return append(dst, ']')
}

func appendPayload(dst []byte, key string, p *Payload) []byte {
	if p.Empty() {
		return dst
	}
	dst = append(dst, key...)
	separator := byte('{')
	for m := range Measure(Measures) {
		if v, ok := p.Get(m); ok {
			dst = append(dst, separator, '"')
			dst = append(dst, measureNames[m]...)
			dst = append(dst, '"', ':')
			dst = appendMicro(dst, v)
			separator = ','
		}
	}
	return append(dst, '}')
}

func appendFaults(dst []byte, faults *Faults) []byte {
	if *faults == (Faults{}) {
		return dst
	}
	dst = append(dst, `,"faults":`...)
	separator := byte('{')
	for m, reason := range faults {
		if reason != "" {
			dst = append(dst, separator, '"')
			dst = append(dst, measureNames[m]...)
			dst = append(dst, '"', ':')
			dst = appendString(dst, reason)
			separator = ','
		}
	}
	return append(dst, '}')
}

func appendSeqRange(dst []byte, r SeqRange) []byte {
	dst = append(dst, '[')
	dst = strconv.AppendUint(dst, r.First, 10)
	dst = append(dst, ',')
	dst = strconv.AppendUint(dst, r.Last, 10)
	return append(dst, ']')
}

// appendString appends s as a JSON string, escaping no more than JSON demands.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	plain := 0 // where the bytes begin that are yet to be copied
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, s[plain:i]...)
				dst = utf8.AppendRune(dst, utf8.RuneError)
				plain = i + 1
			}
			i += size
			continue
		}
		dst = append(dst, s[plain:i]...)
		dst = appendEscape(dst, c)
		i++
		plain = i
	}
	dst = append(dst, s[plain:]...)
	return append(dst, '"')
}

// appendEscape appends the shortest escape of an ASCII character.
func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
}
