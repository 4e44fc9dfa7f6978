package opt3001

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/device"
	"github.com/telltale-iot/telltale/drivers/light"
)

// DefaultAddress is the I2C address with ADDR at ground. It is 0x45 with ADDR at
// the supply, 0x46 at SDA and 0x47 at SCL (table 1).
const DefaultAddress uint16 = 0x44

// The conversion times (table 10).
const (
	ShortConversion = 100 * time.Millisecond
	LongConversion  = 800 * time.Millisecond
)

// Registers (7.6).
const (
	regResult        = 0x00
	regConfiguration = 0x01
	regManufacturer  = 0x7E
	regDevice        = 0x7F
)

// The configuration register (table 10).
const (
	rangeAuto       = 0b1100 << 12
	conversionLong  = 1 << 11
	modeSingleShot  = 0b01 << 9
	overflow        = 1 << 8
	conversionReady = 1 << 7
	latch           = 1 << 4 // as after a reset
	faultCount2     = 0b01   // not as after a reset; see the package comment

	// All but the mode and what the chip tells: RN, CT, L, POL, ME and FC.
	settingsMask = 0b1111_1000_0001_1111
)

const (
	manufacturerTI = 0x5449
	deviceOPT3001  = 0x3001
)

// polls is how often the configuration is read at most, a tenth of the conversion
// time apart.
const polls = 12

// Options of a [Dev]. The zero value measures for 800 ms at [DefaultAddress].
type Options struct {
	Address uint16 // 0x44 to 0x47; 0 is DefaultAddress

	// ConversionTime is ShortConversion or LongConversion, which 0 is as well.
	// Noise is less with the long one, which the datasheet advises for dim light.
	ConversionTime time.Duration

	// Sleep waits for d or until ctx ends, and then returns its error. Nil
	// is drivers.Sleep.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Dev is one chip. It is not for concurrent use.
type Dev struct {
	dev      device.Device
	settings uint16 // the configuration without the mode
	time     time.Duration
}

// New returns the chip at an address of bus. It does no I/O: a chip that is
// absent is an error of each reading. The error is a drivers.ErrOptions.
func New(bus i2c.Bus, opts Options) (*Dev, error) {
	if opts.ConversionTime == 0 {
		opts.ConversionTime = LongConversion
	}
	settings := uint16(rangeAuto | latch | faultCount2)
	switch opts.ConversionTime {
	case ShortConversion:
	case LongConversion:
		settings |= conversionLong
	default:
		return nil, fmt.Errorf("opt3001: %w: conversion time %v: want %v or %v",
			drivers.ErrOptions, opts.ConversionTime, ShortConversion, LongConversion)
	}
	dev, err := device.New("OPT3001", bus, opts.Address, opts.Sleep, DefaultAddress, 0x45, 0x46, 0x47)
	if err != nil {
		return nil, fmt.Errorf("opt3001: %w: %w", drivers.ErrOptions, err)
	}
	return &Dev{dev: dev, settings: settings, time: opts.ConversionTime}, nil
}

// String returns the chip's name and address.
func (d *Dev) String() string { return d.dev.String() }

// Resets returns how often the chip was found to have lost its configuration
// while it measured.
func (d *Dev) Resets() uint64 { return d.dev.Resets() }

// Sense measures once and stores the illuminance in m, whose resolution is that of
// the range, from 0.01 lx to 20.48 lx. It leaves m as it is if it fails. The word
// is the result as the chip sends it: the count, and the range in bits 15 to 12.
//
// It takes 123 ms, or 893 ms with the long conversion time; with a chip that is
// late or reset under way at most four times as long; or until ctx ends.
//
// The error wraps that of the bus or of ctx, or is of one of the kinds
// ErrNotReady, ErrWrongChip, ErrSaturated, ErrOutOfRange and ErrReset of package
// drivers.
func (d *Dev) Sense(ctx context.Context, m *drivers.Measurement) error {
	return d.dev.Sense(ctx, m, d.identify, d.measure)
}

// identify is all that there is to configure: each measurement writes its settings.
// After an error another chip may have taken this one's place.
func (d *Dev) identify(context.Context) error { return Identify(d.dev.Bus, d.dev.Addr) }

func (d *Dev) measure(ctx context.Context, m *drivers.Measurement) error {
	result, err := d.convert(ctx)
	if err != nil {
		return err
	}
	d.dev.Trust()
	lux, err := illuminance(result)
	if err != nil {
		return err
	}
	m.Illuminance, m.Words.Illuminance = lux, uint32(result)
	return nil
}

// convert returns the result of one conversion. Its error is drivers.ErrReset if
// the chip has lost its configuration meanwhile.
func (d *Dev) convert(ctx context.Context) (uint16, error) {
	start := d.settings | modeSingleShot
	if err := d.dev.Write("start", regConfiguration, byte(start>>8), byte(start)); err != nil {
		return 0, err
	}
	// The longest conversion, 3 ms until the result is there (6.5), and 10 ms in
	// which the range is found (7.4.1).
	longest := d.time*11/10 + 13*time.Millisecond
	err := d.dev.Poll(ctx, "converting", longest, d.time/10, polls, func() (bool, error) {
		conf, err := d.configuration()
		if conf&conversionReady != 0 && conf&overflow != 0 {
			return false, drivers.ErrSaturated
		}
		return conf&conversionReady != 0, err
	})
	if err != nil {
		return 0, err
	}
	result, err := read(&d.dev, "read result", regResult)
	if err != nil {
		return 0, err
	}
	_, err = d.configuration()
	return result, err
}

// configuration reads the configuration register. Its error is drivers.ErrReset if
// that does not hold the settings.
func (d *Dev) configuration() (uint16, error) {
	conf, err := read(&d.dev, "read configuration", regConfiguration)
	if err != nil {
		return 0, err
	}
	if conf&settingsMask != d.settings {
		return 0, drivers.ErrReset
	}
	return conf, nil
}

// illuminance returns 0.01 lx x 2^exponent x mantissa (7.6.1.1.1).
func illuminance(result uint16) (light.Illuminance, error) {
	const greatestExponent, greatestMantissa = 0b1011, 0xFFF
	exponent, mantissa := result>>12, result&greatestMantissa
	switch {
	case exponent > greatestExponent:
		return 0, fmt.Errorf("range %d: %w", exponent, drivers.ErrOutOfRange)
	case exponent == greatestExponent && mantissa == greatestMantissa:
		return 0, drivers.ErrSaturated
	}
	return light.Illuminance(mantissa) << exponent * 10 * light.MilliLux, nil
}

func read(dev *device.Device, what string, reg byte) (uint16, error) {
	var b [2]byte
	err := dev.Read(what, b[:], reg)
	return binary.BigEndian.Uint16(b[:]), err
}
