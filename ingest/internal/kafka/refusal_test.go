package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/telltale-iot/telltale/ingest/internal/kafka/kafkatest"
	"github.com/telltale-iot/telltale/ingest/internal/refusal"
	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/capture"
	"github.com/telltale-iot/telltale/internal/certificate/certificatetest"
)

// TestExplain: which errors are the cluster's refusals, of what, and that they name
// the server and the user, and not the password.
func TestExplain(t *testing.T) {
	const password = "hunter2hunter2"
	brokers := []string{"kafka-1:9093", "kafka-2:9093"}
	named := newClient(t, Options{Brokers: brokers, TLS: &tls.Config{MinVersion: tls.VersionTLS12}, SASL: SASL{"SCRAM-SHA-512", "ingest", password}})
	certified := newClient(t, Options{Brokers: brokers, TLS: &tls.Config{MinVersion: tls.VersionTLS12, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return nil, errors.New("not in this test")
	}}})
	plain := newClient(t, Options{Brokers: brokers})
	for _, tt := range []struct {
		client *Client
		err    error
		scope  string
		reason string
		want   string // of the text; for what is no refusal all of it
	}{
		{named, fmt.Errorf("dial: %w", kafkago.SASLAuthenticationFailed), "", "authentication_failed", `does not let user "ingest" in by SCRAM-SHA-512: a wrong password, or no such user: [58]`},
		{named, kafkago.UnsupportedSASLMechanism, "", "unsupported_sasl_mechanism", "does not offer SCRAM-SHA-512"},
		{named, kafkago.TopicAuthorizationFailed, "topic iot-frames", "topic_authorization_failed", `user "ingest" what it needs of topic iot-frames: [29]`},
		{named, errors.Join(&topicError{"a", 3, kafkago.TopicAuthorizationFailed}, &topicError{"a", 4, kafkago.TopicAuthorizationFailed}), "topic a", "topic_authorization_failed",
			"what it needs of topic a: [29]"},
		{named, kafkago.GroupAuthorizationFailed, "group sink", "group_authorization_failed", `user "ingest" to be in consumer group sink: [30]`},
		{certified, kafkago.GroupAuthorizationFailed, "group sink", "group_authorization_failed", "the user of kafka.tls.cert_file to be in"},
		{plain, kafkago.ClusterAuthorizationFailed, "cluster", "cluster_authorization_failed", "does not allow a client without a name"},
		{named, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "", "tls", "certificate that is not trusted"},
		{named, tls.RecordHeaderError{Msg: "no TLS"}, "", "tls", "does not answer in TLS"},
		{named, fmt.Errorf("dial: %w", &net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}), "", "tls", "do not agree on TLS: remote error: tls: certificate required; see kafka.tls.cert_file"},
		{plain, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "", "", "dial: connection refused"},
		{named, io.EOF, "", "", "EOF"},
		{plain, io.ErrUnexpectedEOF, "", "", "unexpected EOF; if it goes on, see whether the port wants kafka.tls_enabled or kafka.sasl"},
		{named, kafkago.NotLeaderForPartition, "", "", kafkago.NotLeaderForPartition.Error()},
	} {
		err := tt.client.explain(tt.err, "iot-frames", "sink")
		var refused *refusal.Error
		if !errors.As(err, &refused) {
			if tt.reason != "" || err.Error() != tt.want {
				t.Errorf("%v is no refusal: %v, want %s", tt.err, err, tt.want)
			}
			continue
		}
		if refused.Scope != tt.scope || refused.Reason != tt.reason || Reason(err) != tt.reason {
			t.Errorf("%v: scope %q, reason %q and %q, want %q and %q", tt.err, refused.Scope, refused.Reason, Reason(err), tt.scope, tt.reason)
		}
		for _, want := range []string{tt.want, "kafka-1:9093, kafka-2:9093", "; see "} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q in it", err, want)
			}
		}
		if strings.Contains(err.Error(), password) {
			t.Errorf("the error has the password: %v", err)
		}
	}
}

