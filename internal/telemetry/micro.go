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
