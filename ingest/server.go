package ingest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// serve serves /metrics, /healthz (the process lives) and /readyz (every task
// can do its work; if not, which and why) until ctx ends.
func (i *Ingest) serve(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(i.options.Registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "ok") // a caller that is gone needs no answer
	})
	mux.HandleFunc("GET /readyz", i.readyz)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(i.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("ingest: metrics: %w", err)
	}
	return nil
}

func (i *Ingest) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	status := http.StatusOK
	var answer []byte
	for _, t := range i.tasks {
		if t.ready == nil {
			continue
		}
		if err := t.ready(ctx); err != nil {
			status = http.StatusServiceUnavailable
			answer = fmt.Appendf(answer, "%s: %v\n", t.name, err)
		} else {
			answer = fmt.Appendf(answer, "%s: ready\n", t.name)
		}
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

func registerVersion(r prometheus.Registerer, version string) error {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "telltale_ingest_build_info", Help: "Always 1; the label is the program's version.",
	}, []string{"version"})
	info.WithLabelValues(version).Set(1)
	return r.Register(info)
}

// registerRetries makes the counters of what the clients of Kafka and MongoDB try
// again.
func (i *Ingest) registerRetries() error {
	i.consumerRetries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "telltale_kafka_consumer_retries_total", Help: "Attempts to join a group, to fetch or to commit that failed and are made again, by reason.",
	}, []string{"group", "reason"})
	i.producerRetries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "telltale_kafka_producer_retries_total", Help: "Requests to Kafka, or partitions of them, that failed and are tried again, by reason. The bridge counts its own.",
	}, []string{"role", "reason"})
	i.topicRetries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "telltale_kafka_topic_retries_total", Help: "Attempts to see to Kafka's topics that failed and are made again, by reason.",
	}, []string{"reason"})
	i.mongoFailures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "telltale_mongo_failures_total", Help: "Operations on MongoDB, and attempts to reach its servers, that failed, by reason. What must be done is tried again.",
	}, []string{"reason"})
	for _, c := range []prometheus.Collector{i.consumerRetries, i.producerRetries, i.topicRetries, i.mongoFailures} {
		if err := i.options.Registry.Register(c); err != nil {
			return err
		}
	}
	return nil
}
