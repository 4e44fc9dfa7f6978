// Package mqtttest runs an in-process twin of an MQTT broker for tests:
// mochi-mqtt, on a real socket.
package mqtttest

import (
	"crypto/tls"
	"log/slog"
	"math"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/telltale-iot/telltale/internal/door"
)

// Broker is a running broker.
type Broker struct {
	*mochi.Server
	door *door.Door
	once sync.Once
}

// Options of a broker.
type Options struct {
	Addr  string       // 127.0.0.1:0 if empty
	TLS   *tls.Config  // plain TCP if nil
	Rules *auth.Ledger // everyone may do everything if nil
}

// Start runs a broker until Stop or the end of the test.
func Start(t testing.TB, o Options) *Broker {
	t.Helper()
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	capabilities := mochi.NewDefaultServerCapabilities()
	capabilities.MaximumInflight = math.MaxUint16 // beyond it mochi drops what it has acknowledged
	capabilities.MaximumClientWritesPending = math.MaxUint16
	b := &Broker{Server: mochi.New(&mochi.Options{Capabilities: capabilities, InlineClient: true, Logger: slog.New(slog.DiscardHandler)})}
	var err error
	if o.Rules == nil {
		err = b.AddHook(new(auth.AllowHook), nil)
	} else {
		err = b.AddHook(new(auth.Hook), &auth.Options{Ledger: o.Rules})
	}
	if err != nil {
		t.Fatal(err)
	}
	b.door = door.Listen(t, o.Addr)
	var l net.Listener = b.door
	if o.TLS != nil {
		l = tls.NewListener(l, o.TLS)
	}
	if err := b.AddListener(listeners.NewNet("test", l)); err != nil {
		t.Fatal(err)
	}
	if err := b.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	return b
}

// Stop disconnects all clients and ends the broker. What it has kept is gone.
func (b *Broker) Stop() {
	b.once.Do(func() {
		b.door.Shut()
		_ = b.Close() // mochi reports nothing a test could act on
	})
}

// Addr returns the host:port that the broker listens on.
func (b *Broker) Addr() string { return b.door.Addr().String() }

// URL returns the address as an MQTT client is given it.
func (b *Broker) URL() string { return "tcp://" + b.Addr() }

// Cut breaks the connection of a client without a word; its session stays. It
// reports whether the client was connected.
func (b *Broker) Cut(id string) bool {
	c, ok := b.Clients.Get(id)
	if !ok || c.Closed() {
		return false
	}
	c.Stop(net.ErrClosed)
	return true
}

// Received collects what matches filter from now on.
func (b *Broker) Received(t testing.TB, filter string) *Received {
	t.Helper()
	r := &Received{}
	err := b.Subscribe(filter, 1, func(_ *mochi.Client, _ packets.Subscription, pk packets.Packet) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.messages = append(r.messages, Message{Topic: pk.TopicName, Payload: string(pk.Payload)})
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Message is what a subscriber got.
type Message struct{ Topic, Payload string }

// Received is what a subscriber got so far. It is safe for concurrent use.
type Received struct {
	mu       sync.Mutex
	messages []Message
}

// All returns the messages in the order they came.
func (r *Received) All() []Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages)
}

// WaitFor waits until condition holds, for half a minute at most.
func WaitFor(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}
