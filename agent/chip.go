package agent

import (
	"context"
	"errors"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/drivers"
)

// A driver reads one chip, as the Dev of each package below drivers does.
type driver interface {
	Sense(ctx context.Context, m *drivers.Measurement) error
}

var errDriver = errors.New("no such driver")

// newDriver returns the driver of the chip that c describes.
func (a *Agent) newDriver(c *config.Chip) (driver, error) {
	bus, err := a.busOf(c)
	if err != nil {
		return nil, err
	}
	for _, k := range kinds() {
		if k.driver == c.Driver {
			return k.open(bus, c)
		}
	}
	return nil, errDriver
}
