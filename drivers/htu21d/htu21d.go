package htu21d

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

// DefaultAddress is the I2C address of all chips.
const DefaultAddress uint16 = 0x40

// Commands (HTU21D, "I2C commands"; Si7021, table 11).
const (
	measureTemperature = 0xF3 // no hold master
	measureHumidity    = 0xF5
	readUser           = 0xE7
	writeUser          = 0xE6
	softReset          = 0xFE
)

// Bits of the user register (HTU21D, "User register"; Si7021, section 6). Others
// are reserved, or not to be changed.
const (
	userResolution = 1<<7 | 1<<0
	userLowSupply  = 1 << 6
	userHeater     = 1 << 2
)

// resetTime is the longest time of a soft reset (HTU21D, "Soft reset"; Si7021,
// table 2).
const resetTime = 15 * time.Millisecond

// crcInit is what checksums start from (HTU21D, "CRC checksum"; Si7021, 5.1).
const crcInit = 0

// Options of a [Dev]. The zero value measures with the greatest resolution at
// [DefaultAddress].
type Options struct {
	Address uint16 // 0x40; 0 is DefaultAddress

	// Resolution is that of temperature: 14, 13, 12 or 11 bits. Humidity
	// then has 12, 10, 8 or 11. 0 is 14.
	Resolution uint8

	// Sleep waits for d or until ctx ends, and then returns its error. Nil
	// is drivers.Sleep.
	Sleep func(ctx context.Context, d time.Duration) error
}

// slowest is the longest time of any measurement.
const slowest = 50 * time.Millisecond

// settings are what goes with a resolution: its bits in the user register, and
// the longest times of the measurements (HTU21D, "Operating characteristics";
// Si7021, table 2).
type settings struct {
	user                  byte
	temperature, humidity time.Duration
}

func newSettings(resolution uint8) (s settings, ok bool) {
	switch resolution {
	case 14:
		return settings{0, slowest, 22800 * time.Microsecond}, true
	case 13:
		return settings{1 << 7, 25 * time.Millisecond, 10700 * time.Microsecond}, true
	case 12:
		return settings{1 << 0, 13 * time.Millisecond, 6900 * time.Microsecond}, true
	case 11:
		return settings{1<<7 | 1<<0, 7 * time.Millisecond, 9400 * time.Microsecond}, true
	default:
		return settings{}, false
	}
}

// Dev is one chip. It is not for concurrent use.
type Dev struct {
	dev device.Device
	set settings
}

// New returns the chip at an address of bus. It does no I/O: a chip that is
// absent is an error of each reading. The error is a drivers.ErrOptions.
func New(bus i2c.Bus, opts Options) (*Dev, error) {
	if opts.Resolution == 0 {
		opts.Resolution = 14
	}
	set, ok := newSettings(opts.Resolution)
	if !ok {
		return nil, fmt.Errorf("htu21d: %w: resolution %d: want 14, 13, 12 or 11 bits", drivers.ErrOptions, opts.Resolution)
	}
	dev, err := device.New("HTU21D", bus, opts.Address, opts.Sleep, DefaultAddress)
	if err != nil {
		return nil, fmt.Errorf("htu21d: %w: %w", drivers.ErrOptions, err)
	}
	return &Dev{dev: dev, set: set}, nil
}

// String returns the chip's name and address.
func (d *Dev) String() string { return d.dev.String() }

// Resets returns how often the chip was found to have lost its configuration.
func (d *Dev) Resets() uint64 { return d.dev.Resets() }

// Sense measures both quantities and stores them in m. It leaves m as it is if it
// fails.
//
// It configures the chip if this is the first reading or the one before failed.
// It takes the time of both measurements, 73 ms with 14 bits and 16 ms with 11; at
// most, with a chip that is reset under way or late, 0.35 s; or until ctx ends.
//
// The error wraps that of the bus or of ctx, or is of one of the kinds ErrNotReady,
// ErrCRC, ErrReset, ErrLowSupply and ErrOutOfRange of package drivers.
func (d *Dev) Sense(ctx context.Context, m *drivers.Measurement) error {
	return d.dev.Sense(ctx, m, d.configure, d.measure)
}

