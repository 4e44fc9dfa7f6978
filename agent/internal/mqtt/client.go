package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/cenkalti/backoff/v5"
	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/telltale-iot/telltale/agent/internal/jitter"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// The errors of publishing, for errors.Is.
var (
	ErrNotConnected   = errors.New("no connection to the broker")
	ErrConnectionLost = errors.New("connection to the broker lost")
	ErrNoAck          = errors.New("no acknowledgement from the broker in time")
)

// Reason classifies an error of [Client.Publish] for a metric.
func Reason(err error) string {
	switch {
	case errors.Is(err, ErrNotConnected):
		return "not_connected"
	case errors.Is(err, ErrNoAck):
		return "no_ack"
	case errors.Is(err, ErrConnectionLost):
		return "connection_lost"
	}
	return "other"
}

const (
	// returning is how many times BackoffMin the first wait after a lost
	// connection may last. What takes one agent's connection usually takes
	// those of a whole fleet, which is not to return within BackoffMin.
	returning = 16
	// steady is how long a connection must last for the next one to be tried
	// without the backoff that led to it. A broker that takes connections only
	// to drop them is no better than one that refuses them.
	steady = 30 * time.Second
	// farewell bounds the time that the offline status may take at the end.
	farewell = time.Second
)

// Listener is told of the connection, from goroutines that it must not hold
// up. Receive gets the payload of each message on the receipts topic.
type Listener interface {
	Connected()
	Disconnected()
	Receive(payload []byte)
}

// Options configure a [Client].
type Options struct {
	Device string // whose topics are used
	URL    string // tcp://HOST:PORT or tls://HOST:PORT

	// TLS is called for each connection to a tls:// URL, so that renewed files
	// need no restart.
	TLS func() (*tls.Config, error)

	ClientID       string
	Username       string
	Password       string
	Receipts       bool // subscribe to the receipts
	KeepAlive      time.Duration
	ConnectTimeout time.Duration // of dialling, TLS, CONNECT and SUBSCRIBE together
	WriteTimeout   time.Duration // of handing one message to the network
	AckTimeout     time.Duration // after which a broker that does not acknowledge is given up
	BackoffMin     time.Duration // bounds the first wait before the first connection
	BackoffMax     time.Duration // bounds every wait

	Status         func() Status // of now, but for State and Reason
	StatusInterval time.Duration

	Logger  *slog.Logger
	Metrics *metrics.Set
}

// Client is the agent's side of an MQTT connection that is made again whenever
// it breaks.
type Client struct {
	opts    Options
	server  *url.URL
	backoff *backoff.ExponentialBackOff
	served  bool // there has been a connection
	session atomic.Pointer[session]
	failing string // the reason of the failure that has been logged, "" if none

	connected                       *metrics.Gauge
	connections, lost, statusErrors *metrics.Counter
}

// New returns a Client that connects in [Client.Run].
func New(o Options) (*Client, error) {
	server, err := url.Parse(o.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("mqtt: %w", err)
	case server.Scheme != "tcp" && server.Scheme != "tls" || server.Port() == "":
		return nil, fmt.Errorf("mqtt: %q: want tcp://HOST:PORT or tls://HOST:PORT", o.URL)
	case server.Scheme == "tls" && o.TLS == nil:
		return nil, errors.New("mqtt: TLS is required for tls://")
	case !telemetry.ValidDevice(o.Device) || o.ClientID == "":
		return nil, fmt.Errorf("mqtt: device %q or client id %q is invalid", o.Device, o.ClientID)
	case o.KeepAlive < time.Second || o.ConnectTimeout <= 0 || o.WriteTimeout <= 0 || o.AckTimeout <= 0 || o.StatusInterval <= 0:
		return nil, errors.New("mqtt: KeepAlive (at least a second), ConnectTimeout, WriteTimeout, AckTimeout and StatusInterval are required")
	case o.BackoffMin <= 0 || o.BackoffMax < o.BackoffMin:
		return nil, fmt.Errorf("mqtt: BackoffMin %v must be positive and at most BackoffMax %v", o.BackoffMin, o.BackoffMax)
	case o.Status == nil || o.Logger == nil || o.Metrics == nil:
		return nil, errors.New("mqtt: Status, Logger and Metrics are required")
	}
	c := &Client{
		opts:         o,
		server:       server,
		backoff:      jitter.Full(o.BackoffMin, o.BackoffMax),
		connected:    o.Metrics.GetOrCreateGauge("telltale_agent_mqtt_connected", nil),
		connections:  o.Metrics.GetOrCreateCounter("telltale_agent_mqtt_connections_total"),
		lost:         o.Metrics.GetOrCreateCounter("telltale_agent_mqtt_connections_lost_total"),
		statusErrors: o.Metrics.GetOrCreateCounter("telltale_agent_mqtt_status_errors_total"),
	}
	return c, nil
}

