package htu21d

import (
	"context"
	"errors"
	"fmt"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/crc8"
	"github.com/telltale-iot/telltale/drivers/internal/device"
)

// Model is one of the chips that this package drives.
type Model uint8

// The models.
const (
	HTU21D Model = iota
	Si7021
)

// String returns the chip's name.
func (m Model) String() string {
	switch m {
	case HTU21D:
		return "HTU21D"
	case Si7021:
		return "Si7021"
	default:
		return fmt.Sprintf("Model(%d)", uint8(m))
	}
}

// Identify returns which of the models answers at an address of bus, by its
// electronic id. It takes up to 70 ms.
//
// To ask for that takes two bytes, which a chip with registers would take for an
// address and a value: a PCA9685, which can have the same address, would change its
// outputs. So it is asked only what has measured a temperature, for which the
// command is one byte, and given it with the right checksum.
//
// The error wraps that of the bus, or is a drivers.ErrWrongChip.
func Identify(bus i2c.Bus, address uint16) (Model, error) {
	d := Dev{dev: *device.At(bus, address)}
	word, err := d.convert(context.Background(), "temperature", measureTemperature, slowest)
	switch {
	case errors.Is(err, drivers.ErrNotReady), errors.Is(err, drivers.ErrCRC):
		return 0, fmt.Errorf("%w: it measures no temperature", drivers.ErrWrongChip)
	case err != nil:
		return 0, err
	case word == 0: // as registers that read as 0, whose checksum is 0
		return 0, fmt.Errorf("%w: it measures no temperature", drivers.ErrWrongChip)
	}
	// The second half of the id, whose first byte is the kind of chip (Si7021, 5.4).
	// That of the HTU21D is from Tasmota's driver.
	var b [6]byte
	if err := d.dev.Read("read electronic id", b[:], 0xFC, 0xC9); err != nil {
		return 0, err
	}
	if _, err := crc8.Word("electronic id", crcInit, b[:3]); err != nil {
		return 0, fmt.Errorf("%w: electronic id % x is without its checksum", drivers.ErrWrongChip, b)
	}
	switch b[0] {
	case 0x15:
		return Si7021, nil
	case 0x32:
		return HTU21D, nil
	default:
		return 0, fmt.Errorf("%w: electronic id % x", drivers.ErrWrongChip, b)
	}
}
