package iio

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/telltale-iot/telltale/drivers"
)

// Options of a [Dev].
type Options struct {
	// Device is a device's name, as the file "name" in its directory has it, such as
	// bme280; or its directory, such as iio:device0 or hwmon1; or the kernel's name
	// of an I2C device, such as 1-0076, whose IIO or hwmon device is meant.
	Device string

	// What to measure, one at least.
	Temperature, Humidity, Pressure, Illuminance bool
}

// Dev is one of the kernel's devices. It is not for concurrent use.
type Dev struct {
	root       fs.FS
	device     string
	quantities []quantity
}

// New returns a device of the kernel whose sysfs is root, os.DirFS("/sys") as a rule.
// It does no I/O: a device that is absent is an error of each reading. The error is a
// drivers.ErrOptions.
func New(root fs.FS, opts Options) (*Dev, error) {
	var quantities []quantity
	for q, wanted := range []bool{
		temperature: opts.Temperature, humidity: opts.Humidity, pressure: opts.Pressure, illuminance: opts.Illuminance,
	} {
		if wanted {
			quantities = append(quantities, quantity(q))
		}
	}
	switch {
	case root == nil:
		return nil, fmt.Errorf("iio: %w: no sysfs", drivers.ErrOptions)
	case opts.Device == "" || strings.ContainsAny(opts.Device, "/*?[\\\n"): // neither a path nor a pattern
		return nil, fmt.Errorf("iio: %w: device %q: want a name such as bme280, iio:device0, hwmon0 or 1-0076",
			drivers.ErrOptions, opts.Device)
	case len(quantities) == 0:
		return nil, fmt.Errorf("iio: %w: nothing to measure", drivers.ErrOptions)
	}
	return &Dev{root: root, device: opts.Device, quantities: quantities}, nil
}

// String returns the device's name.
func (d *Dev) String() string { return "IIO device " + d.device }

// Sense measures once and stores what it is to measure in m. It leaves the others as
// they are, and everything if it fails. It takes as long as the kernel does; ctx ends
// it between two quantities only.
//
// The error wraps that of the kernel or of ctx, is ENODEV if there is no such device,
// or is of one of the kinds ErrWrongChip, of a device that does not measure what it is
// to, ErrNotReady and ErrOutOfRange of package drivers.
func (d *Dev) Sense(ctx context.Context, m *drivers.Measurement) error {
	measured := *m
	if err := d.sense(ctx, &measured); err != nil {
		return fmt.Errorf("%v: %w", d, err)
	}
	*m = measured
	return nil
}

func (d *Dev) sense(ctx context.Context, m *drivers.Measurement) error {
	dir, err := find(d.root, d.device)
	if err != nil {
		return err
	}
	for _, q := range d.quantities {
		if err := ctx.Err(); err != nil {
			return err
		}
		value, word, err := q.read(d.root, dir)
		if errors.Is(err, drivers.ErrWrongChip) {
			// It may also have gone away meanwhile.
			if _, gone := find(d.root, d.device); gone != nil {
				err = gone
			}
		}
		if err != nil {
			return fmt.Errorf("%v: %w", q, err)
		}
		if err := q.store(m, value, word); err != nil {
			return fmt.Errorf("%v: %w", q, err)
		}
	}
	return nil
}
