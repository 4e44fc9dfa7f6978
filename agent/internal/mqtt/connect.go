package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

var (
	errSubscribe = errors.New("broker refuses the subscription to receipts")
	errFiles     = errors.New("TLS files")
)

// connect makes a connection that serves.
func (c *Client) connect(ctx context.Context, l Listener) (*session, error) {
	will, err := c.will()
	if err != nil {
		return nil, err
	}
	o := c.options().SetBinaryWill(telemetry.Topic(c.opts.Device, telemetry.Status), will, 1, true)
	s, err := c.open(ctx, o, l)
	if err != nil {
		return nil, err
	}
	s.start()
	return s, nil
}

// open dials, connects and subscribes, all within ConnectTimeout.
func (c *Client) open(ctx context.Context, o *paho.ClientOptions, l Listener) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.ConnectTimeout)
	defer cancel()

	// Paho knows no context: to end its attempt is to close its connection.
	s := newSession(c.opts.AckTimeout)
	o.SetConnectionLostHandler(func(_ paho.Client, err error) { s.fail(fmt.Errorf("%w: %w", ErrConnectionLost, err)) })
	var release func() bool
	o.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) {
		conn, err := c.dial(ctx)
		if err != nil {
			return nil, err
		}
		release = context.AfterFunc(ctx, func() { _ = conn.Close() })
		return conn, nil
	})
	s.paho = paho.NewClient(o)
	token := s.paho.Connect()
	<-token.Done()
	if release != nil {
		defer release()
	}
	if err := token.Error(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return nil, err
	}
	if c.opts.Receipts {
		if err := c.subscribe(ctx, s, l); err != nil {
			s.disconnect()
			return nil, err
		}
	}
	return s, nil
}

// subscribe asks for the receipts. A clean session has no subscription before.
func (c *Client) subscribe(ctx context.Context, s *session, l Listener) error {
	topic := telemetry.Topic(c.opts.Device, telemetry.Receipts)
	token := s.paho.Subscribe(topic, 0, func(_ paho.Client, m paho.Message) { l.Receive(m.Payload()) })
	select {
	case <-token.Done():
	case <-ctx.Done():
		return fmt.Errorf("subscribe: %w", ctx.Err())
	}
	if err := token.Error(); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	const failure = 0x80 // MQTT 3.1.1, 3.9.3
	if t, ok := token.(*paho.SubscribeToken); ok && t.Result()[topic] == failure {
		return errSubscribe
	}
	return nil
}

// dial opens the network connection, with TLS if the URL says so.
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	if c.server.Scheme == "tcp" {
		return new(net.Dialer).DialContext(ctx, "tcp", c.server.Host)
	}
	config, err := c.opts.TLS()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFiles, err)
	}
	return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", c.server.Host)
}

// connectReason classifies why there is no connection, for a metric.
func connectReason(err error) string {
	var certificate *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.Is(err, ErrConnectionLost):
		return "connection_lost"
	case errors.Is(err, ErrNoAck):
		return "no_ack"
	case errors.Is(err, errSubscribe):
		return "subscription_refused"
	case errors.Is(err, errFiles):
		return "tls_files"
	case errors.As(err, &certificate), errors.As(err, &header):
		return "tls"
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"): // a TLS alert
		return "tls"
	case errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword), errors.Is(err, packets.ErrorRefusedNotAuthorised):
		return "not_authorized"
	case errors.Is(err, packets.ErrorRefusedIDRejected), errors.Is(err, packets.ErrorRefusedServerUnavailable),
		errors.Is(err, packets.ErrorRefusedBadProtocolVersion):
		return "refused"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	}
	return "network"
}

// noStore is Paho's message store, emptied: what has no PUBACK is in our buffer.
type noStore struct{}

func (noStore) Open()                             {}
func (noStore) Put(string, packets.ControlPacket) {}
func (noStore) Get(string) packets.ControlPacket  { return nil }
func (noStore) All() []string                     { return nil }
func (noStore) Del(string)                        {}
func (noStore) Close()                            {}
func (noStore) Reset()                            {}
