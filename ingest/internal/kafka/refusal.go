package kafka

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/telltale-iot/telltale/ingest/internal/refusal"
)

// topicError says which topic an error is about, or which of its partitions.
type topicError struct {
	topic     string // several are separated by ", "
	partition int32  // negative: of the topic
	err       error
}

func (e *topicError) Error() string {
	if e.partition < 0 {
		return fmt.Sprintf("topic %q: %v", e.topic, e.err)
	}
	return fmt.Sprintf("topic %q, partition %d: %v", e.topic, e.partition, e.err)
}

func (e *topicError) Unwrap() error { return e.err }

func topicScope(name string) string { return "topic " + name }
func groupScope(name string) string { return "group " + name }

const (
	seeUser = "see kafka.sasl.username and kafka.sasl.password_file, and the cluster's users (deploy/kafka/README.md)"
	seeACL  = "see the cluster's ACLs (deploy/kafka/README.md)"
)

// explain returns a [*refusal.Error] in the place of an error that says that the
// cluster will not serve this client. The error is of something done with the
// topic and the group, "" if there is none or the error says it.
func (c *Client) explain(err error, topic, group string) error {
	var code kafkago.Error
	var about *topicError
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	if errors.As(err, &about) {
		topic = about.topic
	}
	brokers := "Kafka at " + strings.Join(c.options.Brokers, ", ")
	r := &refusal.Error{Reason: Reason(err), Err: err}
	switch {
	case errors.As(err, &certificate):
		r.Message = brokers + " has a certificate that is not trusted"
		r.Hint = "see kafka.tls.ca_file and kafka.tls.server_name, and the broker's certificate"
		r.Err = certificate
	case errors.As(err, &plain):
		r.Message, r.Hint = brokers+" does not answer in TLS", "see kafka.tls_enabled and the port in kafka.brokers"
	case refusal.Alert(err) != nil:
		r.Message = brokers + " and this client do not agree on TLS"
		r.Hint = "see kafka.tls.cert_file: it may want a client's certificate, or one that it trusts and that has not expired"
		r.Err = refusal.Alert(err)
	case !errors.As(err, &code):
		return c.hint(err)
	case code == kafkago.SASLAuthenticationFailed:
		r.Message, r.Hint = fmt.Sprintf("%s does not let user %q in by %s: a wrong password, or no such user", brokers, c.options.SASL.Username, c.options.SASL.Mechanism), seeUser
		r.Err = code
	case code == kafkago.UnsupportedSASLMechanism:
		r.Message, r.Hint = fmt.Sprintf("%s does not offer %s", brokers, c.options.SASL.Mechanism), "see kafka.sasl.mechanism"
	case code == kafkago.TopicAuthorizationFailed:
		r.Scope = topicScope(topic)
		r.Message, r.Hint = fmt.Sprintf("%s does not allow %s what it needs of topic %s", brokers, c.who(), topic), seeACL
		r.Err = code
	case code == kafkago.GroupAuthorizationFailed:
		r.Scope = groupScope(group)
		r.Message, r.Hint = fmt.Sprintf("%s does not allow %s to be in consumer group %s", brokers, c.who(), group), seeACL
		r.Err = code
	case code == kafkago.ClusterAuthorizationFailed:
		r.Scope = "cluster"
		r.Message, r.Hint = fmt.Sprintf("%s does not allow %s what it asked for", brokers, c.who()), seeACL
	default:
		return err
	}
	return r
}

// who is what the cluster knows this client by.
func (c *Client) who() string {
	switch {
	case c.mechanism != nil:
		return fmt.Sprintf("user %q", c.options.SASL.Username)
	case c.options.TLS != nil && c.options.TLS.GetClientCertificate != nil:
		return "the user of kafka.tls.cert_file"
	}
	return "a client without a name"
}

// hint adds to an error what it may be about: a listener for TLS or SASL ends a
// connection that begins in another way without a word.
func (c *Client) hint(err error) error {
	if (c.options.TLS == nil || c.mechanism == nil) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		return fmt.Errorf("%w; if it goes on, see whether the port wants kafka.tls_enabled or kafka.sasl", err)
	}
	return err
}

// failures are what of one user's work fails at present. It is safe for
// concurrent use.
type failures struct {
	refusals *refusal.Log
	log      *slog.Logger

	mu  sync.Mutex
	now map[string]error // by what was tried
}

func (c *Client) newFailures(log *slog.Logger) *failures {
	return &failures{refusals: c.refusals, log: log, now: make(map[string]error)}
}

// failed notes that what was tried failed, which is said unless it failed before
// or is a refusal that was said.
func (f *failures) failed(what string, err error, message string, args ...any) {
	f.mu.Lock()
	before := f.now[what]
	f.now[what] = err
	f.mu.Unlock()
	if refused := (*refusal.Error)(nil); errors.As(err, &refused) {
		f.refusals.Refused(refused)
	} else if before == nil {
		f.log.Warn(message, append(args, "error", err)...) //nolint:sloglint // the callers' messages are constant
	}
}

// over notes that what was tried was done, with the scopes, and reports whether
// it had failed.
func (f *failures) over(what string, scopes ...string) bool {
	f.mu.Lock()
	_, before := f.now[what]
	delete(f.now, what)
	f.mu.Unlock()
	f.refusals.Served(scopes...)
	return before
}

// forget is over where nothing was done.
func (f *failures) forget(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.now, what)
}

// err returns one of the errors, nil if there is none.
func (f *failures) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var first string
	for what := range f.now {
		if first == "" || what < first {
			first = what
		}
	}
	return f.now[first]
}
