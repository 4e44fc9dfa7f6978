package ingest

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// readiness is a [prometheus.Collector] of what /readyz answers.
type readiness struct{ *Ingest }

var readyDesc = prometheus.NewDesc("telltale_ingest_ready", "Whether this part of the process can do its work at present, as /readyz says it.", []string{"task"}, nil)

// Describe implements [prometheus.Collector].
func (readiness) Describe(descs chan<- *prometheus.Desc) { descs <- readyDesc }

// Collect implements [prometheus.Collector].
func (r readiness) Collect(metrics chan<- prometheus.Metric) {
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
