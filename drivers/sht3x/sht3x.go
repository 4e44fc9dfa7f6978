package sht3x

import (
	"context"
	"errors"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/crc8"
	"github.com/telltale-iot/telltale/drivers/internal/device"
	"github.com/telltale-iot/telltale/drivers/nack"
)

// DefaultAddress is the I2C address with ADDR low. It is 0x45 with ADDR high
// (table 8).
const DefaultAddress uint16 = 0x44

// Repeatability is how little the results scatter. Less noise takes more time
// and current (tables 1, 2 and 4).
type Repeatability uint8

// The repeatabilities.
const (
	High Repeatability = iota
	Medium
	Low
)

// String returns the repeatability's name.
func (r Repeatability) String() string {
	switch r {
	case High:
		return "High"
	case Medium:
		return "Medium"
	case Low:
		return "Low"
	default:
		return fmt.Sprintf("Repeatability(%d)", uint8(r))
	}
}

// Commands (tables 9, 13, 14, 17 and 19).
const (
	measureHigh   = 0x2400
	measureMedium = 0x240B
	measureLow    = 0x2416
	stopPeriodic  = 0x3093 // the datasheet's break
	softReset     = 0x30A2
	clearStatus   = 0x3041
	fetchStatus   = 0xF32D
)

// Bits of the status (table 18).
const (
	statusReset    = 1 << 4 // since the status was cleared
	statusHeater   = 1 << 13
	statusReserved = 1<<14 | 1<<12 | 1<<3 | 1<<2 // always 0
)

const (
	commandTime = 1 * time.Millisecond    // 4.3: between two commands
	resetTime   = 1500 * time.Microsecond // table 5: soft reset time
)

// measurement returns the command of one measurement and the longest time that
// it takes (tables 4 and 5).
func (r Repeatability) measurement() (command uint16, longest time.Duration) {
	switch r {
	case Medium:
		return measureMedium, 6500 * time.Microsecond
	case Low:
		return measureLow, 4500 * time.Microsecond
	default:
		return measureHigh, 15500 * time.Microsecond
	}
}

// crcInit is what checksums start from (table 20).
const crcInit = 0xFF

