package i2csim

import (
	"math"
	"math/rand/v2"
	"time"

	"periph.io/x/conn/v3/physic"
)

// Drift is a Source that wanders off from another, within Spans: by PerHour,
// whose Temperature is a difference. What it has gained it keeps. Spans.From
// must be set.
type Drift struct {
	Source
	Spans
	PerHour Environment
}

// At implements Source.
func (d Drift) At(t time.Time) Environment {
	hours := d.Within(t).Hours()
	return d.Source.At(t).plus(d.PerHour, [4]float64{hours, hours, hours, hours})
}

// Noise is a Source that deviates from another at each moment by another,
// normally distributed amount. It is a function of the seed and the moment.
type Noise struct {
	Source
	Spans
	Deviation Environment // standard deviations; Temperature is a difference
	Seed      uint64
}

// At implements Source.
func (n Noise) At(t time.Time) Environment {
	e := n.Source.At(t)
	if !n.Contain(t) {
		return e
	}
	r := rand.New(rand.NewPCG(n.Seed, uint64(t.UnixNano())))
	return e.plus(n.Deviation, [4]float64{r.NormFloat64(), r.NormFloat64(), r.NormFloat64(), r.NormFloat64()})
}

// plus adds the multiples of d's quantities, and stays where the quantities
// have a meaning.
func (e Environment) plus(d Environment, times [4]float64) Environment {
	return Environment{
		Temperature: max(0, e.Temperature+multiple(d.Temperature, times[0])),
		Humidity:    min(max(0, e.Humidity+multiple(d.Humidity, times[1])), 100*physic.PercentRH),
		Pressure:    max(0, e.Pressure+multiple(d.Pressure, times[2])),
		Illuminance: max(0, e.Illuminance+multiple(d.Illuminance, times[3])),
	}
}

func multiple[T ~int32 | ~int64](v T, times float64) T { return T(math.Round(float64(v) * times)) }
