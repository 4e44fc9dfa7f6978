//go:build !linux

package agent

import (
	"errors"
	"fmt"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/agent/internal/detect"
)

// openHostBus fails: the buses of a host are Linux's device files.
func openHostBus(name string) (i2c.BusCloser, error) {
	return nil, fmt.Errorf("bus %q: %w", name, errors.ErrUnsupported)
}

// hostAdapters fails likewise.
func hostAdapters() ([]detect.Adapter, error) {
	return nil, fmt.Errorf("I2C buses: %w", errors.ErrUnsupported)
}
