package remotewrite

import (
	"fmt"
	"net/http"
	"net/url"

	serverrefusal "github.com/telltale-iot/telltale/ingest/internal/refusal"
)

// explain returns a [*serverrefusal.Error] in the place of a failure that says that the
// receiver will not serve this client, or is not the one that it should be.
func (w *Writer) explain(f *failure) error {
	receiver := "the remote write receiver"
	if u, err := url.Parse(w.options.URL); err == nil {
		receiver += " at " + u.Host
	}
	e := &serverrefusal.Error{Reason: f.reason, Err: f}
	switch f.reason {
	case "status_401", "status_403", "status_407":
		e.Message = receiver + " does not take our credentials"
		if user, _, ok := (&http.Request{Header: w.options.Header}).BasicAuth(); ok {
			e.Message += fmt.Sprintf(", of user %q", user)
		}
		e.Hint = "see metrics.remote_write.username, password_file, bearer_token_file, headers and tls.cert_file, and the receiver's users"
	case "status_404":
		e.Message = receiver + " has no such path, or does not receive"
		e.Hint = "see metrics.remote_write.url, and whether the receiver is on (Prometheus: --web.enable-remote-write-receiver)"
	case reasonTLS:
		e.Message = receiver + " and this client do not agree on TLS"
		e.Hint = "see metrics.remote_write.tls: is ca_file the receiver's authority, does it want a client's certificate, has one expired?"
	default:
		return f
	}
	return e
}
