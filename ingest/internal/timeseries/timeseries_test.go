package timeseries

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

var update = flag.Bool("update", false, "write the golden file anew")

const start = int64(1_763_870_400_000) // Unix milliseconds

var errEnd = errors.New("the end")

// topic is a Producer that keeps what it is given.
type topic struct {
	records []string // partition key, and value
	fault   func() (written int, err error)
}

func (p *topic) Produce(_ context.Context, b *kafka.Batch) error {
	n, err := b.Len(), error(nil)
	if p.fault != nil {
		n, err = p.fault()
	}
	for i := range min(n, b.Len()) {
		name, r := b.Record(i)
		p.records = append(p.records, fmt.Sprintf("%s %s %d %s", name, r.Key, r.Time-start, r.Value))
	}
	return err
}

// source hands out messages, a second apart.
type source struct {
	messages []kafka.Message
	batch    int
	next     int64
	clock    time.Time
	commits  []int64
	end      func() error
}

func (s *source) ID() int     { return 3 }
func (s *source) Next() int64 { return s.next }
func (s *source) Lag() int64  { return int64(len(s.messages)) - s.next }

func (s *source) Fetch(context.Context) ([]kafka.Message, error) {
	if s.next == int64(len(s.messages)) && s.end != nil {
		return nil, s.end()
	}
	if s.next == int64(len(s.messages)) {
		return nil, errEnd
	}
	s.clock = s.clock.Add(time.Second)
	rest := s.messages[s.next:]
	got := rest[:min(s.batch, len(rest))]
	s.next += int64(len(got))
	return got, nil
}

func (s *source) Commit(_ context.Context, offset int64) error {
	s.commits = append(s.commits, offset)
	return nil
}

func message(value string) kafka.Message {
	return kafka.Message{Record: kafka.Record{Value: []byte(value)}}
}

func newWriter(t *testing.T, p *topic, s *source) (*Writer, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	s.clock = time.UnixMilli(start)
	w, err := New(Options{Producer: p, Registry: registry, Now: func() time.Time { return s.clock }})
	if err != nil {
		t.Fatal(err)
	}
	return w, registry
}

func TestRecords(t *testing.T) {
	s := &source{batch: 2, messages: []kafka.Message{
		message(`{"id":"greenhouse-7","name":"Greenhouse 7","place_id":"house-2","timestamp":1763870400123,"epoch":1,"seq":2,
			"payload":{"temperature":21.37,"humidity":44.2,"pressure":1013.25,"luminosity":312.5}}`),
		message(`{"id":"12434345","name":"Sensor <1>","place_id":"32347983","timestamp":1763870400124,"payload":{"temperature":-5,"luminosity":0}}`),
		message(`{"id":"greenhouse-7","epoch":1,"lost":{"seq":[3,5],"reason":"buffer_full"}}`),
		message(`{"id":"mute","timestamp":1763870400125,"epoch":1,"seq":0,"faults":{"temperature":"nack"}}`),
		message(`poison`),
	}}
	p := &topic{}
	w, registry := newWriter(t, p, s)
	if err := w.Frames(t.Context(), s); !errors.Is(err, errEnd) {
		t.Fatalf("Frames returned %v, want the source's error", err)
	}
	got := []byte(strings.Join(p.records, "\n") + "\n")
	const golden = "testdata/records.txt"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if !slices.Equal(s.commits, []int64{2, 4, 5}) {
		t.Errorf("committed %v, want those after each second", s.commits)
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP telltale_time_series_records_total Records written to iot-metrics-time-series.
# TYPE telltale_time_series_records_total counter
telltale_time_series_records_total 3
# HELP telltale_time_series_skipped_total Records of iot-frames that none was written for, by reason.
# TYPE telltale_time_series_skipped_total counter
telltale_time_series_skipped_total{reason="loss"} 1
telltale_time_series_skipped_total{reason="undecodable"} 1
`)); err != nil {
		t.Error(err)
	}
}

// TestNoneIsLost ends the work at each call of the producer in turn, as a crash
// would, before or after Kafka has the records, and goes on from the commit.
func TestNoneIsLost(t *testing.T) {
	const frames = 50
	var messages []kafka.Message
	var want []string
	for i := range frames {
		f := telemetry.Frame{ID: "s", Timestamp: start + int64(i)}
		messages = append(messages, message(string(telemetry.AppendFrame(nil, &f))))
		want = append(want, fmt.Sprintf(`"timestamp":%d,`, f.Timestamp))
	}
	for crash := range 2 * frames {
		p := &topic{}
		calls, written := 0, crash%2*7 // none of the batch, or all of it
		p.fault = func() (int, error) {
			if calls++; calls == 1+crash/2 {
				return written, context.Canceled
			}
			return frames, nil
		}
		committed := int64(0)
		for range 2 {
			s := &source{batch: 7, messages: messages, next: committed}
			w, _ := newWriter(t, p, s)
			if err := w.Frames(t.Context(), s); !errors.Is(err, context.Canceled) && !errors.Is(err, errEnd) {
				t.Fatal(err)
			}
			if n := len(s.commits); n > 0 {
				committed = s.commits[n-1]
			}
		}
		all := strings.Join(p.records, "\n")
		for _, timestamp := range want {
			if !strings.Contains(all, timestamp) {
				t.Fatalf("no record with %s after a failure of call %d", timestamp, 1+crash/2)
			}
		}
	}
}

// What Kafka rejects for ever is counted, and the work goes on.
func TestARecordThatKafkaRejects(t *testing.T) {
	s := &source{batch: 2, messages: []kafka.Message{message(`{"id":"a","timestamp":1763870400000}`), message(`{"id":"b","timestamp":1763870400000}`)}}
	p := &topic{fault: func() (int, error) { return 1, &kafka.RejectedError{Records: []int{1}, Err: errors.New("too large")} }}
	w, registry := newWriter(t, p, s)
	if err := w.Frames(t.Context(), s); !errors.Is(err, errEnd) {
		t.Fatal(err)
	}
	if !slices.Equal(s.commits, []int64{2}) || len(p.records) != 1 {
		t.Errorf("committed %v, written %v", s.commits, p.records)
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP telltale_time_series_records_total Records written to iot-metrics-time-series.
# TYPE telltale_time_series_records_total counter
telltale_time_series_records_total 1
# HELP telltale_time_series_skipped_total Records of iot-frames that none was written for, by reason.
# TYPE telltale_time_series_skipped_total counter
telltale_time_series_skipped_total{reason="rejected_by_kafka"} 1
`)); err != nil {
		t.Error(err)
	}
}

// A member that lost its partition waits until the group says so.
func TestAPartitionThatIsGone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &source{end: func() error {
		time.AfterFunc(time.Millisecond, cancel)
		return kafka.ErrNotOwner
	}}
	w, _ := newWriter(t, &topic{}, s)
	if err := w.Frames(ctx, s); err != nil || ctx.Err() == nil {
		t.Errorf("Frames returned %v, with the context's %v", err, ctx.Err())
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{Producer: &topic{}}, {Registry: prometheus.NewRegistry()}} {
		if _, err := New(o); err == nil {
			t.Errorf("New(%+v) takes it, want an error", o)
		}
	}
}
