package prom

import "github.com/telltale-iot/telltale/internal/telemetry"

// The labels of a sensor's series. One whose value is empty is, in Prometheus,
// the same as none.
const (
	LabelSensorID   = "sensor_id"
	LabelSensorName = "sensor_name"
	LabelPlaceID    = "place_id"
)

// A Metric is one of those that a sensor has a series of.
type Metric struct {
	Name, Help string
	of         func(*telemetry.Frame) (float64, bool)
}

// Of returns the frame's value in the metric's base unit, and whether it has one.
// A declared loss has none.
func (m Metric) Of(f *telemetry.Frame) (float64, bool) {
	if f.IsLoss() {
		return 0, false
	}
	return m.of(f)
}

// SensorMetrics returns the metrics of a sensor: one for each measure and the
// time of the reading, always in the same order.
func SensorMetrics() []Metric {
	return []Metric{
		{"telltale_temperature_celsius", "Latest temperature of the sensor.", measure(telemetry.Temperature, 1e6)},
		{"telltale_relative_humidity_ratio", "Latest relative humidity of the sensor, 0 to 1.", measure(telemetry.Humidity, 1e8)},
		{"telltale_pressure_pascals", "Latest air pressure of the sensor.", measure(telemetry.Pressure, 1e4)},
		{"telltale_illuminance_lux", "Latest illuminance of the sensor.", measure(telemetry.Luminosity, 1e6)},
		{"telltale_reading_timestamp_seconds", "Unix time of the sensor's latest reading.", func(f *telemetry.Frame) (float64, bool) {
			return float64(f.Timestamp) / 1e3, true
		}},
	}
}

// measure returns the value of m. A base unit is so many of the wire's
// millionths: one division keeps the decimal exact where a factor would not.
func measure(m telemetry.Measure, perUnit float64) func(*telemetry.Frame) (float64, bool) {
	return func(f *telemetry.Frame) (float64, bool) {
		v, ok := f.Payload.Get(m)
		return float64(v) / perUnit, ok
	}
}
