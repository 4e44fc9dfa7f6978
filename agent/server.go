package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/VictoriaMetrics/metrics"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/internal/endpoint"
)

// server is the agent's own endpoint for metrics and health.
type server struct{ *endpoint.Server } // nil: none

// newServer listens, unless the address is empty.
func (a *Agent) newServer(ctx context.Context, c config.Metrics) (*server, error) {
	if c.Listen == "" {
		a.metrics.Store(nil)
		return &server{}, nil
	}
	s, err := endpoint.Listen(ctx, endpoint.Options{
		Config: c.Endpoint(), Metrics: http.HandlerFunc(a.serveMetrics), Health: a.health, Ready: a.ready, Logger: a.opts.Logger,
		Refused: func(reason string) {
			a.opts.Metrics.GetOrCreateCounter(fmt.Sprintf("telltale_agent_endpoint_refused_total{reason=%q}", reason)).Inc()
		},
	})
	if err != nil {
		return nil, err
	}
	if addr, ok := s.Addr().(*net.TCPAddr); ok {
		a.metrics.Store(addr)
	}
	return &server{s}, nil
}

// MetricsAddr returns the address of the metrics endpoint, "" if there is none
// yet.
func (a *Agent) MetricsAddr() string {
	if addr := a.metrics.Load(); addr != nil {
		return addr.String()
	}
	return ""
}

// run serves until ctx ends.
func (s *server) run(ctx context.Context) error {
	if s.Server == nil {
		<-ctx.Done()
		return nil
	}
	return s.Run(ctx)
}

func (a *Agent) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	a.opts.Metrics.WritePrometheus(w)
	metrics.WriteProcessMetrics(w)
}

// health says what hangs.
func (a *Agent) health() error {
	if part := a.Stalled(); part != "" {
		return errors.New("hangs: " + part)
	}
	return nil
}

// ready says why readings are not kept or delivered as they should be. A chip
// that fails is no reason: what the others measure is.
func (a *Agent) ready(context.Context) (problems []string, ok bool) {
	if !a.current.Load().client.Connected() {
		problems = append(problems, "mqtt: not connected")
	}
	if a.commitFailed.Load() {
		problems = append(problems, "buffer: commits fail")
	}
	if len(problems) == 0 {
		return []string{"ok"}, true
	}
	return problems, false
}
