package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/telltale-iot/telltale/ingest/internal/refusal"
)

// DefaultDialTimeout bounds the making of a connection, TLS and SASL included.
const DefaultDialTimeout = 10 * time.Second

// Options says how to reach a cluster.
type Options struct {
	Brokers  []string // host:port of one or more brokers to start from
	ClientID string   // shown in the brokers' logs and quotas

	// TLS, if not nil, secures the connections. A ServerName is filled in
	// from the broker's address when it is empty.
	TLS *tls.Config

	SASL SASL

	DialTimeout time.Duration // 0 is DefaultDialTimeout

	// Logger is told once of each refusal, whoever of the client's users meets
	// it: see package refusal. Nil discards.
	Logger *slog.Logger

	// Dial makes the network connections; nil is a net.Dialer's DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// SASL says how to authenticate. The zero SASL does not.
type SASL struct {
	Mechanism string // "", "PLAIN", "SCRAM-SHA-256" or "SCRAM-SHA-512"
	Username  string
	Password  string
}

func (s SASL) mechanism() (sasl.Mechanism, error) {
	switch s.Mechanism {
	case "":
		return nil, nil
	case "PLAIN":
		return plain.Mechanism{Username: s.Username, Password: s.Password}, nil
	case "SCRAM-SHA-256":
		return scram.Mechanism(scram.SHA256, s.Username, s.Password)
	case "SCRAM-SHA-512":
		return scram.Mechanism(scram.SHA512, s.Username, s.Password)
	}
	return nil, fmt.Errorf("SASL mechanism %q: want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", s.Mechanism)
}

// Client is the way to one cluster. It holds no connection until it is used,
// and is safe for concurrent use.
type Client struct {
	options   Options
	addr      net.Addr
	mechanism sasl.Mechanism
	refusals  *refusal.Log
	transport *kafkago.Transport
	api       *kafkago.Client
}

// NewClient validates o and returns a Client. Nothing is dialled yet.
func NewClient(o Options) (*Client, error) {
	if len(o.Brokers) == 0 {
		return nil, errors.New("kafka: no brokers given")
	}
	for _, b := range o.Brokers {
		if _, port, err := net.SplitHostPort(b); err != nil {
			return nil, fmt.Errorf("kafka: broker %q: want host:port: %w", b, err)
		} else if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("kafka: broker %q: want a port from 1 to 65535", b)
		}
	}
	mechanism, err := o.SASL.mechanism()
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = DefaultDialTimeout
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	c := &Client{options: o, addr: kafkago.TCP(o.Brokers...), mechanism: mechanism, refusals: refusal.NewLog("kafka", o.Logger, nil)}
	c.transport = c.newTransport()
	c.api = &kafkago.Client{Addr: c.addr, Transport: c.transport}
	return c, nil
}

// Close closes the connections that are idle, and the others when they become so.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// newTransport returns a connection pool that keeps the metadata of the given
// topics, or of all topics when none are given.
func (c *Client) newTransport(topics ...string) *kafkago.Transport {
	return &kafkago.Transport{
		Dial:           c.options.Dial,
		DialTimeout:    c.options.DialTimeout,
		ClientID:       c.options.ClientID,
		TLS:            c.options.TLS,
		SASL:           c.mechanism,
		MetadataTopics: topics,
	}
}

// dialer returns what kafka-go's ConsumerGroup and Conn dial with.
func (c *Client) dialer() *kafkago.Dialer {
	return &kafkago.Dialer{
		ClientID:      c.options.ClientID,
		DialFunc:      c.options.Dial,
		Timeout:       c.options.DialTimeout,
		TLS:           c.options.TLS,
		SASLMechanism: c.mechanism,
	}
}

// Reason returns a stable metric label for an error of this package: what the
// broker answered, or how it could not be reached.
func Reason(err error) string {
	var code kafkago.Error
	var network net.Error
	var route *rawproduce.Error // the transport's metadata changed since ours was taken from it
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	switch {
	case errors.As(err, &code):
		if reason, ok := codeReasons[code]; ok {
			return reason
		}
		return "kafka_error_" + strconv.Itoa(int(code))
	case errors.Is(err, errCorrupt):
		return codeReasons[kafkago.InvalidMessage]
	case errors.As(err, &route):
		return "no_leader"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.As(err, &certificate), errors.As(err, &plain), refusal.Alert(err) != nil:
		return "tls"
	case errors.As(err, &network):
		if network.Timeout() {
			return "timeout"
		}
		return "connection"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "connection"
	}
	return "other"
}

var codeReasons = map[kafkago.Error]string{
	kafkago.OffsetOutOfRange:             "offset_out_of_range",
	kafkago.InvalidMessage:               "corrupt_message",
	kafkago.UnknownTopicOrPartition:      "unknown_topic_or_partition",
	kafkago.LeaderNotAvailable:           "leader_not_available",
	kafkago.NotLeaderForPartition:        "not_leader",
	kafkago.RequestTimedOut:              "request_timed_out",
	kafkago.BrokerNotAvailable:           "broker_not_available",
	kafkago.MessageSizeTooLarge:          "message_too_large",
	kafkago.NetworkException:             "network_exception",
	kafkago.RecordListTooLarge:           "record_list_too_large",
	kafkago.NotEnoughReplicas:            "not_enough_replicas",
	kafkago.NotEnoughReplicasAfterAppend: "not_enough_replicas_after_append",
	kafkago.TopicAuthorizationFailed:     "topic_authorization_failed",
	kafkago.GroupAuthorizationFailed:     "group_authorization_failed",
	kafkago.ClusterAuthorizationFailed:   "cluster_authorization_failed",
	kafkago.InvalidTimestamp:             "invalid_timestamp",
	kafkago.NotController:                "not_controller",
	kafkago.KafkaStorageError:            "storage_error",
	kafkago.SASLAuthenticationFailed:     "authentication_failed",
	kafkago.UnsupportedSASLMechanism:     "unsupported_sasl_mechanism",
	kafkago.FencedLeaderEpoch:            "fenced_leader_epoch",
	kafkago.InvalidRecord:                "invalid_record",
	kafkago.PolicyViolation:              "policy_violation",
	kafkago.ThrottlingQuotaExceeded:      "throttling_quota_exceeded",
}
