package mongo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.mongodb.org/mongo-driver/v2/event"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	wire "go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/telltale-iot/telltale/ingest/internal/refusal"
)

// What the server answers that does not let somebody do something (MongoDB,
// error_codes.yml); Atlas has a code of its own for a wrong password.
const (
	codeUnauthorized         = 13
	codeAuthenticationFailed = 18
	codeAtlas                = 8000
)

var errNoServer = errors.New("no server takes writes")

// reason returns a stable metric label for an error of an operation.
func reason(err error) string {
	var answer wire.Error
	var network net.Error
	switch {
	case isTLS(err):
		return "tls"
	case errors.As(err, &answer) && answer.Code != 0:
		switch answer.Code {
		case codeAuthenticationFailed, codeAtlas:
			return "authentication_failed"
		case codeUnauthorized:
			return "unauthorized"
		}
		return "mongodb_error_" + strconv.Itoa(int(answer.Code))
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.As(err, &network) && !network.Timeout(), isClosed(err):
		return "connection"
	case errors.Is(err, errNoServer):
		return "no_server"
	case driver.IsTimeout(err):
		return "timeout"
	case driver.IsNetworkError(err):
		return "connection"
	}
	return "other"
}

func isTLS(err error) bool {
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	return errors.As(err, &certificate) || errors.As(err, &plain) || refusal.Alert(err) != nil
}

// isClosed reports whether the server ended the connection, as one that wants
// TLS does if a connection begins without.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

// login is what a connection string says of the way to the server, without the
// password.
type login struct {
	hosts string
	user  string
	tls   bool
}

func loginOf(o *options.ClientOptions) login {
	l := login{hosts: strings.Join(o.Hosts, ", "), tls: o.TLSConfig != nil}
	if o.Auth != nil {
		l.user = o.Auth.Username
	}
	return l
}

// cause returns what kept the driver from an operation, of which its own error
// says too much (the whole topology) or too little (that there was an error).
func (t *troubles) cause(err error) error {
	var selection topology.ServerSelectionError
	var cleared wire.RetryablePoolError
	switch {
	case errors.As(err, &selection):
		var servers []error
		for _, server := range selection.Desc.Servers {
			if server.LastError != nil {
				servers = append(servers, fmt.Errorf("%s: %w", server.Addr, server.LastError))
			}
		}
		if len(servers) == 0 {
			return fmt.Errorf("%s: %w: %w", t.login.hosts, errNoServer, selection.Wrapped)
		}
		return errors.Join(servers...)
	case errors.As(err, &cleared):
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.cleared != nil {
			return t.cleared
		}
	}
	return err
}

const seeUsers = "and the database's users (deploy/mongodb/README.md)"

// explain returns a [*refusal.Error] in the place of a cause that says that the
// server will not serve this client; scope is what the operation was on.
func (t *troubles) explain(err error, scope string) error {
	var certificate *tls.CertificateVerificationError
	var answer wire.Error
	server := "MongoDB at " + t.login.hosts
	r := &refusal.Error{Reason: reason(err), Err: err}
	switch {
	case errors.As(err, &certificate):
		r.Message, r.Hint, r.Err = server+" has a certificate that is not trusted", "see tlsCAFile in mongo.uri, and the server's certificate", certificate
	case isTLS(err):
		r.Message, r.Hint = server+" refuses the TLS handshake", "see tls and tlsCertificateKeyFile in mongo.uri, and the port"
	case !errors.As(err, &answer):
		if !t.login.tls && isClosed(err) {
			return fmt.Errorf("%w; if it goes on, see whether the server wants tls=true in mongo.uri", err)
		}
		return err
	case r.Reason == "authentication_failed":
		r.Message = fmt.Sprintf("%s does not let user %q in: a wrong password, or no such user in authSource", server, t.login.user)
		r.Hint, r.Err = "see mongo.uri_file, "+seeUsers, answer
	case r.Reason == "unauthorized" && t.login.user == "":
		r.Message, r.Hint, r.Err = server+" wants a user", "see mongo.uri_file, "+seeUsers, brief{answer}
	case r.Reason == "unauthorized":
		r.Scope = scope
		r.Message, r.Hint = fmt.Sprintf("%s does not allow user %q what it needs of %s", server, t.login.user, scope), "see its roles, "+seeUsers
		r.Err = brief{answer}
	default:
		return err
	}
	return r
}

// brief is a server's answer without the command that it quotes, which may be of
// a thousand documents.
type brief struct{ answer wire.Error }

