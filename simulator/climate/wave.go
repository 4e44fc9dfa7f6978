package climate

import (
	"math"
	"math/rand/v2"
	"time"
)

// wave is a smooth random curve over time: a sum of sines.
type wave []sine

type sine struct {
	amplitude float64
	frequency float64 // radian per second
	phase     float64
}

// newWave draws n sines with periods spread evenly by ratio between shortest
// and longest. Their sum has the given standard deviation, and is never
// further from 0 than sqrt(2n) of those.
func newWave(r *rand.Rand, n int, shortest, longest time.Duration, deviation float64) wave {
	w := make(wave, n)
	ratio := longest.Seconds() / shortest.Seconds()
	for i := range w {
		period := shortest.Seconds() * math.Pow(ratio, (float64(i)+r.Float64())/float64(n))
		w[i] = sine{
			amplitude: deviation * math.Sqrt(2/float64(n)),
			frequency: 2 * math.Pi / period,
			phase:     2 * math.Pi * r.Float64(),
		}
	}
	return w
}

// at returns the wave's value.
func (w wave) at(t time.Time) float64 {
	s := seconds(t)
	var sum float64
	for _, c := range w {
		sum += c.amplitude * math.Sin(c.frequency*s+c.phase)
	}
	return sum
}

// epoch is where the waves' time begins: near enough that a float64 counts it
// to a microsecond.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// seconds returns the time since the epoch, for any year.
func seconds(t time.Time) float64 {
	return float64(t.Unix()-epoch.Unix()) + float64(t.Nanosecond())/1e9
}

const (
	degree = math.Pi / 180
	day    = 86400.0        // seconds
	year   = 365.2425 * day // of the calendar, in the mean
)

// dayAngle returns the time since midnight, and yearAngle that since about New
// Year, as an angle from 0 to 2π. Unlike the calendar's days, yearAngle never
// jumps.
func dayAngle(t time.Time) float64  { return cycle(seconds(t), day) }
func yearAngle(t time.Time) float64 { return cycle(seconds(t), year) }

func cycle(seconds, period float64) float64 {
	turns := seconds / period
	return 2 * math.Pi * (turns - math.Floor(turns))
}

// Streams keep the curves drawn from one seed independent of each other.
const (
	streamPressure = iota + 1
	streamAir
	streamClouds
	streamSensor
)

func random(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }
