package mqtt

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/door"
)

// patience bounds how long a test waits for what must come.
const patience = 30 * time.Second

// broker is an in-process twin of the broker.
type broker struct {
	*mochi.Server
	door     *door.Door
	messages chan packets.Packet // all that clients publish
}

// rules decide whom a broker lets in, and to what.
type rules struct {
	mochi.HookBase
	password string
	denied   string        // the topic that nobody may read
	gate     chan struct{} // if not nil, each connection waits for a token
}

func (r *rules) ID() string { return "rules" }

func (r *rules) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}

func (r *rules) OnConnectAuthenticate(_ *mochi.Client, pk packets.Packet) bool {
	if r.gate != nil {
		<-r.gate
	}
	return string(pk.Connect.Password) == r.password
}

func (r *rules) OnACLCheck(_ *mochi.Client, topic string, write bool) bool {
	return write || topic != r.denied
}

func startBroker(t *testing.T, addr string, config *tls.Config, r *rules) *broker {
	t.Helper()
	b := &broker{
		Server:   mochi.New(&mochi.Options{InlineClient: true, Logger: slog.New(slog.DiscardHandler)}),
		messages: make(chan packets.Packet, 1000),
	}
	must(t, b.AddHook(r, nil))
	b.door = door.Listen(t, addr)
	var l net.Listener = b.door
	if config != nil {
		l = tls.NewListener(l, config)
	}
	must(t, b.AddListener(listeners.NewNet("test", l)))
	must(t, b.Serve())
	must(t, b.Subscribe("#", 1, func(_ *mochi.Client, _ packets.Subscription, pk packets.Packet) { b.messages <- pk }))
	t.Cleanup(func() { b.end(t) })
	return b
}

// end closes the broker. It waits for its clients, and does not see one that has not
// said who it is: those are stopped here until there are none.
func (b *broker) end(t *testing.T) {
	b.door.Shut()
	closed := make(chan error, 1)
	go func() { closed <- b.Close() }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); ; {
		select {
		case err := <-closed:
			must(t, err)
			return
		case <-tick.C:
			for _, c := range b.Clients.GetAll() {
				c.Stop(errEnd)
			}
		case <-deadline:
			t.Fatal("waited in vain for the broker's end")
		}
	}
}

var errEnd = errors.New("the test is at its end")

func (b *broker) addr() string { return b.door.Addr().String() }

// message waits for the next message on the topic, and passes over others.
func (b *broker) message(t *testing.T, topic string) packets.Packet {
	t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case pk := <-b.messages:
			if pk.TopicName == topic {
				return pk
			}
		case <-deadline:
			t.Fatalf("no message on %s", topic)
		}
	}
}

// line is a network between a client and a broker that can be cut.
type line struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func startLine(t *testing.T, broker string) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	l := &line{Listener: listener}
	var ends sync.WaitGroup
	ends.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", broker)
			if err != nil {
				_ = client.Close()
				continue
			}
			l.mu.Lock()
			l.conns = append(l.conns, client, server)
			l.mu.Unlock()
			for _, way := range [2][2]net.Conn{{client, server}, {server, client}} {
				ends.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
					_ = way[1].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		l.cut()
		ends.Wait()
	})
	return l
}

// cut breaks all connections without a word.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.conns {
		_ = conn.Close()
	}
	l.conns = nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listener tells a test what a Client tells its Listener.
type listener struct {
	connected, disconnected chan struct{}
	receipts                chan []byte
}

func newListener() *listener {
	return &listener{make(chan struct{}, 100), make(chan struct{}, 100), make(chan []byte, 100)}
}

func (l *listener) Connected()             { l.connected <- struct{}{} }
func (l *listener) Disconnected()          { l.disconnected <- struct{}{} }
func (l *listener) Receive(payload []byte) { l.receipts <- payload }

// wait returns what comes from c.
func wait[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// running is a Client whose Run is on.
type running struct {
	*Client
	events *listener
	log    *log
	stop   func() // ends Run and waits for it
	ended  chan error
	set    *metrics.Set
}

// log is a log that is written and read at once.
type log struct {
	lines chan string
}

func (l *log) Write(p []byte) (int, error) {
	l.lines <- string(bytes.TrimSpace(p))
	return len(p), nil
}

func options(url string) Options {
	return Options{
		Device:         "dev",
		URL:            url,
		ClientID:       "dev",
		Username:       "dev",
		Receipts:       true,
		KeepAlive:      30 * time.Second,
		ConnectTimeout: patience,
		WriteTimeout:   2 * time.Second,
		AckTimeout:     patience,
		BackoffMin:     time.Millisecond,
		BackoffMax:     5 * time.Millisecond,
		Status:         func() Status { return Status{Version: "v1"} },
		StatusInterval: time.Hour,
		Logger:         slog.New(slog.DiscardHandler),
		Metrics:        metrics.NewSet(),
	}
}

func run(t *testing.T, o Options) *running {
	t.Helper()
	r := &running{events: newListener(), log: &log{make(chan string, 1000)}, ended: make(chan error, 1), set: o.Metrics}
	o.Logger = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || slices.Contains([]string{"url", "error", "user", "hint"}, a.Key) {
			return slog.Attr{}
		}
		return a
	}}))
	if o.Status == nil {
		o.Status = func() Status {
			return Status{Version: "v1", Uptime: 7, Buffer: &Depth{Frames: 3, Bytes: 1234, Oldest: 1763870400123}, Faults: map[string]string{"bme280@1:0x76": "nack"}}
		}
	}
	c, err := New(o)
	must(t, err)
	r.Client = c
	ctx, cancel := context.WithCancel(t.Context())
	go func() { r.ended <- c.Run(ctx, r.events) }()
	r.stop = func() {
		cancel()
		if err := wait(t, r.ended, "the end of Run"); err != nil {
			t.Errorf("Run: %v", err)
		}
		r.ended <- nil // for another stop
	}
	t.Cleanup(r.stop)
	return r
}

// fails waits for ten or more attempts that failed for a reason.
func (r *running) fails(t *testing.T, reason string) {
	t.Helper()
	attempts := regexp.MustCompile(`telltale_agent_mqtt_connect_errors_total\{reason="` + reason + `"\} [1-9]\d`)
	await.True(t, patience, "ten attempts fail: "+reason, func() bool { return attempts.MatchString(r.metrics()) })
}

func (r *running) metrics() string {
	var b bytes.Buffer
	r.set.WritePrometheus(&b)
	return b.String()
}
