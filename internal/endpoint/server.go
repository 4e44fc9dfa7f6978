package endpoint

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/telltale-iot/telltale/internal/certificate"
)

// What a client may take, so that one that is slow or stuck holds nothing for
// long.
const (
	headerTimeout = 5 * time.Second // TLS and a request's header
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute // longer than the usual interval of scrapes
	maxHeader     = 8 << 10
	readyTimeout  = 2 * time.Second
)

// Options are what a [Server] is made of. All but Config.TLS, Config.Auth and
// Health are required.
type Options struct {
	Config  Config
	Metrics http.Handler // serves /metrics

	// Health returns why only a new start of the process helps; nil: it never does.
	Health func() error

	// Ready says whether the process can do its work, in lines that say why not, or
	// what of it can. It has two seconds.
	Ready func(ctx context.Context) (lines []string, ok bool)

	// Refused is called for each request or connection that is refused, with the
	// reason: unauthorized, no_certificate or tls.
	Refused func(reason string)
	Logger  *slog.Logger
}

// Server serves one endpoint.
type Server struct {
	options  Options
	guard    *guard
	listener net.Listener
	http     http.Server
}

// Listen reads the files that o.Config names and listens on its address. If others
// than this host can reach it without TLS or without credentials, that is logged.
func Listen(ctx context.Context, o Options) (*Server, error) {
	config, err := o.Config.TLS.server(o.Logger)
	if err != nil {
		return nil, fmt.Errorf("metrics.tls: %w", err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", o.Config.Listen)
	if err != nil {
		return nil, fmt.Errorf("metrics.listen: %w", err)
	}
	if missing := o.Config.open(); len(missing) > 0 && !loopback(o.Config.Listen) {
		o.Logger.Warn("the metrics endpoint is open to the network", "listen", o.Config.Listen, "without", strings.Join(missing, ", "))
	}
	return newServer(o, l, config), nil
}

func newServer(o Options, l net.Listener, config *tls.Config) *Server {
	s := &Server{options: o, guard: newGuard(o.Config), listener: l}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("GET "+Health, s.health)
	mux.HandleFunc("GET "+Ready, s.ready)
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	s.http = http.Server{
		Handler: mux, TLSConfig: config, Protocols: &protocols, ErrorLog: log.New(errorLog{o}, "", 0),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
	}
	return s
}

// server returns the configuration of a TLS 1.2 or later server, nil if there is
// no certificate. A client that shows a certificate must have one of the client
// authorities; who may do without is for the handlers.
func (t TLS) server(log *slog.Logger) (*tls.Config, error) {
	if t.CertFile == "" {
		return nil, nil
	}
	pair, err := certificate.NewPair(t.CertFile, t.KeyFile, log)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	c := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.Current(), nil },
		// Else a session would outlive the authorities that let it begin.
		SessionTicketsDisabled: true,
	}
	if t.ClientCAFile == "" {
		return c, nil
	}
	pool, err := certificate.NewPool(t.ClientCAFile, log)
	if err != nil {
		return nil, fmt.Errorf("client authorities: %w", err)
	}
	c.ClientAuth = tls.VerifyClientCertIfGiven
	c.ClientCAs = pool.Current()
	outer := c.Clone()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		current := c.Clone()
		current.ClientCAs = pool.Current()
		return current, nil
	}
	return outer, nil
}

// Addr returns the address that the endpoint is served on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until ctx ends. It is called once.
func (s *Server) Run(ctx context.Context) error {
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	stop := context.AfterFunc(ctx, func() { _ = s.http.Close() })
	defer stop()
	serve := s.http.Serve
	if s.http.TLSConfig != nil {
		serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
	}
	if err := serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics.listen: %w", err)
	}
	return nil
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	if reason := s.guard.refuses(r); reason != "" {
		s.options.Refused(reason)
		s.guard.refuse(w, reason)
		return
	}
	s.options.Metrics.ServeHTTP(w, r)
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	if s.options.Health != nil {
		if err := s.options.Health(); err != nil {
			s.answer(w, r, http.StatusServiceUnavailable, err.Error())
			return
		}
	}
	s.answer(w, r, http.StatusOK, "ok")
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	lines, ok := s.options.Ready(ctx)
	status := http.StatusOK
	if !ok {
		status = http.StatusServiceUnavailable
	}
	s.answer(w, r, status, strings.Join(lines, "\n"))
}

// answer answers everybody with the status, and those who may read /metrics with
// the text too. Wrong credentials are a refusal here as well: the text would tell
// who guesses.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, status int, text string) {
	if reason := s.guard.refuses(r); reason != "" {
		if r.Header.Get("Authorization") != "" {
			s.options.Refused(reason)
		}
		text = "ok"
		if status != http.StatusOK {
			text = "the reasons are in the log, and here for those with credentials"
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text) // a caller that is gone needs no answer
}

// errorLog takes what net/http says of connections that failed.
type errorLog struct{ options Options }

func (e errorLog) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("TLS handshake error")) {
		e.options.Refused(badTLS)
	}
	e.options.Logger.Debug("connection to the metrics endpoint failed", "error", string(bytes.TrimSpace(p)))
	return len(p), nil
}
