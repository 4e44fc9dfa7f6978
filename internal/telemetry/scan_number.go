package telemetry

import "bytes"

// plainDigits is how many decimal digits always fit a uint64.
const plainDigits = 19

// number passes over a number and returns its text, nil after a syntax error.
// A plain number, one that has no exponent and few enough digits for a uint64,
// is ±mantissa/10^fraction.
func (s *scanner) number() (text []byte, mantissa uint64, fraction int, plain bool) {
	text = s.data[s.pos:]
	rest := text
	if len(rest) > 0 && rest[0] == '-' {
		rest = rest[1:]
	}
	whole := rest
	mantissa, rest = digits(0, whole)
	n := len(whole) - len(rest)
	good := n == 1 || n > 1 && whole[0] != '0'
	if len(rest) > 0 && rest[0] == '.' {
		part := rest[1:]
		mantissa, rest = digits(mantissa, part)
		fraction = len(part) - len(rest)
		good = good && fraction > 0
	}
	plain = n+fraction <= plainDigits
	if len(rest) > 0 && (rest[0] == 'e' || rest[0] == 'E') {
		plain = false
		rest = rest[1:]
		if len(rest) > 0 && (rest[0] == '+' || rest[0] == '-') {
			rest = rest[1:]
		}
		n := len(rest)
		_, rest = digits(0, rest)
		good = good && len(rest) < n
	}
	if !good {
		s.fail("a value")
		return nil, 0, 0, false
	}
	s.pos = len(s.data) - len(rest)
	return text[:len(text)-len(rest)], mantissa, fraction, plain
}

// digits passes over the digits at the beginning of b: it appends them to the
// decimal number v and returns it with what follows.
func digits(v uint64, b []byte) (uint64, []byte) {
	for i, c := range b {
		if c -= '0'; c > 9 {
			return v, b[i:]
		}
		v = v*10 + uint64(c)
	}
	return v, nil
}

// powers are those of ten, up to a unit in millionths.
var powers = [microDigits + 1]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6}

// millionths returns the magnitude of any JSON number in millionths, rounded
// half up, or something greater than [MaxMicro] if that is exceeded. It works
// on the decimal digits, so no binary fraction comes between the text and the
// result.
func millionths(text []byte) uint64 {
	text, exponent := cutExponent(bytes.TrimPrefix(text, []byte("-")))
	point := bytes.IndexByte(text, '.')
	if point < 0 {
		point = len(text)
	}

	// end is how many of the digits make the millionths; the one after decides
	// the rounding.
	end := int64(point) + exponent + microDigits
	var u uint64
	var index int64
	for i, c := range text {
		if i == point {
			continue
		}
		if index >= end {
			if index == end && c >= '5' {
				u++
			}
			return u
		}
		if u = u*10 + uint64(c-'0'); u > uint64(MaxMicro) {
			return u
		}
		index++
	}
	for ; index < end && 0 < u && u <= uint64(MaxMicro); index++ {
		u *= 10
	}
	return u
}

// exponentBound stands for every greater exponent: it exceeds the length of
// any message, so that digits and exponent cannot cancel out.
const exponentBound = 1 << 40

// cutExponent splits a JSON number at its exponent.
func cutExponent(text []byte) (mantissa []byte, exponent int64) {
	i := bytes.IndexAny(text, "eE")
	if i < 0 {
		return text, 0
	}
	sign := int64(1)
	for _, c := range text[i+1:] {
		switch c {
		case '+':
		case '-':
			sign = -1
		default:
			exponent = min(exponent*10+int64(c-'0'), exponentBound)
		}
	}
	return text[:i], sign * exponent
}
