package sample

import (
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Celsius returns t in millionths of a degree Celsius, rounded half away from
// zero.
func Celsius(t physic.Temperature) telemetry.Micro {
	const micro = int64(physic.MicroKelvin)
	return telemetry.Micro(divide(int64(t-physic.ZeroCelsius), micro))
}

// Percent returns h in millionths of a percent of relative humidity, exactly.
func Percent(h physic.RelativeHumidity) telemetry.Micro {
	return telemetry.Micro(int64(h) * (1e6 / int64(physic.PercentRH)))
}

// Hectopascal returns p in millionths of a hectopascal, rounded half away from
// zero.
func Hectopascal(p physic.Pressure) telemetry.Micro {
	const micro = int64(100*physic.Pascal) / 1e6
	return telemetry.Micro(divide(int64(p), micro))
}

// divide returns n/d rounded half away from zero; d > 0.
func divide(n, d int64) int64 {
	q, r := n/d, n%d
	switch {
	case r >= d-r:
		q++
	case -r >= d+r:
		q--
	}
	return q
}
