package bme680

import (
	"fmt"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers"
)

// Identify returns nil if what answers at an address of bus has a BME680's id. All
// that it writes is the address of the register of it. The error wraps that of the
// bus, or is a drivers.ErrWrongChip that tells the id.
func Identify(bus i2c.Bus, address uint16) error {
	var id [1]byte
	if err := bus.Tx(address, []byte{regID}, id[:]); err != nil {
		return fmt.Errorf("read id: %w", err)
	}
	if id[0] != chipID {
		return fmt.Errorf("%w: id %#02x: want a BME680 (id %#02x)", drivers.ErrWrongChip, id[0], chipID)
	}
	return nil
}
