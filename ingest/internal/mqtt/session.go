package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

const (
	// pingTimeout is how long an answer to a PING may be away. A function that
	// blocks keeps the answer from being read, so it is long; that the peer is
	// dead, TCP's keep-alive finds out sooner.
	pingTimeout = 2 * time.Minute

	// quiesce is how long a connection is given to end in good order.
	quiesce = 2 * time.Second
)

// dialled is one connection to the broker, from CONNECT to its loss.
type dialled struct {
	client paho.Client
	conn   *conn
	lost   chan error // has room for the one error that ends it
}

// dial connects with Paho, once. handle, which may be nil, is given the
// messages.
func (b *Broker) dial(ctx context.Context, name string, clean bool, handle func(*conn, paho.Message)) (*dialled, error) {
	d := &dialled{lost: make(chan error, 1)}
	abort := func() bool { return true }
	o := paho.NewClientOptions().
		AddBroker("tcp://" + b.address).
		SetClientID(b.clientID(name)).
		SetProtocolVersion(4).
		SetCleanSession(clean).
		SetUsername(b.options.Username).
		SetPassword(b.options.Password).
		SetKeepAlive(b.options.KeepAlive).
		SetPingTimeout(pingTimeout).
		SetConnectTimeout(b.options.ConnectTimeout).
		SetAutoReconnect(false).
		SetConnectRetry(false).
		SetOrderMatters(true).
		SetAutoAckDisabled(true).
		SetStore(noStore{}).
		SetConnectionLostHandler(func(_ paho.Client, err error) { d.lost <- err }).
		SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) {
			c, err := b.open(ctx)
			if err != nil {
				return nil, err // not a nil *conn in an interface
			}
			d.conn = c
			abort = context.AfterFunc(ctx, func() { _ = c.Close() })
			return c, nil
		})
	if handle != nil {
		o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { handle(d.conn, m) })
	}
	d.client = paho.NewClient(o)
	token := d.client.Connect()
	token.Wait() // ends with ctx, or by the connect timeout
	abort()
	if err := token.Error(); err != nil {
		return nil, err
	}
	return d, nil
}

// idInUse is mochi-mqtt's answer to a SUBSCRIBE whose packet identifier one of
// its own deliveries has. The two are apart in MQTT, and the code is not one of
// version 3.1.1, but a session that is resumed with deliveries under way would
// be refused for ever.
const idInUse = 0x91

// idPause is how long to wait until the next identifier is tried.
const idPause = 5 * time.Millisecond

// subscribe asks for filter at QoS 1 and waits until it is granted.
func (d *dialled) subscribe(ctx context.Context, filter string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("subscribe to %s: not granted in %v", filter, timeout))
	defer cancel()
	for {
		granted, err := d.request(ctx, filter)
		switch {
		case err != nil:
			return err
		case granted <= 1:
			return nil
		case granted != idInUse:
			return &subscriptionError{filter, granted}
		}
		t := time.NewTimer(idPause)
		select {
		case <-t.C: // Paho's next packet has the next identifier
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
}

// request sends one SUBSCRIBE and returns the code of its SUBACK.
func (d *dialled) request(ctx context.Context, filter string) (byte, error) {
	token, ok := d.client.Subscribe(filter, 1, nil).(*paho.SubscribeToken)
	if !ok {
		return 0, errors.New("subscribe: not a subscription's token")
	}
	select {
	case <-token.Done():
	case err := <-d.lost:
		d.lost <- err
		return 0, err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	if err := token.Error(); err != nil {
		return 0, fmt.Errorf("subscribe to %s: %w", filter, err)
	}
	for _, code := range token.Result() { // of one filter
		return code, nil
	}
	return 0, fmt.Errorf("subscribe to %s: an answer without a code", filter)
}

// hold waits for the end of the connection or of ctx.
func (d *dialled) hold(ctx context.Context) error {
	select {
	case err := <-d.lost:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// close ends the session. What Paho has started has ended when it returns,
// unless the function that takes the messages does not return.
func (d *dialled) close() {
	d.client.Disconnect(uint(quiesce.Milliseconds()))
}

// noStore is a paho.Store that keeps nothing.
type noStore struct{}

func (noStore) Open()                             {}
func (noStore) Put(string, packets.ControlPacket) {}
func (noStore) Get(string) packets.ControlPacket  { return nil }
func (noStore) All() []string                     { return nil }
func (noStore) Del(string)                        {}
func (noStore) Close()                            {}
func (noStore) Reset()                            {}
