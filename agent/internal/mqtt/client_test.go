package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	pahopackets "github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/internal/certificate/certificatetest"
)

const (
	framesTopic   = "telltale/v1/dev/frames"
	receiptsTopic = "telltale/v1/dev/receipts"
	statusTopic   = "telltale/v1/dev/status"
)

func TestLife(t *testing.T) {
	b := startBroker(t, "127.0.0.1:0", nil, &rules{})
	o := options("tcp://" + b.addr())
	o.Status = nil
	c := run(t, o)

	online := b.message(t, statusTopic)
	want := `{"state":"online","version":"v1","uptime_s":7,"buffer":{"frames":3,"bytes":1234,"oldest":1763870400123},"faults":{"bme280@1:0x76":"nack"}}`
	if diff := cmp.Diff(want, string(online.Payload)); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if !online.FixedHeader.Retain || online.FixedHeader.Qos != 1 {
		t.Errorf("status with retain %v at QoS %d, want retained at 1", online.FixedHeader.Retain, online.FixedHeader.Qos)
	}
	wait(t, c.events.connected, "Connected")
	if !c.Connected() {
		t.Error("Connected() is false")
	}

	for i := range 100 { // many on their way at once; each is acknowledged
		acked := make(chan error, 1)
		must(t, c.Publish(t.Context(), fmt.Appendf(nil, "frame %d", i), func(err error) { acked <- err }))
		m := b.message(t, framesTopic)
		if string(m.Payload) != fmt.Sprintf("frame %d", i) || m.FixedHeader.Retain || m.FixedHeader.Qos != 1 {
			t.Errorf("message %q, retain %v, QoS %d; want frame %d, not retained, at 1", m.Payload, m.FixedHeader.Retain, m.FixedHeader.Qos, i)
		}
		must(t, wait(t, acked, "PUBACK"))
	}

	must(t, b.Publish(receiptsTopic, []byte("receipt"), false, 0))
	if got := string(wait(t, c.events.receipts, "a receipt")); got != "receipt" {
		t.Errorf("receipt %q", got)
	}

	c.stop()
	offline := b.message(t, statusTopic)
	want = strings.Replace(want, `"state":"online"`, `"state":"offline","reason":"shutdown"`, 1)
	if diff := cmp.Diff(want, string(offline.Payload)); diff != "" || !offline.FixedHeader.Retain {
		t.Errorf("last status, retained %v (-want +got):\n%s", offline.FixedHeader.Retain, diff)
	}
	wait(t, c.events.disconnected, "Disconnected")
	if err := c.Publish(t.Context(), nil, nil); !errors.Is(err, ErrNotConnected) {
		t.Errorf("Publish afterwards: %v, want ErrNotConnected", err)
	}
}

func TestReconnects(t *testing.T) {
	gate := make(chan struct{}, 1) // or mochi takes the session over before it has sent the will
	b := startBroker(t, "127.0.0.1:0", nil, &rules{gate: gate})
	t.Cleanup(func() { close(gate) })
	network := startLine(t, b.addr())
	c := run(t, options("tcp://"+network.Addr().String()))
	for range 5 {
		gate <- struct{}{}
		wait(t, c.events.connected, "Connected")
		b.message(t, statusTopic) // online
		network.cut()
		if got, want := string(b.message(t, statusTopic).Payload), `{"state":"offline","reason":"connection_lost","version":"v1"}`; got != want {
			t.Errorf("will %s, want %s", got, want)
		}
		wait(t, c.events.disconnected, "Disconnected")
	}
	gate <- struct{}{}
	wait(t, c.events.connected, "Connected")
	must(t, b.Publish(receiptsTopic, []byte("receipt"), false, 0))
	wait(t, c.events.receipts, "a receipt after the reconnect")
	exposition := c.metrics()
	for _, line := range []string{
		"telltale_agent_mqtt_connected 1\n",
		"telltale_agent_mqtt_connections_total 6\n",
		"telltale_agent_mqtt_connections_lost_total 5\n",
	} {
		if !strings.Contains(exposition, line) {
			t.Errorf("metrics lack %q:\n%s", line, exposition)
		}
	}
}

