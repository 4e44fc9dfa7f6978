package i2csim

import (
	"strconv"
	"time"

	"periph.io/x/conn/v3/physic"
)

// Illuminance is light on a surface, in millionths of a lux. Periph's physic
// has luminous flux and intensity only.
type Illuminance int64

// Multiples of Illuminance.
const (
	MicroLux Illuminance = 1
	Lux      Illuminance = 1_000_000 * MicroLux
)

// String returns the illuminance in lux.
func (i Illuminance) String() string {
	return strconv.FormatFloat(float64(i)/float64(Lux), 'f', -1, 64) + "lx"
}

// Environment is what surrounds a chip at one moment.
type Environment struct {
	Temperature physic.Temperature
	Humidity    physic.RelativeHumidity
	Pressure    physic.Pressure
	Illuminance Illuminance
}

// Source tells the environment at any moment, in any order of moments. At is a
// pure function of t, is safe for concurrent use and does not call the bus or
// the chips: they call it while they are locked.
type Source interface {
	At(t time.Time) Environment
}

// Constant is a Source in which nothing ever changes.
type Constant Environment

// At returns c.
func (c Constant) At(time.Time) Environment { return Environment(c) }

// Conversion is the ground truth about one measurement of a chip.
type Conversion struct {
	Environment           // as it was at Start, and as the chip converted it
	Start       time.Time // when the measurement began
	End         time.Time // when its result reached the data registers
}

// Timing chooses between the durations that a datasheet gives for one thing.
type Timing uint8

const (
	// Maximum is the slowest chip that the datasheet allows, which every driver
	// has to wait for. It is the default.
	Maximum Timing = iota
	// Typical is the datasheet's typical chip.
	Typical
)

func (t Timing) valid() bool { return t <= Typical }
