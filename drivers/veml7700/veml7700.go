package veml7700

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/device"
)

// DefaultAddress is the chip's only I2C address.
const DefaultAddress uint16 = 0x10

// Gain is the amplification of the photodiode's signal.
type Gain uint8

// The gains.
const (
	AutoGain Gain = iota // with the integration time chosen by the driver, too
	GainEighth
	GainQuarter
	Gain1
	Gain2
)

// String returns the gain, such as "1/8".
func (g Gain) String() string {
	switch g {
	case AutoGain:
		return "auto"
	case GainEighth:
		return "1/8"
	case GainQuarter:
		return "1/4"
	case Gain1:
		return "1"
	case Gain2:
		return "2"
	default:
		return fmt.Sprintf("Gain(%d)", uint8(g))
	}
}

// Registers, which the datasheet calls command codes (table 1 and following).
const (
	regConf      = 0x00
	regPowerSave = 0x03
	regALS       = 0x04
	regID        = 0x07
)

const (
	confShutdown = 1 << 0
	confMask     = 0b0001_1011_1111_0011 // the others are reserved
	powerSaveOff = 0

	deviceID = 0x81 // the low byte; the high one codes the address
)

const (
	// The note has 2.5 ms from shutdown to a running oscillator, Linux waits 4 ms.
	startupTime = 4 * time.Millisecond

	saturated = 0xFFFF
	// The bounds of a count in the note's flow chart.
	fewCounts, manyCounts = 100, 10000
)

// Options of a [Dev]. The zero value chooses the range by itself.
type Options struct {
	Address uint16 // 0x10, which 0 is as well

	// Gain and IntegrationTime are both zero, and the driver chooses them
	// reading by reading, or both set. The time is 25, 50, 100, 200, 400 or
	// 800 ms.
	Gain            Gain
	IntegrationTime time.Duration

	// Sleep waits for d or until ctx ends, and then returns its error. Nil
	// is drivers.Sleep.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Dev is one chip. It is not for concurrent use.
type Dev struct {
	dev    device.Device
	ranges []sensitivity // from the least sensitive one up
	at     int           // the range that the next reading begins in
}

// New returns the chip at an address of bus. It does no I/O: a chip that is
// absent is an error of each reading. The error is a drivers.ErrOptions.
func New(bus i2c.Bus, opts Options) (*Dev, error) {
	fixed := sensitivity{opts.Gain, opts.IntegrationTime}
	ranges := []sensitivity{fixed}
	switch {
	case fixed == sensitivity{}:
		ranges = autoRanges()
	case opts.Gain == AutoGain || opts.IntegrationTime == 0:
		return nil, fmt.Errorf("veml7700: %w: gain %v with integration time %v: want both or neither",
			drivers.ErrOptions, opts.Gain, opts.IntegrationTime)
	default:
		if err := fixed.check(); err != nil {
			return nil, fmt.Errorf("veml7700: %w: %w", drivers.ErrOptions, err)
		}
	}
	dev, err := device.New("VEML7700", bus, opts.Address, opts.Sleep, DefaultAddress)
	if err != nil {
		return nil, fmt.Errorf("veml7700: %w: %w", drivers.ErrOptions, err)
	}
	return &Dev{dev: dev, ranges: ranges}, nil
}

// String returns the chip's name and address.
func (d *Dev) String() string { return d.dev.String() }

// Resets returns how often the chip was found to have lost its configuration
// while it measured.
func (d *Dev) Resets() uint64 { return d.dev.Resets() }

// Sense measures and stores the illuminance in m. It leaves m as it is if it
// fails. The word is the count, below the bits 12 to 6 of the configuration, which
// tell the range.
//
// It takes twice the integration time and 4 ms, or that of several integrations
// if the driver chooses the range and the light has changed: 1.8 s at most; twice
// as long if the chip is reset under way; or until ctx ends.
//
// The error wraps that of the bus or of ctx, or is of one of the kinds
// ErrWrongChip, ErrSaturated, ErrOutOfRange and ErrReset of package drivers.
func (d *Dev) Sense(ctx context.Context, m *drivers.Measurement) error {
	return d.dev.Sense(ctx, m, d.identify, d.measure)
}

// identify is all that there is to configure: each measurement writes its settings.
// After an error another chip may have taken this one's place.
func (d *Dev) identify(context.Context) error { return Identify(d.dev.Bus, d.dev.Addr) }

// measure measures in the range that fits.
func (d *Dev) measure(ctx context.Context, m *drivers.Measurement) error {
	lowered := false // never back up in one reading: the light may be flickering
	for {
		s := d.ranges[d.at]
		count, err := d.count(ctx, s)
		switch {
		case err != nil:
			return err
		case count > manyCounts && d.at > 0:
			d.at--
			lowered = true
			continue
		case count < fewCounts && d.at < len(d.ranges)-1 && !lowered:
			d.at++
			continue
		case count == saturated:
			return drivers.ErrSaturated
		}
		lux, err := s.illuminance(count)
		if err != nil {
			return err
		}
		m.Illuminance, m.Words.Illuminance = lux, s.word(count)
		return nil
	}
}

// count returns the result of one integration in the range s. Its error is
// drivers.ErrReset if the chip has lost its configuration meanwhile.
func (d *Dev) count(ctx context.Context, s sensitivity) (uint16, error) {
	for _, w := range []struct {
		what  string
		reg   byte
		value uint16
	}{
		{"shut down", regConf, s.conf() | confShutdown},
		{"leave power saving", regPowerSave, powerSaveOff},
		{"start", regConf, s.conf()},
	} {
		if err := d.dev.Write(w.what, w.reg, byte(w.value), byte(w.value>>8)); err != nil {
			return 0, err
		}
	}
	if err := d.dev.Sleep(ctx, startupTime+2*s.time); err != nil {
		return 0, err
	}
	count, err := read(&d.dev, "read result", regALS)
	if err != nil {
		return 0, err
	}
	conf, err := read(&d.dev, "read configuration", regConf)
	if err != nil {
		return 0, err
	}
	if conf&confMask != s.conf() {
		return 0, drivers.ErrReset
	}
	return count, nil
}

func read(dev *device.Device, what string, reg byte) (uint16, error) {
	var b [2]byte
	err := dev.Read(what, b[:], reg)
	return binary.LittleEndian.Uint16(b[:]), err
}
