package tsl2591

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/device"
)

// DefaultAddress is the chip's only I2C address.
const DefaultAddress uint16 = 0x29

// Gain is the amplification of the photodiodes' signals.
type Gain uint8

// The gains.
const (
	AutoGain   Gain = iota // with the integration time chosen by the driver, too
	LowGain                // 1
	MediumGain             // 25
	HighGain               // 428
	MaxGain                // 9876
)

// String returns the gain's name.
func (g Gain) String() string {
	switch g {
	case AutoGain:
		return "auto"
	case LowGain:
		return "low"
	case MediumGain:
		return "medium"
	case HighGain:
		return "high"
	case MaxGain:
		return "max"
	default:
		return fmt.Sprintf("Gain(%d)", uint8(g))
	}
}

// command goes with the address of a register: a normal transaction.
const command = 0b101 << 5

// Registers.
const (
	regEnable  = 0x00
	regControl = 0x01
	regID      = 0x12
	regStatus  = 0x13 // and from 0x14 on the channels
)

const (
	enableOff     = 0
	enableMeasure = 0b11 // PON and AEN
	// The bits that are not reserved: NPIEN, SAI, AIEN, AEN, PON; SRESET, AGAIN, ATIME.
	enableMask  = 0b1101_0011
	controlMask = 0b1011_0111

	statusValid = 1 << 0 // AVALID

	deviceID = 0x50
)

const (
	pollInterval = 10 * time.Millisecond
	polls        = 11

	fewCounts = 500
)

// Options of a [Dev]. The zero value chooses the range by itself.
type Options struct {
	Address uint16 // 0x29, which 0 is as well

	// Gain and IntegrationTime are both zero, and the driver chooses them
	// reading by reading, or both set. The time is 100 ms or up to six times
	// as much.
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
		return nil, fmt.Errorf("tsl2591: %w: gain %v with integration time %v: want both or neither",
			drivers.ErrOptions, opts.Gain, opts.IntegrationTime)
	default:
		if err := fixed.check(); err != nil {
			return nil, fmt.Errorf("tsl2591: %w: %w", drivers.ErrOptions, err)
		}
	}
	dev, err := device.New("TSL2591", bus, opts.Address, opts.Sleep, DefaultAddress)
	if err != nil {
		return nil, fmt.Errorf("tsl2591: %w: %w", drivers.ErrOptions, err)
	}
	return &Dev{dev: dev, ranges: ranges}, nil
}

// String returns the chip's name and address.
func (d *Dev) String() string { return d.dev.String() }

// Resets returns how often the chip was found to have lost its configuration
// while it measured.
func (d *Dev) Resets() uint64 { return d.dev.Resets() }

// Sense measures and stores the illuminance in m. It leaves m as it is if it
// fails. The word is the count of visible and infrared light, below the control
// register, which tells the range.
//
// It takes about the integration time, and 100 ms more at most; or that of several
// integrations if the driver chooses the range and the light has changed, 1.7 s at
// most; twice as long if the chip is reset under way; or until ctx ends.
//
// The error wraps that of the bus or of ctx, or is of one of the kinds
// ErrNotReady, ErrWrongChip, ErrSaturated and ErrReset of package drivers.
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
		c, err := d.counts(ctx, s)
		greater := max(c.all, c.infrared)
		switch {
		case err != nil:
			return err
		case greater > s.limit()/10*9 && d.at > 0:
			d.at--
			lowered = true
			continue
		case greater < fewCounts && d.at < len(d.ranges)-1 && !lowered:
			d.at++
			continue
		case greater >= s.limit():
			return drivers.ErrSaturated
		}
		m.Illuminance, m.Words.Illuminance = s.illuminance(c), s.word(c)
		return nil
	}
}

// counts are one result of the two channels.
type counts struct{ all, infrared uint16 }

// counts returns the result of one integration in the range s. Its error is
// drivers.ErrReset if the chip has lost its configuration meanwhile.
func (d *Dev) counts(ctx context.Context, s sensitivity) (counts, error) {
	// AVALID is cleared by switching off.
	for _, w := range []struct {
		what  string
		reg   byte
		value byte
	}{
		{"switch off", regEnable, enableOff},
		{"configure", regControl, s.control()},
		{"start", regEnable, enableMeasure},
	} {
		if err := d.dev.Write(w.what, command|w.reg, w.value); err != nil {
			return counts{}, err
		}
	}
	var result [5]byte
	late := d.dev.Poll(ctx, "integrating", s.time, pollInterval, polls, func() (bool, error) {
		err := d.dev.Read("read result", result[:], command|regStatus)
		return result[0]&statusValid != 0, err
	})
	if late != nil && !errors.Is(late, drivers.ErrNotReady) {
		return counts{}, late
	}
	// A chip that has no result may have been reset while it measured.
	var b [2]byte
	if err := d.dev.Read("read configuration", b[:], command|regEnable); err != nil {
		return counts{}, err
	}
	if b[0]&enableMask != enableMeasure || b[1]&controlMask != s.control() {
		return counts{}, drivers.ErrReset
	}
	return counts{
		all:      binary.LittleEndian.Uint16(result[1:]),
		infrared: binary.LittleEndian.Uint16(result[3:]),
	}, late
}
