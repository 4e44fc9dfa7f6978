package bmp3

import (
	"fmt"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/device"
)

// Identify returns which of the models answers at an address of bus, by its
// register id (section 4.3.1). All that it writes is that register's address. The
// error wraps that of the bus, or is a drivers.ErrWrongChip that tells the id.
func Identify(bus i2c.Bus, address uint16) (Model, error) {
	id, err := device.At(bus, address).ReadRegister("read id", regID)
	if err != nil {
		return 0, err
	}
	m, ok := modelOf(id)
	if !ok {
		return 0, fmt.Errorf("%w: id %#02x", drivers.ErrWrongChip, id)
	}
	return m, nil
}