// Options of a [Dev]. The zero value measures with the least noise at
// [DefaultAddress].
type Options struct {
	Address       uint16 // 0x44 or 0x45; 0 is DefaultAddress
	Repeatability Repeatability

	// Sleep waits for d or until ctx ends, and then returns its error. Nil
	// is drivers.Sleep.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Dev is one chip. It is not for concurrent use.
type Dev struct {
	dev     device.Device
	command uint16
	longest time.Duration
}

// New returns the chip at an address of bus. It does no I/O: a chip that is
// absent is an error of each reading. The error is a drivers.ErrOptions.
func New(bus i2c.Bus, opts Options) (*Dev, error) {
	if opts.Repeatability > Low {
		return nil, fmt.Errorf("sht3x: %w: unknown repeatability %v", drivers.ErrOptions, opts.Repeatability)
	}
	dev, err := device.New("SHT3x", bus, opts.Address, opts.Sleep, DefaultAddress, 0x45)
	if err != nil {
		return nil, fmt.Errorf("sht3x: %w: %w", drivers.ErrOptions, err)
	}
	command, longest := opts.Repeatability.measurement()
	return &Dev{dev: dev, command: command, longest: longest}, nil
}

// String returns the chip's name and address.
func (d *Dev) String() string { return d.dev.String() }

// Resets returns how often the chip was found to have been reset.
func (d *Dev) Resets() uint64 { return d.dev.Resets() }

// Sense measures once and stores temperature and humidity in m. It leaves m as
// it is if it fails.
//
// It configures the chip if this is the first reading or the one before failed.
// It takes the measurement's time and 1 ms; at most, with a chip that is reset
// under way or late, 0.2 s; or until ctx ends.
//
// The error wraps that of the bus or of ctx, or is of one of the kinds
// ErrNotReady, ErrCRC, ErrWrongChip, ErrReset and ErrOutOfRange of package
// drivers.
func (d *Dev) Sense(ctx context.Context, m *drivers.Measurement) error {
	return d.dev.Sense(ctx, m, d.configure, d.measure)
}

// configure brings the chip from any mode to idle, with its heater off and its
// status clear.
func (d *Dev) configure(ctx context.Context) error {
	status, err := d.status(ctx)
	if err != nil {
		return err
	}
	if status&statusReserved != 0 {
		return fmt.Errorf("%w: status %#04x has bits that an SHT3x has not", drivers.ErrWrongChip, status)
	}
	for _, c := range []struct {
		what string
		code uint16
		time time.Duration
	}{
		{"stop periodic mode", stopPeriodic, commandTime},
		{"reset", softReset, resetTime}, // which is ignored in periodic mode (4.9)
		{"clear status", clearStatus, commandTime},
	} {
		if err := d.write(c.what, c.code); err != nil {
			return err
		}
		if err := d.dev.Sleep(ctx, c.time); err != nil {
			return err
		}
	}
	if status, err = d.status(ctx); err != nil {
		return err
	}
	return intact(status)
}

// intact returns a drivers.ErrReset if the status is not that of a chip as
// configure leaves it.
func intact(status uint16) error {
	if status&(statusReset|statusHeater) != 0 {
		return fmt.Errorf("status %#04x: %w", status, drivers.ErrReset)
	}
	return nil
}

// measure takes one measurement with the chip configured. Its error is
// drivers.ErrReset if the chip turns out not to be.
func (d *Dev) measure(ctx context.Context, m *drivers.Measurement) error {
	if err := d.write("start", d.command); err != nil {
		return err
	}
	var b [6]byte
	result := nack.Read(ctx, &d.dev, b[:], d.longest)
	if result != nil && !errors.Is(result, drivers.ErrNotReady) {
		return result
	}
	// A chip that has no result may have been reset while it measured.
	status, err := d.status(ctx)
	if err == nil {
		err = intact(status)
	}
	if result != nil && !errors.Is(err, drivers.ErrReset) {
		return result
	}
	if err != nil {
		return err
	}
	return convert(&b, m)
}

// status reads the status (4.11).
func (d *Dev) status(ctx context.Context) (uint16, error) {
	if err := d.write("ask for status", fetchStatus); err != nil {
		return 0, err
	}
	var b [3]byte
	if err := nack.Read(ctx, &d.dev, b[:], commandTime); err != nil {
		return 0, fmt.Errorf("status: %w", err)
	}
	return crc8.Word("status", crcInit, b[:])
}

func (d *Dev) write(what string, command uint16) error {
	return d.dev.Write(what, byte(command>>8), byte(command))
}

// What the chip is specified for (section 2.2).
const (
	minTemperature = physic.ZeroCelsius - 40*physic.Celsius
	maxTemperature = physic.ZeroCelsius + 125*physic.Celsius
)

// convert stores the quantities of a measurement in m, or nothing if one of them
// cannot be right (4.13).
func convert(b *[6]byte, m *drivers.Measurement) error {
	rawTemperature, err := crc8.Word("temperature", crcInit, b[:3])
	if err != nil {
		return err
	}
	rawHumidity, err := crc8.Word("humidity", crcInit, b[3:])
	if err != nil {
		return err
	}
	t := temperature(rawTemperature)
	if t < minTemperature || t > maxTemperature {
		return &drivers.RangeError{Quantity: "temperature", Value: t, Min: minTemperature, Max: maxTemperature}
	}
	m.Temperature, m.Words.Temperature = t, uint32(rawTemperature)
	m.Humidity, m.Words.Humidity = humidity(rawHumidity), uint32(rawHumidity)
	return nil
}

const fullScale = 1<<16 - 1

// temperature returns -45 + 175 x word/65535 degree Celsius, rounded to the
// nearest unit of physic.
func temperature(word uint16) physic.Temperature {
	const offset, span = physic.ZeroCelsius - 45*physic.Celsius, 175 * physic.Celsius
	return offset + (physic.Temperature(word)*span+fullScale/2)/fullScale
}

// humidity returns 100 x word/65535 %RH, rounded to the nearest unit of physic.
func humidity(word uint16) physic.RelativeHumidity {
	const span = 100 * int64(physic.PercentRH)
	return physic.RelativeHumidity((int64(word)*span + fullScale/2) / fullScale)
}
