package opt3001

import (
	"fmt"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/device"
)

// Identify returns nil if what answers at an address of bus is an OPT3001, by its
// manufacturer and device IDs (7.6.1.1.5 and 7.6.1.1.6). All that it writes is the
// registers' addresses. The error wraps that of the bus, or is a
// drivers.ErrWrongChip that tells the ID.
func Identify(bus i2c.Bus, address uint16) error {
	for _, r := range []struct {
		what string
		reg  byte
		want uint16
	}{
		{"manufacturer", regManufacturer, manufacturerTI},
		{"device", regDevice, deviceOPT3001},
	} {
		id, err := read(device.At(bus, address), "read "+r.what+" id", r.reg)
		if err != nil {
			return err
		}
		if id != r.want {
			return fmt.Errorf("%w: %s id %#04x", drivers.ErrWrongChip, r.what, id)
		}
	}
	return nil
}
