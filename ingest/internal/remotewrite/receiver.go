package remotewrite

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	prompb "buf.build/gen/go/prometheus/prometheus/protocolbuffers/go"
	"github.com/klauspost/compress/snappy"
	"google.golang.org/protobuf/proto"
)

// maxAnswer is how much of an answer's body is read.
const maxAnswer = 64 << 10

// receiver is the server that samples are written to. client_golang has a client
// too (exp/api/remote), but it gives an answer's status and text only as the
// words of an error, and requests are divided by them here.
type receiver struct {
	url     string
	header  http.Header
	client  *http.Client
	timeout time.Duration
	now     func() time.Time
}

func newReceiver(o *Options) *receiver {
	header := o.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Encoding", "snappy")
	header.Set("Content-Type", "application/x-protobuf")
	header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	header.Set("User-Agent", "telltale-ingest/"+o.Version)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = o.TLS
	transport.MaxIdleConnsPerHost = transport.MaxIdleConns // one for each partition
	return &receiver{
		url: o.URL, header: header, timeout: o.Timeout, now: o.Now,
		client: &http.Client{
			Transport: transport,
			// A POST that is redirected may become a GET, whose answer says nothing.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// encode returns the body of a request: a message, in snappy's block format.
func encode(series []*prompb.TimeSeries) ([]byte, error) {
	message, err := proto.Marshal(&prompb.WriteRequest{Timeseries: series})
	if err != nil {
		return nil, fmt.Errorf("encode a write request: %w", err)
	}
	return snappy.Encode(nil, message), nil
}

// post sends a body once. The error is a *refusal or a *failure.
func (r *receiver) post(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return unanswered(err)
	}
	request.Header = r.header
	response, err := r.client.Do(request)
	if err != nil {
		return unanswered(err)
	}
	defer response.Body.Close()
	// The status is the answer; its words only tell more, as far as they come.
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return judge(response.StatusCode, response.Header.Get("Retry-After"), string(text), r.now())
}
