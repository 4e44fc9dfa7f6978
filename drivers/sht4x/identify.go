package sht4x

import (
	"context"
	"fmt"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/crc8"
	"github.com/telltale-iot/telltale/drivers/internal/device"
	"github.com/telltale-iot/telltale/drivers/nack"
)

// Identify returns the serial number of the SHT4x that answers at an address of
// bus (section 4.5). It takes up to 20 ms.
//
// All that it writes is one byte, 0x89. A chip with registers takes that for the
// address of one, as an OPT3001 and an INA219 do, which have the same addresses;
// an SHT3x and an HDC302x take it for half a command, which they ignore.
//
// The error wraps that of the bus, or is a drivers.ErrWrongChip: what answers has
// no serial number, or one without its checksums.
func Identify(bus i2c.Bus, address uint16) (serial uint32, err error) {
	dev := device.At(bus, address)
	if err := dev.Write("ask for serial number", readSerial); err != nil {
		return 0, err
	}
	var b [6]byte
	if err := nack.Read(context.Background(), dev, b[:], nack.Interval); err != nil {
		if nack.Is(err) {
			return 0, fmt.Errorf("%w: no serial number", drivers.ErrWrongChip)
		}
		return 0, err
	}
	high, errHigh := crc8.Word("high word", crcInit, b[:3])
	low, errLow := crc8.Word("low word", crcInit, b[3:])
	if errHigh != nil || errLow != nil {
		return 0, fmt.Errorf("%w: serial number % x is without its checksums", drivers.ErrWrongChip, b)
	}
	return uint32(high)<<16 | uint32(low), nil
}
