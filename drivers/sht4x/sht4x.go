package sht4x

import (
	"context"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/crc8"
	"github.com/telltale-iot/telltale/drivers/internal/device"
	"github.com/telltale-iot/telltale/drivers/nack"
)

// DefaultAddress is the I2C address of most of the chips. Which one a chip has
// is in its part number: A is 0x44, B is 0x45 and C is 0x46.
const DefaultAddress uint16 = 0x44

// Repeatability is how little the results scatter. Less noise takes more time
// and current (section 2).
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

// Commands (section 4.5).
const (
	measureHigh   = 0xFD
	measureMedium = 0xF6
	measureLow    = 0xE0
	readSerial    = 0x89
)

// measurement returns the command of one measurement and the longest time that
// it takes (section 3.2).
func (r Repeatability) measurement() (command byte, longest time.Duration) {
	switch r {
	case Medium:
		return measureMedium, 4500 * time.Microsecond
	case Low:
		return measureLow, 1700 * time.Microsecond
	default:
		return measureHigh, 8300 * time.Microsecond
	}
}

// crcInit is what checksums start from (section 4.4).
const crcInit = 0xFF

// Options of a [Dev]. The zero value measures with the least noise at
// [DefaultAddress].
type Options struct {
	Address       uint16 // 0x44, 0x45 or 0x46; 0 is DefaultAddress
	Repeatability Repeatability

	// Sleep waits for d or until ctx ends, and then returns its error. Nil
	// is drivers.Sleep.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Dev is one chip. It is not for concurrent use.
type Dev struct {
	dev     device.Device
	command byte
	longest time.Duration
}

// New returns the chip at an address of bus. It does no I/O: a chip that is
// absent is an error of each reading. The error is a drivers.ErrOptions.
func New(bus i2c.Bus, opts Options) (*Dev, error) {
	if opts.Repeatability > Low {
		return nil, fmt.Errorf("sht4x: %w: unknown repeatability %v", drivers.ErrOptions, opts.Repeatability)
	}
	dev, err := device.New("SHT4x", bus, opts.Address, opts.Sleep, DefaultAddress, 0x45, 0x46)
	if err != nil {
		return nil, fmt.Errorf("sht4x: %w: %w", drivers.ErrOptions, err)
	}
	command, longest := opts.Repeatability.measurement()
	return &Dev{dev: dev, command: command, longest: longest}, nil
}

// String returns the chip's name and address.
func (d *Dev) String() string { return d.dev.String() }

// Sense measures once and stores temperature and humidity in m. It leaves m as
// it is if it fails. It takes the longest time of the measurement, with a chip
// that is late 18 ms more, or until ctx ends.
//
// The error wraps that of the bus or of ctx, or is of one of the kinds
// ErrNotReady, ErrCRC and ErrOutOfRange of package drivers.
func (d *Dev) Sense(ctx context.Context, m *drivers.Measurement) error {
	return d.dev.Sense(ctx, m, device.NoConfiguration, d.measure)
}

func (d *Dev) measure(ctx context.Context, m *drivers.Measurement) error {
	if err := d.dev.Write("start", d.command); err != nil {
		return err
	}
	var b [6]byte
	if err := nack.Read(ctx, &d.dev, b[:], d.longest); err != nil {
		return err
	}
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

// What the chip is specified for (section 2.2).
const (
	minTemperature = physic.ZeroCelsius - 40*physic.Celsius
	maxTemperature = physic.ZeroCelsius + 125*physic.Celsius
)

const fullScale = 1<<16 - 1

// temperature returns -45 + 175 x word/65535 degree Celsius, rounded to the
// nearest unit of physic (section 4.6).
func temperature(word uint16) physic.Temperature {
	const offset, span = physic.ZeroCelsius - 45*physic.Celsius, 175 * physic.Celsius
	return offset + (physic.Temperature(word)*span+fullScale/2)/fullScale
}

// humidity returns -6 + 125 x word/65535 %RH, rounded to the nearest unit of
// physic, and cut to 0 and 100 %RH (section 4.6).
func humidity(word uint16) physic.RelativeHumidity {
	const offset, span = 6 * int64(physic.PercentRH), 125 * int64(physic.PercentRH)
	rh := (int64(word)*span+fullScale/2)/fullScale - offset
	return physic.RelativeHumidity(max(0, min(rh, int64(100*physic.PercentRH))))
}
