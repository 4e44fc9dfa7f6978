package opt3001

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers"
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
	dev   i2c.Dev
	sleep func(context.Context, time.Duration) error

	settings   uint16 // the configuration without the mode
	time       time.Duration
	identified bool // as far as is known
	resets     uint64
}

// New returns the chip at an address of bus. It does no I/O: a chip that is
// absent is an error of each reading. The error is a drivers.ErrOptions.
func New(bus i2c.Bus, opts Options) (*Dev, error) {
	if opts.Address == 0 {
		opts.Address = DefaultAddress
	}
	if opts.ConversionTime == 0 {
		opts.ConversionTime = LongConversion
	}
	if opts.Sleep == nil {
		opts.Sleep = drivers.Sleep
	}
	settings := uint16(rangeAuto | latch | faultCount2)
	switch {
	case bus == nil:
		return nil, fmt.Errorf("opt3001: %w: no bus", drivers.ErrOptions)
	case opts.Address < 0x44 || opts.Address > 0x47:
		return nil, fmt.Errorf("opt3001: %w: address %#x: want 0x44 to 0x47", drivers.ErrOptions, opts.Address)
	case opts.ConversionTime == LongConversion:
		settings |= conversionLong
	case opts.ConversionTime != ShortConversion:
		return nil, fmt.Errorf("opt3001: %w: conversion time %v: want %v or %v",
			drivers.ErrOptions, opts.ConversionTime, ShortConversion, LongConversion)
	}
	return &Dev{
		dev:      i2c.Dev{Bus: bus, Addr: opts.Address},
		sleep:    opts.Sleep,
		settings: settings,
		time:     opts.ConversionTime,
	}, nil
}

// String returns the chip's name and address.
func (d *Dev) String() string { return fmt.Sprintf("OPT3001 at %#x", d.dev.Addr) }

// Resets returns how often the chip was found to have lost its configuration
// while it measured.
func (d *Dev) Resets() uint64 { return d.resets }

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
	if err := d.sense(ctx, m); err != nil {
		return fmt.Errorf("%v: %w", d, err)
	}
	return nil
}

func (d *Dev) sense(ctx context.Context, m *drivers.Measurement) error {
	for range 2 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !d.identified {
			if err := Identify(d.dev.Bus, d.dev.Addr); err != nil {
				return err
			}
		}
		result, err := d.convert(ctx)
		// After an error another chip may have taken this one's place.
		d.identified = err == nil
		switch {
		case errors.Is(err, drivers.ErrReset):
			d.resets++
			continue
		case err != nil:
			return err
		}
		lux, err := illuminance(result)
		if err != nil {
			return err
		}
		m.Illuminance, m.Words.Illuminance = lux, uint32(result)
		return nil
	}
	return drivers.ErrReset
}

// convert returns the result of one conversion. Its error is drivers.ErrReset if
// the chip has lost its configuration meanwhile.
func (d *Dev) convert(ctx context.Context) (uint16, error) {
	start := d.settings | modeSingleShot
	if err := d.dev.Tx([]byte{regConfiguration, byte(start >> 8), byte(start)}, nil); err != nil {
		return 0, fmt.Errorf("start: %w", err)
	}
	// The longest conversion, 3 ms until the result is there (6.5), and 10 ms in
	// which the range is found (7.4.1).
	if err := d.sleep(ctx, d.time*11/10+13*time.Millisecond); err != nil {
		return 0, err
	}
	if err := d.waitReady(ctx); err != nil {
		return 0, err
	}
	result, err := read(d.dev.Bus, d.dev.Addr, regResult)
	if err != nil {
		return 0, fmt.Errorf("read result: %w", err)
	}
	_, err = d.configuration()
	return result, err
}

// waitReady waits until the conversion is over.
func (d *Dev) waitReady(ctx context.Context) error {
	for n := range polls {
		if n > 0 {
			if err := d.sleep(ctx, d.time/10); err != nil {
				return err
			}
		}
		conf, err := d.configuration()
		switch {
		case err != nil:
			return err
		case conf&conversionReady == 0:
			continue
		case conf&overflow != 0:
			return drivers.ErrSaturated
		}
		return nil
	}
	return fmt.Errorf("converting: %w", drivers.ErrNotReady)
}

// configuration reads the configuration register. Its error is drivers.ErrReset if
// that does not hold the settings.
func (d *Dev) configuration() (uint16, error) {
	conf, err := read(d.dev.Bus, d.dev.Addr, regConfiguration)
	if err != nil {
		return 0, fmt.Errorf("read configuration: %w", err)
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

func read(bus i2c.Bus, address uint16, reg byte) (uint16, error) {
	var b [2]byte
	if err := bus.Tx(address, []byte{reg}, b[:]); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint16(b[:]), nil
}
