package ingest

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// readyCollector is a [prometheus.Collector] of what /readyz answers.
type readyCollector struct{ *Ingest }

// readyTimeout is how long all parts together may take to say whether they can
// do their work.
const readyTimeout = 2 * time.Second

var readyDesc = prometheus.NewDesc("telltale_ingest_ready", "Whether this part of the process can do its work at present, as /readyz says it.", []string{"task"}, nil)

// Describe implements [prometheus.Collector].
func (readyCollector) Describe(descs chan<- *prometheus.Desc) { descs <- readyDesc }

// Collect implements [prometheus.Collector].
func (r readyCollector) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	for _, t := range r.tasks {
		if t.ready == nil {
			continue
		}
		ready := 1.0
		if t.ready(ctx) != nil {
			ready = 0
		}
		metrics <- prometheus.MustNewConstMetric(readyDesc, prometheus.GaugeValue, ready, t.name)
	}
}
