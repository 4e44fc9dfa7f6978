package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/telltale-iot/telltale/ingest/internal/kafka/kafkatest"
	"github.com/telltale-iot/telltale/internal/await"
)

// patience is how long the tests wait for what must come.
const patience = 20 * time.Second

// TestMain finds what the tests leave running.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOptionsAreValidated(t *testing.T) {
	for _, test := range []struct {
		options Options
		want    string
	}{
		{Options{}, "no brokers"},
		{Options{Brokers: []string{"kafka"}}, "host:port"},
		{Options{Brokers: []string{"kafka:9092", "kafka:0"}}, "port"},
		{Options{Brokers: []string{"kafka:http"}}, "port"},
		{Options{Brokers: []string{"kafka:9092"}, SASL: SASL{Mechanism: "GSSAPI"}}, "SCRAM-SHA-512"},
	} {
		if _, err := NewClient(test.options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: error %v, want one with %q", test.options, err, test.want)
		}
	}
	c := newClient(t, Options{Brokers: []string{"kafka:9092"}})
	for _, o := range []ProducerOptions{
		{},
		{Topics: []string{""}},
		{Topics: []string{"t"}, RequestTimeout: -1},
		{Topics: []string{"t"}, BackoffMin: time.Second, BackoffMax: time.Millisecond},
	} {
		if _, err := c.NewProducer(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

// The connection is made over TLS with a verified certificate, and with each
// of the mechanisms; a refusal is retried and named.
func TestTLSAndSASL(t *testing.T) {
	server := httptest.NewTLSServer(nil) // for its certificate, which is for 127.0.0.1
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	cluster := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(2, frames), kfake.EnableSASL(),
		kfake.TLS(&tls.Config{Certificates: server.TLS.Certificates}),
		kfake.Superuser("PLAIN", "p", "secret"), kfake.Superuser("SCRAM-SHA-256", "s", "secret"), kfake.Superuser("SCRAM-SHA-512", "s", "secret"))
	for _, sasl := range []SASL{{"PLAIN", "p", "secret"}, {"SCRAM-SHA-256", "s", "secret"}, {"SCRAM-SHA-512", "s", "secret"}} {
		o := Options{Brokers: cluster.ListenAddrs(), TLS: &tls.Config{RootCAs: roots}, SASL: sasl}
		p, _ := newProducer(t, o, ProducerOptions{})
		if err := p.Send(t.Context(), frames, []Record{{Key: []byte("k")}}); err != nil {
			t.Errorf("%s: %v", sasl.Mechanism, err)
		}
	}
	for name, o := range map[string]Options{
		// The twin answers a wrong password by closing the connection.
		"connection": {Brokers: cluster.ListenAddrs(), TLS: &tls.Config{RootCAs: roots}, SASL: SASL{"PLAIN", "p", "wrong"}},
		"tls":        {Brokers: cluster.ListenAddrs(), TLS: &tls.Config{}, SASL: SASL{"PLAIN", "p", "secret"}},
	} {
		p, retries := newProducer(t, o, ProducerOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Send(ctx, frames, []Record{{Key: []byte("k")}}) }()
		await.True(t, patience, "a second attempt", func() bool { return retries.all()[name] > 1 })
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReason(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{kafkago.NotLeaderForPartition, "not_leader"},
		{fmt.Errorf("topic: %w", kafkago.RequestTimedOut), "request_timed_out"},
		{kafkago.Error(999), "kafka_error_999"},
		{context.DeadlineExceeded, "timeout"},
		{fmt.Errorf("produce: %w", io.ErrUnexpectedEOF), "connection"},
		{errors.New("something"), "other"},
	} {
		if got := Reason(test.err); got != test.want {
			t.Errorf("Reason(%v) = %q, want %q", test.err, got, test.want)
		}
	}
}
