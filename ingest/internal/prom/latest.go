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
	metrics []Metric
	descs   []*prometheus.Desc // of metrics
	lag     *prometheus.GaugeVec

	mu          sync.Mutex
	sensors     map[string]telemetry.Frame // the newest
	refused     uint64
	undecodable uint64
}

var (
	shownDesc       = prometheus.NewDesc("telltale_metrics_sensors", "Sensors that the metrics role knows.", nil, nil)
	capDesc         = prometheus.NewDesc("telltale_metrics_sensors_limit", "Sensors that the metrics role shows at most.", nil, nil)
	refusedDesc     = prometheus.NewDesc("telltale_metrics_frames_refused_total", "Frames not shown because their sensor is above the limit.", nil, nil)
	faultDesc       = prometheus.NewDesc("telltale_reading_fault", "Always 1; one series for each measure that the sensor's latest reading lacks, and why.", []string{LabelSensorID, LabelSensorName, LabelPlaceID, "measure", "reason"}, nil)
	undecodableDesc = prometheus.NewDesc("telltale_metrics_undecodable_total", "Records of iot-frames that are no frame.", nil, nil)
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
	l := &Latest{options: o, metrics: SensorMetrics(), sensors: make(map[string]telemetry.Frame)}
	for _, m := range l.metrics {
		l.descs = append(l.descs, prometheus.NewDesc(m.Name, m.Help, []string{LabelSensorID, LabelSensorName, LabelPlaceID}, nil))
	}
	l.lag = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "telltale_metrics_lag_records", Help: "Records of iot-frames after the last one read.",
	}, []string{"partition"})
	return l, nil
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
	if ok && f.Timestamp < known.Timestamp {
		return
	}
	if !ok && len(l.sensors) >= l.options.MaxSensors {
		l.forget(now)
		if len(l.sensors) >= l.options.MaxSensors {
			l.refused++
			return
		}
	}
	l.sensors[f.ID] = *f
}

func (l *Latest) stale(timestamp int64, now time.Time) bool {
	return now.UnixMilli()-timestamp > l.options.StaleAfter.Milliseconds()
}

// forget drops the sensors whose reading is stale.
func (l *Latest) forget(now time.Time) {
	for id, f := range l.sensors {
		if l.stale(f.Timestamp, now) {
			delete(l.sensors, id)
		}
	}
}

// Describe implements [prometheus.Collector].
func (l *Latest) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range l.descs {
		descs <- desc
	}
	for _, desc := range []*prometheus.Desc{faultDesc, shownDesc, capDesc, refusedDesc, undecodableDesc} {
		descs <- desc
	}
	l.lag.Describe(descs)
}

// Collect implements [prometheus.Collector].
func (l *Latest) Collect(metrics chan<- prometheus.Metric) {
	l.lag.Collect(metrics)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(l.options.Now())
	for id, f := range l.sensors {
		for i, m := range l.metrics {
			if v, ok := m.Of(&f); ok {
				metrics <- prometheus.MustNewConstMetric(l.descs[i], prometheus.GaugeValue, v, id, f.Name, f.PlaceID)
			}
		}
		for m, reason := range f.Faults {
			if reason != "" {
				metrics <- prometheus.MustNewConstMetric(faultDesc, prometheus.GaugeValue, 1, id, f.Name, f.PlaceID, telemetry.Measure(m).String(), reason)
			}
		}
	}
	metrics <- prometheus.MustNewConstMetric(shownDesc, prometheus.GaugeValue, float64(len(l.sensors)))
	metrics <- prometheus.MustNewConstMetric(capDesc, prometheus.GaugeValue, float64(l.options.MaxSensors))
	metrics <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(l.refused))
	metrics <- prometheus.MustNewConstMetric(undecodableDesc, prometheus.CounterValue, float64(l.undecodable))
}
