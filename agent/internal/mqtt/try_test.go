package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/certificate/certificatetest"
)

// TestTry has a Client connected all the while, which must not notice.
func TestTry(t *testing.T) {
	end := time.Now().Add(time.Hour)
	ours := certificatetest.Authority(t, end)
	trust := func() (*tls.Config, error) {
		return &tls.Config{RootCAs: ours.Pool(), MinVersion: tls.VersionTLS12}, nil
	}
	for _, tt := range []struct {
		name   string
		rules  rules
		tls    bool
		change func(*Options)
		reason string
	}{
		{"taken", rules{password: "secret"}, false, func(o *Options) { o.Password = "secret" }, ""},
		{"by TLS", rules{}, true, func(o *Options) { o.TLS = trust }, ""},
		{"without receipts", rules{denied: receiptsTopic}, false, func(o *Options) { o.Receipts = false }, ""},
		{"wrong password", rules{password: "secret"}, false, func(o *Options) { o.Password = "guess" }, "not_authorized"},
		{"receipts denied", rules{denied: receiptsTopic}, false, func(*Options) {}, "subscription_refused"},
		{"another authority", rules{}, true, func(o *Options) {
			o.TLS = func() (*tls.Config, error) {
				return &tls.Config{RootCAs: certificatetest.Authority(t, end).Pool()}, nil
			}
		}, "tls"},
		{"TLS files", rules{}, true, func(o *Options) {
			o.TLS = func() (*tls.Config, error) { return nil, errors.New("no file") }
		}, "tls_files"},
		{"TLS to a port without", rules{}, false, func(o *Options) { o.URL, o.TLS = "tls"+o.URL[len("tcp"):], trust }, "network"}, // it hangs up
		{"a URL that is none", rules{}, false, func(o *Options) { o.URL = "%" }, "network"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			scheme, config := "tcp://", (*tls.Config)(nil)
			if tt.tls {
				scheme, config = "tls://", &tls.Config{Certificates: []tls.Certificate{ours.Issue(t, "127.0.0.1", end).TLS()}}
			}
			b := startBroker(t, "127.0.0.1:0", config, &tt.rules)
			agent := options(scheme + b.addr())
			agent.Password, agent.TLS, agent.Receipts = tt.rules.password, trust, tt.rules.denied == ""
			c := run(t, agent)
			wait(t, c.events.connected, "Connected")
			b.message(t, statusTopic)

			o := agent
			o.ClientID += "-check"
			o.Receipts = true
			tt.change(&o)
			reason, err := Try(t.Context(), o)
			if reason != tt.reason || (err == nil) != (tt.reason == "") {
				t.Errorf("got %q, %v: want %q", reason, err, tt.reason)
			}

			must(t, c.Publish(t.Context(), []byte("after"), func(error) {}))
			if m := <-b.messages; m.TopicName != framesTopic {
				t.Errorf("message on %s, want none but the client's on %s", m.TopicName, framesTopic)
			}
			select {
			case <-c.events.disconnected:
				t.Error("the client was disconnected")
			default:
			}
		})
	}
}

func TestTryBounds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	must(t, err)
	defer l.Close()
	o := options("tcp://" + l.Addr().String())
	o.ConnectTimeout = 50 * time.Millisecond
	if reason, err := Try(t.Context(), o); reason != "timeout" || err == nil {
		t.Errorf("got %q, %v: want timeout", reason, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o.ConnectTimeout = time.Hour
	if _, err := Try(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v: want context.Canceled", err)
	}
}
