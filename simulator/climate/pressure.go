package climate

import (
	"math"
	"time"
)

// meanPressure is the standard atmosphere's at sea level (ISO 2533), in pascal.
const meanPressure = 101325

// barometer is the pressure at sea level under one sky.
type barometer struct {
	weather wave
	tide    float64 // the semidiurnal tide's amplitude, in pascal
}

// newBarometer sums what a barograph shows:
//
//   - highs and lows that pass in two to twelve days, the synoptic time scale
//     (Blackmon, "A climatological spectral study of the 500 mb geopotential
//     height of the Northern Hemisphere", J. Atmos. Sci. 33, 1976), with a
//     standard deviation of 7 hPa, as the middle latitudes have;
//   - the solar semidiurnal tide S2 = 1.16 hPa cos³φ sin(2t + 158°), where t is
//     the local solar time as an angle and φ the latitude (Haurwitz, "The
//     geographical distribution of the solar semidiurnal pressure oscillation",
//     1956; Chapman and Lindzen, "Atmospheric Tides", 1970). Its maxima are
//     near 10 and 22 h.
func newBarometer(weather uint64, latitude float64) barometer {
	return barometer{
		weather: newWave(random(weather, streamPressure), 8, 48*time.Hour, 288*time.Hour, 700),
		tide:    116 * math.Pow(math.Cos(latitude), 3),
	}
}

// at returns the pressure in pascal at a local solar time.
func (b barometer) at(local time.Time) float64 {
	return meanPressure + b.weather.at(local) + b.tide*math.Sin(2*dayAngle(local)+158*degree)
}
