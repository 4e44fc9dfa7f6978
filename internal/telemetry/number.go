package telemetry

import (
	"bytes"
	"strconv"
)

// microDigits is how many digits a Micro has after the decimal point.
const microDigits = 6

// String returns the shortest decimal of v, in units: "21.37", "-0.000001".
func (v Micro) String() string { return string(appendMicro(nil, v)) }

// appendMicro appends the shortest decimal of v, which is a JSON number.
func appendMicro(dst []byte, v Micro) []byte {
	u := uint64(v)
	if v < 0 {
		dst = append(dst, '-')
		u = -u
	}
	dst = strconv.AppendUint(dst, u/1e6, 10)
	fraction := u % 1e6
	if fraction == 0 {
		return dst
	}
	dst = append(dst, '.')
	for unit := uint64(1e5); fraction > 0; unit /= 10 {
		dst = append(dst, byte('0'+fraction/unit))
		fraction %= unit
	}
	return dst
}

// plainDigits is how many decimal digits always fit a uint64.
const plainDigits = 19

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
