package i2csim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Chip is an emulated chip with a supply. It is safe for concurrent use.
type Chip interface {
	Device
	// PowerCycle is a brown-out: the chip is as when the supply comes, with all
	// that is not in its non-volatile memory lost.
	PowerCycle()
	// LastConversion returns the ground truth of the last measurement that
	// ended, if there was one since the supply came.
	LastConversion() (Conversion, bool)
}

// ChipOptions describe one chip.
type ChipOptions struct {
	Source Source           // what it measures; required
	Now    func() time.Time // its clock; time.Now if nil
	Timing Timing
	Seed   uint64 // of what differs between two chips of a kind, as its calibration
	// Sleep spends the time for which the chip stretches the bus's clock, as
	// [BusOptions].Sleep does; that of the wall clock if nil.
	Sleep func(time.Duration)
}

// complete checks o of the chip called name, and sets what has a default.
func (o *ChipOptions) complete(name string) error {
	if o.Source == nil {
		return fmt.Errorf("i2csim: %s: %w", name, errNoSource)
	}
	if !o.Timing.valid() {
		return fmt.Errorf("i2csim: %s: Timing is %d: want Maximum or Typical", name, o.Timing)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = func(d time.Duration) { <-time.After(d) }
	}
	return nil
}

var errNoSource = errors.New("Source is nil")

// kinds are the chips by their names in configurations.
func kinds() map[string]func(ChipOptions) (Chip, error) {
	return map[string]func(ChipOptions) (Chip, error){
		"aht20":    func(o ChipOptions) (Chip, error) { return NewAHT20(o) },
		"bh1750":   func(o ChipOptions) (Chip, error) { return NewBH1750(o) },
		"bme280":   func(o ChipOptions) (Chip, error) { return NewBME280(o.bme280()) },
		"bme680":   func(o ChipOptions) (Chip, error) { return NewBME680(o) },
		"bmp280":   func(o ChipOptions) (Chip, error) { return NewBMP280(o.bme280()) },
		"bmp388":   func(o ChipOptions) (Chip, error) { return NewBMP388(o) },
		"bmp390":   func(o ChipOptions) (Chip, error) { return NewBMP390(o) },
		"htu21d":   func(o ChipOptions) (Chip, error) { return NewHTU21D(o) },
		"lps22hb":  func(o ChipOptions) (Chip, error) { return NewLPS22HB(o) },
		"opt3001":  func(o ChipOptions) (Chip, error) { return NewOPT3001(o) },
		"sht3x":    func(o ChipOptions) (Chip, error) { return NewSHT3x(o) },
		"sht4x":    func(o ChipOptions) (Chip, error) { return NewSHT4x(o) },
		"si7021":   func(o ChipOptions) (Chip, error) { return NewSi7021(o) },
		"tsl2591":  func(o ChipOptions) (Chip, error) { return NewTSL2591(o) },
		"veml7700": func(o ChipOptions) (Chip, error) { return NewVEML7700(o) },
	}
}

// NewChip returns a chip of a kind, whose names are [Kinds].
func NewChip(kind string, o ChipOptions) (Chip, error) {
	build := kinds()[kind]
	if build == nil {
		return nil, fmt.Errorf("i2csim: no chip is called %q: want one of %s", kind, strings.Join(Kinds(), ", "))
	}
	return build(o)
}

// Kinds returns the names of the chips that there are, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds())) }