// After a lost connection the first wait is up to sixteen times BackoffMin, or a
// fleet would be back at its broker all at once.
func TestReturnsSpread(t *testing.T) {
	b := startBroker(t, "127.0.0.1:0", nil, &rules{})
	network := startLine(t, b.addr())
	o := options("tcp://" + network.Addr().String())
	o.BackoffMin, o.BackoffMax = 10*time.Millisecond, 160*time.Millisecond
	c := run(t, o)
	longest := time.Duration(0)
	for range 6 {
		wait(t, c.events.connected, "Connected")
		network.cut()
		wait(t, c.events.disconnected, "Disconnected")
		lost := time.Now()
		wait(t, c.events.connected, "Connected")
		longest = max(longest, time.Since(lost))
		c.events.connected <- struct{}{} // for the next turn
	}
	if longest < 20*time.Millisecond { // by chance once in 250,000 times
		t.Errorf("was back within %v each of 6 times, want up to 160ms", longest)
	}
}

func TestBrokerAway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := l.Addr().String()
	must(t, l.Close())
	c := run(t, options("tcp://"+addr))
	if got, want := wait(t, c.log.lines, "a log line"), `level=WARN msg="broker unavailable" reason=network`; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
	c.fails(t, "network")
	startBroker(t, addr, nil, &rules{})
	wait(t, c.events.connected, "Connected")
	if got, want := wait(t, c.log.lines, "a log line"), `level=INFO msg="broker connected"`; got != want {
		t.Errorf("log %q, want %q, and nothing between", got, want)
	}
}

func TestRefusals(t *testing.T) {
	end := time.Now().Add(time.Hour)
	ours, theirs := certificatetest.Authority(t, end), certificatetest.Authority(t, end)
	server := func(name string) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{ours.Issue(t, name, end).TLS()}}
	}
	trust := func(a *certificatetest.Issued, name string) func() (*tls.Config, error) {
		return func() (*tls.Config, error) {
			return &tls.Config{RootCAs: a.Pool(), ServerName: name, MinVersion: tls.VersionTLS12}, nil
		}
	}
	tests := []struct {
		name   string
		tls    *tls.Config
		rules  rules
		change func(*Options)
		reason string // "" connects
	}{
		{"password", nil, rules{password: "secret"}, func(o *Options) { o.Password = "secret" }, ""},
		{"wrong password", nil, rules{password: "secret"}, func(o *Options) { o.Password = "guess" }, "not_authorized"},
		{"receipts denied", nil, rules{denied: receiptsTopic}, func(*Options) {}, "subscription_refused"},
		{"receipts denied and not wanted", nil, rules{denied: receiptsTopic}, func(o *Options) { o.Receipts = false }, ""},
		{"TLS", server("127.0.0.1"), rules{}, func(o *Options) { o.TLS = trust(ours, "") }, ""},
		{"TLS, by name", server("broker.example"), rules{}, func(o *Options) { o.TLS = trust(ours, "broker.example") }, ""},
		{"TLS, another name", server("broker.example"), rules{}, func(o *Options) { o.TLS = trust(ours, "") }, "tls"},
		{"TLS, another authority", server("127.0.0.1"), rules{}, func(o *Options) { o.TLS = trust(theirs, "") }, "tls"},
		{"TLS 1.1", &tls.Config{Certificates: server("127.0.0.1").Certificates, MaxVersion: tls.VersionTLS11}, rules{}, func(o *Options) { o.TLS = trust(ours, "") }, "tls"},
		{"client certificate missing", &tls.Config{Certificates: server("127.0.0.1").Certificates, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours.Pool()},
			rules{}, func(o *Options) { o.TLS = trust(ours, "") }, "tls"},
		{"client certificate", &tls.Config{Certificates: server("127.0.0.1").Certificates, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours.Pool()},
			rules{}, func(o *Options) {
				pair := ours.Issue(t, "dev", end).TLS()
				o.TLS = func() (*tls.Config, error) {
					return &tls.Config{RootCAs: ours.Pool(), Certificates: []tls.Certificate{pair}}, nil
				}
			}, ""},
		{"TLS files", server("127.0.0.1"), rules{}, func(o *Options) {
			o.TLS = func() (*tls.Config, error) { return nil, io.ErrUnexpectedEOF }
		}, "tls_files"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.reason != "" && (Hint(tt.reason) == "" || Hint(tt.reason) != refusalHint(tt.reason)) {
				t.Errorf("no hint for %s", tt.reason)
			}
			b := startBroker(t, "127.0.0.1:0", tt.tls, &tt.rules)
			o := options("tcp://" + b.addr())
			tt.change(&o)
			if o.TLS != nil {
				o.URL = "tls://" + b.addr()
			}
			c := run(t, o)
			if tt.reason == "" {
				wait(t, c.events.connected, "Connected")
				return
			}
			if got, want := wait(t, c.log.lines, "a log line"), `level=ERROR msg="broker refuses the agent" reason=`+tt.reason; got != want {
				t.Errorf("log %q, want %q", got, want)
			}
			c.fails(t, tt.reason)
			select {
			case line := <-c.log.lines:
				t.Errorf("log %q, want nothing after the first line", line)
			case <-c.events.connected:
				t.Error("connected")
			default:
			}
		})
	}
}

