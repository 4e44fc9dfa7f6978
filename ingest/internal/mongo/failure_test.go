package mongo

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
	wire "go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/description"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/telltale-iot/telltale/ingest/internal/refusal"
)

// newFailing returns a Client that has failed in no way yet, what it counts, and
// what it says.
func newFailing(t *testing.T, uri string) (c *Client, counted map[string]int, said *bytes.Buffer) {
	t.Helper()
	counted, said = make(map[string]int), &bytes.Buffer{}
	o := Options{
		URI: uri, Database: "iot", Failed: func(reason string) { counted[reason]++ },
		Logger: slog.New(slog.NewTextHandler(said, nil)),
	}
	c = &Client{options: o, log: o.Logger, troubles: newTroubles(&o)}
	options, err := clientOptions(&o)
	if err != nil {
		t.Fatal(err)
	}
	c.troubles.login = loginOf(options)
	return c, counted, said
}

// TestFailed: what of the driver's errors is told, counted and said, and that none
// of it has the password, or the documents that were to be written.
func TestFailed(t *testing.T) {
	const password = "hunter2hunter2"
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	unknown := &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
	selection := func(last ...error) error {
		e := topology.ServerSelectionError{Wrapped: errors.New("timeout")}
		for i, err := range last {
			e.Desc.Servers = append(e.Desc.Servers, description.Server{LastError: topology.ConnectionError{Wrapped: err}})
			e.Desc.Servers[i].Addr = "m-1:27017"
		}
		return fmt.Errorf("insert: %w", e)
	}
	unauthorized := wire.Error{Code: 13, Name: "Unauthorized", Message: `not authorized on iot to execute command { insert: "iot_frames", documents: [ "a reading" ] }`}
	for _, tt := range []struct {
		name   string
		uri    string
		err    error
		reason string
		scope  string // of the refusal; "none": it is none
		want   []string
	}{
		{"away", "m-1", selection(refused), "connection", "none", []string{"mongo: iot_frames: m-1:27017: ", "connection refused"}},
		{"no primary", "m-1", selection(), "no_server", "none", []string{"m-1: no server takes writes"}},
		{"wants TLS", "m-1", selection(io.EOF), "connection", "none", []string{"whether the server wants tls=true in mongo.uri"}},
		{"another authority", "m-1/?tls=true", selection(unknown), "tls", "", []string{"MongoDB at m-1 has a certificate that is not trusted", "tlsCAFile"}},
		{"wants a certificate", "m-1/?tls=true", selection(&net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}), "tls", "",
			[]string{"refuses the TLS handshake", "certificate required", "tlsCertificateKeyFile"}},
		{"has no TLS", "m-1/?tls=true", selection(tls.RecordHeaderError{Msg: "no TLS"}), "tls", "", []string{"refuses the TLS handshake"}},
		{"wrong password", "ingest:" + password + "@m-1", wire.Error{Code: 18, Name: "AuthenticationFailed", Message: "no"}, "authentication_failed", "",
			[]string{`MongoDB at m-1 does not let user "ingest" in: a wrong password, or no such user`, "mongo.uri_file", "deploy/mongodb/README.md"}},
		{"wrong password at Atlas", "ingest:" + password + "@m-1", wire.Error{Code: 8000, Name: "AtlasError", Message: "bad auth"}, "authentication_failed", "", []string{`"ingest"`}},
		{"no right", "ingest:" + password + "@m-1", unauthorized, "unauthorized", "iot_frames", []string{`does not allow user "ingest" what it needs of iot_frames: (Unauthorized) not authorized on iot; see its roles`}},
		{"no user", "m-1", unauthorized, "unauthorized", "", []string{"MongoDB at m-1 wants a user"}},
		{"another answer", "m-1", wire.Error{Code: 10107, Name: "NotWritablePrimary"}, "mongodb_error_10107", "none", []string{"NotWritablePrimary"}},
		{"late", "m-1", context.DeadlineExceeded, "timeout", "none", []string{"deadline"}},
		{"ended", "m-1", context.Canceled, "canceled", "none", []string{"canceled"}},
		{"something", "m-1", errors.New("something"), "other", "none", []string{"something"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, counted, said := newFailing(t, "mongodb://"+tt.uri)
			err := c.failed("iot_frames", tt.err)
			scope := "none"
			if r := (*refusal.Error)(nil); errors.As(err, &r) {
				scope = r.Scope
			}
			if scope != tt.scope || counted[tt.reason] != 1 || len(counted) != 1 {
				t.Errorf("%v: scope %q, counted %v, want %q and %s", err, scope, counted, tt.scope, tt.reason)
			}
			if lines := strings.Count(said.String(), "level=ERROR"); lines != 0 && scope == "none" || lines != 1 && scope != "none" {
				t.Errorf("said %d times: %s", lines, said)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
			for _, no := range []string{password, "a reading", "topology", "server selection"} {
				if strings.Contains(err.Error()+said.String(), no) {
					t.Errorf("%q is in %v, or in %s", no, err, said)
				}
			}
		})
	}
}

