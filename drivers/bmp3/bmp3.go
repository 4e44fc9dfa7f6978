package bmp3

import (
	"context"
	"errors"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers"
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
	dev   i2c.Dev
	model Model
	sleep func(context.Context, time.Duration) error

	set  settings
	time time.Duration // what a measurement takes

	configured bool // as far as is known
	cal        calibration
	resets     uint64
}

// New returns the chip at an address of bus. It does no I/O: a chip that is
// absent is an error of each reading. The error is a drivers.ErrOptions.
func New(bus i2c.Bus, opts Options) (*Dev, error) {
	if bus == nil {
		return nil, fmt.Errorf("bmp3: %w: no bus", drivers.ErrOptions)
	}
	set, err := newSettings(&opts)
	if err != nil {
		return nil, fmt.Errorf("bmp3: %w: %w", drivers.ErrOptions, err)
	}
	if opts.Address == 0 {
		opts.Address = DefaultAddress
	}
	if opts.Address != 0x76 && opts.Address != 0x77 {
		return nil, fmt.Errorf("bmp3: %w: address %#x: want 0x76 or 0x77", drivers.ErrOptions, opts.Address)
	}
	if opts.Sleep == nil {
		opts.Sleep = drivers.Sleep
	}
	return &Dev{
		dev:   i2c.Dev{Bus: bus, Addr: opts.Address},
		model: opts.Model,
		sleep: opts.Sleep,
		set:   set,
		time:  measurementTime(&opts),
	}, nil
}

// String returns the chip's name and address.
func (d *Dev) String() string { return fmt.Sprintf("%v at %#x", d.model, d.dev.Addr) }

// Resets returns how often the chip was found to have lost its configuration.
func (d *Dev) Resets() uint64 { return d.resets }

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
	var id [1]byte
	if err := d.read(regID, id[:], "read id"); err != nil {
		return err
	}
	if m, ok := modelOf(id[0]); !ok {
		return fmt.Errorf("%w: id %#02x: want a %v", drivers.ErrWrongChip, id[0], d.model)
	} else if m != d.model {
		return fmt.Errorf("%w: found a %v (id %#02x): want a %v", drivers.ErrWrongChip, m, id[0], d.model)
	}

	// It also ends a measurement, and clears the filter and the data-ready bits.
	if err := d.write("reset", regCommand, commandReset); err != nil {
		return err
	}
	if err := d.sleep(ctx, startupTime); err != nil {
		return err
	}
	if err := d.waitReady(ctx); err != nil {
		return err
	}

	// Nothing protects the bytes on the bus, and a wrong one would bias every
	// reading from here on.
	var b, again [calibrationSize]byte
	if err := d.read(regCalibration, b[:], "read calibration"); err != nil {
		return err
	}
	if err := d.read(regCalibration, again[:], "read calibration"); err != nil {
		return err
	}
	if again != b {
		return fmt.Errorf("%w: read twice, it differs", drivers.ErrBadCalibration)
	}
	var err error
	if d.cal, err = parseCalibration(&b); err != nil {
		return err
	}
	return d.write("configure", regOversample, d.set.oversampling, regFilter, d.set.filter)
}

// waitReady waits until the chip takes commands again after a reset.
func (d *Dev) waitReady(ctx context.Context) error {
	for range polls {
		var status [1]byte
		if err := d.read(regStatus, status[:], "read status"); err != nil {
			return err
		}
		if status[0]&statusCommandReady != 0 {
			return nil
		}
		if err := d.sleep(ctx, pollInterval); err != nil {
			return err
		}
	}
	return fmt.Errorf("after reset: %w", drivers.ErrNotReady)
}

// measure takes one measurement with the chip configured. Its error is
// drivers.ErrReset if the chip turns out not to be.
func (d *Dev) measure(ctx context.Context, m *drivers.Measurement) error {
	if err := d.write("start", regPowerCtrl, d.set.power|modeForced); err != nil {
		return err
	}
	var ready byte
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
		if ready |= r.ready(); ready == statusPressure|statusTemperature {
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
// several in one transaction (5.2.1).
func (d *Dev) write(what string, pairs ...byte) error {
	if err := d.dev.Tx(pairs, nil); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