// TestBrokerThatNeverAcknowledges gives up such a broker, and tells all who
// wait.
func TestBrokerThatNeverAcknowledges(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go mute(conn)
		}
	}()
	o := options("tcp://" + l.Addr().String())
	o.AckTimeout = 2 * time.Second // also of the status, which comes before the frames
	c := run(t, o)
	wait(t, c.events.connected, "Connected")
	acked := make(chan error, 10)
	for range 3 {
		must(t, c.Publish(t.Context(), []byte("frame"), func(err error) { acked <- err }))
	}
	wait(t, c.events.disconnected, "Disconnected")
	for range 3 {
		if err := wait(t, acked, "an error"); !errors.Is(err, ErrConnectionLost) {
			t.Errorf("acked(%v), want ErrConnectionLost", err)
		}
	}
	wait(t, c.events.connected, "another connection")
}

// mute takes a connection and a subscription, and acknowledges nothing else.
func mute(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	for {
		p, err := pahopackets.ReadPacket(conn)
		if err != nil {
			return
		}
		var answer pahopackets.ControlPacket
		switch p := p.(type) {
		case *pahopackets.ConnectPacket:
			answer = pahopackets.NewControlPacket(pahopackets.Connack)
		case *pahopackets.SubscribePacket:
			ack := pahopackets.NewControlPacket(pahopackets.Suback).(*pahopackets.SubackPacket)
			ack.MessageID, ack.ReturnCodes = p.MessageID, []byte{0}
			answer = ack
		default:
			continue
		}
		if answer.Write(conn) != nil {
			return
		}
	}
}

// TestStopWhileConnecting stops while a broker does not even answer CONNECT.
func TestStopWhileConnecting(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	o := options("tcp://" + l.Addr().String())
	o.ConnectTimeout = time.Hour
	c := run(t, o)
	conn, err := l.Accept()
	must(t, err)
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	c.stop()
}

// TestGoroutinesEnd counts the goroutines before and after connections that
// ended in every way.
func TestGoroutinesEnd(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("connections", func(t *testing.T) {
		b := startBroker(t, "127.0.0.1:0", nil, &rules{})
		network := startLine(t, b.addr())
		c := run(t, options("tcp://"+network.Addr().String()))
		for range 20 {
			wait(t, c.events.connected, "Connected")
			must(t, c.Publish(t.Context(), []byte("frame"), func(error) {}))
			network.cut()
			wait(t, c.events.disconnected, "Disconnected")
		}
		wait(t, c.events.connected, "Connected")
		c.stop()
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for runtime.NumGoroutine() > before {
		if ctx.Err() != nil {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, before %d:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
		runtime.Gosched()
	}
}

func TestNewRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Options){
		"no scheme":        func(o *Options) { o.URL = "broker:1883" },
		"no port":          func(o *Options) { o.URL = "tcp://broker" },
		"another scheme":   func(o *Options) { o.URL = "ws://broker:80" },
		"no URL":           func(o *Options) { o.URL = "%" },
		"TLS without TLS":  func(o *Options) { o.URL = "tls://broker:8883" },
		"no device":        func(o *Options) { o.Device = "" },
		"a wild device":    func(o *Options) { o.Device = "+" },
		"no client id":     func(o *Options) { o.ClientID = "" },
		"no keep alive":    func(o *Options) { o.KeepAlive = 0 },
		"no write timeout": func(o *Options) { o.WriteTimeout = 0 },
		"no ack timeout":   func(o *Options) { o.AckTimeout = 0 },
		"inverted backoff": func(o *Options) { o.BackoffMax = 0 },
		"no status":        func(o *Options) { o.Status = nil },
	} {
		t.Run(name, func(t *testing.T) {
			o := options("tcp://broker:1883")
			if _, err := New(o); err != nil {
				t.Fatalf("good options: %v", err)
			}
			spoil(&o)
			if _, err := New(o); err == nil {
				t.Error("want an error")
			}
		})
	}
}
