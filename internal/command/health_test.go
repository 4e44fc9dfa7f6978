package command

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/telltale-iot/telltale/internal/endpoint"
)

// TestHealth asks a process that is alive and not ready, one that hangs, and one
// that is not there.
func TestHealth(t *testing.T) {
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz":
			_, _ = w.Write([]byte("ok\n"))
		case "/readyz":
			http.Error(w, "mqtt: not connected\nbuffer: commits fail", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-done }))
	defer hanging.Close()
	defer close(done)
	alive := server.Listener.Addr().String()
	_, port, err := net.SplitHostPort(alive)
	if err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name, listen, args string
		code               int
		stderr             string // a pattern
	}{
		{"alive", alive, "", 0, `^$`},
		{"alive, listening everywhere", ":" + port, "", 0, `^$`},
		{"not ready", alive, "--ready", 1, `^program: http://127\.0\.0\.1:\d+/readyz: 503 Service Unavailable\nmqtt: not connected\nbuffer: commits fail\n$`},
		{"hangs", hanging.Listener.Addr().String(), "--timeout 50ms", 1, `^program: no answer from http://127\.0\.0\.1:\d+/healthz: .*(deadline|no answer in 50ms)`},
		{"not there", "127.0.0.1:1", "", 1, `^program: no answer from http://127\.0\.0\.1:\d+/healthz: .*refused\n$`},
		{"no endpoint", "", "", 2, `^metrics\.listen: "": want the address .*\n$`},
		{"a port that nobody knows", "127.0.0.1:0", "", 1, `metrics\.listen has port 0`},
		{"no time", alive, "--timeout 0s", 2, `^--timeout: .*more than 0s\n$`},
		{"no duration", alive, "--timeout soon", 2, `invalid argument`},
		{"an argument", alive, "now", 2, `unknown command|accepts no arguments`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := &cobra.Command{Use: "program"}
			root.AddCommand(Health("program", "file", func(*cobra.Command) func() (endpoint.Config, error) {
				return func() (endpoint.Config, error) { return endpoint.Config{Listen: tt.listen}, nil }
			}))
			root.SetArgs(append([]string{"health"}, strings.Fields(tt.args)...))
			var stdout, stderr bytes.Buffer
			root.SetOut(&stdout)
			code := Execute(t.Context(), root, &stderr)
			if code != tt.code || stdout.Len() > 0 || !regexp.MustCompile(tt.stderr).MatchString(stderr.String()) {
				t.Errorf("exit code %d, want %d\n%s%s\nwant %s", code, tt.code, &stdout, &stderr, tt.stderr)
			}
		})
	}

	wrong := errors.New("wrong")
	c := Health("program", "file", func(*cobra.Command) func() (endpoint.Config, error) {
		return func() (endpoint.Config, error) { return endpoint.Config{Listen: alive}, wrong }
	})
	c.SetArgs(nil)
	if err := c.ExecuteContext(t.Context()); !errors.Is(err, wrong) {
		t.Errorf("a configuration that is wrong: %v", err)
	}
}
