package aht20

import (
	"bytes"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers/crc8"
	"github.com/telltale-iot/telltale/drivers/internal/device"
)

// Resembles reports whether what answers at an address of bus may be an AHT20. It
// reads the seven bytes that the chip gives at any time and writes nothing: a
// PCF8574A, which can have the same address, would put that out.
//
// The chip has no identity. True means that the last byte is the checksum of the
// others, and that they are not all the same, which is what a PCF8574A gives; one in
// 256 strangers does so by chance. False is possible of a chip that
// is just measuring, or has not measured since it was switched on.
//
// The error wraps that of the bus.
func Resembles(bus i2c.Bus, address uint16) (bool, error) {
	var a answer
	if err := device.At(bus, address).Read("read results", a[:]); err != nil {
		return false, err
	}
	same := bytes.Count(a[:], a[:1]) == len(a)
	return !same && a[0]&statusBusy == 0 && crc8.Sum(crcInit, a[:6]...) == a[6], nil
}
