package prom

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Options configures a [Latest].
type Options struct {
	// MaxSensors caps the sensors that are shown; it must be positive. The
	// frames of further sensors are counted and not shown.
	MaxSensors int
	// StaleAfter is how old a sensor's newest reading may be and still be
	// shown; it must be positive.
	StaleAfter time.Duration
	// Now tells the time; nil is time.Now.
	Now func() time.Time
}

// Latest keeps each sensor's newest reading and is a [prometheus.Collector] of
// them. It is safe for concurrent use.
type Latest struct {
	options Options

	mu      sync.Mutex
	sensors map[string]reading
	refused uint64
}

// reading is the newest frame of a sensor.
type reading struct {
	name, place string
	timestamp   int64
	payload     telemetry.Payload
}

var labels = []string{"sensor_id", "sensor_name", "place_id"}

// families are the gauges by measure. A base unit is so many of the wire's
// millionths: one division keeps the decimal exact where a factor would not.
var families = [telemetry.Measures]struct {
	desc    *prometheus.Desc
	divisor float64
}{
	telemetry.Temperature: {prometheus.NewDesc("telltale_temperature_celsius", "Latest temperature of the sensor.", labels, nil), 1e6},
	telemetry.Humidity:    {prometheus.NewDesc("telltale_relative_humidity_ratio", "Latest relative humidity of the sensor, 0 to 1.", labels, nil), 1e8},
	telemetry.Pressure:    {prometheus.NewDesc("telltale_pressure_pascals", "Latest air pressure of the sensor.", labels, nil), 1e4},
	telemetry.Luminosity:  {prometheus.NewDesc("telltale_illuminance_lux", "Latest illuminance of the sensor.", labels, nil), 1e6},
}

var (
	timestampDesc = prometheus.NewDesc("telltale_reading_timestamp_seconds", "Unix time of the sensor's latest reading.", labels, nil)
	shownDesc     = prometheus.NewDesc("telltale_metrics_sensors", "Sensors that the metrics role knows.", nil, nil)
	capDesc       = prometheus.NewDesc("telltale_metrics_sensors_limit", "Sensors that the metrics role shows at most.", nil, nil)
	refusedDesc   = prometheus.NewDesc("telltale_metrics_frames_refused_total", "Frames not shown because their sensor is above the limit.", nil, nil)
)

// NewLatest returns a Latest without readings.
func NewLatest(o Options) (*Latest, error) {
	if o.MaxSensors <= 0 {
		return nil, fmt.Errorf("prom: MaxSensors is %d, must be positive", o.MaxSensors)
	}
	if o.StaleAfter <= 0 {
		return nil, errors.New("prom: StaleAfter must be positive")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Latest{options: o, sensors: make(map[string]reading)}, nil
}

// Observe takes f in if it is newer than what the sensor shows. A declared
// loss and a frame older than StaleAfter change nothing. It keeps f's strings,
// not f.
func (l *Latest) Observe(f *telemetry.Frame) {
	if f.IsLoss() {
		return
	}
	now := l.options.Now()
	if l.stale(f.Timestamp, now) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	known, ok := l.sensors[f.ID]
	if ok && f.Timestamp < known.timestamp {
		return
	}
	if !ok && len(l.sensors) >= l.options.MaxSensors {
		l.forget(now)
		if len(l.sensors) >= l.options.MaxSensors {
			l.refused++
			return
		}
	}
	l.sensors[f.ID] = reading{name: f.Name, place: f.PlaceID, timestamp: f.Timestamp, payload: f.Payload}
}

func (l *Latest) stale(timestamp int64, now time.Time) bool {
	return now.UnixMilli()-timestamp > l.options.StaleAfter.Milliseconds()
}

// forget drops the sensors whose reading is stale.
func (l *Latest) forget(now time.Time) {
	for id, r := range l.sensors {
		if l.stale(r.timestamp, now) {
			delete(l.sensors, id)
		}
	}
}

// Describe implements [prometheus.Collector].
func (l *Latest) Describe(descs chan<- *prometheus.Desc) {
	for _, family := range families {
		descs <- family.desc
	}
	for _, desc := range []*prometheus.Desc{timestampDesc, shownDesc, capDesc, refusedDesc} {
		descs <- desc
	}
}

// Collect implements [prometheus.Collector].
func (l *Latest) Collect(metrics chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(l.options.Now())
	for id, r := range l.sensors {
		for m, family := range families {
			if v, ok := r.payload.Get(telemetry.Measure(m)); ok {
				metrics <- prometheus.MustNewConstMetric(family.desc, prometheus.GaugeValue, float64(v)/family.divisor, id, r.name, r.place)
			}
		}
		metrics <- prometheus.MustNewConstMetric(timestampDesc, prometheus.GaugeValue, float64(r.timestamp)/1e3, id, r.name, r.place)
	}
	metrics <- prometheus.MustNewConstMetric(shownDesc, prometheus.GaugeValue, float64(len(l.sensors)))
	metrics <- prometheus.MustNewConstMetric(capDesc, prometheus.GaugeValue, float64(l.options.MaxSensors))
	metrics <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(l.refused))
}
