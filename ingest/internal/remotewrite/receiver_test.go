package remotewrite

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
	"time"

	prompb "buf.build/gen/go/prometheus/prometheus/protocolbuffers/go"
	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/client_golang/prometheus"
)

func newWriter(t *testing.T, o Options) *receiver {
	t.Helper()
	o.Timeout, o.Batch, o.Registry, o.Version = 10*time.Second, 100, prometheus.NewRegistry(), "1.2.3"
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.receiver.client.CloseIdleConnections)
	return w.receiver
}

// TestRequest holds a request to the specification: its headers, and the very
// bytes of the message, written by hand from types.proto and remote.proto.
func TestRequest(t *testing.T) {
	body, err := encode([]*prompb.TimeSeries{{
		Labels:  []*prompb.Label{{Name: "__name__", Value: "m"}, {Name: "a", Value: "é"}},
		Samples: []*prompb.Sample{{Value: 21.5, Timestamp: start}, {Value: -1, Timestamp: start + 1}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *http.Request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		message, err := snappy.Decode(nil, sent)
		if want := "0a3c" + // field 1, a TimeSeries
			"0a0d" + "0a085f5f6e616d655f5f" + "12016d" + // a Label: __name__, m
			"0a07" + "0a0161" + "1202c3a9" + // a Label: a, é
			"1210" + "090000000000803540" + "1080bcf9f6aa33" + // a Sample: the double 21.5, the varint
			"1210" + "09000000000000f0bf" + "1081bcf9f6aa33"; err != nil || hex.EncodeToString(message) != want {
			t.Errorf("message %x, %v\nwant    %s", message, err, want)
		}
		got <- r
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	r := newWriter(t, Options{URL: server.URL + "/api/v1/write", Header: http.Header{"Authorization": {"Bearer t0ken"}, "X-Scope-Orgid": {"factory"}}})
	if err := r.post(t.Context(), body); err != nil {
		t.Fatal(err)
	}
	request := <-got
	if request.Method != http.MethodPost || request.URL.Path != "/api/v1/write" {
		t.Errorf("%s %s", request.Method, request.URL)
	}
	for name, want := range map[string]string{
		"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Write-Version": "0.1.0",
		"User-Agent": "telltale-ingest/1.2.3", "Authorization": "Bearer t0ken", "X-Scope-OrgID": "factory",
	} {
		if got := request.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestNoAnswer(t *testing.T) {
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/reset", func(w http.ResponseWriter, _ *http.Request) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		connection.Close()
	})
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server does not see that the client is gone
		<-r.Context().Done()
	})
	var followed bool
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/there", http.StatusMovedPermanently)
	})
	mux.HandleFunc("/there", func(http.ResponseWriter, *http.Request) { followed = true })
	server := httptest.NewServer(mux)
	defer server.Close()
	secure := httptest.NewUnstartedServer(mux)
	secure.Config.ErrorLog = log.New(t.Output(), "", 0)
	secure.StartTLS()
	defer secure.Close()

	for _, tt := range []struct{ name, url, want string }{
		{"nobody listens", "http://" + refused.Addr().String(), "connection"},
		{"no such host", "http://receiver.invalid", "connection"},
		{"reset", server.URL + "/reset", "connection"},
		{"hang", server.URL + "/hang", "timeout"},
		{"redirect", server.URL + "/moved", "status_301"},
		{"a certificate of an unknown authority", secure.URL, "tls"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newWriter(t, Options{URL: tt.url})
			if tt.want == "timeout" {
				r.timeout = 50 * time.Millisecond
			}
			err := r.post(t.Context(), []byte("x"))
			var f *failure
			if !errors.As(err, &f) || f.reason != tt.want {
				t.Errorf("got %v, want a failure by %s", err, tt.want)
			}
		})
	}
	if followed {
		t.Error("a redirect was followed: a POST becomes a GET")
	}

	authorities := x509.NewCertPool()
	authorities.AddCert(secure.Certificate())
	r := newWriter(t, Options{URL: secure.URL + "/there", TLS: &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}})
	if err := r.post(t.Context(), []byte("x")); err != nil {
		t.Errorf("with its authority: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.post(ctx, []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

func TestJudge(t *testing.T) {
	now := time.UnixMilli(start)
	for _, tt := range []struct {
		status      int
		after, text string
		refused     string
		sliding     bool
		failed      string
		wait        time.Duration
	}{
		{status: 200}, {status: 204, text: "whatever"},
		{status: 500, text: "too old sample\n", refused: "too_old", sliding: true},
		{status: 400, text: "too old sample", refused: "too_old", sliding: true},
		{status: 400, text: `Too old sample for series {a="b"}`, refused: "too_old", sliding: true},
		{status: 500, text: "2 errors: too old sample; connection refused", failed: "status_500"},
		{status: 503, text: "too old sample", failed: "status_503"},
		{status: 400, text: "out of bounds", refused: "out_of_bounds"},
		{status: 400, text: "out of bounds: timestamp is too far in the future", refused: "out_of_bounds"},
		{status: 400, text: "out of order sample", refused: "out_of_order"},
		{status: 409, text: "add 3 samples: out of order sample", refused: "out_of_order"},
		{status: 400, text: "duplicate sample for timestamp", refused: "duplicate_timestamp"},
		{status: 400, text: "the sample has been rejected because its timestamp is too old (err-mimir-sample-timestamp-too-old)", refused: "too_old"},
		{status: 400, text: "rejected (err-mimir-sample-out-of-order)", refused: "out_of_order"},
		{status: 400, text: "rejected (err-mimir-sample-duplicate-timestamp)", refused: "duplicate_timestamp"},
		{status: 400, text: "snappy: corrupt input", refused: "status_400"},
		{status: 413, refused: "status_413"}, {status: 422, refused: "status_422"},
		{status: 429, after: "30", failed: "status_429", wait: 30 * time.Second},
		{status: 429, after: now.Add(time.Minute).UTC().Format(http.TimeFormat), failed: "status_429", wait: time.Minute},
		{status: 429, after: now.Add(-time.Minute).UTC().Format(http.TimeFormat), failed: "status_429"},
		{status: 503, after: "99999999999999999999", failed: "status_503"},
		{status: 503, after: "9223372036854775807", failed: "status_503", wait: maxRetryAfter},
		{status: 503, after: "soon", failed: "status_503"},
		{status: 401, text: "out of order", failed: "status_401"}, {status: 403, failed: "status_403"}, {status: 404, failed: "status_404"},
		{status: 301, failed: "status_301"}, {status: 100, failed: "status_100"},
	} {
		err := judge(tt.status, tt.after, tt.text, now)
		var r *refusal
		var f *failure
		switch {
		case errors.As(err, &r):
			if r.reason != tt.refused || r.sliding != tt.sliding {
				t.Errorf("%d %q: refused by %s, %t", tt.status, tt.text, r.reason, r.sliding)
			}
		case errors.As(err, &f):
			if f.reason != tt.failed || f.after != tt.wait {
				t.Errorf("%d %q %q: failed by %s, wait %s", tt.status, tt.text, tt.after, f.reason, f.after)
			}
		case err != nil || tt.refused != "" || tt.failed != "":
			t.Errorf("%d %q: %v", tt.status, tt.text, err)
		}
	}
}

var validReason = regexp.MustCompile(`^[a-z0-9_]{1,32}$`)

func FuzzJudge(f *testing.F) {
	f.Add(500, "", "too old sample")
	f.Add(400, "", "out of order sample")
	f.Add(429, "120", "")
	f.Add(503, "Fri, 31 Dec 1999 23:59:59 GMT", "\xff")
	f.Add(-7, "-1", "İ")
	f.Fuzz(func(t *testing.T, status int, after, text string) {
		err := judge(status, after, text, time.UnixMilli(start))
		var r *refusal
		var failed *failure
		switch {
		case err == nil:
			if status < 200 || status > 299 {
				t.Errorf("%d is taken to be success", status)
			}
		case errors.As(err, &r):
			if !validReason.MatchString(r.reason) || status != 500 && status/100 != 4 {
				t.Errorf("%d %q is refused by %q", status, text, r.reason)
			}
		case errors.As(err, &failed):
			if failed.after < 0 || failed.after > maxRetryAfter {
				t.Errorf("%q is a wait of %s", after, failed.after)
			}
		default:
			t.Errorf("%d: neither refused nor failed: %v", status, err)
		}
	})
}
