package bme680

import (
	"fmt"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/device"
)

// Identify returns nil if what answers at an address of bus has a BME680's id. All
// that it writes is the address of the register of it. The error wraps that of the
// bus, or is a drivers.ErrWrongChip that tells the id.
func Identify(bus i2c.Bus, address uint16) error {
	id, err := device.At(bus, address).ReadRegister("read id", regID)
	if err != nil {
		return err
	}
	if id != chipID {
		return fmt.Errorf("%w: id %#02x: want a BME680 (id %#02x)", drivers.ErrWrongChip, id, chipID)
	}
	return nil
}
