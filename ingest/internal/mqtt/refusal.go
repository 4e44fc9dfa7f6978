package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/telltale-iot/telltale/ingest/internal/refusal"
)

// subscriptionError is that of a filter to which the broker lets nobody subscribe,
// or not this user.
type subscriptionError struct {
	filter string
	code   byte
}

func (e *subscriptionError) Error() string {
	return fmt.Sprintf("SUBACK with code %#x", e.code)
}

// explain returns a [*refusal.Error] in the place of an error that says that the
// broker will not serve this client, or is not the broker that it should be.
func (b *Broker) explain(err error, client string) error {
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	var file *fs.PathError
	var subscription *subscriptionError
	broker := "the MQTT broker at " + b.address
	r := &refusal.Error{Err: err}
	say := func(reason, message, hint string) error {
		r.Reason, r.Message, r.Hint = reason, message, hint
		return r
	}
	switch {
	case errors.As(err, &certificate):
		r.Err = certificate
		return say("tls", broker+" has a certificate that is not trusted", "see mqtt.tls.ca_file and mqtt.tls.server_name, and the broker's certificate")
	case errors.As(err, &plain):
		return say("tls", broker+" does not answer in TLS", "see mqtt.url: tls:// wants a port that speaks TLS, usually 8883")
	case refusal.Alert(err) != nil:
		r.Err = refusal.Alert(err)
		return say("tls", broker+" and this client do not agree on TLS", "see mqtt.tls.cert_file: the broker may want a client's certificate, or one that it trusts and that has not expired; if it refuses all, its revocation list has ended")
	case errors.As(err, &file):
		return say("tls_files", "no TLS connection to "+broker, "see mqtt.tls")
	case errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword), errors.Is(err, packets.ErrorRefusedNotAuthorised):
		return say("not_authorized", fmt.Sprintf("%s does not let user %q in", broker, b.options.Username),
			"see mqtt.username and mqtt.password_file, or mqtt.tls.cert_file, whose common name may be the user, and the broker's users")
	case errors.Is(err, packets.ErrorRefusedIDRejected):
		return say("refused", fmt.Sprintf("%s does not take the client identifier %s", broker, b.clientID(client)), "see mqtt.client_id")
	case errors.As(err, &subscription):
		r.Scope = "topic " + subscription.filter
		return say("subscription_refused", fmt.Sprintf("%s does not let user %q subscribe to %s", broker, b.options.Username, subscription.filter), "see the broker's access rules")
	}
	return err
}

// reason classifies what explain has returned, for a metric.
func reason(err error) string {
	var refused *refusal.Error
	var network net.Error
	switch {
	case errors.As(err, &refused):
		return refused.Reason
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "timeout"
	}
	return "network"
}

// refusals are what the clients of one broker are refused at present. They are
// said once for all that are refused the same. It is safe for concurrent use.
type refusals struct {
	mu sync.Mutex
	by map[string]*refusal.Error // by the client's name

	// missed has the clients that have found no broker since.
	missed map[string]bool
}

// refused notes a client's refusal, and reports whether no client met it before.
func (r *refusals) refused(client string, e *refusal.Error) (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first = !r.known(e)
	if r.by == nil {
		r.by = make(map[string]*refusal.Error)
	}
	r.by[client] = e
	delete(r.missed, client)
	return first
}

// miss notes that a client finds no broker, which neither refuses nor serves it.
func (r *refusals) miss(client string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.missed == nil {
		r.missed = make(map[string]bool)
	}
	r.missed[client] = true
}

// served notes that a client is served, and returns what no client is refused any
// more, nil if nothing.
func (r *refusals) served(client string) *refusal.Error {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.by[client]
	delete(r.by, client)
	if e == nil || r.known(e) {
		return nil
	}
	return e
}

func (r *refusals) known(e *refusal.Error) bool {
	for _, other := range r.by {
		if other.Scope == e.Scope && other.Reason == e.Reason {
			return true
		}
	}
	return false
}

// unready says why a client is not connected.
func (r *refusals) unready(client string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.by[client]; e != nil && !r.missed[client] {
		return e
	}
	return errAway
}

var errAway = errors.New("not connected to the MQTT broker")
