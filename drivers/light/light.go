// Package light has the unit of the light sensors' results, which package
// physic lacks.
package light

import (
	"fmt"
	"strings"
)

// Illuminance is the luminous flux that falls on a surface, by area, in
// millionths of a lux. It holds up to 9.2e12 lx; the sun at noon is about
// 1e5 lx.
type Illuminance int64

// The units of [Illuminance].
const (
	MicroLux Illuminance = 1
	MilliLux Illuminance = 1000 * MicroLux
	Lux      Illuminance = 1000 * MilliLux
)

// String returns the exact value in lux, such as "312.5lx".
func (i Illuminance) String() string {
	sign, u := "", uint64(i)
	if i < 0 {
		sign, u = "-", -u
	}
	s := fmt.Sprintf("%s%d.%06d", sign, u/uint64(Lux), u%uint64(Lux))
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".") + "lx"
}
