package tsl2591

import (
	"fmt"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/device"
)

// Identify returns nil if what answers at an address of bus is a TSL2591, by its
// register ID. All that it writes is that register's address. The error wraps that
// of the bus, or is a drivers.ErrWrongChip that tells the ID.
func Identify(bus i2c.Bus, address uint16) error {
	id, err := device.At(bus, address).ReadRegister("read id", command|regID)
	if err != nil {
		return err
	}
	if id != deviceID {
		return fmt.Errorf("%w: id %#02x", drivers.ErrWrongChip, id)
	}
	return nil
}