func (b brief) Error() string {
	message, _, _ := strings.Cut(b.answer.Message, " to execute command")
	return fmt.Sprintf("(%s) %s", b.answer.Name, message)
}

func (b brief) Unwrap() error { return b.answer }

// troubles is what goes wrong between a client and its server.
type troubles struct {
	log      *slog.Logger
	refusals *refusal.Log
	count    func(reason string)
	login    login       // known before the first operation
	away     atomic.Bool // a server was not there when last looked for

	mu      sync.Mutex
	cleared error              // for which the driver last gave up its connections
	refused map[string]refused // by scope
	next    time.Time          // when the connection may be tried that was refused
	pause   *backoff.ExponentialBackOff
}

// refused is a refusal that is not known to be over.
type refused struct {
	err  error
	last time.Time // that it was met
}

// forgotten is how long after it was last met the refusal of a collection counts.
// Whoever meets one tries again within 15 s, unless the work has gone to another
// process.
const forgotten = time.Minute

// A refused connection is tried again after this time, then less and less often.
const (
	refusedMin = time.Second
	refusedMax = 10 * time.Second
)

func newTroubles(o *Options) *troubles {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = refusedMin, refusedMax
	return &troubles{
		log: o.Logger, refusals: refusal.NewLog("mongodb", o.Logger, nil), count: o.Failed,
		refused: make(map[string]refused), pause: pause,
	}
}

// admit returns the last refusal of the connection, as long as it is too early
// to try again. All parts of a process meet it, each tries on, and for each try
// the driver makes several connections: one of them tries for all.
func (t *troubles) admit() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	refused, ok := t.refused[""]
	if !ok {
		return nil
	}
	now := time.Now()
	if now.Before(t.next) {
		return fmt.Errorf("mongo: %w", refused.err)
	}
	t.next = now.Add(t.pause.NextBackOff())
	return nil
}

// ready returns why one of the collections is refused at present, nil if none is.
func (t *troubles) ready() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, collection := range []string{frames, losses, sensors, places} {
		if refused, ok := t.refused[collection]; ok && time.Since(refused.last) < forgotten {
			return fmt.Errorf("mongo: %w", refused.err)
		}
	}
	return nil
}

// poolEvent is told what the driver does with its connections.
func (t *troubles) poolEvent(e *event.PoolEvent) {
	if e.Type != event.ConnectionPoolCleared || e.Error == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleared = e.Error
}

// heartbeatFailed is told that the driver's own way of seeing whether a server is
// there failed. Operations wait for it, and would tell half a minute later.
func (t *troubles) heartbeatFailed(e *event.ServerHeartbeatFailedEvent) {
	if errors.Is(e.Failure, net.ErrClosed) || errors.Is(e.Failure, context.Canceled) {
		return // the driver has ended it itself, after another connection was refused
	}
	err := t.explain(e.Failure, "")
	t.count(reason(err))
	if r := (*refusal.Error)(nil); errors.As(err, &r) {
		t.refusals.Refused(r)
	} else if !t.away.Swap(true) {
		t.log.Warn("cannot reach the database; retrying", "hosts", t.login.hosts, "error", err)
	}
}

func (t *troubles) heartbeatSucceeded(*event.ServerHeartbeatSucceededEvent) { t.away.Store(false) }

// failed counts an error of an operation on scope, a collection or its indexes,
// or "", and returns why in few words. A refusal is in the log then.
func (c *Client) failed(scope string, err error) error {
	t := c.troubles
	err = t.explain(t.cause(err), scope)
	t.count(reason(err))
	if r := (*refusal.Error)(nil); errors.As(err, &r) {
		t.refusals.Refused(r)
		of := r.Scope
		if r.Reason == "unauthorized" {
			of = scope // without a user too, whom the server lets in, and ping
		}
		t.mu.Lock()
		if _, ok := t.refused[""]; of == "" && !ok {
			t.next = time.Now().Add(t.pause.NextBackOff())
		}
		t.refused[of] = refused{err, time.Now()}
		t.mu.Unlock()
	}
	if scope == "" {
		return fmt.Errorf("mongo: %w", err)
	}
	return fmt.Errorf("mongo: %s: %w", scope, err)
}

// served notes that the server did what it was asked for with scope.
func (c *Client) served(scope string) {
	c.troubles.refusals.Served(scope)
	c.troubles.mu.Lock()
	defer c.troubles.mu.Unlock()
	delete(c.troubles.refused, scope)
	if _, ok := c.troubles.refused[""]; ok {
		delete(c.troubles.refused, "")
		c.troubles.pause.Reset()
	}
}
