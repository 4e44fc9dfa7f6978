package mongo

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
)

// uriVariable names a MongoDB to run the tests on. Without it they run on
// FerretDB, which is embedded, or, with the build tag integration, on the server
// that deploy/local starts.
const uriVariable = "TELLTALE_TEST_MONGODB_URI"

var update = flag.Bool("update", false, "write the golden files")

// serverURI is the connection string of the server that all tests share.
var serverURI = os.Getenv(uriVariable)

func TestMain(m *testing.M) {
	stop := func() {}
	if serverURI == "" {
		var err error
		if serverURI, stop, err = startServer(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	code := m.Run()
	stop()
	os.Exit(code)
}

// commands records what the driver sends.
type commands struct {
	mu   sync.Mutex
	sent []bson.D
}

func (c *commands) monitor() *event.CommandMonitor {
	return &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		var d bson.D
		if err := bson.Unmarshal(bytes.Clone(e.Command), &d); err != nil {
			panic(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.sent = append(c.sent, d)
	}}
}

// take returns what was sent since the last take.
func (c *commands) take() []bson.D {
	c.mu.Lock()
	defer c.mu.Unlock()
	sent := c.sent
	c.sent = nil
	return sent
}

// golden compares what was sent since the last look with a file.
func (c *commands) golden(t *testing.T, name string) {
	t.Helper()
	var got strings.Builder
	for _, command := range c.take() {
		if err := targeted(command); err != nil {
			t.Error(err)
		}
		kept := bson.D{}
		for _, field := range command {
			switch field.Key {
			// What differs from run to run, and from server to server.
			case "lsid", "txnNumber", "$clusterTime", "$db", "maxTimeMS", "$readPreference":
			default:
				kept = append(kept, field)
			}
		}
		line, err := bson.MarshalExtJSONIndent(kept, true, false, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		got.Write(line)
		got.WriteByte('\n')
	}
	file := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s: -golden +sent:\n%s", name, diff)
	}
}

// targeted returns an error if a router of a sharded cluster could not tell
// from the command alone which shard each of its writes is for: each document
// and each filter must have the shard key, the whole _id.
func targeted(command bson.D) error {
	for _, field := range command {
		statements, ok := field.Value.(bson.A)
		if !ok || field.Key != "documents" && field.Key != "updates" {
			continue
		}
		for _, statement := range statements {
			document := statement.(bson.D)
			if field.Key == "updates" {
				document = document[0].Value.(bson.D) // q
			}
			if id, ok := document[0].Value.(string); document[0].Key != "_id" || !ok || id == "" {
				return fmt.Errorf("%v %v begins with %v, want an _id that is a string", command[0].Key, command[0].Value, document[0])
			}
		}
	}
	return nil
}

// connect returns a client of an empty database.
func connect(t *testing.T) (*Client, *commands) {
	t.Helper()
	sent := &commands{}
	database := fmt.Sprintf("test_%d_%s", time.Now().UnixNano(), strings.ToLower(t.Name()))
	database = strings.NewReplacer("/", "_", " ", "_", ",", "_").Replace(database)
	c := open(t, Options{URI: serverURI, Database: database[:min(len(database), 60)], Monitor: sent.monitor()})
	t.Cleanup(func() {
		if err := databaseOf(t, c).Drop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	sent.take()
	return c, sent
}

// open returns a client that is closed when the test ends.
func open(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// databaseOf returns what the tests look at the database by.
func databaseOf(t *testing.T, c *Client) *driver.Database {
	t.Helper()
	database, err := c.database()
	if err != nil {
		t.Fatal(err)
	}
	return database
}
