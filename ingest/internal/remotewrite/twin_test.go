package remotewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	prompb "buf.build/gen/go/prometheus/prometheus/protocolbuffers/go"
	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

const start = int64(1_763_870_400_000) // Unix milliseconds

// sample is one as a receiver knows it.
type sample struct {
	series    string // {name="value",…} in the order sent
	timestamp int64
	value     float64
}

// twin is a receiver in memory that takes a request as a whole or not at all.
type twin struct {
	// fault, if not nil, is asked before each request; see the constants.
	fault func() fault
	// refuse says why a sample is not taken; status 0: it is.
	refuse func(s sample) (status int, text string)

	requests int
	broken   error    // what the last request was that is none
	taken    []sample // in the order taken, those taken twice included
	stored   map[string]map[int64]float64
	newest   int64
}

// fault is what happens to a request.
type fault struct {
	status int           // 0: nothing happens to it
	after  string        // Retry-After
	hang   bool          // no answer until the client gives up
	broken bool          // the connection breaks
	stored bool          // all the same the receiver has taken it
	wait   time.Duration // before the answer
}

func newTwin() *twin {
	return &twin{stored: map[string]map[int64]float64{}, refuse: func(sample) (int, string) { return 0, "" }}
}

func decode(body []byte) ([]sample, error) {
	message, err := snappy.Decode(nil, body)
	if err != nil {
		return nil, err
	}
	var request prompb.WriteRequest
	if err := proto.Unmarshal(message, &request); err != nil {
		return nil, err
	}
	var samples []sample
	for _, ts := range request.Timeseries {
		if !slices.IsSortedFunc(ts.Labels, func(a, b *prompb.Label) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) }) {
			return nil, fmt.Errorf("labels out of order: %v", ts.Labels)
		}
		name := ""
		for _, l := range ts.Labels {
			if l.Value == "" {
				return nil, fmt.Errorf("label %s is empty", l.Name)
			}
			name += fmt.Sprintf("%s=%q,", l.Name, l.Value)
		}
		for i, s := range ts.Samples {
			if i > 0 && s.Timestamp < ts.Samples[i-1].Timestamp {
				return nil, fmt.Errorf("samples of %s out of order", name)
			}
			samples = append(samples, sample{"{" + name[:len(name)-1] + "}", s.Timestamp, s.Value})
		}
	}
	if len(samples) == 0 {
		return nil, errors.New("a request without samples")
	}
	return samples, nil
}

func (t *twin) RoundTrip(r *http.Request) (*http.Response, error) {
	t.requests++
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	samples, err := decode(body)
	if err != nil {
		t.broken = err
		return respond(http.StatusBadRequest, "", err.Error()), nil
	}
	var f fault
	if t.fault != nil {
		f = t.fault()
	}
	<-time.After(f.wait)
	answer := f.answer()
	if f == (fault{wait: f.wait}) || f.stored {
		if status, text := t.take(samples); answer == nil {
			answer = respond(status, "", text)
		}
	}
	switch {
	case f.hang:
		<-r.Context().Done()
		return nil, r.Context().Err()
	case f.broken:
		return nil, io.ErrUnexpectedEOF
	}
	return answer, nil
}

func (f fault) answer() *http.Response {
	if f.status == 0 {
		return nil
	}
	return respond(f.status, f.after, "not now")
}

func respond(status int, after, text string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {after}}, Body: io.NopCloser(bytes.NewReader([]byte(text + "\n")))}
}

// take stores all samples, or none.
func (t *twin) take(samples []sample) (status int, text string) {
	for _, s := range samples {
		if status, text := t.refuse(s); status != 0 {
			return status, text
		}
	}
	for _, s := range samples {
		if t.stored[s.series] == nil {
			t.stored[s.series] = map[int64]float64{}
		}
		t.stored[s.series][s.timestamp] = s.value
		t.newest = max(t.newest, s.timestamp)
	}
	t.taken = append(t.taken, samples...)
	return http.StatusNoContent, ""
}

// window makes the twin refuse as a Prometheus does that has an out-of-order
// window; 2.42 does it with the status 500.
func (t *twin) window(w time.Duration, status int) {
	t.refuse = func(s sample) (int, string) {
		if s.timestamp < t.newest-w.Milliseconds() {
			return status, tooOldSample
		}
		return 0, ""
	}
}

// ordered makes the twin refuse as a Prometheus does that has no such window.
func (t *twin) ordered() {
	t.refuse = func(s sample) (int, string) {
		for at := range t.stored[s.series] {
			if at > s.timestamp {
				return http.StatusBadRequest, "out of order sample"
			}
		}
		return 0, ""
	}
}

// source gives messages, then nothing three times, then ends its context.
type source struct {
	id       int // after the third partition
	messages []kafka.Message
	batch    int
	next     int64
	empty    int
	end      context.CancelFunc
	commits  []int64
	commit   func(offset int64) error
}

func (s *source) ID() int     { return 3 + s.id }
func (s *source) Next() int64 { return s.next }
func (s *source) Lag() int64  { return int64(len(s.messages)) - s.next }

func (s *source) Fetch(ctx context.Context) ([]kafka.Message, error) {
	<-time.After(250 * time.Millisecond) // as Kafka's consumer waits; in a bubble
	rest := s.messages[s.next:]
	if len(rest) == 0 {
		if s.empty++; s.empty > 6 { // longer than commitEvery
			s.end()
			return nil, context.Cause(ctx)
		}
	}
	got := rest[:min(s.batch, len(rest))]
	s.next += int64(len(got))
	return got, nil
}

func (s *source) Commit(_ context.Context, offset int64) error {
	s.commits = append(s.commits, offset)
	if s.commit != nil {
		return s.commit(offset)
	}
	return nil
}

func message(f *telemetry.Frame) kafka.Message {
	return kafka.Message{Record: kafka.Record{Value: telemetry.AppendFrame(nil, f)}}
}

// reading is a frame with a temperature that no other one of the sensor has.
func reading(sensor string, timestamp int64) kafka.Message {
	f := telemetry.Frame{ID: sensor, Name: "The " + sensor, PlaceID: "p", Timestamp: timestamp}
	f.Payload.Set(telemetry.Temperature, telemetry.Micro(timestamp-start)*1000)
	return message(&f)
}

func series(metric, sensor string) string {
	return fmt.Sprintf(`{__name__=%q,place_id="p",sensor_id=%q,sensor_name="The %s"}`, metric, sensor, sensor)
}

// run sends the messages to the twin, in a bubble of testing/synctest.
func run(t testing.TB, receiver *twin, src *source, batch int) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	w, err := New(Options{URL: "http://receiver/api/v1/write", Timeout: 30 * time.Second, Batch: batch, BatchAge: time.Second, Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	w.receiver.client.Transport = receiver
	for i := range src.messages {
		src.messages[i].Offset = int64(i)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	src.end = cancel
	if err := w.Frames(ctx, src); err != nil {
		t.Fatal(err)
	}
	if receiver.broken != nil {
		t.Errorf("a request is none: %v", receiver.broken)
	}
	return registry
}
