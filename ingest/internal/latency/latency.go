// Package latency measures how long readings are under way, counted from their
// sampling.
package latency

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// buckets are in seconds. They go on to a week, so that the backlog of an outage
// is seen.
var buckets = []float64{0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 6 * 3600, 24 * 3600, 3 * 24 * 3600, 7 * 24 * 3600}

// Histogram is a [prometheus.Histogram] of seconds since the sampling, or since
// another time that data are of.
type Histogram struct{ prometheus.Histogram }

// New returns a Histogram that is not yet registered.
func New(name, help string) Histogram {
	return Histogram{prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})}
}

// Known reports whether f tells when it was sampled: a declared loss does not, and
// neither does a clock that was not synchronised.
func Known(f *telemetry.Frame) bool { return !f.IsLoss() && f.Clock == telemetry.ClockSynced }

// Sampled observes how long before now the sampling was, both in Unix
// milliseconds. A clock that is ahead makes it 0, or the sum would decrease.
func (h Histogram) Sampled(timestamp, now int64) {
	h.Observe((time.Duration(max(now-timestamp, 0)) * time.Millisecond).Seconds())
}
