package sink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

var errAway = errors.New("away")

// store is a Store in memory.
type store struct {
	frames map[string]Frame
	losses []window.Declared
	sizes  []int                // of the calls of PutFrames
	poison string               // FrameID that is never taken
	fault  func() (bool, error) // whether the next operation is done, and what it answers
}

func newStore() *store {
	return &store{frames: map[string]Frame{}, fault: func() (bool, error) { return true, nil }}
}

func (s *store) PutFrames(_ context.Context, frames []Frame) ([]error, error) {
	done, err := s.fault()
	if !done {
		return nil, err
	}
	s.sizes = append(s.sizes, len(frames))
	answers := make([]error, len(frames))
	for i := range frames {
		id := telemetry.FrameID(&frames[i].Frame)
		switch _, there := s.frames[id]; {
		case id == s.poison:
			answers[i] = errors.New("document too large")
		case there:
			answers[i] = ErrDuplicate
		default:
			s.frames[id] = frames[i]
		}
	}
	return answers, err
}

func (s *store) PutLosses(_ context.Context, losses []window.Declared) error {
	done, err := s.fault()
	if done {
		s.losses = append(s.losses, losses...)
	}
	return err
}

// letters is a Producer that keeps what it is given.
type letters []string

func (l *letters) Produce(_ context.Context, b *kafka.Batch) error {
	for i := range b.Len() {
		topic, r := b.Record(i)
		m := kafka.Message{Record: r}
		*l = append(*l, fmt.Sprintf("%s %s %s %s", topic, m.Header("reason"), m.Header("device"), r.Value))
	}
	return nil
}

// source gives messages, then nothing three times, then ends its context.
type source struct {
	messages []kafka.Message
	batch    int
	next     int64
	empty    int
	commits  []int64
	commit   error
	clock    time.Time
	end      context.CancelFunc
}

func (s *source) ID() int     { return 3 }
func (s *source) Next() int64 { return s.next }
func (s *source) Lag() int64  { return int64(len(s.messages)) - s.next }

func (s *source) Fetch(ctx context.Context) ([]kafka.Message, error) {
	s.clock = s.clock.Add(500 * time.Millisecond)
	rest := s.messages[s.next:]
	if len(rest) == 0 {
		if s.empty++; s.empty > 3 {
			s.end()
			return nil, context.Cause(ctx)
		}
	}
	got := rest[:min(s.batch, len(rest))]
	s.next += int64(len(got))
	return got, nil
}

func (s *source) Commit(_ context.Context, offset int64) error {
	if s.commit != nil {
		time.AfterFunc(time.Second, s.end) // the group's heartbeat notices later
		return s.commit
	}
	s.commits = append(s.commits, offset)
	return nil
}

func message(value string) kafka.Message {
	return kafka.Message{Record: kafka.Record{Value: []byte(value), Headers: []kafka.Header{{Key: "device", Value: []byte("d")}}}}
}

func reading(seq int) string {
	f := telemetry.Frame{ID: "s", Timestamp: 1_700_000_000_000 + int64(seq), Sequenced: true, Epoch: 1, Seq: uint64(seq)}
	f.Payload.Set(telemetry.Temperature, telemetry.Micro(seq))
	return string(telemetry.AppendFrame(nil, &f))
}

