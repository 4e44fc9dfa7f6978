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
	scale := big.NewInt(m.Count)
	scale.Mul(scale, million)
	return math.Sqrt(nearest(m.spread(), scale.Mul(scale, scale)))
}

// spread returns n·Σx² − (Σx)², the variance times n², which is exact in integers.
func (m *Moments) spread() *big.Int {
	sum := m.Sum.Big()
	spread := new(big.Int).Mul(big.NewInt(m.Count), m.Squares.Big())
	return spread.Sub(spread, sum.Mul(sum, sum))
}

// possible reports whether any values have these moments: their sum lies
// between the count times the least and the greatest, and the variance between 0
// and what it is with half of them at either end (Popoviciu's inequality).
func (m *Moments) possible() bool {
	n, low, high := big.NewInt(m.Count), big.NewInt(int64(m.Min)), big.NewInt(int64(m.Max))
	width := new(big.Int).Sub(high, low)
	width.Mul(width, n)
	most := width.Mul(width, width)
	spread := m.spread()
	sum := m.Sum.Big()
	return low.Mul(low, n).Cmp(sum) <= 0 && sum.Cmp(high.Mul(high, n)) <= 0 &&
		spread.Sign() >= 0 && spread.Lsh(spread, 2).Cmp(most) <= 0
}

func nearest(numerator, denominator *big.Int) float64 {
	v, _ := new(big.Rat).SetFrac(numerator, denominator).Float64()
	return v
}
