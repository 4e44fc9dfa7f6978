package settings

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Decimal is a decimal number in millionths, exactly as it was written. It is
// written with at most six digits after the point and without an exponent, in
// quotes or not.
type Decimal int64

const decimalDigits = 6

var errDecimal = errors.New("want " + wantDecimal)

const wantDecimal = "a number with at most 6 digits after the point, such as 21.5 or -0.35"

// ParseDecimal reads what [Decimal.String] writes, and zeros around it.
func ParseDecimal(s string) (Decimal, error) {
	digits, negative := strings.CutPrefix(s, "-")
	whole, fraction, point := strings.Cut(digits, ".")
	if point && fraction == "" || len(fraction) > decimalDigits {
		return 0, errDecimal
	}
	fraction += strings.Repeat("0", decimalDigits-len(fraction))
	if strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, errDecimal // ParseUint takes signs and underscores
	}
	w, errWhole := strconv.ParseUint(whole, 10, 63)
	f, errFraction := strconv.ParseUint(fraction, 10, 63)
	if errWhole != nil || errFraction != nil || w > (math.MaxInt64-f)/1e6 {
		return 0, errDecimal
	}
	d := Decimal(w*1e6 + f)
	if negative {
		d = -d
	}
	return d, nil
}

// String returns the shortest decimal.
func (d Decimal) String() string {
	sign, u := "", uint64(d)
	if d < 0 {
		sign, u = "-", -u
	}
	s := sign + strconv.FormatUint(u/1e6, 10)
	if fraction := u % 1e6; fraction != 0 {
		digits := strconv.FormatUint(1e6+fraction, 10)[1:]
		s += "." + strings.TrimRight(digits, "0")
	}
	return s
}