func run(t *testing.T, st Store, l *letters, src *source, batch int) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewRegistry()
	s, err := New(Options{
		Store: st, Producer: l, Batch: batch, BatchAge: time.Second,
		Registry: registry, Now: func() time.Time { return src.clock },
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range src.messages {
		src.messages[i].Offset = int64(i)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	src.end, src.clock = cancel, time.UnixMilli(1_700_000_000_000)
	if err := s.Frames(ctx, src); err != nil {
		t.Fatal(err)
	}
	return registry
}

const loss = `{"id":"s","epoch":1,"lost":{"seq":[4,6],"reason":"buffer_full"}}`

func TestFrames(t *testing.T) {
	st, l := newStore(), &letters{}
	st.poison = "s/1/2"
	src := &source{batch: 100, messages: []kafka.Message{
		message(reading(0)), message(reading(1)), message("{"), message(reading(0)), message(loss), message(reading(2)), message(reading(3)),
	}}
	registry := run(t, st, l, src, 1000)

	var ids []string
	for id, f := range st.frames {
		ids = append(ids, id)
		if f.Device != "d" {
			t.Errorf("%s: device %q", id, f.Device)
		}
	}
	slices.Sort(ids)
	if want := []string{"s/1/0", "s/1/1", "s/1/3"}; !slices.Equal(ids, want) {
		t.Errorf("stored %v, want %v", ids, want)
	}
	if diff := cmp.Diff(letters{"iot-dead-letter not_json d {", "iot-dead-letter rejected_by_store d " + reading(2)}, *l); diff != "" {
		t.Errorf("dead letters: -want +got:\n%s", diff)
	}
	want := []window.Declared{{Sensor: "s", Epoch: 1, Loss: telemetry.Loss{Seqs: telemetry.SeqRange{First: 4, Last: 6}, Reason: "buffer_full"}}}
	if diff := cmp.Diff(want, st.losses); diff != "" {
		t.Errorf("losses: -want +got:\n%s", diff)
	}
	if n := len(src.commits); n == 0 || src.commits[n-1] != int64(len(src.messages)) {
		t.Errorf("commits %v of %d records", src.commits, len(src.messages))
	}
	// Of the three that were stored for the first time: the source's clock says when.
	latency, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range latency {
		if h := f.GetMetric()[0].GetHistogram(); h != nil && (f.GetName() != "telltale_sink_latency_seconds" || h.GetSampleCount() != 3 || h.GetSampleSum() != 2.996) {
			t.Errorf("%s: %d readings with %v s, want 3 with 2.996 s", f.GetName(), h.GetSampleCount(), h.GetSampleSum())
		}
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP telltale_sink_losses_total Declared losses stored, those stored before included.
# TYPE telltale_sink_losses_total counter
telltale_sink_losses_total 1
`), "telltale_sink_losses_total"); err != nil {
		t.Error(err)
	}
}

func TestBatchesAreBounded(t *testing.T) {
	st, src := newStore(), &source{batch: 100}
	for seq := range 25 {
		src.messages = append(src.messages, message(reading(seq)))
	}
	run(t, st, &letters{}, src, 10)
	if want := []int{10, 10, 5}; !slices.Equal(st.sizes, want) {
		t.Errorf("batches of %v, want %v", st.sizes, want)
	}
}

// TestCommitsUnderAStream: that there is always a batch begun does not keep what
// is written from being committed.
func TestCommitsUnderAStream(t *testing.T) {
	st, src := newStore(), &source{batch: 7}
	for seq := range 700 {
		src.messages = append(src.messages, message(reading(seq)))
	}
	s, err := New(Options{Store: st, Producer: &letters{}, Batch: 10, BatchAge: time.Hour, Registry: prometheus.NewRegistry(), Now: func() time.Time { return src.clock }})
	if err != nil {
		t.Fatal(err)
	}
	for i := range src.messages {
		src.messages[i].Offset = int64(i)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	src.end, src.clock = cancel, time.UnixMilli(1_700_000_000_000)
	if err := s.Frames(ctx, src); err != nil {
		t.Fatal(err)
	}
	// A hundred fetches take 50 s of the source's clock.
	if n := len(src.commits); n < 40 || src.commits[n-1] != 700 || !slices.IsSorted(src.commits) {
		t.Errorf("committed %v", src.commits)
	}
}

// TestStoreAway: nothing is committed before it is stored, and a write in
// doubt is repeated.
func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, src := newStore(), &source{batch: 1}
		for seq := range 5 {
			src.messages = append(src.messages, message(reading(seq)))
		}
		src.messages = append(src.messages, message(loss))
		n := 0
		st.fault = func() (bool, error) {
			if len(src.commits) > 0 && src.commits[len(src.commits)-1] > int64(len(st.frames)+len(st.losses)) {
				t.Errorf("committed %v with %d frames stored", src.commits, len(st.frames))
			}
			if n++; n%3 > 0 {
				return n%3 == 1, errAway // once done all the same
			}
			return true, nil
		}
		run(t, st, &letters{}, src, 1)
		if len(st.frames) != 5 || len(st.losses) == 0 {
			t.Errorf("%d frames and %d losses stored", len(st.frames), len(st.losses))
		}
	})
}

// TestLostAssignment: that the partition is another's now ends the work
// without an error, since an error would end the process.
func TestLostAssignment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, src := newStore(), &source{batch: 1, commit: fmt.Errorf("%w: rebalance", kafka.ErrNotOwner)}
		for seq := range 9 {
			src.messages = append(src.messages, message(reading(seq)))
		}
		run(t, st, &letters{}, src, 1)
		if len(src.commits) > 0 {
			t.Errorf("commits %v", src.commits)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	good := Options{Store: newStore(), Producer: &letters{}, Batch: 1, Registry: prometheus.NewRegistry()}
	for name, spoil := range map[string]func(*Options){
		"no store":     func(o *Options) { o.Store = nil },
		"no producer":  func(o *Options) { o.Producer = nil },
		"no registry":  func(o *Options) { o.Registry = nil },
		"no batch":     func(o *Options) { o.Batch = 0 },
		"negative age": func(o *Options) { o.BatchAge = -1 },
	} {
		o := good
		spoil(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
