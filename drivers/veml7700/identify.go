package veml7700

import (
	"fmt"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/device"
)

// Identify returns nil if what answers at an address of bus is a VEML7700, or a
// VEML6030, by its register ID. All that it writes is that register's address. The
// error wraps that of the bus, or is a drivers.ErrWrongChip that tells the ID.
func Identify(bus i2c.Bus, address uint16) error {
	id, err := read(device.At(bus, address), "read id", regID)
	if err != nil {
		return err
	}
	if id&0xFF != deviceID {
		return fmt.Errorf("%w: id %#04x", drivers.ErrWrongChip, id)
	}
	return nil
}
