package lps22hb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/drivers"
)

// DefaultAddress is the I2C address with SA0 at ground. It is 0x5D with SA0 at the
// supply.
const DefaultAddress uint16 = 0x5C

// Registers.
const (
	regWhoAmI      = 0x0F
	regCtrl1       = 0x10
	regCtrl2       = 0x11
	regOffset      = 0x18 // RPDS, and RES_CONF after it
	regStatus      = 0x27
	regResult      = 0x28 // to 0x2C: PRESS_OUT, TEMP_OUT, the low byte first
	regFilterReset = 0x33 // LPFP_RES, reset by reading it
)

const (
	ctrl1Rate75    = 0b101 << 4
	ctrl1Filter9   = 0b10 << 2 // EN_LPFP
	ctrl1Filter20  = 0b11 << 2 // and LPFP_CFG
	ctrl1Block     = 1 << 1    // BDU
	ctrl2Increment = 1 << 4    // IF_ADD_INC, as after a reset
	ctrl2Reset     = 1 << 2    // SWRESET
	ctrl2OneShot   = 1 << 0
	statusBoth     = 0b11 // T_DA and P_DA

	deviceID = 0xB1
)

const (
	conversionTime = 13333 * time.Microsecond // see the package comment
	pollInterval   = 5 * time.Millisecond
	polls          = 10
)

// The ranges that the chip is specified for.
const (
	minPressure    = 260 * 100 * physic.Pascal
	maxPressure    = 1260 * 100 * physic.Pascal
	minTemperature = physic.ZeroCelsius - 40*physic.Celsius
	maxTemperature = physic.ZeroCelsius + 85*physic.Celsius
)

// Filter is the chip's low-pass filter of the pressure: 9 or 20, by which its rate of
// 75 Hz is divided for the bandwidth. The zero value is no filter.
type Filter uint8

// Options of a [Dev]. The zero value measures once a reading at [DefaultAddress].
type Options struct {
	Address uint16 // 0x5C or 0x5D; 0 is DefaultAddress
	Filter  Filter

	// Sleep waits for d or until ctx ends, and then returns its error. Nil
	// is drivers.Sleep.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Dev is one chip. It is not for concurrent use.
type Dev struct {
	dev   i2c.Dev
	sleep func(context.Context, time.Duration) error

	ctrl1      byte
	configured bool // as far as is known
	resets     uint64
}

// New returns the chip at an address of bus. It does no I/O: a chip that is
// absent is an error of each reading. The error is a drivers.ErrOptions.
func New(bus i2c.Bus, opts Options) (*Dev, error) {
	if opts.Address == 0 {
		opts.Address = DefaultAddress
	}
	if opts.Sleep == nil {
		opts.Sleep = drivers.Sleep
	}
	ctrl1 := byte(ctrl1Block)
	switch opts.Filter {
	case 0:
	case 9:
		ctrl1 |= ctrl1Rate75 | ctrl1Filter9
	case 20:
		ctrl1 |= ctrl1Rate75 | ctrl1Filter20
	default:
		return nil, fmt.Errorf("lps22hb: %w: filter is %d: want 0 (off), 9 or 20", drivers.ErrOptions, opts.Filter)
	}
	switch {
	case bus == nil:
		return nil, fmt.Errorf("lps22hb: %w: no bus", drivers.ErrOptions)
	case opts.Address != 0x5C && opts.Address != 0x5D:
		return nil, fmt.Errorf("lps22hb: %w: address %#x: want 0x5c or 0x5d", drivers.ErrOptions, opts.Address)
	}
	return &Dev{dev: i2c.Dev{Bus: bus, Addr: opts.Address}, sleep: opts.Sleep, ctrl1: ctrl1}, nil
}

// String returns the chip's name and address.
func (d *Dev) String() string { return fmt.Sprintf("LPS22HB at %#x", d.dev.Addr) }

// Resets returns how often the chip was found to have lost its configuration.
func (d *Dev) Resets() uint64 { return d.resets }

// Sense measures once and stores pressure and temperature in m. It leaves the others
// as they are, and everything if it fails.
//
// It configures the chip if this is the first reading or the one before failed. It
// takes 14 ms; with a chip that is late or reset under way at most 220 ms; or until
// ctx ends.
//
// The error wraps that of the bus or of ctx, or is of one of the kinds
// ErrNotReady, ErrWrongChip, ErrReset and ErrOutOfRange of package drivers.
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
		r, err := d.convert(ctx)
		// Whatever went wrong, the next reading starts from a known state.
		d.configured = err == nil
		switch {
		case errors.Is(err, drivers.ErrReset):
			d.resets++
			continue
		case err != nil:
			return err
		}
		return r.store(m)
	}
	return drivers.ErrReset
}

