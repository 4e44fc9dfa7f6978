package climate

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"time"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// ReplayOptions say how a series is replayed.
type ReplayOptions struct {
	Series *Series       // required
	Begin  time.Time     // when the replay begins; required
	Offset time.Duration // how far into the series it begins; of either sign
	Speed  float64       // the series' time runs so many times as fast as the clock; 1 if 0

	Weather uint64 // the sky: pressure, which series do not have
	Seed    uint64 // the sensor; 0 is a perfect one, which deviates from nothing
}

// Replay is a Source that repeats a recorded series for ever. Between rows it
// interpolates linearly.
type Replay struct {
	series    *Series
	period    time.Duration
	begin     time.Time
	offset    time.Duration
	speed     float64
	barometer barometer
	sensor    sensor
}

var _ i2csim.Source = (*Replay)(nil)

// officeLatitude is that of Mons in Belgium, where the office is. For the
// pressure tide other middle latitudes do not differ by much.
const officeLatitude = 50.45 * degree

// NewReplay returns the replay that o describes.
func NewReplay(o ReplayOptions) (*Replay, error) {
	if o.Series == nil {
		return nil, errors.New("climate: ReplayOptions.Series is nil")
	}
	speed, err := speed(o.Speed)
	if err != nil {
		return nil, err
	}
	if o.Begin.IsZero() {
		return nil, errors.New("climate: ReplayOptions.Begin is not set")
	}
	r := &Replay{
		series:    o.Series,
		period:    o.Series.Period(),
		begin:     o.Begin,
		offset:    o.Offset,
		speed:     speed,
		barometer: newBarometer(o.Weather, officeLatitude),
	}
	if o.Seed != 0 {
		r.sensor = newSensor(o.Seed)
	}
	return r, nil
}

// speed checks a speed factor, of which 0 stands for 1.
func speed(v float64) (float64, error) {
	if v == 0 {
		return 1, nil
	}
	if !(v > 0 && v <= maxSpeed) {
		return 0, fmt.Errorf("climate: speed %g: want more than 0, up to %g", v, maxSpeed)
	}
	return v, nil
}

// maxSpeed is a day in a second.
const maxSpeed = 86400.0

// At returns the environment at t. Highs, lows and the sensor's own deviation
// do not repeat with the series.
func (r *Replay) At(t time.Time) i2csim.Environment {
	elapsed := r.offset + scale(t.Sub(r.begin), r.speed)
	local := r.series.start.Add(elapsed)
	temperature, humidity, light := r.series.at(elapsed, r.period)
	return i2csim.Environment{
		Temperature: temperature + physic.Temperature(r.sensor.temperature.at(local)*float64(physic.Kelvin)),
		Humidity:    clampHumidity(humidity + percent(r.sensor.humidity.at(local))),
		Pressure:    pascals(r.barometer.at(local) + r.sensor.pressure.at(local)),
		Illuminance: max(0, light+i2csim.Illuminance(float64(light)*r.sensor.light.at(local))),
	}
}

func clampHumidity(h physic.RelativeHumidity) physic.RelativeHumidity {
	return min(max(h, 0), 100*physic.PercentRH)
}

// scale multiplies a duration; it is exact where the factor is 1. What has no
// room in a Duration begins again, after 146 years.
func scale(d time.Duration, factor float64) time.Duration {
	if factor == 1 {
		return d
	}
	return time.Duration(math.Round(math.Mod(float64(d)*factor, 1<<62)))
}

// at interpolates the series, repeated with the given period, at any time.
func (s *Series) at(elapsed, period time.Duration) (physic.Temperature, physic.RelativeHumidity, i2csim.Illuminance) {
	if elapsed %= period; elapsed < 0 {
		elapsed += period
	}
	n := len(s.rows)
	// The first row is at 0, so there is one before.
	i := sort.Search(n, func(i int) bool { return s.rows[i].at > elapsed })
	from := s.rows[i-1]
	to := s.rows[i%n]
	if i == n {
		to.at = period
	}
	share := float64(elapsed-from.at) / float64(to.at-from.at)
	return between(from.temperature, to.temperature, share),
		between(from.humidity, to.humidity, share),
		between(from.light, to.light, share)
}

func between[T ~int32 | ~int64](from, to T, share float64) T {
	return from + T(math.Round(float64(to-from)*share))
}
