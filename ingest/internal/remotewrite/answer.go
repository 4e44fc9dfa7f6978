package remotewrite

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	serverrefusal "github.com/telltale-iot/telltale/ingest/internal/refusal"
)

// maxRetryAfter bounds the wait that a receiver may ask for.
const maxRetryAfter = 10 * time.Minute

// refusal is the answer that the request, as it is, will never be taken. One
// sample may be the cause of it.
type refusal struct {
	reason string // a stable metric label

	// sliding: the sample is older than a window that lies before the
	// receiver's newest one. What of the same series is older still is refused
	// too, and what is newer may come in any order.
	sliding bool

	detail string
}

func (r *refusal) Error() string { return r.reason + ": " + r.detail }

// failure is that a request had no answer, or one that speaks of the receiver
// or of this client and not of the samples.
type failure struct {
	reason string        // a stable metric label
	after  time.Duration // that the receiver asks to wait; 0: it does not
	err    error
}

func (f *failure) Error() string { return f.err.Error() }

// Unwrap returns what happened.
func (f *failure) Unwrap() error { return f.err }

// reasonTooOld is that of a sample from before the receiver's out-of-order window.
const reasonTooOld = "too_old"

// phrases are found in the answers of receivers, in lower case: Prometheus
// (storage/interface.go), of which Thanos and Cortex repeat them, and Mimir's
// error identifiers.
var phrases = []struct{ phrase, reason string }{
	{tooOldSample, reasonTooOld},
	{"timestamp-too-old", reasonTooOld},
	{"out of bounds", "out_of_bounds"},
	{"too far in the future", "out_of_bounds"},
	{"too-far-in-future", "out_of_bounds"},
	{"out of order", "out_of_order"},
	{"out-of-order", "out_of_order"},
	{"duplicate sample for timestamp", "duplicate_timestamp"},
	{"duplicate-timestamp", "duplicate_timestamp"},
}

// tooOldSample is storage.ErrTooOldSample of Prometheus, which a TSDB answers
// only if it has an out-of-order window. Up to 2024 its status was 500, as if it
// would pass (prometheus/prometheus#13334); the text is then nothing but this.
const tooOldSample = "too old sample"

// judge says what an answer means: nil, that all is taken; a *refusal; or a
// *failure. retryAfter is the header of that name, and text the answer's body
// or its beginning.
func judge(status int, retryAfter, text string, now time.Time) error {
	text = strings.ToLower(strings.TrimSpace(text))
	switch {
	case status/100 == 2:
		return nil
	case status == http.StatusInternalServerError && text == tooOldSample,
		status/100 == 4 && ofSamples(status):
		return refused(status, text)
	}
	return &failure{
		reason: "status_" + strconv.Itoa(status),
		after:  wait(retryAfter, now),
		err:    fmt.Errorf("the receiver answers %d %s: %.200q", status, http.StatusText(status), text),
	}
}

// ofSamples reports whether a status of the 4xx class may be the fault of the
// samples. The others speak of credentials, of the address, or of the load. The
// specification would have what was sent dropped for most of these too, but
// nothing of it is known to be wrong: a Prometheus whose receiver is not
// enabled answers 404.
func ofSamples(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusProxyAuthRequired, http.StatusRequestTimeout, http.StatusUnsupportedMediaType,
		http.StatusMisdirectedRequest, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return true
}

func refused(status int, text string) *refusal {
	r := &refusal{reason: "status_" + strconv.Itoa(status), sliding: strings.Contains(text, tooOldSample), detail: fmt.Sprintf("%.200q", text)}
	for _, p := range phrases {
		if strings.Contains(text, p.phrase) {
			r.reason = p.reason
			break
		}
	}
	return r
}

// wait returns what a Retry-After header asks for (RFC 9110, 10.2.3): seconds, or
// a date; 0 if it is neither, or over.
func wait(header string, now time.Time) time.Duration {
	var d time.Duration
	if seconds, err := strconv.ParseUint(header, 10, 63); err == nil {
		d = time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// reasonTLS is that of a handshake that one side refused.
const reasonTLS = "tls"

// unanswered says why there was no answer.
func unanswered(err error) *failure {
	f := &failure{reason: "connection", err: err}
	var network net.Error
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	switch {
	case errors.As(err, &certificate), errors.As(err, &plain), serverrefusal.Alert(err) != nil:
		f.reason = reasonTLS
	case errors.As(err, &network) && network.Timeout():
		f.reason = "timeout"
	}
	return f
}
