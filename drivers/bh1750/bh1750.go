package bh1750

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

// DefaultAddress is the I2C address with ADDR low. It is 0x5C with ADDR high
// (page 10).
const DefaultAddress uint16 = 0x23

// Mode is a measurement mode (pages 2 and 5).
type Mode uint8

// The modes.
const (
	HighResolution  Mode = iota // 1 lx, 120 ms
	HighResolution2             // 0.5 lx, 120 ms, half the range
	LowResolution               // 4 lx, 16 ms
)

// String returns the mode's name.
func (m Mode) String() string {
	switch m {
	case HighResolution:
		return "HighResolution"
	case HighResolution2:
		return "HighResolution2"
	case LowResolution:
		return "LowResolution"
	default:
		return fmt.Sprintf("Mode(%d)", uint8(m))
	}
}

// Commands (page 5).
const (
	powerOn             = 0b0000_0001
	oneTimeHigh         = 0b0010_0000
	oneTimeHigh2        = 0b0010_0001
	oneTimeLow          = 0b0010_0011
	measurementTimeHigh = 0b0100_0 << 3 // and bits 7 to 5 of MTreg
	measurementTimeLow  = 0b011 << 5    // and bits 4 to 0
)

// The measurement time register, MTreg (page 11).
const (
	DefaultMeasurementTime uint8 = 69
	MinMeasurementTime     uint8 = 31
	MaxMeasurementTime     uint8 = 254
)

// The greatest time of a measurement at the default measurement time (page 2).
const (
	highTime = 180 * time.Millisecond
	lowTime  = 24 * time.Millisecond
)

// saturated is the greatest count.
const saturated = 0xFFFF

// Options of a [Dev]. The zero value measures with 1 lx resolution at
// [DefaultAddress].
type Options struct {
	Address uint16 // 0x23 or 0x5C; 0 is DefaultAddress
	Mode    Mode

	// MeasurementTime is the chip's sensitivity and, in proportion, its
	// time: from MinMeasurementTime to MaxMeasurementTime. 0 is
	// DefaultMeasurementTime.
	MeasurementTime uint8

	// Sleep waits for d or until ctx ends, and then returns its error. Nil
	// is drivers.Sleep.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Dev is one chip. It is not for concurrent use.
type Dev struct {
	dev  device.Device
	opts Options
}

// New returns the chip at an address of bus. It does no I/O: a chip that is
// absent is an error of each reading. The error is a drivers.ErrOptions.
func New(bus i2c.Bus, opts Options) (*Dev, error) {
	if opts.MeasurementTime == 0 {
		opts.MeasurementTime = DefaultMeasurementTime
	}
	switch {
	case opts.Mode > LowResolution:
		return nil, fmt.Errorf("bh1750: %w: unknown mode %v", drivers.ErrOptions, opts.Mode)
	case opts.MeasurementTime < MinMeasurementTime || opts.MeasurementTime > MaxMeasurementTime:
		return nil, fmt.Errorf("bh1750: %w: measurement time %d: want %d to %d",
			drivers.ErrOptions, opts.MeasurementTime, MinMeasurementTime, MaxMeasurementTime)
	}
	dev, err := device.New("BH1750", bus, opts.Address, opts.Sleep, DefaultAddress, 0x5C)
	if err != nil {
		return nil, fmt.Errorf("bh1750: %w: %w", drivers.ErrOptions, err)
	}
	return &Dev{dev: dev, opts: opts}, nil
}

// String returns the chip's name and address.
func (d *Dev) String() string { return d.dev.String() }

// Sense measures once and stores the illuminance in m, whose resolution is one
// count, as the package comment has it. It leaves m as it is if it fails. It
// takes the longest time of the measurement, in the dark that of one with low
// resolution besides, or until ctx ends.
//
// The error wraps that of the bus or of ctx, or is a drivers.ErrSaturated or a
// drivers.ErrNotReady.
func (d *Dev) Sense(ctx context.Context, m *drivers.Measurement) error {
	return d.dev.Sense(ctx, m, device.NoConfiguration, d.measure)
}

func (d *Dev) measure(ctx context.Context, m *drivers.Measurement) error {
	count, err := d.count(ctx, d.opts.Mode)
	switch {
	case err != nil:
		return err
	case count == saturated:
		return drivers.ErrSaturated
	case count == 0:
		if err := d.confirmDark(ctx); err != nil {
			return err
		}
	}
	m.Illuminance, m.Words.Illuminance = d.illuminance(count), uint32(count)
	return nil
}

// confirmDark measures once more, quickly. A count of 0 is what darkness reads,
// and also a measurement that did not take place: because the chip lost its
// supply, or another program began one of its own.
func (d *Dev) confirmDark(ctx context.Context) error {
	count, err := d.count(ctx, LowResolution)
	if err == nil && count != 0 {
		err = fmt.Errorf("no result, and then light: %w", drivers.ErrNotReady)
	}
	return err
}

// count returns the result of one measurement in a mode.
func (d *Dev) count(ctx context.Context, mode Mode) (uint16, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	command, longest := d.measurement(mode)
	mt := d.opts.MeasurementTime
	for _, c := range []struct {
		what string
		code byte
	}{
		{"power on", powerOn},
		{"set measurement time", measurementTimeHigh | mt>>5},
		{"set measurement time", measurementTimeLow | mt&0b11111},
		{"start", command},
	} {
		if err := d.dev.Write(c.what, c.code); err != nil {
			return 0, err
		}
	}
	if err := d.dev.Sleep(ctx, longest); err != nil {
		return 0, err
	}
	var b [2]byte
	if err := d.dev.Read("read result", b[:]); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint16(b[:]), nil
}

// measurement returns the command of one measurement in a mode and the greatest time that
// it takes, which is proportional to MTreg (page 11).
func (d *Dev) measurement(mode Mode) (command byte, longest time.Duration) {
	switch mode {
	case HighResolution2:
		command, longest = oneTimeHigh2, highTime
	case LowResolution:
		command, longest = oneTimeLow, lowTime
	default:
		command, longest = oneTimeHigh, highTime
	}
	const unit = time.Duration(DefaultMeasurementTime)
	return command, (longest*time.Duration(d.opts.MeasurementTime) + unit - 1) / unit
}

// illuminance returns count / 1.2 x 69 / MTreg lux, half of it in the second
// high resolution mode (page 11), rounded to the nearest micro-lux.
func (d *Dev) illuminance(count uint16) light.Illuminance {
	const perCount = 57_500_000 * light.MicroLux // 69 / 1.2
	divisor := light.Illuminance(d.opts.MeasurementTime)
	if d.opts.Mode == HighResolution2 {
		divisor *= 2
	}
	return (light.Illuminance(count)*perCount + divisor/2) / divisor
}
