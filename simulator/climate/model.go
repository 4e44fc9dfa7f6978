package climate

import (
	"errors"
	"fmt"
	"math"
	"time"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// ModelOptions describe a place on Earth, and a sensor there. The zero
// ModelOptions are a perfect sensor in a shaded greenhouse where the equator
// meets the prime meridian.
type ModelOptions struct {
	Latitude, Longitude physic.Angle // north and east; at most 90 and 180 degrees

	Mean  physic.Temperature // of the year; 15 degree Celsius if 0
	Swing physic.Temperature // from the day's mean to its maximum; 5 K if 0
	// Daylight is the share of the open ground's light that reaches the sensor,
	// up to 1; 0.4 if 0. At 1 the summer sun is more than a BH1750 can measure.
	Daylight float64

	Begin time.Time // the moment from which on time runs at Speed
	Speed float64   // the model's time runs so many times as fast as the clock; 1 if 0

	Weather uint64 // the sky
	Seed    uint64 // the sensor; 0 is a perfect one, which deviates from nothing
}

// Model is a Source that follows the sun and a seeded weather:
//
//   - temperature swings by the day, with its maximum at 15 h local solar time,
//     by the year, the more the further from the equator, and with the air
//     masses that come and go;
//   - humidity follows from the temperature and the air mass's dew point, which
//     the hour does not change: it falls as the day warms;
//   - pressure has highs, lows and the semidiurnal tide;
//   - light is the sun's by its elevation, under drifting clouds.
type Model struct {
	latitude  float64 // radian
	solar     time.Duration
	mean      float64 // degree Celsius
	swing     float64 // kelvin
	daylight  float64
	begin     time.Time
	speed     float64
	air       wave // of the temperature, in kelvin
	dryness   wave // of the dew point, in kelvin
	clouds    wave // of any unit: see cover
	barometer barometer
	sensor    sensor
}

var _ i2csim.Source = (*Model)(nil)

// NewModel returns the model that o describes.
func NewModel(o ModelOptions) (*Model, error) {
	if o.Latitude < -90*physic.Degree || o.Latitude > 90*physic.Degree {
		return nil, fmt.Errorf("climate: latitude %s: want -90° to 90°", o.Latitude)
	}
	if o.Longitude < -180*physic.Degree || o.Longitude > 180*physic.Degree {
		return nil, fmt.Errorf("climate: longitude %s: want -180° to 180°", o.Longitude)
	}
	if o.Mean == 0 {
		o.Mean = physic.ZeroCelsius + 15*physic.Kelvin
	}
	if o.Mean < physic.ZeroCelsius-40*physic.Kelvin || o.Mean > physic.ZeroCelsius+40*physic.Kelvin {
		return nil, fmt.Errorf("climate: mean %s: want -40°C to 40°C", o.Mean)
	}
	if o.Swing == 0 {
		o.Swing = 5 * physic.Kelvin
	}
	if o.Swing < 0 || o.Swing > 20*physic.Kelvin {
		return nil, fmt.Errorf("climate: swing of %g K: want 0 to 20", kelvin(o.Swing))
	}
	if o.Daylight == 0 {
		o.Daylight = 0.4
	}
	if !(o.Daylight > 0 && o.Daylight <= 1) {
		return nil, fmt.Errorf("climate: daylight %g: want more than 0, up to 1", o.Daylight)
	}
	speed, err := speed(o.Speed)
	if err != nil {
		return nil, err
	}
	if speed != 1 && o.Begin.IsZero() {
		return nil, errors.New("climate: ModelOptions.Begin is not set, but Speed is")
	}
	latitude := float64(o.Latitude) / float64(physic.Radian)
	air := random(o.Weather, streamAir)
	m := &Model{
		latitude:  latitude,
		solar:     scale(24*time.Hour, float64(o.Longitude)/float64(360*physic.Degree)),
		mean:      kelvin(o.Mean - physic.ZeroCelsius),
		swing:     kelvin(o.Swing),
		daylight:  o.Daylight,
		begin:     o.Begin,
		speed:     speed,
		air:       newWave(air, 6, 48*time.Hour, 288*time.Hour, 2),
		dryness:   newWave(air, 6, 48*time.Hour, 288*time.Hour, 1.5),
		clouds:    newWave(random(o.Weather, streamClouds), 12, 10*time.Minute, 96*time.Hour, 1),
		barometer: newBarometer(o.Weather, latitude),
	}
	if o.Seed != 0 {
		m.sensor = newSensor(o.Seed)
	}
	return m, nil
}

func kelvin(t physic.Temperature) float64 { return float64(t) / float64(physic.Kelvin) }

// depression is by how much the dew point lies below the day's mean, in
// kelvin: about 65 %RH.
const depression = 6.5

// At returns the environment at t.
func (m *Model) At(t time.Time) i2csim.Environment {
	if m.speed != 1 {
		t = m.begin.Add(scale(t.Sub(m.begin), m.speed))
	}
	local := t.UTC().Add(m.solar)
	mean := m.mean + m.season(local) + m.air.at(local)
	temperature := mean + m.swing*math.Cos(dayAngle(local)-15.0/24*2*math.Pi) + m.sensor.temperature.at(local)
	dewPoint := mean - depression + m.dryness.at(local)
	light := m.daylight * daylight(sunElevation(local, m.latitude), m.cover(local))
	return i2csim.Environment{
		Temperature: celsius(temperature),
		Humidity:    clampHumidity(percent(relativeHumidity(temperature, dewPoint) + m.sensor.humidity.at(local))),
		Pressure:    pascals(m.barometer.at(local) + m.sensor.pressure.at(local)),
		Illuminance: max(0, lux(light*(1+m.sensor.light.at(local)))),
	}
}

// season returns the year's part of the temperature in kelvin: an amplitude of
// 14 K at the poles and none at the equator, with the maximum a month after
// the hemisphere's summer solstice.
func (m *Model) season(local time.Time) float64 {
	const warmest = 202 * day / year * 2 * math.Pi
	return 14 * math.Sin(m.latitude) * math.Cos(yearAngle(local)-warmest)
}

// cover returns the share of clouds: a wave squeezed into 0 to 1.
func (m *Model) cover(local time.Time) float64 {
	return 1 / (1 + math.Exp(-2*m.clouds.at(local)))
}

// relativeHumidity returns the percentage of saturation at a temperature of
// air that is saturated at its dew point, both in degree Celsius, and at most
// 100, by the Magnus formula with the coefficients of Alduchov and Eskridge
// ("Improved Magnus form approximation of saturation vapor pressure", J. Appl.
// Meteor. 35, 1996), good to 0.4 % from -40 to 50 degree Celsius.
func relativeHumidity(temperature, dewPoint float64) float64 {
	magnus := func(t float64) float64 { return 17.625 * t / (243.04 + t) }
	return min(100, 100*math.Exp(magnus(dewPoint)-magnus(temperature)))
}
