package sink

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/telltale-iot/telltale/ingest/internal/latency"
)

type metrics struct {
	stored, duplicates, losses prometheus.Counter
	letters, retries           *prometheus.CounterVec
	lag                        *prometheus.GaugeVec
	latency                    latency.Histogram
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "telltale", Subsystem: "sink", Name: name, Help: help}
	}
	m := &metrics{
		stored:     prometheus.NewCounter(opts("frames_stored_total", "Frames written to the database.")),
		duplicates: prometheus.NewCounter(opts("frames_duplicate_total", "Frames that the database had already.")),
		losses:     prometheus.NewCounter(opts("losses_total", "Declared losses stored, those stored before included.")),
		letters:    prometheus.NewCounterVec(opts("dead_letters_total", "Records that could not be stored, by reason."), []string{"reason"}),
		retries:    prometheus.NewCounterVec(opts("retries_total", "Failed attempts that were repeated."), []string{"operation"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "telltale", Subsystem: "sink", Name: "lag_records", Help: "Records after the last one read.",
		}, []string{"partition"}),
		latency: latency.New("telltale_sink_latency_seconds", "Time from a reading's sampling until the database had stored it, of those stored for the first time."),
	}
	for _, c := range []prometheus.Collector{m.stored, m.duplicates, m.losses, m.letters, m.retries, m.lag, m.latency} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) progress(s Source) {
	if lag := s.Lag(); lag >= 0 {
		m.lag.WithLabelValues(strconv.Itoa(s.ID())).Set(float64(lag))
	}
}

func (m *metrics) gone(s Source) { m.lag.DeleteLabelValues(strconv.Itoa(s.ID())) }
