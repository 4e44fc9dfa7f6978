package telemetry

import "strconv"

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
	frac := u % 1e6
	if frac == 0 {
		return dst
	}
	dst = append(dst, '.')
	for unit := uint64(1e5); frac > 0; unit /= 10 {
		dst = append(dst, byte('0'+frac/unit))
		frac %= unit
	}
	return dst
}

// parseMicro returns the JSON number in millionths, rounded half away from
// zero; ok is false if that is beyond ±[MaxMicro]. It works on the decimal
// digits, so no binary fraction comes between the text and the result.
func parseMicro(number []byte) (v Micro, ok bool) {
	negative := number[0] == '-'
	if negative {
		number = number[1:]
	}
	mantissa, exponent := cutExponent(number)
	point := len(mantissa)
	for i, c := range mantissa {
		if c == '.' {
			point = i
			break
		}
	}

	// end is how many of the digits make the millionths; the one after decides
	// the rounding.
	end := int64(point) + exponent + microDigits
	var u uint64
	var index int64
	for i, c := range mantissa {
		if i == point {
			continue
		}
		if index >= end {
			if index == end && c >= '5' {
				u++
			}
			break
		}
		if u = u*10 + uint64(c-'0'); u > uint64(MaxMicro) {
			return 0, false
		}
		index++
	}
	for ; index < end && u > 0; index++ {
		if u *= 10; u > uint64(MaxMicro) {
			return 0, false
		}
	}
	if u > uint64(MaxMicro) {
		return 0, false
	}
	if negative {
		return -Micro(u), true
	}
	return Micro(u), true
}

// exponentBound stands for every greater exponent: it exceeds the length of
// any message, so that digits and exponent cannot cancel out.
const exponentBound = 1 << 40

// cutExponent splits an unsigned JSON number at its exponent.
func cutExponent(number []byte) (mantissa []byte, exponent int64) {
	for i, c := range number {
		if c != 'e' && c != 'E' {
			continue
		}
		sign := int64(1)
		for _, c := range number[i+1:] {
			switch c {
			case '+':
			case '-':
				sign = -1
			default:
				exponent = min(exponent*10+int64(c-'0'), exponentBound)
			}
		}
		return number[:i], sign * exponent
	}
	return number, 0
}

// parseInteger returns the JSON number; integer is false if it is written with
// a fraction or an exponent, ok is false if it does not fit.
func parseInteger(number []byte) (v int64, integer, ok bool) {
	negative := number[0] == '-'
	if negative {
		number = number[1:]
	}
	var u uint64
	ok = true
	for _, c := range number {
		if c < '0' || '9' < c {
			return 0, false, false
		}
		if u > (1<<63)/10 {
			ok = false
		}
		u = u*10 + uint64(c-'0')
		if u > 1<<63 {
			ok = false
		}
	}
	if negative {
		return -int64(u), true, ok
	}
	return int64(u), true, ok && u < 1<<63
}