// configure resets the chip and sets its user register.
func (d *Dev) configure(ctx context.Context) error {
	if err := d.dev.Write("reset", softReset); err != nil {
		return err
	}
	if err := d.dev.Sleep(ctx, resetTime); err != nil {
		return err
	}
	user, err := d.user()
	if err != nil {
		return err
	}
	return d.dev.Write("configure", writeUser, user&^(userResolution|userLowSupply|userHeater)|d.set.user)
}

// measure takes one measurement of each quantity with the chip configured. Its
// error is drivers.ErrReset if the chip turns out not to be.
func (d *Dev) measure(ctx context.Context, m *drivers.Measurement) error {
	var rawHumidity uint16
	rawTemperature, err := d.convert(ctx, "temperature", measureTemperature, d.set.temperature)
	if err == nil {
		rawHumidity, err = d.convert(ctx, "humidity", measureHumidity, d.set.humidity)
	}
	switch {
	case errors.Is(err, drivers.ErrNotReady):
		// It may have been reset, and then measure with the resolution that
		// takes longest, in which it does not acknowledge anything.
		if err := d.dev.Sleep(ctx, slowest); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	user, errUser := d.user()
	switch {
	case errUser == nil && user&(userResolution|userHeater) != d.set.user:
		return fmt.Errorf("user register %#02x: %w", user, drivers.ErrReset)
	case err != nil:
		return err
	case errUser != nil:
		return errUser
	case user&userLowSupply != 0:
		return fmt.Errorf("user register %#02x: %w", user, drivers.ErrLowSupply)
	}

	t, rh := temperature(rawTemperature), humidity(rawHumidity)
	if t < minTemperature || t > maxTemperature {
		return &drivers.RangeError{Quantity: "temperature", Value: t, Min: minTemperature, Max: maxTemperature}
	}
	// See the package comment.
	if rawHumidity == 0 {
		return &drivers.RangeError{Quantity: "humidity", Value: rh, Min: minHumidity, Max: maxHumidity}
	}
	m.Temperature, m.Words.Temperature = t, uint32(rawTemperature)
	m.Humidity, m.Words.Humidity = max(minHumidity, min(rh, maxHumidity)), uint32(rawHumidity)
	return nil
}

// convert measures one quantity and returns the converter's word, without its
// status bits.
func (d *Dev) convert(ctx context.Context, quantity string, command byte, longest time.Duration) (uint16, error) {
	if err := d.dev.Write("start "+quantity, command); err != nil {
		return 0, err
	}
	var b [3]byte
	if err := nack.Read(ctx, &d.dev, b[:], longest); err != nil {
		return 0, fmt.Errorf("%s: %w", quantity, err)
	}
	const status = 0b11
	word, err := crc8.Word(quantity, crcInit, b[:])
	return word &^ status, err
}

func (d *Dev) user() (byte, error) { return d.dev.ReadRegister("read user register", readUser) }

// What the chips are specified for (HTU21D, "Operating range").
const (
	minTemperature = physic.ZeroCelsius - 40*physic.Celsius
	maxTemperature = physic.ZeroCelsius + 125*physic.Celsius
	minHumidity    = 0 * physic.PercentRH
	maxHumidity    = 100 * physic.PercentRH
)

// temperature returns -46.85 + 175.72 x word/65536 degree Celsius, rounded to the
// nearest unit of physic.
func temperature(word uint16) physic.Temperature {
	const offset, span = physic.ZeroCelsius - 46850*physic.MilliCelsius, 175720 * physic.MilliCelsius
	return offset + (physic.Temperature(word)*span+1<<15)>>16
}

// humidity returns -6 + 125 x word/65536 %RH, rounded to the nearest unit of
// physic.
func humidity(word uint16) physic.RelativeHumidity {
	const offset, span = 6 * int64(physic.PercentRH), 125 * int64(physic.PercentRH)
	return physic.RelativeHumidity((int64(word)*span+1<<15)>>16 - offset)
}
