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

// readyTimeout is how long all parts together may take to say whether they can
// do their work.
const readyTimeout = 2 * time.Second

func (i *Ingest) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
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
	for _, c := range []prometheus.Collector{info, roles, readiness{i}} {
		if err := i.options.Registry.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// registerRetries makes the counters of what Kafka's clients try again.
func (i *Ingest) registerRetries() error {
	i.consumerRetries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "telltale_kafka_consumer_retries_total", Help: "Attempts to join a group, to fetch or to commit that failed and are made again, by reason.",
	}, []string{"group", "reason"})
	i.producerRetries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "telltale_kafka_producer_retries_total", Help: "Requests to Kafka, or partitions of them, that failed and are tried again, by reason. The bridge counts its own.",
	}, []string{"role", "reason"})
	if err := i.options.Registry.Register(i.consumerRetries); err != nil {
		return err
	}
	return i.options.Registry.Register(i.producerRetries)
}
