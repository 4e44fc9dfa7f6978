package bme680

import (
	"context"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/device"
)

// DefaultAddress is the I2C address with SDO at ground. It is 0x77 with SDO at
// the supply (section 6.2).
const DefaultAddress uint16 = 0x76

// Oversampling is how many samples the chip takes of a quantity for one result:
// 1, 2, 4, 8 or 16. More samples are less noise, and more time and current. The
// zero value is 1.
type Oversampling uint8

// Filter is the coefficient of the chip's low-pass filter of temperature and
// pressure: 1, 3, 7, 15, 31, 63 or 127 (section 3.3.4). The zero value is no
// filter.
type Filter uint8

// Options of a [Dev]. The zero value measures with one sample each at
// [DefaultAddress].
type Options struct {
	Address uint16 // 0x76 or 0x77; 0 is DefaultAddress

	Temperature Oversampling
	Pressure    Oversampling
	Humidity    Oversampling
	Filter      Filter

	// Sleep waits for d or until ctx ends, and then returns its error. Nil
	// is drivers.Sleep.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Dev is one chip. It is not for concurrent use.
type Dev struct {
	dev device.Device

	set  settings
	time time.Duration // what a measurement takes at most
	cal  calibration
}

// New returns the chip at an address of bus. It does no I/O: a chip that is
// absent is an error of each reading. The error is a drivers.ErrOptions.
func New(bus i2c.Bus, opts Options) (*Dev, error) {
	set, err := newSettings(&opts)
	if err != nil {
		return nil, fmt.Errorf("bme680: %w: %w", drivers.ErrOptions, err)
	}
	dev, err := device.New("BME680", bus, opts.Address, opts.Sleep, DefaultAddress, 0x77)
	if err != nil {
		return nil, fmt.Errorf("bme680: %w: %w", drivers.ErrOptions, err)
	}
	return &Dev{dev: dev, set: set, time: measurementTime(&opts)}, nil
}

// String returns the chip's name and address.
func (d *Dev) String() string { return d.dev.String() }

// Resets returns how often the chip was found to have lost its configuration.
func (d *Dev) Resets() uint64 { return d.dev.Resets() }

// Sense measures once and stores temperature, pressure and humidity in m. It
// leaves m as it is if it fails.
//
// It configures the chip if this is the first reading or the one before failed.
// It takes the measurement's time, 11 ms with one sample each and 100 ms with
// sixteen; at most, with a chip that is reset under way or late, about twice that
// and 100 ms; or until ctx ends.
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
	if err := Identify(d.dev.Bus, d.dev.Addr); err != nil {
		return err
	}
	// It also ends a measurement, and clears the filter.
	if err := d.dev.Write("reset", regReset, resetWord); err != nil {
		return err
	}
	if err := d.dev.Sleep(ctx, resetTime); err != nil {
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
	// transaction (6.2.1).
	return d.dev.Write("configure",
		regCtrlGas0, heaterOff,
		regCtrlGas1, 0,
		regCtrlHum, d.set.ctrlHum,
		regFilter, d.set.filter,
	)
}

func (d *Dev) readCalibration() (b [calibrationSize]byte, err error) {
	if err := d.dev.Read("read calibration", b[:splitCalibration], regCalibration); err != nil {
		return b, err
	}
	return b, d.dev.Read("read humidity calibration", b[splitCalibration:], regCalibrationHumidity)
}

// measure takes one measurement with the chip configured. Its error is
// drivers.ErrReset if the chip turns out not to be.
func (d *Dev) measure(ctx context.Context, m *drivers.Measurement) error {
	if err := d.dev.Write("start", regCtrlMeas, d.set.ctrlMeas|modeForced); err != nil {
		return err
	}
	return d.dev.Poll(ctx, "measuring", d.time, pollInterval, polls, func() (bool, error) {
		var r results
		if err := d.dev.Read("read results", r[:], regResults); err != nil {
			return false, err
		}
		var c config
		if err := d.dev.Read("read configuration", c[:], regConfig); err != nil {
			return false, err
		}
		switch {
		case !d.set.in(&c):
			return false, drivers.ErrReset
		case !r.ready():
			return false, nil
		}
		return true, d.cal.compensate(r.raw(), m)
	})
}
