//go:build integration

package mongo

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/telltale-iot/telltale/ingest/internal/sink"
)

// TestTLSAndCredentials writes to a server that wants both, as a user that may do
// what the role readWrite allows with one database.
func TestTLSAndCredentials(t *testing.T) {
	if os.Getenv(uriVariable) != "" {
		t.Log("a server of ours, with an authority and a user of ours, is tested where none is named")
		return
	}
	const password = "p@ss/w:rd?%"
	certificate, key := selfSigned(t)
	dir := t.TempDir()
	ca, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "key.pem")
	for file, data := range map[string][]byte{ca: certificate, keyFile: key} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := localServer{port: freePort(t), dir: t.TempDir()}
	run := func(verb string) {
		t.Helper()
		if err := server.run(verb); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { run("stop") })
	run("start")
	admin, err := New(Options{URI: "mongodb://127.0.0.1:" + server.port, Database: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	for user, roles := range map[string]bson.A{"telltale": {"readWrite"}, "owner": {"readWrite", "dbAdmin"}} {
		for i, role := range roles {
			roles[i] = bson.D{{Key: "role", Value: role}, {Key: "db", Value: "iot"}}
		}
		if err := databaseOf(t, admin).RunCommand(t.Context(), bson.D{
			{Key: "createUser", Value: user}, {Key: "pwd", Value: password}, {Key: "roles", Value: roles},
		}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := admin.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	run("stop")
	server.args = "--auth --tls-cert-file " + ca + " --tls-key-file " + keyFile
	run("start")

	at := func(user, password, query string) Options {
		return Options{
			URI: "mongodb://" + user + ":" + url.QueryEscape(password) + "@127.0.0.1:" + server.port +
				"/?authSource=admin" + query,
			Database: "iot", FramesTTL: 90 * 24 * time.Hour,
		}
	}
	const soon = "&serverSelectionTimeoutMS=2000" // of a server that cannot be reached so
	trusted := "&tls=true&tlsCAFile=" + url.QueryEscape(ca)
	c := open(t, at("telltale", password, trusted))
	if err := c.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	// To change an index takes a right more than to make one.
	c.options.FramesTTL /= 2
	if err := c.EnsureIndexes(t.Context()); (err == nil || !strings.Contains(err.Error(), "(Unauthorized)")) && !isPython(t) {
		t.Errorf("the age was changed without the right: %v", err)
	}
	owner := open(t, at("owner", password, trusted))
	owner.options.FramesTTL /= 2
	if err := owner.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := deletes(t, databaseOf(t, c))[ttlIndex]; got != 45*24*3600 {
		t.Errorf("frames are deleted after %d s", got)
	}
	answers, err := c.PutFrames(t.Context(), []sink.Frame{frame("a", 0)})
	if err != nil || answers[0] != nil || len(read(t, c, frames)) != 1 {
		t.Errorf("answers %v, %v", answers, err)
	}

	for name, row := range map[string]struct {
		o    Options
		want string
	}{
		"a wrong password":     {at("telltale", "wrong"+password, trusted), "AuthenticationFailed"},
		"an unknown authority": {at("telltale", password, "&tls=true"+soon), "certificate"},
		"no TLS":               {at("telltale", password, soon), "127.0.0.1:" + server.port},
		"somebody else's data": {func() Options { o := at("telltale", password, trusted); o.Database = "theirs"; return o }(), "Unauthorized"},
	} {
		c := open(t, row.o)
		_, err := c.PutFrames(t.Context(), []sink.Frame{frame("a", 0)})
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %s", name, err, row.want)
		} else if strings.Contains(err.Error(), password) || strings.Contains(err.Error(), url.QueryEscape(password)) {
			t.Errorf("%s: the error has the password: %v", name, err)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
