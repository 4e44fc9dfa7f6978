package ingest

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/telltale-iot/telltale/internal/endpoint"
)

// listen makes the endpoint that serves /metrics, /healthz (the process lives) and
// /readyz (every task can do its work; if not, which and why).
func (i *Ingest) listen(ctx context.Context) (*endpoint.Server, error) {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "telltale_endpoint_refused_total", Help: "Requests and connections that this process' HTTP endpoint refused, by reason.",
	}, []string{"reason"})
	if err := i.options.Registry.Register(refused); err != nil {
		return nil, err
	}
	return endpoint.Listen(ctx, endpoint.Options{
		Config:  i.options.Config.Metrics.Endpoint(),
		Metrics: promhttp.HandlerFor(i.options.Registry, promhttp.HandlerOpts{}),
		Ready:   i.ready,
		Refused: func(reason string) { refused.WithLabelValues(reason).Inc() },
		Logger:  i.log,
	})
}

func (i *Ingest) ready(ctx context.Context) (lines []string, ok bool) {
	ok = true
	for _, t := range i.tasks {
		if t.ready == nil {
			continue
		}
		if err := t.ready(ctx); err != nil {
			ok = false
			lines = append(lines, fmt.Sprintf("%s: %v", t.name, err))
		} else {
			lines = append(lines, t.name+": ready")
		}
	}
	return lines, ok
}

// registerProcess makes the metrics of the process as a whole.
func (i *Ingest) registerProcess() error {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "telltale_ingest_build_info", Help: "Always 1; the label is the program's version.",
	}, []string{"version"})
	info.WithLabelValues(i.options.Version).Set(1)
	roles := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "telltale_ingest_role", Help: "Always 1; one series for each role that the process has.",
	}, []string{"role"})
	for _, role := range i.options.Config.Roles {
		roles.WithLabelValues(role).Set(1)
	}
	for _, c := range []prometheus.Collector{info, roles, readyCollector{i}} {
		if err := i.options.Registry.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// registerRetries makes the counters of what the clients of Kafka and MongoDB try
// again, and of what they cannot have any more.
func (i *Ingest) registerRetries() error {
	i.consumerRetries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "telltale_kafka_consumer_retries_total", Help: "Attempts to join a group, to fetch or to commit that failed and are made again, by reason.",
	}, []string{"group", "reason"})
	i.recordsExpired = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "telltale_kafka_records_expired_total", Help: "Records that Kafka had no more when the group was to read them.",
	}, []string{"group"})
	i.producerRetries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "telltale_kafka_producer_retries_total", Help: "Requests to Kafka, or partitions of them, that failed and are tried again, by reason. The bridge counts its own.",
	}, []string{"role", "reason"})
	i.topicRetries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "telltale_kafka_topic_retries_total", Help: "Attempts to see to Kafka's topics that failed and are made again, by reason.",
	}, []string{"reason"})
	i.mongoFailures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "telltale_mongo_failures_total", Help: "Operations on MongoDB, and attempts to reach its servers, that failed, by reason. What must be done is tried again.",
	}, []string{"reason"})
	for _, c := range []prometheus.Collector{i.consumerRetries, i.recordsExpired, i.producerRetries, i.topicRetries, i.mongoFailures} {
		if err := i.options.Registry.Register(c); err != nil {
			return err
		}
	}
	return nil
}
