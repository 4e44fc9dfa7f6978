package lps22hb

import (
	"context"
	"errors"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/device"
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
	dev   device.Device
	ctrl1 byte
}

// New returns the chip at an address of bus. It does no I/O: a chip that is
// absent is an error of each reading. The error is a drivers.ErrOptions.
func New(bus i2c.Bus, opts Options) (*Dev, error) {
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
	dev, err := device.New("LPS22HB", bus, opts.Address, opts.Sleep, DefaultAddress, 0x5D)
	if err != nil {
		return nil, fmt.Errorf("lps22hb: %w: %w", drivers.ErrOptions, err)
	}
	return &Dev{dev: dev, ctrl1: ctrl1}, nil
}

// String returns the chip's name and address.
func (d *Dev) String() string { return d.dev.String() }

// Resets returns how often the chip was found to have lost its configuration.
func (d *Dev) Resets() uint64 { return d.dev.Resets() }

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
	return d.dev.Sense(ctx, m, d.configure, d.measure)
}

// configure brings the chip from any state to its settings.
func (d *Dev) configure(ctx context.Context) error {
	if err := Identify(d.dev.Bus, d.dev.Addr); err != nil {
		return err
	}
	if err := d.dev.Write("reset", regCtrl2, ctrl2Increment|ctrl2Reset); err != nil {
		return err
	}
	if err := d.waitReset(ctx); err != nil {
		return err
	}
	if err := d.dev.Write("clear offset", regOffset, 0, 0, 0); err != nil {
		return err
	}
	if err := d.dev.Write("configure", regCtrl1, d.ctrl1); err != nil {
		return err
	}
	// Without this the filter rises from what it held before.
	var b [1]byte
	return d.dev.Read("reset filter", b[:], regFilterReset)
}

func (d *Dev) waitReset(ctx context.Context) error {
	return d.dev.Poll(ctx, "after reset", pollInterval, pollInterval, polls, func() (bool, error) {
		ctrl2, err := d.dev.ReadRegister("read control", regCtrl2)
		return ctrl2&ctrl2Reset == 0, err
	})
}

func (d *Dev) measure(ctx context.Context, m *drivers.Measurement) error {
	r, err := d.convert(ctx)
	if err != nil {
		return err
	}
	d.dev.Trust()
	return r.store(m)
}

// convert returns a result that the chip has begun to measure after the call, or
// with a filter ended. Its error is drivers.ErrReset if the chip turns out not to
// be configured.
func (d *Dev) convert(ctx context.Context) (r result, err error) {
	// It clears the flags.
	if err := d.dev.Read("read last result", r[:], regResult); err != nil {
		return r, err
	}
	if d.ctrl1&ctrl1Rate75 == 0 {
		if err := d.dev.Write("start", regCtrl2, ctrl2Increment|ctrl2OneShot); err != nil {
			return r, err
		}
	}
	late := d.waitResult(ctx)
	if late != nil && !errors.Is(late, drivers.ErrNotReady) {
		return r, late
	}
	if err := d.dev.Read("read result", r[:], regResult); err != nil {
		return r, err
	}
	// A chip that has no result may have been reset while it measured.
	switch ctrl1, err := d.dev.ReadRegister("read control", regCtrl1); {
	case err != nil:
		return r, err
	case ctrl1 != d.ctrl1:
		return r, drivers.ErrReset
	}
	return r, late
}

func (d *Dev) waitResult(ctx context.Context) error {
	return d.dev.Poll(ctx, "measuring", conversionTime, pollInterval, polls, func() (bool, error) {
		status, err := d.dev.ReadRegister("read status", regStatus)
		return status&statusBoth == statusBoth, err
	})
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
