package bmp3

import (
	"context"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/device"
)

// DefaultAddress is the I2C address with SDO at ground. It is 0x77 with SDO at
// the supply (section 5.2).
const DefaultAddress uint16 = 0x76

// Model is one of the chips that this package drives. They differ in accuracy
// and in their id.
type Model uint8

// The models.
const (
	BMP388 Model = iota
	BMP390
)

// String returns the chip's name.
func (m Model) String() string {
	switch m {
	case BMP388:
		return "BMP388"
	case BMP390:
		return "BMP390"
	default:
		return fmt.Sprintf("Model(%d)", uint8(m))
	}
}

// Oversampling is how many samples the chip takes of a quantity for one result:
// 1, 2, 4, 8, 16 or 32. More samples are less noise, and more time and current
// (section 3.4). The zero value is 1.
type Oversampling uint8

// Filter is the coefficient of the chip's low-pass filter of both quantities: 1,
// 3, 7, 15, 31, 63 or 127 (section 3.4.3). The zero value is no filter.
type Filter uint8

// Options of a [Dev]. The zero value is a BMP388 at [DefaultAddress] that
// measures with one sample each, the datasheet's advice for weather monitoring
// (section 3.5).
type Options struct {
	Model   Model
	Address uint16 // 0x76 or 0x77; 0 is DefaultAddress

	Temperature Oversampling
	Pressure    Oversampling
	Filter      Filter

	// Sleep waits for d or until ctx ends, and then returns its error. Nil
	// is drivers.Sleep.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Dev is one chip. It is not for concurrent use.
type Dev struct {
	dev   device.Device
	model Model
	set   settings
	time  time.Duration // what a measurement takes
	cal   calibration
}

// New returns the chip at an address of bus. It does no I/O: a chip that is
// absent is an error of each reading. The error is a drivers.ErrOptions.
func New(bus i2c.Bus, opts Options) (*Dev, error) {
	set, err := newSettings(&opts)
	if err != nil {
		return nil, fmt.Errorf("bmp3: %w: %w", drivers.ErrOptions, err)
	}
	dev, err := device.New(opts.Model.String(), bus, opts.Address, opts.Sleep, DefaultAddress, 0x77)
	if err != nil {
		return nil, fmt.Errorf("bmp3: %w: %w", drivers.ErrOptions, err)
	}
	return &Dev{dev: dev, model: opts.Model, set: set, time: measurementTime(&opts)}, nil
}

// String returns the chip's name and address.
func (d *Dev) String() string { return d.dev.String() }

// Resets returns how often the chip was found to have lost its configuration.
func (d *Dev) Resets() uint64 { return d.dev.Resets() }

// Sense measures once and stores pressure and temperature in m. It leaves the
// other quantities as they are, and everything if it fails.
//
// It configures the chip if this is the first reading or the one before failed.
// It takes the measurement's time, 5 ms with one sample each and 130 ms with
// thirty-two; at most, with a chip that is reset under way or late, about twice
// that and 100 ms; or until ctx ends.
//
// The error wraps that of the bus or of ctx, or is of one of the kinds
// ErrNotReady, ErrWrongChip, ErrBadCalibration, ErrReset and ErrOutOfRange of
// package drivers.
func (d *Dev) Sense(ctx context.Context, m *drivers.Measurement) error {
	return d.dev.Sense(ctx, m, d.configure, d.measure)
}

// configure brings the chip from any state to sleep with its settings written,
// and reads its calibration.
func (d *Dev) configure(ctx context.Context) error {
	id, err := d.dev.ReadRegister("read id", regID)
	if err != nil {
		return err
	}
	if m, ok := modelOf(id); !ok {
		return fmt.Errorf("%w: id %#02x: want a %v", drivers.ErrWrongChip, id, d.model)
	} else if m != d.model {
		return fmt.Errorf("%w: found a %v (id %#02x): want a %v", drivers.ErrWrongChip, m, id, d.model)
	}

	// It also ends a measurement, and clears the filter and the data-ready bits.
	if err := d.dev.Write("reset", regCommand, commandReset); err != nil {
		return err
	}
	if err := d.waitReady(ctx); err != nil {
		return err
	}
	b, err := device.Twice(d.readCalibration)
	if err != nil {
		return err
	}
	if d.cal, err = parseCalibration(&b); err != nil {
		return err
	}

	// Pairs of a register and its value, which is how the chip wants several in one
	// transaction (5.2.1).
	return d.dev.Write("configure", regOversample, d.set.oversampling, regFilter, d.set.filter)
}

// waitReady waits until the chip takes commands again after a reset.
func (d *Dev) waitReady(ctx context.Context) error {
	return d.dev.Poll(ctx, "after reset", startupTime, pollInterval, polls, func() (bool, error) {
		status, err := d.dev.ReadRegister("read status", regStatus)
		return status&statusCommandReady != 0, err
	})
}

func (d *Dev) readCalibration() (b [calibrationSize]byte, err error) {
	err = d.dev.Read("read calibration", b[:], regCalibration)
	return b, err
}

// measure takes one measurement with the chip configured. Its error is
// drivers.ErrReset if the chip turns out not to be.
func (d *Dev) measure(ctx context.Context, m *drivers.Measurement) error {
	if err := d.dev.Write("start", regPowerCtrl, d.set.power|modeForced); err != nil {
		return err
	}
	var ready byte
	return d.dev.Poll(ctx, "measuring", d.time, pollInterval, polls, func() (bool, error) {
		var r results
		if err := d.dev.Read("read results", r[:], regResults); err != nil {
			return false, err
		}
		var c config
		if err := d.dev.Read("read configuration", c[:], regConfig); err != nil {
			return false, err
		}
		if !d.set.in(&c) {
			return false, drivers.ErrReset
		}
		if ready |= r.ready(); ready != statusPressure|statusTemperature {
			return false, nil
		}
		return true, d.cal.compensate(r.raw(), m)
	})
}
