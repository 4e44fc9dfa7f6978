package window

import (
	"math"
	"math/big"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Stats are the exact moments of the frames of one part of a window. The zero
// Stats are those of no frame.
type Stats struct {
	Frames      int64 // frames counted, those without any measure included
	First, Last int64 // least and greatest timestamp, Unix ms
	Measures    [telemetry.Measures]Moments
}

// Moments are the exact count, sum, sum of squares, least and greatest of one
// measure, in millionths of its unit (squares: in millionths squared).
type Moments struct {
	Count        int64
	Sum, Squares Int128
	Min, Max     telemetry.Micro
}

// add counts f in.
func (s *Stats) add(f *telemetry.Frame) {
	if s.Frames == 0 {
		s.First, s.Last = f.Timestamp, f.Timestamp
	}
	s.Frames++
	s.First, s.Last = min(s.First, f.Timestamp), max(s.Last, f.Timestamp)
	for i := range s.Measures {
		if v, ok := f.Payload.Get(telemetry.Measure(i)); ok {
			s.Measures[i].add(v)
		}
	}
}

func (m *Moments) add(v telemetry.Micro) {
	if m.Count == 0 {
		m.Min, m.Max = v, v
	}
	m.Count++
	m.Sum = m.Sum.Plus(fromMicro(v))
	m.Squares = m.Squares.Plus(square(v))
	m.Min, m.Max = min(m.Min, v), max(m.Max, v)
}

// merge counts in the frames of o, none of which s has.
func (s *Stats) merge(o *Stats) {
	if o.Frames == 0 {
		return
	}
	if s.Frames == 0 {
		*s = *o
		return
	}
	s.Frames += o.Frames
	s.First, s.Last = min(s.First, o.First), max(s.Last, o.Last)
	for i := range s.Measures {
		s.Measures[i].merge(&o.Measures[i])
	}
}

// magnitude returns a bound of all values.
func (s *Stats) magnitude() telemetry.Micro {
	var most telemetry.Micro
	for _, m := range s.Measures {
		most = max(most, m.Max, -m.Min)
	}
	return most
}

func (m *Moments) merge(o *Moments) {
	if o.Count == 0 {
		return
	}
	if m.Count == 0 {
		*m = *o
		return
	}
	m.Count += o.Count
	m.Sum = m.Sum.Plus(o.Sum)
	m.Squares = m.Squares.Plus(o.Squares)
	m.Min, m.Max = min(m.Min, o.Min), max(m.Max, o.Max)
}

var million = big.NewInt(1e6)

// Total returns the sum in units: the double nearest to the exact sum.
func (m *Moments) Total() float64 {
	return nearest(m.Sum.Big(), million)
}

// Mean returns the double nearest to the exact mean, in units; Count must not
// be 0.
func (m *Moments) Mean() float64 {
	return nearest(m.Sum.Big(), new(big.Int).Mul(million, big.NewInt(m.Count)))
}

// StdDev returns the population's standard deviation in units: the root of
// the double nearest to the exact variance. Count must not be 0.
func (m *Moments) StdDev() float64 {
	// (n·Σx² − (Σx)²) / n², which is exact in integers.
	n := big.NewInt(m.Count)
	sum := m.Sum.Big()
	variance := new(big.Int).Mul(n, m.Squares.Big())
	variance.Sub(variance, sum.Mul(sum, sum))
	scale := n.Mul(n, million)
	return math.Sqrt(nearest(variance, scale.Mul(scale, scale)))
}

func nearest(numerator, denominator *big.Int) float64 {
	v, _ := new(big.Rat).SetFrac(numerator, denominator).Float64()
	return v
}