// configure brings the chip from any state to its settings.
func (d *Dev) configure(ctx context.Context) error {
	if err := Identify(d.dev.Bus, d.dev.Addr); err != nil {
		return err
	}
	if err := d.write("reset", regCtrl2, ctrl2Increment|ctrl2Reset); err != nil {
		return err
	}
	if err := d.waitReset(ctx); err != nil {
		return err
	}
	if err := d.write("clear offset", regOffset, 0, 0, 0); err != nil {
		return err
	}
	if err := d.write("configure", regCtrl1, d.ctrl1); err != nil {
		return err
	}
	// Without this the filter rises from what it held before.
	var b [1]byte
	return d.read("reset filter", regFilterReset, b[:])
}

func (d *Dev) waitReset(ctx context.Context) error {
	for range polls {
		if err := d.sleep(ctx, pollInterval); err != nil {
			return err
		}
		var b [1]byte
		if err := d.read("read control", regCtrl2, b[:]); err != nil {
			return err
		}
		if b[0]&ctrl2Reset == 0 {
			return nil
		}
	}
	return fmt.Errorf("after reset: %w", drivers.ErrNotReady)
}

// convert returns a result that the chip has begun to measure after the call, or
// with a filter ended. Its error is drivers.ErrReset if the chip turns out not to
// be configured.
func (d *Dev) convert(ctx context.Context) (result, error) {
	var r result
	// It clears the flags.
	if err := d.read("read last result", regResult, r[:]); err != nil {
		return r, err
	}
	if d.ctrl1&ctrl1Rate75 == 0 {
		if err := d.write("start", regCtrl2, ctrl2Increment|ctrl2OneShot); err != nil {
			return r, err
		}
	}
	ready, err := d.waitResult(ctx)
	if err != nil {
		return r, err
	}
	if err := d.read("read result", regResult, r[:]); err != nil {
		return r, err
	}
	var b [1]byte
	if err := d.read("read control", regCtrl1, b[:]); err != nil {
		return r, err
	}
	switch {
	case b[0] != d.ctrl1:
		return r, drivers.ErrReset
	case !ready:
		return r, fmt.Errorf("measuring: %w", drivers.ErrNotReady)
	}
	return r, nil
}

// waitResult waits for a result, and reports whether it came in time.
func (d *Dev) waitResult(ctx context.Context) (bool, error) {
	wait := conversionTime
	for range polls {
		if err := d.sleep(ctx, wait); err != nil {
			return false, err
		}
		wait = pollInterval
		var b [1]byte
		if err := d.read("read status", regStatus, b[:]); err != nil {
			return false, err
		}
		if b[0]&statusBoth == statusBoth {
			return true, nil
		}
	}
	return false, nil
}

func (d *Dev) read(what string, reg byte, b []byte) error {
	if err := d.dev.Tx([]byte{reg}, b); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// write writes a register's address and the values from there on.
func (d *Dev) write(what string, b ...byte) error {
	if err := d.dev.Tx(b, nil); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// result is PRESS_OUT and TEMP_OUT.
type result [5]byte

// store stores the quantities in m, or returns a drivers.RangeError.
func (r result) store(m *drivers.Measurement) error {
	pressureWord := uint32(r[0]) | uint32(r[1])<<8 | uint32(r[2])<<16
	temperatureWord := uint16(r[3]) | uint16(r[4])<<8

	// 1/4096 hPa is 24414062.5 nPa. The word has a sign in bit 23.
	pressure := (physic.Pressure(int32(pressureWord<<8)>>8)*48828125 + 1) >> 1
	temperature := physic.ZeroCelsius + physic.Temperature(int16(temperatureWord))*10*physic.MilliKelvin
	switch {
	case pressure < minPressure || pressure > maxPressure:
		return &drivers.RangeError{Quantity: "pressure", Value: pressure, Min: minPressure, Max: maxPressure}
	case temperature < minTemperature || temperature > maxTemperature:
		return &drivers.RangeError{Quantity: "temperature", Value: temperature, Min: minTemperature, Max: maxTemperature}
	}
	m.Pressure, m.Words.Pressure = pressure, pressureWord
	m.Temperature, m.Words.Temperature = temperature, uint32(temperatureWord)
	return nil
}
