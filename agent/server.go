package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// server is the agent's own endpoint for metrics and health.
type server struct {
	listener net.Listener // nil: none
	http     http.Server
}

// newServer listens, unless the address is empty.
func (a *Agent) newServer(ctx context.Context, listen string) (*server, error) {
	if listen == "" {
		a.metrics.Store(nil)
		return &server{}, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("metrics.listen: %w", err)
	}
	if addr, ok := l.Addr().(*net.TCPAddr); ok {
		a.metrics.Store(addr)
	}
	return &server{listener: l, http: http.Server{
		Handler:           a.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      10 * time.Second,
		MaxHeaderBytes:    8 << 10,
	}}, nil
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
	if s.listener == nil {
		<-ctx.Done()
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = s.http.Close() })
	defer stop()
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics.listen: %w", err)
	}
	return nil
}

func (a *Agent) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		a.opts.Metrics.WritePrometheus(w)
		metrics.WriteProcessMetrics(w)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if part := a.Stalled(); part != "" {
			http.Error(w, "hangs: "+part, http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if problems := a.unready(); len(problems) > 0 {
			http.Error(w, strings.Join(problems, "\n"), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	return mux
}

// unready says why readings are not kept or delivered as they should be. A chip
// that fails is no reason: what the others measure is.
func (a *Agent) unready() (problems []string) {
	if !a.current.Load().client.Connected() {
		problems = append(problems, "mqtt: not connected")
	}
	if a.commitFailed.Load() {
		problems = append(problems, "buffer: commits fail")
	}
	return problems
}
