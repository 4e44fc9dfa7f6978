package window

import (
	"errors"
	"fmt"
	"math/big"
	"math/bits"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Int128 is a signed integer of 128 bits in two's complement. The zero Int128
// is 0.
type Int128 struct {
	hi, lo uint64
}

// Plus returns a + b, wrapping around.
func (a Int128) Plus(b Int128) Int128 {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(a.hi, b.hi, carry)
	return Int128{hi, lo}
}

// sumsFit reports whether no sum of so many values of at most that magnitude,
// nor of their squares, can overflow.
func sumsFit(values int64, magnitude telemetry.Micro) bool {
	if values <= MaxFrames {
		return true
	}
	m := big.NewInt(int64(magnitude))
	m.Mul(m, m)
	return m.Mul(m, big.NewInt(values)).BitLen() < 128
}

func fromMicro(v telemetry.Micro) Int128 {
	return Int128{hi: uint64(v >> 63), lo: uint64(v)}
}

func square(v telemetry.Micro) Int128 {
	u := uint64(max(v, -v))
	hi, lo := bits.Mul64(u, u)
	return Int128{hi, lo}
}

// Big returns the value as a new big.Int.
func (a Int128) Big() *big.Int {
	negative := int64(a.hi) < 0
	if negative {
		lo, borrow := bits.Sub64(0, a.lo, 0)
		hi, _ := bits.Sub64(0, a.hi, borrow)
		a = Int128{hi, lo}
	}
	v := new(big.Int).SetUint64(a.hi)
	v.Lsh(v, 64).Or(v, new(big.Int).SetUint64(a.lo))
	if negative {
		v.Neg(v)
	}
	return v
}

// String returns the value in decimal.
func (a Int128) String() string { return a.Big().String() }

var errInt128 = errors.New("want a decimal integer of at most 127 bits")

// ParseInt128 is the inverse of String.
func ParseInt128(s string) (Int128, error) {
	v, ok := new(big.Int).SetString(s, 10)
	if !ok || v.BitLen() > 127 || v.String() != s {
		return Int128{}, fmt.Errorf("%q: %w", s, errInt128)
	}
	abs := new(big.Int).Abs(v)
	a := Int128{
		hi: new(big.Int).Rsh(abs, 64).Uint64(),
		lo: new(big.Int).And(abs, new(big.Int).SetUint64(1<<64-1)).Uint64(),
	}
	if v.Sign() < 0 {
		lo, borrow := bits.Sub64(0, a.lo, 0)
		hi, _ := bits.Sub64(0, a.hi, borrow)
		a = Int128{hi, lo}
	}
	return a, nil
}