// TestClientCertificateIsWanted: a cluster that wants one refuses whoever has none,
// at the first answer in TLS 1.3.
func TestClientCertificateIsWanted(t *testing.T) {
	end := time.Now().Add(time.Hour)
	root := certificatetest.Authority(t, end)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cluster := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(1, frames), kfake.TLS(&tls.Config{
			Certificates: []tls.Certificate{root.Issue(t, "127.0.0.1", end).TLS()},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: root.Pool(), MinVersion: version, MaxVersion: version,
		}))
		c := newClient(t, Options{Brokers: cluster.ListenAddrs(), TLS: &tls.Config{RootCAs: root.Pool()}})
		_, asked := c.Offsets(t.Context(), "g", frames)
		conn, joined := c.dialer().DialContext(t.Context(), "tcp", cluster.ListenAddrs()[0])
		if joined == nil {
			_, joined = conn.ReadPartitions(frames)
			_ = conn.Close()
		}
		for what, err := range map[string]error{"a request": asked, "a member's connection": c.explain(joined, frames, "g")} {
			var refused *refusal.Error
			if !errors.As(err, &refused) || refused.Reason != "tls" || refused.Scope != "" {
				t.Errorf("%s, %s: %v is no refusal of the connection", tls.VersionName(version), what, err)
			}
		}
	}
}

// TestRefusedOnce: what a producer and all partitions of a consumer are refused is
// in the log once, both are not ready, and go on when they are let.
func TestRefusedOnce(t *testing.T) {
	const partitions = 4
	cluster := kafkatest.Start(t, kfake.NumBrokers(1), kfake.SeedTopics(partitions, frames))
	var log capture.Output
	logger := slog.New(slog.NewTextHandler(&log, nil))
	client := newClient(t, Options{Brokers: cluster.ListenAddrs(), Logger: logger})
	consumer, err := client.NewConsumer(ConsumerOptions{Group: "g", Topic: frames, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	producer, err := client.NewProducer(ProducerOptions{Topics: []string{frames}, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	forbidden := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce, kmsg.Fetch}, Err: kerr.TopicAuthorizationFailed, Count: -1})

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var running sync.WaitGroup
	received := make(chan string, 10)
	running.Go(func() {
		if err := consumer.Run(ctx, func(ctx context.Context, a *Assignment) error {
			for {
				messages, err := a.Fetch(ctx)
				if err != nil {
					return nil //nolint:nilerr // the context has ended
				}
				for i := range messages {
					received <- string(messages[i].Value)
				}
			}
		}); err != nil {
			t.Error(err)
		}
	})
	sent := make(chan error, 1)
	go func() { sent <- producer.Send(ctx, frames, []Record{{Key: []byte("k"), Value: []byte("v")}}) }()
	for name, ready := range map[string]func(context.Context) error{"the producer": producer.Ready, "the consumer": consumer.Ready} {
		await.True(t, patience, name+" is not ready", func() bool {
			var refused *refusal.Error
			return errors.As(ready(ctx), &refused) && refused.Scope == "topic "+frames
		})
	}
	await.True(t, patience, "every partition has failed", func() bool {
		consumer.failures.mu.Lock()
		defer consumer.failures.mu.Unlock()
		return len(consumer.failures.now) == partitions
	})
	if said := log.String(); strings.Count(said, "level=ERROR") != 1 || strings.Contains(said, "cannot fetch") || strings.Contains(said, "does not take records") {
		t.Errorf("said:\n%s", said)
	}
	forbidden.Remove()
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if got := <-received; got != "v" {
		t.Errorf("received %q", got)
	}
	await.True(t, patience, "both are ready", func() bool { return producer.Ready(ctx) == nil && consumer.Ready(ctx) == nil })
	cancel()
	running.Wait()
}

// TestTopicsRefused: of topics that may not be seen nobody learns whether they are
// there, so none is made, and all are named.
func TestTopicsRefused(t *testing.T) {
	cluster := kafkatest.Start(t, kfake.NumBrokers(1))
	client := newClient(t, Options{Brokers: cluster.ListenAddrs()})
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	done := make(chan error, 1)
	go func() {
		done <- client.EnsureTopics(ctx, []Topic{{Name: "a", Partitions: 1, Replication: 1}, {Name: "b", Partitions: 1, Replication: 1}}, func(err error) {
			select {
			case failed <- err:
			default:
			}
		}, nil)
	}()
	var refused *refusal.Error
	if err := <-failed; !errors.As(err, &refused) || refused.Scope != "topic a, b" {
		t.Errorf("got %v", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
