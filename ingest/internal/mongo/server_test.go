//go:build !integration

package mongo

import (
	"context"
	"log/slog"
	"net/url"
	"os"

	"github.com/FerretDB/FerretDB/ferretdb"
)

// tellsOneByOne: FerretDB does not tell which of several replacements failed.
const tellsOneByOne = true

// startServer starts FerretDB in this process.
func startServer() (uri string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "telltale-ferretdb-")
	if err != nil {
		return "", nil, err
	}
	f, err := ferretdb.New(&ferretdb.Config{
		Listener: ferretdb.ListenerConfig{TCP: "127.0.0.1:0"}, Logger: slog.New(slog.DiscardHandler),
		Handler: "sqlite", SQLiteURL: (&url.URL{Scheme: "file", Opaque: dir + "/"}).String(),
	})
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.Run(ctx) // only ever nil
	}()
	return f.MongoDBURI(), func() {
		cancel()
		<-done
		_ = os.RemoveAll(dir)
	}, nil
}
