package sht3x

import (
	"context"
	"errors"
	"fmt"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/device"
	"github.com/telltale-iot/telltale/drivers/nack"
)

// Resembles reports whether what answers at an address of bus may be an SHT3x: it
// has a status with the right checksum (4.11). It takes up to 20 ms.
//
// The command for that has two bytes, which a chip with registers would take for
// an address and a value. So it is sent only to what does not acknowledge a read
// without a command. Chips with registers do, the OPT3001 and the INA219 among
// them, which have the same addresses. An SHT4x does not, and knows no such
// command.
//
// A status is no identity: an HDC302x has the same. The error wraps that of the bus.
func Resembles(bus i2c.Bus, address uint16) (bool, error) {
	d := Dev{dev: *device.At(bus, address)}
	var b [1]byte
	switch err := d.dev.Tx(nil, b[:]); {
	case err == nil:
		return false, nil
	case !nack.Is(err):
		return false, fmt.Errorf("read without a command: %w", err)
	}
	switch status, err := d.status(context.Background()); {
	case errors.Is(err, drivers.ErrNotReady), errors.Is(err, drivers.ErrCRC):
		return false, nil
	case err != nil:
		return false, err
	default:
		return status&statusReserved == 0, nil
	}
}
