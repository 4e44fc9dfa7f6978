package remotewrite

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"

	serverrefusal "github.com/telltale-iot/telltale/ingest/internal/refusal"
)

// TestExplain: which failures are the receiver's refusals, and which may pass.
func TestExplain(t *testing.T) {
	w := &Writer{options: Options{URL: "https://user:hunter2@receiver:9090/write?key=hunter2"}}
	header := http.Header{}
	header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("ingest:hunter2")))
	w.options.Header = header
	unauthorised := "the remote write receiver at receiver:9090 does not take our credentials, of user \"ingest\""
	disagree := "the remote write receiver at receiver:9090 and this client do not agree on TLS"
	for _, tt := range []struct {
		failure *failure
		want    string // "": it may pass
	}{
		{&failure{reason: "status_401", err: errors.New("x")}, unauthorised},
		{&failure{reason: "status_403", err: errors.New("x")}, unauthorised},
		{&failure{reason: "status_407", err: errors.New("x")}, unauthorised},
		{&failure{reason: "status_404", err: errors.New("x")}, "the remote write receiver at receiver:9090 has no such path, or does not receive"},
		{&failure{reason: "status_503", err: errors.New("x")}, ""},
		{unanswered(errors.New("x")), ""},
		{unanswered(&net.OpError{Op: "dial", Err: errors.New("refused")}), ""},
		{unanswered(fmt.Errorf("post: %w", &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")})), disagree},
		{unanswered(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), disagree},
		{unanswered(tls.RecordHeaderError{Msg: "x"}), disagree},
	} {
		err := w.explain(tt.failure)
		var refused *serverrefusal.Error
		switch {
		case !errors.As(err, &refused):
			if tt.want != "" {
				t.Errorf("%v is no refusal, want %s", err, tt.want)
			}
		case refused.Message != tt.want || refused.Reason != tt.failure.reason || refused.Hint == "":
			t.Errorf("got %+v, want %s", refused, tt.want)
		}
		if !errors.Is(err, tt.failure) {
			t.Errorf("%v does not wrap the failure", err)
		}
	}
}
