package remotewrite

import (
	"strconv"
	"sync/atomic"

	prompb "buf.build/gen/go/prometheus/prometheus/protocolbuffers/go"
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	sent    prometheus.Counter
	refused *prometheus.CounterVec // reason
	skipped *prometheus.CounterVec // reason
	retries *prometheus.CounterVec // reason
	lag     *prometheus.GaugeVec   // partition

	newest atomic.Int64 // timestamp that was sent, Unix milliseconds
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "telltale", Subsystem: "remote_write", Name: name, Help: help}, labels)
	}
	m := &metrics{
		refused: counters("samples_refused_total", "Samples that the receiver will not take, by reason.", "reason"),
		skipped: counters("records_skipped_total", "Records of iot-frames without a sample, by reason.", "reason"),
		retries: counters("retries_total", "Requests that are sent again, by reason.", "reason"),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "telltale", Subsystem: "remote_write", Name: "samples_sent_total", Help: "Samples that the receiver has taken.",
		}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "telltale", Subsystem: "remote_write", Name: "lag_records", Help: "Records of iot-frames after the last one read.",
		}, []string{"partition"}),
	}
	newest := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "telltale", Subsystem: "remote_write", Name: "newest_sample_timestamp_seconds",
		Help: "Unix time of the newest sample that the receiver has taken from this process, 0 before the first.",
	}, func() float64 { return float64(m.newest.Load()) / 1e3 })
	for _, c := range []prometheus.Collector{m.sent, m.refused, m.skipped, m.retries, m.lag, newest} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// taken counts the samples of series.
func (m *metrics) taken(series []*prompb.TimeSeries) {
	n, newest := 0, int64(0)
	for _, s := range series {
		n += len(s.Samples)
		newest = max(newest, s.Samples[len(s.Samples)-1].Timestamp)
	}
	m.sent.Add(float64(n))
	for before := m.newest.Load(); before < newest && !m.newest.CompareAndSwap(before, newest); {
		before = m.newest.Load()
	}
}

func (m *metrics) progress(s Source) {
	if lag := s.Lag(); lag >= 0 {
		m.lag.WithLabelValues(strconv.Itoa(s.ID())).Set(float64(lag))
	}
}

func (m *metrics) gone(s Source) { m.lag.DeleteLabelValues(strconv.Itoa(s.ID())) }
