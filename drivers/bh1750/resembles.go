package bh1750

import (
	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers/internal/device"
)

// Resembles reports whether what answers at an address of bus may be a BH1750. It
// reads the two bytes that the chip gives at any time (page 10) and writes nothing:
// where there is no chip of this kind, a written byte is somebody's output, as at an
// I/O expander, which can have the same address.
//
// The chip has no identity, so true is no more than a guess. False is one as well:
// two bytes that are the same and not 0 are what chips give that repeat one register,
// and also one in 256 results of a BH1750.
//
// The error wraps that of the bus.
func Resembles(bus i2c.Bus, address uint16) (bool, error) {
	var b [2]byte
	if err := device.At(bus, address).Read("read result", b[:]); err != nil {
		return false, err
	}
	return b[0] != b[1] || b[0] == 0, nil
}
