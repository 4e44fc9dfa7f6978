package agent

import (
	"context"
	"errors"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/drivers"
)

// A driver reads one chip, as the Dev of each package below drivers does.
type driver interface {
	Sense(ctx context.Context, m *drivers.Measurement) error
}

var errDriver = errors.New("no such driver")

// newDriver returns the driver of the chip that c describes.
func newDriver(bus i2c.Bus, c *config.Chip) (driver, error) {
	for _, k := range kinds() {
		if k.driver != c.Driver {
			continue
		}
		return k.open(bus, c)
	}
	return nil, errDriver
}
