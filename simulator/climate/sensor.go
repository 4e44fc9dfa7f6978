package climate

import "time"

// sensor is how one sensor deviates from what surrounds it: a constant part,
// and one that wanders over minutes and hours. All of it stays within the
// accuracy of the chips (BME280: 1 K, 3 %RH, 1 hPa; BH1750: 20 %).
type sensor struct {
	temperature, humidity, pressure, light deviation
}

type deviation struct {
	offset float64
	wander wave
}

func (d deviation) at(t time.Time) float64 { return d.offset + d.wander.at(t) }

// newSensor draws a sensor. Temperature is in kelvin, humidity in percent,
// pressure in pascal, and light is a share of it.
func newSensor(seed uint64) sensor {
	r := random(seed, streamSensor)
	draw := func(offset, wander float64) deviation {
		return deviation{
			offset: offset * (2*r.Float64() - 1),
			wander: newWave(r, 4, 7*time.Minute, 6*time.Hour, wander),
		}
	}
	return sensor{
		temperature: draw(0.4, 0.05),
		humidity:    draw(1.5, 0.25),
		pressure:    draw(40, 2),
		light:       draw(0.1, 0.02),
	}
}
