package drivers

import (
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/drivers/light"
)

// Measurement is what a chip measured at one time. A driver sets the
// quantities that its chip measures, each with its word, and leaves the others
// as they are.
type Measurement struct {
	Temperature physic.Temperature
	Humidity    physic.RelativeHumidity
	Pressure    physic.Pressure
	Illuminance light.Illuminance

	// Words are what the chip's converter gave for the quantities, before any
	// computation. One that stays the same for long, while the world does not,
	// is that of a converter that is stuck. Where a chip has ranges, the bits
	// above the result tell which it was in.
	Words Words
}

// Words are the converter's results, as the chip's registers hold them.
type Words struct {
	Temperature, Humidity, Pressure, Illuminance uint32
}
