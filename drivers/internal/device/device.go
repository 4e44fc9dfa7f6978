// Package device has what all drivers share: the transactions of one chip, and the
// skeleton of a reading.
package device

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers"
)

// Device is a chip at an address of a bus, and what is known of it from one reading
// to the next. It is not for concurrent use.
type Device struct {
	i2c.Dev
	name  string
	sleep func(context.Context, time.Duration) error

	configured bool // as far as is known
	resets     uint64
}

// New returns the chip of a name at address, or at the first of addresses if that is
// 0. These are all that the chip can have. It waits through sleep, or through
// drivers.Sleep if that is nil. It does no I/O.
func New(
	name string, bus i2c.Bus, address uint16, sleep func(context.Context, time.Duration) error, addresses ...uint16,
) (Device, error) {
	if bus == nil {
		return Device{}, errors.New("no bus")
	}
	if address == 0 {
		address = addresses[0]
	}
	if sleep == nil {
		sleep = drivers.Sleep
	}
	if !slices.Contains(addresses, address) {
		return Device{}, fmt.Errorf("address %#x: want %s", address, list(addresses))
	}
	return Device{Dev: i2c.Dev{Bus: bus, Addr: address}, name: name, sleep: sleep}, nil
}

// list returns addresses in words. More than three are in a row.
func list(addresses []uint16) string {
	last := len(addresses) - 1
	if last > 2 {
		return fmt.Sprintf("%#x to %#x", addresses[0], addresses[last])
	}
	s := fmt.Sprintf("%#x", addresses[0])
	for i, a := range addresses[1:] {
		separator := ", "
		if i+1 == last {
			separator = " or "
		}
		s += fmt.Sprintf("%s%#x", separator, a)
	}
	return s
}

// At returns whatever is at an address of bus.
func At(bus i2c.Bus, address uint16) *Device {
	return &Device{Dev: i2c.Dev{Bus: bus, Addr: address}, sleep: drivers.Sleep}
}

// String returns the chip's name and address.
func (d *Device) String() string { return fmt.Sprintf("%s at %#x", d.name, d.Addr) }

// Resets returns how often a reading found that the chip had lost its configuration.
func (d *Device) Resets() uint64 { return d.resets }

// Sleep waits for a time, or until ctx ends, whose error it then returns.
func (d *Device) Sleep(ctx context.Context, wait time.Duration) error { return d.sleep(ctx, wait) }

// Write writes b, in one transaction. An error begins with what it was to do.
func (d *Device) Write(what string, b ...byte) error {
	if err := d.Tx(b, nil); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Read writes w, if there is any, and fills b, in one transaction.
func (d *Device) Read(what string, b []byte, w ...byte) error {
	if err := d.Tx(w, b); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// ReadRegister writes reg and returns the byte that is read then.
func (d *Device) ReadRegister(what string, reg byte) (byte, error) {
	var b [1]byte
	err := d.Read(what, b[:], reg)
	return b[0], err
}

// Twice returns what read reads, which must be the same two times: nothing protects
// the bytes of a calibration on the bus, and a wrong one would bias every reading
// from there on. Else the error is a drivers.ErrBadCalibration.
func Twice[B comparable](read func() (B, error)) (B, error) {
	b, err := read()
	if err != nil {
		return b, err
	}
	again, err := read()
	if err == nil && again != b {
		err = fmt.Errorf("%w: read twice, it differs", drivers.ErrBadCalibration)
	}
	return b, err
}

// Poll waits for first and calls done, and again after each interval, until that
// returns true or an error, times at most. If it never does, the error is a
// drivers.ErrNotReady that begins with what was waited for.
func (d *Device) Poll(
	ctx context.Context, what string, first, interval time.Duration, times int, done func() (bool, error),
) error {
	wait := first
	for range times {
		if err := d.Sleep(ctx, wait); err != nil {
			return err
		}
		if ok, err := done(); ok || err != nil {
			return err
		}
		wait = interval
	}
	return fmt.Errorf("%s: %w", what, drivers.ErrNotReady)
}

// Configure brings a chip from any state to the one that it is to measure in.
type Configure func(context.Context) error

// NoConfiguration is for a chip that is told with each measurement how to do it.
func NoConfiguration(context.Context) error { return nil }

// Measure measures once with a chip that is configured, and stores the result, or
// nothing with an error. That is a drivers.ErrReset if the chip turns out not to be
// configured.
type Measure func(context.Context, *drivers.Measurement) error

// Sense makes one reading. It configures the chip at the first and after each that
// failed, and measures. If the chip turns out to have been reset, it does both once
// more. An error begins with String.
func (d *Device) Sense(ctx context.Context, m *drivers.Measurement, configure Configure, measure Measure) error {
	if err := d.sense(ctx, m, configure, measure); err != nil {
		return fmt.Errorf("%v: %w", d, err)
	}
	return nil
}

func (d *Device) sense(ctx context.Context, m *drivers.Measurement, configure Configure, measure Measure) error {
	for range 2 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !d.configured {
			if err := configure(ctx); err != nil {
				return err
			}
		}
		// Whatever goes wrong, the next reading starts from a known state.
		d.configured = false
		err := measure(ctx, m)
		if err == nil {
			d.Trust()
		}
		if !errors.Is(err, drivers.ErrReset) {
			return err
		}
		d.resets++
	}
	return drivers.ErrReset
}

// Trust says that the chip was seen to be configured. A [Measure] calls it before an
// error that does not make the chip suspect, such as of a quantity out of range.
func (d *Device) Trust() { d.configured = true }
