package bme280

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

// Model is one of the chips that this package drives.
type Model uint8

// The models.
const (
	BME280 Model = iota // temperature, pressure and humidity
	BMP280              // temperature and pressure
)

// String returns the chip's name.
func (m Model) String() string {
	switch m {
	case BME280:
		return "BME280"
	case BMP280:
		return "BMP280"
	default:
		return fmt.Sprintf("Model(%d)", uint8(m))
	}
}

// Oversampling is how many samples the chip takes of a quantity for one
// result: 1, 2, 4, 8 or 16. More samples are less noise, and more time and
// current (sections 3.4 and 3.5). The zero value is 1.
type Oversampling uint8

// Skip leaves a quantity out of the measurement.
const Skip Oversampling = 0xFF

// Filter is the coefficient of the chip's low-pass filter of temperature and
// pressure: 2, 4, 8 or 16 (section 3.4.4). The zero value, and 1, is no filter.
type Filter uint8

// Options of a [Dev]. The zero value is a BME280 at [DefaultAddress] that
// measures with one sample each, the datasheet's advice for weather
// monitoring (section 3.5.1).
type Options struct {
	Model   Model
	Address uint16 // 0x76 or 0x77; 0 is DefaultAddress

	Temperature Oversampling // not Skip: the other two depend on it
	Pressure    Oversampling
	Humidity    Oversampling // BMP280: must be 0 or Skip
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
	time  time.Duration // what a measurement takes at most
	cal   calibration
}

// New returns the chip at an address of bus. It does no I/O: a chip that is
// absent is an error of each reading. The error is a drivers.ErrOptions.
func New(bus i2c.Bus, opts Options) (*Dev, error) {
	set, err := newSettings(&opts)
	if err != nil {
		return nil, fmt.Errorf("bme280: %w: %w", drivers.ErrOptions, err)
	}
	dev, err := device.New(opts.Model.String(), bus, opts.Address, opts.Sleep, DefaultAddress, 0x77)
	if err != nil {
		return nil, fmt.Errorf("bme280: %w: %w", drivers.ErrOptions, err)
	}
	return &Dev{dev: dev, model: opts.Model, set: set, time: measurementTime(&opts)}, nil
}

// String returns the chip's name and address.
func (d *Dev) String() string { return d.dev.String() }

// Resets returns how often the chip was found to have lost its configuration.
func (d *Dev) Resets() uint64 { return d.dev.Resets() }

// Sense measures once and stores the quantities that it measures in m. It
// leaves the others as they are, and everything if it fails.
//
// It configures the chip if this is the first reading or the one before
// failed. It takes the measurement's time, 9.3 ms with one sample each and
// 112.8 ms with sixteen; at most, with a chip that is reset under way or late,
// about twice that and 100 ms; or until ctx ends.
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

	// In normal mode, or while it measures, the chip may ignore what is
	// written (3.3.1, 5.4.6). After a reset it ignores nothing.
	if err := d.dev.Write("reset", regReset, resetWord); err != nil {
		return err
	}
	if err := d.waitCopied(ctx); err != nil {
		return err
	}
	b, err := device.Twice(d.readCalibration)
	if err != nil {
		return err
	}
	if d.cal, err = parseCalibration(&b, d.model); err != nil {
		return err
	}

	// Pairs of a register and its value, which is how the chip wants several in one
	// transaction (6.2.1).
	pairs := []byte{regConfig, d.set.config}
	if d.model == BME280 {
		// It takes effect with the next write of ctrl_meas (5.4.3).
		pairs = append(pairs, regCtrlHum, d.set.ctrlHum)
	}
	return d.dev.Write("configure", pairs...)
}

func (d *Dev) readCalibration() (b [calibrationSize]byte, err error) {
	if err := d.dev.Read("read calibration", b[:splitCalibration], regCalibration); err != nil {
		return b, err
	}
	if d.model == BME280 {
		err = d.dev.Read("read humidity calibration", b[splitCalibration:], regCalibrationHumidity)
	}
	return b, err
}

// waitCopied waits until the calibration has come from the chip's non-volatile
// memory (5.4.4).
func (d *Dev) waitCopied(ctx context.Context) error {
	return d.dev.Poll(ctx, "after reset", startupTime, pollInterval, polls, func() (bool, error) {
		status, err := d.dev.ReadRegister("read status", regStatus)
		return status&statusCopying == 0, err
	})
}

// measure takes one measurement with the chip configured. Its error is
// drivers.ErrReset if the chip turns out not to be.
func (d *Dev) measure(ctx context.Context, m *drivers.Measurement) error {
	if err := d.dev.Write("start", regCtrlMeas, d.set.ctrlMeas|modeForced); err != nil {
		return err
	}
	return d.dev.Poll(ctx, "measuring", d.time, pollInterval, polls, func() (bool, error) {
		var b burst
		if err := d.dev.Read("read results", b[:], regBurst); err != nil {
			return false, err
		}
		switch {
		case !d.set.in(&b, d.model):
			return false, drivers.ErrReset
		case b.busy():
			return false, nil
		case d.set.blank(&b):
			return false, fmt.Errorf("results are blank: %w", drivers.ErrNotReady)
		}
		return true, d.cal.compensate(b.results(), d.set, m)
	})
}
