package lab

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"

	"github.com/FerretDB/FerretDB/ferretdb"
)

// Mongo is an embedded server of MongoDB's wire protocol.
type Mongo struct {
	server *ferretdb.FerretDB
	uri    *url.URL
	stop   context.CancelFunc
	done   chan struct{}
}

// StartMongo starts a server on addr (host:port; port 0 takes a free one) that
// keeps its databases in dir, which must exist.
func StartMongo(addr, dir string, logger *slog.Logger) (*Mongo, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("lab: mongo: %w", err)
	}
	if err := probe(addr); err != nil {
		return nil, fmt.Errorf("lab: mongo: %w", err)
	}
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: addr},
		Logger:    logger,
		Handler:   "sqlite",
		SQLiteURL: (&url.URL{Scheme: "file", Opaque: absolute + "/"}).String(),
	})
	if err != nil {
		return nil, fmt.Errorf("lab: mongo: %w", err)
	}
	uri, err := url.Parse(server.MongoDBURI())
	if err != nil {
		return nil, fmt.Errorf("lab: mongo: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &Mongo{server: server, uri: uri, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		_ = server.Run(ctx) // it only ever returns nil
	}()
	return m, nil
}

// probe tells whether addr can be listened on. FerretDB's own error does not
// wrap the cause, by which a busy address is known.
func probe(addr string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return listener.Close()
}

// Addr returns the host:port that the server listens on.
func (m *Mongo) Addr() string { return m.uri.Host }

// URI returns the connection string for a client.
func (m *Mongo) URI() string { return m.uri.String() }

// Close disconnects all clients and stops the server.
func (m *Mongo) Close() error {
	m.stop()
	<-m.done
	return nil
}
