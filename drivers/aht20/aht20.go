package aht20

import (
	"context"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/crc8"
	"github.com/telltale-iot/telltale/drivers/internal/device"
)

// DefaultAddress is the chip's only I2C address.
const DefaultAddress uint16 = 0x38

// Commands (DHT20 data sheet, 7.3 and 7.4; AHT20 manual, 5.3).
const (
	cmdInitialize = 0xBE // with 0x08 0x00
	cmdMeasure    = 0xAC // with 0x33 0x00
	cmdReset      = 0xBA
)

// The status (DHT20 data sheet, table 9).
const (
	statusBusy       = 1 << 7
	statusCalibrated = 1 << 3
)

const (
	resetTime       = 20 * time.Millisecond
	initializeTime  = 10 * time.Millisecond
	measurementTime = 80 * time.Millisecond
	pollInterval    = 10 * time.Millisecond
	polls           = 10
)

// crcInit is what the checksum starts from (DHT20 data sheet, 7.4).
const crcInit = 0xFF

// The range of temperature that the chip is specified for.
const (
	minTemperature = physic.ZeroCelsius - 40*physic.Celsius
	maxTemperature = physic.ZeroCelsius + 85*physic.Celsius
)

// Options of a [Dev]. The chip has no settings.
type Options struct {
	Address uint16 // 0x38, which 0 is as well

	// Sleep waits for d or until ctx ends, and then returns its error. Nil
	// is drivers.Sleep.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Dev is one chip. It is not for concurrent use.
type Dev struct {
	dev device.Device
}

// New returns the chip at an address of bus. It does no I/O: a chip that is
// absent is an error of each reading. The error is a drivers.ErrOptions.
func New(bus i2c.Bus, opts Options) (*Dev, error) {
	dev, err := device.New("AHT20", bus, opts.Address, opts.Sleep, DefaultAddress)
	if err != nil {
		return nil, fmt.Errorf("aht20: %w: %w", drivers.ErrOptions, err)
	}
	return &Dev{dev: dev}, nil
}

// String returns the chip's name and address.
func (d *Dev) String() string { return d.dev.String() }

// Resets returns how often the chip was found to have been reset.
func (d *Dev) Resets() uint64 { return d.dev.Resets() }

// Sense measures once and stores temperature and humidity in m. It leaves the others
// as they are, and everything if it fails.
//
// It resets the chip if this is the first reading or the one before failed. It takes
// 80 ms; with a chip that is late or reset under way at most 580 ms; or until ctx
// ends.
//
// The error wraps that of the bus or of ctx, or is of one of the kinds ErrCRC,
// ErrNotReady, ErrBadCalibration, ErrReset and ErrOutOfRange of package drivers.
func (d *Dev) Sense(ctx context.Context, m *drivers.Measurement) error {
	return d.dev.Sense(ctx, m, d.configure, d.measure)
}

// configure resets the chip and sees that it is calibrated.
func (d *Dev) configure(ctx context.Context) error {
	if err := d.command(ctx, "reset", resetTime, cmdReset); err != nil {
		return err
	}
	if ok, err := d.calibrated(); ok || err != nil {
		return err
	}
	if err := d.command(ctx, "initialize", initializeTime, cmdInitialize, 0x08, 0x00); err != nil {
		return err
	}
	ok, err := d.calibrated()
	if err == nil && !ok {
		err = fmt.Errorf("%w: the chip says it has none", drivers.ErrBadCalibration)
	}
	return err
}

// calibrated reads the status and reports whether the chip is calibrated.
func (d *Dev) calibrated() (bool, error) {
	var b [1]byte
	err := d.dev.Read("read status", b[:])
	return b[0]&statusCalibrated != 0, err
}

func (d *Dev) measure(ctx context.Context, m *drivers.Measurement) error {
	if err := d.dev.Write("start", cmdMeasure, 0x33, 0x00); err != nil {
		return err
	}
	var a answer
	err := d.dev.Poll(ctx, "measuring", measurementTime, pollInterval, polls, func() (bool, error) {
		err := d.dev.Read("read results", a[:])
		return a[0]&statusBusy == 0, err
	})
	if err != nil {
		return err
	}
	if err := a.check(); err != nil {
		return err
	}
	d.dev.Trust()
	return a.store(m)
}

// command writes a command and waits for the time that it takes.
func (d *Dev) command(ctx context.Context, what string, wait time.Duration, b ...byte) error {
	if err := d.dev.Write(what, b...); err != nil {
		return err
	}
	return d.dev.Sleep(ctx, wait)
}

// answer is the status, five bytes of results and their checksum.
type answer [7]byte

// check returns why the answer is no result.
func (a answer) check() error {
	switch humidity, temperature := a.words(); {
	case crc8.Sum(crcInit, a[:6]...) != a[6]:
		return drivers.ErrCRC
	case a[0]&statusCalibrated == 0, humidity == 0 && temperature == 0:
		return drivers.ErrReset
	}
	return nil
}

// words returns the results, of 20 bits each.
func (a answer) words() (humidity, temperature uint32) {
	return uint32(a[1])<<12 | uint32(a[2])<<4 | uint32(a[3])>>4,
		uint32(a[3])&0xF<<16 | uint32(a[4])<<8 | uint32(a[5])
}

// store stores the quantities in m, or returns a drivers.RangeError: 100 % x word /
// 2^20, and 200 degree Celsius x word / 2^20 - 50 degree Celsius, to the nearest unit.
func (a answer) store(m *drivers.Measurement) error {
	const half = 1 << 19
	h, t := a.words()
	temperature := (physic.Temperature(t)*200*physic.Kelvin+half)>>20 + physic.ZeroCelsius - 50*physic.Celsius
	if temperature < minTemperature || temperature > maxTemperature {
		return &drivers.RangeError{Quantity: "temperature", Value: temperature, Min: minTemperature, Max: maxTemperature}
	}
	m.Temperature, m.Words.Temperature = temperature, t
	humidity := (int64(h)*int64(100*physic.PercentRH) + half) >> 20
	m.Humidity, m.Words.Humidity = physic.RelativeHumidity(humidity), h
	return nil
}
