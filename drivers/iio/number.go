package iio

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/telltale-iot/telltale/drivers"
)

// The most bytes of a number: more than any of 64 bits with nine decimals.
const longestNumber = 40

// parse returns the decimal fraction that text is, with or without a line's end, and
// the low 32 bits of the whole number that its digits are without the point. The error
// is a drivers.ErrOutOfRange.
func parse(text string) (*big.Rat, uint32, error) {
	number := strings.TrimSuffix(text, "\n")
	whole, fraction, point := strings.Cut(strings.TrimPrefix(number, "-"), ".")
	if len(number) > longestNumber || !allDigits(whole) || point && !allDigits(fraction) {
		return nil, 0, fmt.Errorf("%.*q: want a decimal fraction: %w", longestNumber, number, drivers.ErrOutOfRange)
	}
	digits, _ := new(big.Int).SetString(whole+fraction, 10)
	if strings.HasPrefix(number, "-") {
		digits.Neg(digits)
	}
	// The remainder of a negative number is what its two's complement has there.
	word := uint32(new(big.Int).Mod(digits, big.NewInt(1<<32)).Uint64())
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(len(fraction))), nil)
	return new(big.Rat).SetFrac(digits, unit), word, nil
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// round returns the nearest whole number, upwards from the middle.
func round(x *big.Rat) *big.Int {
	x = new(big.Rat).Add(x, big.NewRat(1, 2))
	return new(big.Int).Div(x.Num(), x.Denom()) // floor, as the denominator is positive
}
