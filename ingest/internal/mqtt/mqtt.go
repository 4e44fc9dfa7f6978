package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/telltale-iot/telltale/ingest/internal/refusal"
)

// Defaults of [Options].
const (
	DefaultKeepAlive      = 30 * time.Second
	DefaultConnectTimeout = 10 * time.Second
	DefaultBackoffMin     = 500 * time.Millisecond
	DefaultBackoffMax     = 30 * time.Second
)

// Options says how to reach a broker.
type Options struct {
	URL string // tcp://host:port, or tls://host:port (mqtt:// and mqtts:// are the same)

	// ClientID begins the client identifiers of all connections; a name for
	// each is added. No two processes may use the same one at a time.
	ClientID string

	Username string // "" is none
	Password string

	// TLS is used with tls://, and must verify the broker. nil verifies it by
	// the system's roots. A ServerName is filled in from the URL when it is
	// empty.
	TLS *tls.Config

	KeepAlive      time.Duration // whole seconds; 0 is DefaultKeepAlive
	ConnectTimeout time.Duration // of one attempt; 0 is DefaultConnectTimeout
	BackoffMin     time.Duration // first pause between attempts, ±50 %; 0 is DefaultBackoffMin
	BackoffMax     time.Duration // longest pause, ±50 %; 0 is DefaultBackoffMax

	// Dial makes the network connections; nil is a net.Dialer's DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	Registerer prometheus.Registerer // nil: the metrics are kept but not shown
	Logger     *slog.Logger          // nil discards
}

// Broker is the way to one broker. It is safe for concurrent use.
type Broker struct {
	options Options
	address string // host:port
	secure  bool
	metrics *metrics
	refusals
}

// New validates o and returns a Broker. Nothing is dialled yet.
func New(o Options) (*Broker, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("mqtt: %w", err)
	}
	b := &Broker{}
	switch u.Scheme {
	case "tcp", "mqtt":
	case "tls", "mqtts", "ssl":
		b.secure = true
	default:
		return nil, fmt.Errorf("mqtt: broker %q: want tcp://host:port or tls://host:port", o.URL)
	}
	if u.Hostname() == "" || u.User != nil || u.Path != "" {
		return nil, fmt.Errorf("mqtt: broker %q: want nothing but scheme, host and port", u.Redacted())
	}
	port := u.Port()
	if port == "" {
		port = map[bool]string{false: "1883", true: "8883"}[b.secure]
	}
	b.address = net.JoinHostPort(u.Hostname(), port)
	if o.ClientID == "" {
		return nil, errors.New("mqtt: no client id given")
	}
	if b.secure {
		o.TLS = o.TLS.Clone()
		if o.TLS == nil {
			o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		if o.TLS.InsecureSkipVerify {
			return nil, errors.New("mqtt: TLS must verify the broker")
		}
		if o.TLS.ServerName == "" {
			o.TLS.ServerName = u.Hostname()
		}
	} else if o.TLS != nil {
		return nil, fmt.Errorf("mqtt: broker %q: TLS is configured but the scheme is without it", o.URL)
	}
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&o.KeepAlive, DefaultKeepAlive},
		{&o.ConnectTimeout, DefaultConnectTimeout},
		{&o.BackoffMin, DefaultBackoffMin},
		{&o.BackoffMax, max(DefaultBackoffMax, o.BackoffMin)},
	} {
		if *d.value < 0 {
			return nil, errors.New("mqtt: negative duration in the options")
		}
		if *d.value == 0 {
			*d.value = d.fallback
		}
	}
	if o.KeepAlive%time.Second != 0 || o.KeepAlive > 65535*time.Second {
		return nil, fmt.Errorf("mqtt: keep alive %v: want whole seconds, at most 65535", o.KeepAlive)
	}
	if o.BackoffMax < o.BackoffMin {
		return nil, fmt.Errorf("mqtt: longest backoff %v is less than the first, %v", o.BackoffMax, o.BackoffMin)
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if b.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, fmt.Errorf("mqtt: %w", err)
	}
	b.options = o
	return b, nil
}

// open makes a network connection, with TLS if the broker is to have it.
func (b *Broker) open(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, b.options.ConnectTimeout)
	defer cancel()
	c, err := b.options.Dial(ctx, "tcp", b.address)
	if err != nil {
		return nil, err
	}
	if b.secure {
		secured := tls.Client(c, b.options.TLS)
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = c.Close()
			return nil, err
		}
		c = secured
	}
	return newConn(c), nil
}

// steady is how long a connection must have held for the next attempt to come
// soon again. Two processes with one client id throw each other out as fast as
// they can otherwise.
const steady = 10 * time.Second

// keep runs session after session until ctx ends. session returns when the
// connection it made is gone, or why it could not make one; it reports through
// up that it has.
func (b *Broker) keep(ctx context.Context, name string, session func(ctx context.Context, up func()) error) {
	log := b.options.Logger.With("client", b.clientID(name))
	connected := b.metrics.connected.WithLabelValues(name)
	pause := &backoff.ExponentialBackOff{
		InitialInterval: b.options.BackoffMin, MaxInterval: b.options.BackoffMax,
		Multiplier: backoff.DefaultMultiplier, RandomizationFactor: backoff.DefaultRandomizationFactor,
	}
	away := false // and said to be
	for {
		var since time.Time
		err := session(ctx, func() {
			since = time.Now()
			away = false
			connected.Set(1)
			log.Info("connected to the mqtt broker", "broker", b.address)
			if e := b.served(name); e != nil {
				b.options.Logger.Info("no longer refused by a server", "server", "mqtt", "reason", e.Reason, "scope", e.Scope)
			}
		})
		connected.Set(0)
		if ctx.Err() != nil {
			return
		}
		err = b.explain(err, name)
		if since.IsZero() {
			b.metrics.failures.WithLabelValues(name, reason(err)).Inc()
		} else {
			b.metrics.losses.WithLabelValues(name).Inc()
			if time.Since(since) > steady {
				pause.Reset()
			}
		}
		if refused := (*refusal.Error)(nil); errors.As(err, &refused) {
			if b.refused(name, refused) {
				b.options.Logger.Error("refused by a server; retrying", "server", "mqtt", "reason", refused.Reason, "error", refused)
			}
		} else {
			b.miss(name)
			if !away {
				away = true
				log.Warn("no connection to the mqtt broker; retrying", "broker", b.address, "error", err)
			}
		}
		t := time.NewTimer(pause.NextBackOff())
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

func (b *Broker) clientID(name string) string { return b.options.ClientID + "-" + name }

// metrics are those of all connections to one broker.
type metrics struct {
	connected *prometheus.GaugeVec
	failures  *prometheus.CounterVec
	losses    *prometheus.CounterVec
	dropped   *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		connected: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "telltale_mqtt_connected",
			Help: "Whether the client is connected to the MQTT broker and subscribed.",
		}, []string{"client"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "telltale_mqtt_connect_failures_total",
			Help: "Attempts to connect to the MQTT broker, or to subscribe, that failed, by reason.",
		}, []string{"client", "reason"}),
		losses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "telltale_mqtt_connections_lost_total",
			Help: "Connections to the MQTT broker that were made and lost.",
		}, []string{"client"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "telltale_mqtt_publishes_dropped_total",
			Help: "Messages at QoS 0 that were not sent, by reason.",
		}, []string{"client", "reason"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.connected, m.failures, m.losses, m.dropped} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
