package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/telltale-iot/telltale/ingest/internal/mqtt/mqtttest"
	"github.com/telltale-iot/telltale/internal/capture"
)

// TestMain finds what the tests leave running.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inbox is a handler that keeps what it is given, and acknowledges if told to.
type inbox struct {
	mu       sync.Mutex
	messages []Message
	ack      bool
}

func (b *inbox) handle(_ context.Context, m Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages = append(b.messages, m)
	if b.ack {
		m.Ack()
	}
}

func (b *inbox) all() []Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.messages)
}

func (b *inbox) payloads() []string {
	var payloads []string
	for _, m := range b.all() {
		payloads = append(payloads, string(m.Payload))
	}
	return payloads
}

func newBroker(t *testing.T, o Options) *Broker {
	t.Helper()
	if o.ClientID == "" {
		o.ClientID = "ingest"
	}
	o.BackoffMin, o.BackoffMax = time.Millisecond, 20*time.Millisecond
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// start runs fn until the returned function is called, at the latest at the end
// of the test.
func start(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func subscribe(t *testing.T, b *Broker, o SubscriberOptions) (*Subscriber, func()) {
	t.Helper()
	s, err := b.Subscriber(o)
	if err != nil {
		t.Fatal(err)
	}
	return s, start(t, s.Run)
}

func publish(t *testing.T, s *mqtttest.Broker, topic, payload string) {
	t.Helper()
	if err := s.Publish(topic, []byte(payload), false, 1); err != nil {
		t.Fatal(err)
	}
}

func TestMessagesComeInOrderAndWhole(t *testing.T) {
	server := mqtttest.Start(t, mqtttest.Options{})
	in := &inbox{ack: true}
	s, _ := subscribe(t, newBroker(t, Options{URL: server.URL()}), SubscriberOptions{Name: "frames", Filter: Shared("g", "telltale/v1/+/frames"), Handle: in.handle})
	mqtttest.WaitFor(t, "connected", s.Connected)
	var want []string
	for i := range 2000 {
		payload := fmt.Sprintf("%d %s", i, strings.Repeat("x", i%700))
		want = append(want, payload)
		publish(t, server, "telltale/v1/greenhouse-7/frames", payload)
	}
	mqtttest.WaitFor(t, "all have come", func() bool { return len(in.all()) >= len(want) })
	if diff := cmp.Diff(want, in.payloads()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if topic := in.all()[0].Topic; topic != "telltale/v1/greenhouse-7/frames" {
		t.Errorf("topic %q", topic)
	}
	client, _ := server.Clients.Get("ingest-frames")
	mqtttest.WaitFor(t, "all are acknowledged", func() bool { return client.State.Inflight.Len() == 0 })
}

// What was not acknowledged comes again, and nothing else.
func TestUnacknowledgedMessagesComeAgain(t *testing.T) {
	server := mqtttest.Start(t, mqtttest.Options{})
	in := &inbox{}
	o := SubscriberOptions{Name: "seed", Filter: "iot-frames", Persistent: true, Handle: in.handle}
	s, stop := subscribe(t, newBroker(t, Options{URL: server.URL()}), o)
	mqtttest.WaitFor(t, "connected", s.Connected)
	for i := range 6 {
		publish(t, server, "iot-frames", fmt.Sprint(i))
	}
	mqtttest.WaitFor(t, "all have come", func() bool { return len(in.all()) == 6 })
	for _, m := range in.all()[:4] {
		m.Ack()
	}
	client, _ := server.Clients.Get("ingest-seed")
	mqtttest.WaitFor(t, "four are acknowledged", func() bool { return client.State.Inflight.Len() == 2 })

	old := in.all()[4]
	if !server.Cut("ingest-seed") {
		t.Fatal("not connected")
	}
	mqtttest.WaitFor(t, "the two have come again", func() bool { return len(in.all()) >= 8 })
	again := in.payloads()[6:]
	slices.Sort(again) // mochi reorders what it delivers again
	if diff := cmp.Diff([]string{"4", "5"}, again); diff != "" {
		t.Errorf("delivered again (-want +got):\n%s", diff)
	}
	old.Ack() // of the connection that has gone: nothing happens

	stop()
	publish(t, server, "iot-frames", "while away")
	in2 := &inbox{ack: true}
	o.Handle = in2.handle
	subscribe(t, newBroker(t, Options{URL: server.URL()}), o)
	mqtttest.WaitFor(t, "the session's messages have come", func() bool { return len(in2.all()) >= 3 })
	if got := in2.payloads(); !slices.Contains(got, "while away") || !slices.Contains(got, "5") {
		t.Errorf("after a restart came %v", got)
	}
}

// The twin, unlike Mosquitto, refuses a SUBSCRIBE whose packet identifier one of
// its deliveries has.
func TestSessionResumedWithDeliveriesUnderWay(t *testing.T) {
	server := mqtttest.Start(t, mqtttest.Options{})
	in := &inbox{}
	for i := range 3 {
		s, stop := subscribe(t, newBroker(t, Options{URL: server.URL()}), SubscriberOptions{Name: "seed", Filter: "iot-frames", Persistent: true, Handle: in.handle})
		mqtttest.WaitFor(t, "connected", s.Connected)
		for range 50 {
			publish(t, server, "iot-frames", "never acknowledged")
		}
		mqtttest.WaitFor(t, "all have come", func() bool { return len(in.all()) >= 50*(i+1) })
		stop()
	}
}

func TestRetainedMessagesSayThatTheyAre(t *testing.T) {
	server := mqtttest.Start(t, mqtttest.Options{})
	if err := server.Publish("iot-frames", []byte("kept"), true, 1); err != nil {
		t.Fatal(err)
	}
	in := &inbox{ack: true}
	s, _ := subscribe(t, newBroker(t, Options{URL: server.URL()}), SubscriberOptions{Name: "seed", Filter: "iot-frames", Handle: in.handle})
	mqtttest.WaitFor(t, "connected", s.Connected)
	mqtttest.WaitFor(t, "the retained one has come", func() bool { return len(in.all()) == 1 }) // a broker may send it after a new one
	publish(t, server, "iot-frames", "new")
	mqtttest.WaitFor(t, "both have come", func() bool { return len(in.all()) == 2 })
	got := in.all()
	if !got[0].Retained || string(got[0].Payload) != "kept" || got[1].Retained {
		t.Errorf("messages %v", got)
	}
}

// A function that blocks keeps messages at the broker and loses none.
func TestBlockedHandler(t *testing.T) {
	server := mqtttest.Start(t, mqtttest.Options{})
	in := &inbox{ack: true}
	release := make(chan struct{})
	s, stop := subscribe(t, newBroker(t, Options{URL: server.URL()}), SubscriberOptions{
		Name: "frames", Filter: "t",
		Handle: func(ctx context.Context, m Message) {
			select {
			case <-release:
				in.handle(ctx, m)
			case <-ctx.Done():
			}
		},
	})
	mqtttest.WaitFor(t, "connected", s.Connected)
	for i := range 500 {
		publish(t, server, "t", fmt.Sprint(i))
	}
	close(release)
	mqtttest.WaitFor(t, "all have come", func() bool { return len(in.all()) == 500 })
	stop() // and ends in good order, also when it blocks:

	release = make(chan struct{})
	s, stop = subscribe(t, newBroker(t, Options{URL: server.URL()}), SubscriberOptions{
		Name: "frames", Filter: "t",
		Handle: func(ctx context.Context, _ Message) { close(release); <-ctx.Done() },
	})
	mqtttest.WaitFor(t, "connected", s.Connected)
	publish(t, server, "t", "one")
	<-release
	stop()
}

func TestBrokerComesAndGoes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var log capture.Output
	registry := prometheus.NewRegistry()
	b := newBroker(t, Options{URL: "tcp://" + addr, Registerer: registry, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	in := &inbox{ack: true}
	s, _ := subscribe(t, b, SubscriberOptions{Name: "frames", Filter: "t", Handle: in.handle})
	mqtttest.WaitFor(t, "some attempts have failed", func() bool {
		return testutil.ToFloat64(b.metrics.failures.WithLabelValues("frames", "network")) > 3
	})
	if n := strings.Count(log.String(), "retrying"); n != 1 {
		t.Errorf("said %d times that it retries, want once:\n%s", n, log.String())
	}
	for i := range 3 {
		server := mqtttest.Start(t, mqtttest.Options{Addr: addr})
		mqtttest.WaitFor(t, "connected", s.Connected)
		publish(t, server, "t", fmt.Sprint(i))
		mqtttest.WaitFor(t, "the message has come", func() bool { return len(in.all()) == i+1 })
		if got := testutil.ToFloat64(b.metrics.connected.WithLabelValues("frames")); got != 1 {
			t.Errorf("connected is %v, want 1", got)
		}
		server.Stop()
		mqtttest.WaitFor(t, "the loss is seen", func() bool { return !s.Connected() })
	}
	if n := strings.Count(log.String(), "retrying"); n != 4 {
		t.Errorf("said %d times that it retries, want 4", n)
	}
	if got := testutil.ToFloat64(b.metrics.losses.WithLabelValues("frames")); got != 3 {
		t.Errorf("%v connections lost, want 3", got)
	}
	if n, err := testutil.GatherAndCount(registry); err != nil || n != 3 {
		t.Errorf("%d series, %v", n, err)
	}
}

func TestSharedSubscriptionDividesTheWork(t *testing.T) {
	server := mqtttest.Start(t, mqtttest.Options{})
	boxes := []*inbox{{ack: true}, {ack: true}}
	for i, in := range boxes {
		b := newBroker(t, Options{URL: server.URL(), ClientID: fmt.Sprintf("ingest-%d", i)})
		s, _ := subscribe(t, b, SubscriberOptions{Name: "frames", Filter: Shared("g", "telltale/v1/+/frames"), Handle: in.handle})
		mqtttest.WaitFor(t, "connected", s.Connected)
	}
	for i := range 200 {
		publish(t, server, "telltale/v1/d/frames", fmt.Sprint(i))
	}
	mqtttest.WaitFor(t, "all have come", func() bool { return len(boxes[0].all())+len(boxes[1].all()) == 200 })
	if len(boxes[0].all()) == 0 || len(boxes[1].all()) == 0 {
		t.Error("one member got everything")
	}
}

func TestPublisher(t *testing.T) {
	server := mqtttest.Start(t, mqtttest.Options{})
	got := server.Received(t, "telltale/v1/+/receipts")
	b := newBroker(t, Options{URL: server.URL()})
	p, err := b.Publisher("receipts")
	if err != nil {
		t.Fatal(err)
	}
	if p.Publish("telltale/v1/d/receipts", []byte("early")) {
		t.Error("published without a connection")
	}
	start(t, p.Run)
	mqtttest.WaitFor(t, "connected", p.Connected)
	var want []mqtttest.Message
	for i := range 100 {
		payload := strings.Repeat("r", 3*i)
		want = append(want, mqtttest.Message{Topic: "telltale/v1/d/receipts", Payload: payload})
		if !p.Publish("telltale/v1/d/receipts", []byte(payload)) {
			t.Fatalf("message %d was dropped", i)
		}
	}
	mqtttest.WaitFor(t, "all have come", func() bool { return len(got.All()) >= len(want) })
	if diff := cmp.Diff(want, got.All()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n := testutil.ToFloat64(b.metrics.dropped.WithLabelValues("receipts", "not_connected")); n != 1 {
		t.Errorf("%v messages dropped, want 1", n)
	}
}

func TestPasswordsAndRefusals(t *testing.T) {
	server := mqtttest.Start(t, mqtttest.Options{Rules: &auth.Ledger{
		Auth: auth.AuthRules{{Username: "ingest", Password: "secret", Allow: true}},
		ACL:  auth.ACLRules{{Username: "ingest", Filters: auth.Filters{"secret/#": auth.Deny, "t": auth.ReadWrite}}},
	}})
	for _, test := range []struct {
		password, filter, reason, says string
	}{
		{"secret", "t", "", ""},
		{"wrong", "t", "not_authorized", `does not let user \"ingest\" in: `},
		{"secret", "secret/t", "subscription_refused", `does not let user \"ingest\" subscribe to secret/t: `},
	} {
		var log capture.Output
		b := newBroker(t, Options{URL: server.URL(), Username: "ingest", Password: test.password, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		in := &inbox{ack: true}
		s, stop := subscribe(t, b, SubscriberOptions{Name: "frames", Filter: test.filter, Handle: in.handle})
		if test.reason == "" {
			mqtttest.WaitFor(t, "connected", s.Connected)
			if err := s.Ready(t.Context()); err != nil {
				t.Errorf("Ready: %v", err)
			}
			stop()
			continue
		}
		mqtttest.WaitFor(t, "refused twice", func() bool {
			return testutil.ToFloat64(b.metrics.failures.WithLabelValues("frames", test.reason)) > 1
		})
		if err := s.Ready(t.Context()); s.Connected() || err == nil || !strings.Contains(strconv.Quote(err.Error()), test.says) {
			t.Errorf("%+v: connected %v, %v", test, s.Connected(), err)
		}
		stop()
		got := log.String()
		if strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, `level=ERROR msg="refused by a server; retrying" server=mqtt reason=`+test.reason) ||
			!strings.Contains(got, test.says) || strings.Contains(got, "level=WARN") || strings.Contains(got, test.password+" ") {
			t.Errorf("%+v: log\n%s", test, got)
		}
	}
}

func TestTLS(t *testing.T) {
	certificate := httptest.NewTLSServer(nil) // for its certificate, which is for 127.0.0.1
	defer certificate.Close()
	roots := x509.NewCertPool()
	roots.AddCert(certificate.Certificate())
	server := mqtttest.Start(t, mqtttest.Options{TLS: &tls.Config{
		Certificates: certificate.TLS.Certificates, ClientCAs: roots, ClientAuth: tls.RequireAnyClientCert,
	}})
	url := "tls://" + server.Addr()
	for name, test := range map[string]struct {
		config *tls.Config
		says   string // "": it connects
	}{
		"client certificate":    {&tls.Config{RootCAs: roots, Certificates: certificate.TLS.Certificates}, ""},
		"no client certificate": {&tls.Config{RootCAs: roots}, "do not agree on TLS: remote error: tls: certificate required; see mqtt.tls.cert_file"},
		"unknown broker":        {&tls.Config{Certificates: certificate.TLS.Certificates}, "has a certificate that is not trusted: tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		"another broker's name": {&tls.Config{RootCAs: roots, Certificates: certificate.TLS.Certificates, ServerName: "mqtt.example.org"}, "not mqtt.example.org; see mqtt.tls.ca_file and mqtt.tls.server_name"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t, Options{URL: url, TLS: test.config})
			in := &inbox{ack: true}
			s, _ := subscribe(t, b, SubscriberOptions{Name: "frames", Filter: "t", Handle: in.handle})
			if test.says != "" {
				mqtttest.WaitFor(t, "refused twice", func() bool {
					return testutil.ToFloat64(b.metrics.failures.WithLabelValues("frames", "tls")) > 1
				})
				if err := s.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("Ready: %v, want %s", err, test.says)
				}
				return
			}
			mqtttest.WaitFor(t, "connected", s.Connected)
			publish(t, server, "t", "over TLS")
			mqtttest.WaitFor(t, "the message has come", func() bool { return len(in.all()) == 1 })
		})
	}
}

func TestOptionsAreValidated(t *testing.T) {
	for _, o := range []Options{
		{},
		{URL: "tcp://broker:1883"},
		{URL: "http://broker", ClientID: "c"},
		{URL: "tcp://", ClientID: "c"},
		{URL: "tcp://user:secret@broker", ClientID: "c"},
		{URL: "tcp://broker", ClientID: "c", TLS: &tls.Config{}},
		{URL: "tls://broker", ClientID: "c", TLS: &tls.Config{InsecureSkipVerify: true}},
		{URL: "tcp://broker", ClientID: "c", KeepAlive: 1500 * time.Millisecond},
		{URL: "tcp://broker", ClientID: "c", ConnectTimeout: -1},
		{URL: "tcp://broker", ClientID: "c", BackoffMin: time.Minute, BackoffMax: time.Second},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is accepted", o)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells a password: %v", err)
		}
	}
	b := newBroker(t, Options{URL: "tls://broker"})
	if b.address != "broker:8883" || b.options.TLS.ServerName != "broker" {
		t.Errorf("address %s, TLS for %q", b.address, b.options.TLS.ServerName)
	}
	if _, err := b.Subscriber(SubscriberOptions{Name: "n"}); err == nil {
		t.Error("a subscriber without filter is accepted")
	}
	if _, err := b.Publisher(""); err == nil {
		t.Error("a publisher without name is accepted")
	}
}

// TestRefusedOnce: what several clients of a process are refused is said once, and
// once more when none is.
func TestRefusedOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	rules := func(password auth.RString) *auth.Ledger {
		return &auth.Ledger{Auth: auth.AuthRules{{Username: "ingest", Password: password, Allow: true}}}
	}
	server := mqtttest.Start(t, mqtttest.Options{Addr: addr, Rules: rules("another")})
	var log capture.Output
	b := newBroker(t, Options{URL: "tcp://" + addr, Username: "ingest", Password: "secret", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	in := &inbox{ack: true}
	names := []string{"frames", "seed", "more"}
	var subscribers []*Subscriber
	for _, name := range names {
		s, _ := subscribe(t, b, SubscriberOptions{Name: name, Filter: "t/" + name, Handle: in.handle})
		subscribers = append(subscribers, s)
	}
	for _, name := range names {
		mqtttest.WaitFor(t, "refused three times", func() bool {
			return testutil.ToFloat64(b.metrics.failures.WithLabelValues(name, "not_authorized")) > 2
		})
	}
	server.Stop()
	mqtttest.WaitFor(t, "the broker is away", func() bool {
		return testutil.ToFloat64(b.metrics.failures.WithLabelValues("frames", "network")) > 0
	})
	mqtttest.WaitFor(t, "no refusal is told of a broker that is away", func() bool { return errors.Is(subscribers[0].Ready(t.Context()), errAway) })
	mqtttest.Start(t, mqtttest.Options{Addr: addr, Rules: rules("secret")})
	for _, s := range subscribers {
		mqtttest.WaitFor(t, "connected", s.Connected)
	}
	mqtttest.WaitFor(t, "the end is said", func() bool { return strings.Contains(log.String(), "no longer refused") })
	got := log.String()
	if strings.Count(got, "refused by a server; retrying") != 1 || strings.Count(got, `msg="no longer refused by a server" server=mqtt reason=not_authorized`) != 1 {
		t.Errorf("log:\n%s", got)
	}
}
