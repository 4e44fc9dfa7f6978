package settings

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Size is an amount of bytes. It is written as a whole number and a unit of
// IEC 80000-13: B, KiB, MiB, GiB or TiB.
type Size int64

// The units.
const (
	Byte Size = 1
	KiB       = 1024 * Byte
	MiB       = 1024 * KiB
	GiB       = 1024 * MiB
	TiB       = 1024 * GiB
)

var units = [...]struct {
	name string
	size Size
}{{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}, {"B", Byte}}

var errSize = errors.New("want " + wantSize)

const wantSize = "a size with its unit, such as 64KiB or 256MiB"

// ParseSize reads what [Size.String] writes. Neither signs nor fractions nor
// decimal units are taken.
func ParseSize(s string) (Size, error) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 63)
		if err != nil || Size(n) > math.MaxInt64/u.size {
			return 0, errSize
		}
		return Size(n) * u.size, nil
	}
	return 0, errSize
}

// String returns the size in the largest unit that holds it as a whole number.
func (s Size) String() string {
	for _, u := range units {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return "0B"
}
