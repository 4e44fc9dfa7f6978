package bme680

import (
	"context"
	"errors"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers"
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
	dev   i2c.Dev
	sleep func(context.Context, time.Duration) error

	set  settings
	time time.Duration // what a measurement takes at most

	configured bool // as far as is known
	cal        calibration
	resets     uint64
}

// New returns the chip at an address of bus. It does no I/O: a chip that is
// absent is an error of each reading. The error is a drivers.ErrOptions.
func New(bus i2c.Bus, opts Options) (*Dev, error) {
	if bus == nil {
		return nil, fmt.Errorf("bme680: %w: no bus", drivers.ErrOptions)
	}
	set, err := newSettings(&opts)
	if err != nil {
		return nil, fmt.Errorf("bme680: %w: %w", drivers.ErrOptions, err)
	}
	if opts.Address == 0 {
		opts.Address = DefaultAddress
	}
	if opts.Address != 0x76 && opts.Address != 0x77 {
		return nil, fmt.Errorf("bme680: %w: address %#x: want 0x76 or 0x77", drivers.ErrOptions, opts.Address)
	}
	if opts.Sleep == nil {
		opts.Sleep = drivers.Sleep
	}
	return &Dev{
		dev:   i2c.Dev{Bus: bus, Addr: opts.Address},
		sleep: opts.Sleep,
		set:   set,
		time:  measurementTime(&opts),
	}, nil
}

// String returns the chip's name and address.
func (d *Dev) String() string { return fmt.Sprintf("BME680 at %#x", d.dev.Addr) }

// Resets returns how often the chip was found to have lost its configuration.
func (d *Dev) Resets() uint64 { return d.resets }

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
		if !d.configured {
			if err := d.configure(ctx); err != nil {
				return err
			}
		}
		err := d.measure(ctx, m)
		// Whatever went wrong, the next reading starts from a known state.
		d.configured = err == nil
		if !errors.Is(err, drivers.ErrReset) {
			return err
		}
		d.resets++
	}
	return drivers.ErrReset
}

// configure brings the chip from any state to sleep with its settings written,
// and reads its calibration.
func (d *Dev) configure(ctx context.Context) error {
	if err := Identify(d.dev.Bus, d.dev.Addr); err != nil {
		return err
	}
	// It also ends a measurement, and clears the filter.
	if err := d.write("reset", regReset, resetWord); err != nil {
		return err
	}
	if err := d.sleep(ctx, resetTime); err != nil {
		return err
	}

	// Nothing protects the bytes on the bus, and a wrong one would bias every
	// reading from here on.
	b, err := d.readCalibration()
	if err != nil {
		return err
	}
	again, err := d.readCalibration()
	if err != nil {
		return err
	}
	if again != b {
		return fmt.Errorf("%w: read twice, it differs", drivers.ErrBadCalibration)
	}
	if d.cal, err = parseCalibration(&b); err != nil {
		return err
	}
	return d.write("configure",
		regCtrlGas0, heaterOff,
		regCtrlGas1, 0,
		regCtrlHum, d.set.ctrlHum,
		regFilter, d.set.filter,
	)
}

func (d *Dev) readCalibration() (b [calibrationSize]byte, err error) {
	if err := d.read(regCalibration, b[:splitCalibration], "read calibration"); err != nil {
		return b, err
	}
	return b, d.read(regCalibrationHumidity, b[splitCalibration:], "read humidity calibration")
}

// measure takes one measurement with the chip configured. Its error is
// drivers.ErrReset if the chip turns out not to be.
func (d *Dev) measure(ctx context.Context, m *drivers.Measurement) error {
	if err := d.write("start", regCtrlMeas, d.set.ctrlMeas|modeForced); err != nil {
		return err
	}
	wait := d.time
	for range polls {
		if err := d.sleep(ctx, wait); err != nil {
			return err
		}
		wait = pollInterval
		var r results
		if err := d.read(regResults, r[:], "read results"); err != nil {
			return err
		}
		var c config
		if err := d.read(regConfig, c[:], "read configuration"); err != nil {
			return err
		}
		if !d.set.in(&c) {
			return drivers.ErrReset
		}
		if r.ready() {
			return d.cal.compensate(r.raw(), m)
		}
	}
	return fmt.Errorf("measuring: %w", drivers.ErrNotReady)
}

func (d *Dev) read(reg byte, b []byte, what string) error {
	if err := d.dev.Tx([]byte{reg}, b); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// write writes pairs of a register and its value, which is how the chip wants
// several in one transaction (6.2.1).
func (d *Dev) write(what string, pairs ...byte) error {
	if err := d.dev.Tx(pairs, nil); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