// TestCleared: an operation that finds the driver's connections given up says why
// they were.
func TestCleared(t *testing.T) {
	c, _, _ := newFailing(t, "mongodb://ingest:p@m-1")
	c.troubles.poolEvent(&event.PoolEvent{Type: event.ConnectionPoolCleared, Error: wire.Error{Code: 18, Name: "AuthenticationFailed"}})
	c.troubles.poolEvent(&event.PoolEvent{Type: event.ConnectionPoolCleared})
	err := c.failed("iot_frames", wire.Error{Message: "pool cleared", Wrapped: poolCleared{errors.New("pool cleared")}})
	if reason(err) != "authentication_failed" {
		t.Errorf("got %v", err)
	}
}

type poolCleared struct{ error }

func (poolCleared) Retryable() bool { return true }

// TestRefusedConnection: while a connection is refused one operation at a time
// tries it, less and less often, and the others are told at once.
func TestRefusedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, _ := newFailing(t, "mongodb://ingest:p@m-1")
		for range 1000 { // what is served does not lengthen the pauses
			if err := c.troubles.admit(); err != nil {
				t.Fatal(err)
			}
		}
		tried := 0
		minute := func() (tries int) {
			before := tried
			for range 60_000 / 50 {
				for range 8 {
					if err := c.troubles.admit(); err == nil {
						tried++
						_ = c.failed("iot_frames", wire.Error{Code: 18})
					} else if reason(err) != "authentication_failed" {
						t.Fatal(err)
					}
				}
				<-time.After(50 * time.Millisecond)
			}
			return tried - before
		}
		if first, second := minute(), minute(); first < 5 || first > 25 || second < 3 || second > 15 || second >= first {
			t.Errorf("tried %d times in a minute, then %d", first, second)
		}
		c.served("iot_frames")
		for range 8 {
			if err := c.troubles.admit(); err != nil {
				t.Errorf("after it is over: %v", err)
			}
		}
		_ = c.failed("iot_frames", wire.Error{Code: 18})
		if err := c.troubles.admit(); err == nil {
			t.Error("a connection that was refused is tried again at once")
		}
		<-time.After(2 * refusedMin)
		if err := c.troubles.admit(); err != nil {
			t.Errorf("%v after the first refusal in a while: %v", 2*refusedMin, err)
		}
	})
}

// TestRefusedCollection: a collection that is refused is said until it is served, or
// nobody of this process asks for it any more.
func TestRefusedCollection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, _ := newFailing(t, "mongodb://ingest:p@m-1")
		expect := func(want bool) {
			t.Helper()
			if err := c.troubles.ready(); (err == nil) != want {
				t.Errorf("ready: %v, want %v", err, want)
			}
		}
		expect(true)
		_ = c.failed(losses, wire.Error{Code: 13})
		expect(false)
		c.served(frames)
		expect(false)
		c.served(losses)
		expect(true)
		for range 10 {
			_ = c.failed(losses, wire.Error{Code: 13})
			<-time.After(forgotten / 2)
			expect(false)
		}
		<-time.After(forgotten)
		expect(true)

		c, _, _ = newFailing(t, "mongodb://m-1")
		_ = c.failed(frames, wire.Error{Code: 13})
		c.served("") // a ping takes no user
		expect(false)
		if err := c.troubles.admit(); err != nil {
			t.Errorf("the connection is refused with a collection: %v", err)
		}
	})
}

// TestHeartbeats: that a server is away is said once until it is there again, and
// what the driver ends itself is no failure.
func TestHeartbeats(t *testing.T) {
	c, counted, said := newFailing(t, "mongodb://m-1")
	for _, err := range []error{net.ErrClosed, context.Canceled, io.EOF, io.EOF} {
		c.troubles.heartbeatFailed(&event.ServerHeartbeatFailedEvent{Failure: topology.ConnectionError{Wrapped: err}})
	}
	c.troubles.heartbeatSucceeded(&event.ServerHeartbeatSucceededEvent{})
	c.troubles.heartbeatFailed(&event.ServerHeartbeatFailedEvent{Failure: io.EOF})
	if n := strings.Count(said.String(), "cannot reach the database"); n != 2 || counted["connection"] != 3 || len(counted) != 1 {
		t.Errorf("counted %v, said %d times:\n%s", counted, n, said)
	}
}
