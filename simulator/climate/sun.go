package climate

import (
	"math"
	"time"
)

// sunElevation returns the sine of the sun's elevation at a local solar time,
// by Spencer's series for its declination ("Fourier series representation of
// the position of the sun", Search 2(5), 1971). It neglects the equation of
// time, at most 17 minutes.
func sunElevation(local time.Time, latitude float64) float64 {
	g := yearAngle(local)
	declination := 0.006918 - 0.399912*math.Cos(g) + 0.070257*math.Sin(g) -
		0.006758*math.Cos(2*g) + 0.000907*math.Sin(2*g) -
		0.002697*math.Cos(3*g) + 0.00148*math.Sin(3*g)
	hour := dayAngle(local) - math.Pi
	return math.Sin(latitude)*math.Sin(declination) +
		math.Cos(latitude)*math.Cos(declination)*math.Cos(hour)
}

// daylight returns the illuminance of the open ground in lux, under a share of
// clouds from 0 (clear) to 1 (overcast), by the IESNA's formulas (Recommended
// Practice for the Calculation of Daylight Availability, RP-21-84). From the
// horizon to the end of civil twilight, 6 degrees below it, the light fades.
func daylight(sine, clouds float64) float64 {
	const (
		extraterrestrial = 128_000
		extinction       = 0.21 // of the clear sky
		clearHorizon     = 800
		overcastHorizon  = 300
	)
	bright, overcast := float64(clearHorizon), float64(overcastHorizon)
	if sine > 0 {
		bright += 15_500*math.Sqrt(sine) + extraterrestrial*math.Exp(-extinction/sine)*sine
		overcast += 21_000 * sine
	} else {
		left := max(0, 1+math.Asin(max(sine, -1))/(6*degree))
		bright *= left * left
		overcast *= left * left
	}
	return bright + (overcast-bright)*clouds
}