// Connected reports whether there is a connection.
func (c *Client) Connected() bool { return c.session.Load() != nil }

// Publish sends payload to the frames topic at QoS 1, and keeps it. It blocks
// only while very many messages are on their way. Unless it returns an error,
// acked will be called, once: with nil at the broker's PUBACK, or with an error.
func (c *Client) Publish(ctx context.Context, payload []byte, acked func(error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s := c.session.Load()
	if s == nil {
		return ErrNotConnected
	}
	return s.publish(message{telemetry.Topic(c.opts.Device, telemetry.Frames), false, payload}, acked)
}

// Run keeps a connection to the broker until ctx ends. Then it publishes that
// the agent is offline, and disconnects. It returns nil.
//
// Each wait between two attempts is a random one, from none to a bound that
// doubles with every failure, up to BackoffMax. The bound begins at BackoffMin
// until there has been a connection, so that an agent that was started before its
// network is soon there, and at sixteen times that after a lost one.
func (c *Client) Run(ctx context.Context, l Listener) error {
	for ctx.Err() == nil {
		start := time.Now()
		if err := c.serve(ctx, l); ctx.Err() == nil {
			c.report(err)
		}
		if time.Since(start) >= steady {
			c.backoff.Reset()
		}
		select {
		case <-ctx.Done():
		case <-time.After(c.backoff.NextBackOff()):
		}
	}
	return nil
}

// serve makes one connection and serves it until it breaks or ctx ends.
func (c *Client) serve(ctx context.Context, l Listener) error {
	s, err := c.connect(ctx, l)
	if err != nil {
		return err
	}
	c.connections.Inc()
	if !c.served {
		c.served = true
		c.backoff = jitter.Full(returning*c.opts.BackoffMin, c.opts.BackoffMax)
	}
	c.failing = ""
	c.opts.Logger.Info("broker connected", "url", c.opts.URL)
	c.session.Store(s)
	c.connected.Set(1)
	l.Connected()
	err = s.serve(ctx, c.opts.StatusInterval, c.publishStatus)
	c.session.Store(nil)
	c.connected.Set(0)
	if ctx.Err() != nil {
		c.bye(s)
	}
	l.Disconnected()
	s.close()
	if ctx.Err() == nil {
		c.lost.Inc()
	}
	return err
}

// report counts a failed or broken connection, and logs it unless it is like
// the one before.
func (c *Client) report(err error) {
	reason := connectReason(err)
	if !errors.Is(err, ErrConnectionLost) && !errors.Is(err, ErrNoAck) {
		c.opts.Metrics.GetOrCreateCounter(fmt.Sprintf("telltale_agent_mqtt_connect_errors_total{reason=%q}", reason)).Inc()
	}
	if reason != c.failing {
		c.logFailure(reason, err)
	}
	c.failing = reason
}

// publishStatus publishes that the agent is online, and how it is.
func (c *Client) publishStatus(s *session) {
	status := c.opts.Status()
	status.State, status.Reason = Online, ""
	c.publishRetained(s, &status, func(error) {})
}

// bye publishes that the agent is going offline, and waits for the broker to
// have it, but not long.
func (c *Client) bye(s *session) {
	status := c.opts.Status()
	status.State, status.Reason = Offline, Shutdown
	done := make(chan struct{})
	c.publishRetained(s, &status, func(error) { close(done) })
	select {
	case <-done:
	case <-time.After(farewell):
	}
}

// publishRetained publishes to the status topic and calls done, once, when that
// has succeeded or failed.
func (c *Client) publishRetained(s *session, status *Status, done func(error)) {
	finish := func(err error) {
		if err != nil {
			c.statusErrors.Inc()
		}
		done(err)
	}
	payload, err := status.encode()
	if err == nil {
		err = s.publish(message{telemetry.Topic(c.opts.Device, telemetry.Status), true, payload}, finish)
	}
	if err != nil {
		finish(err)
	}
}

// will is what the broker publishes if it loses the agent.
func (c *Client) will() ([]byte, error) {
	status := Status{State: Offline, Reason: ConnectionLost, Version: c.opts.Status().Version}
	return status.encode()
}

// options are Paho's for one connection, but for the will.
func (c *Client) options() *paho.ClientOptions {
	return paho.NewClientOptions().
		AddBroker(c.server.String()).
		SetProtocolVersion(4).
		SetClientID(c.opts.ClientID).
		SetUsername(c.opts.Username).
		SetPassword(c.opts.Password).
		SetCleanSession(true).
		SetKeepAlive(c.opts.KeepAlive).
		SetPingTimeout(min(c.opts.KeepAlive, 10*time.Second)).
		SetConnectTimeout(c.opts.ConnectTimeout).
		SetWriteTimeout(c.opts.WriteTimeout).
		SetAutoReconnect(false).
		SetConnectRetry(false).
		SetOrderMatters(true). // the handler runs inline; otherwise each message has a goroutine
		SetStore(noStore{})
}
