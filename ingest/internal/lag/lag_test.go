package lag

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
)

// broker is what is committed and where the topic's one partition ends.
type broker struct {
	mu             sync.Mutex
	committed, end int64 // committed < 0: nothing is
	err            error
}

// set changes b while it may be asked.
func (b *broker) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

func (b *broker) offsets(_ context.Context, group, topic string) (kafka.Offsets, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if group != "sink" || topic != "frames" {
		return kafka.Offsets{}, errors.New("asked for " + group + " and " + topic)
	}
	if b.err != nil {
		return kafka.Offsets{}, b.err
	}
	o := kafka.Offsets{Ends: map[int]int64{3: b.end}, Committed: map[int]int64{}}
	if b.committed >= 0 {
		o.Committed[3] = b.committed
	}
	return o, nil
}

func newWatch(t *testing.T, b *broker) *Watch {
	t.Helper()
	w, err := New(Options{Groups: []Group{{"sink", "frames"}}, Offsets: b.offsets, Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func expect(t *testing.T, w *Watch, records, seconds string) {
	t.Helper()
	want := ""
	if records != "" {
		want = `
# HELP telltale_kafka_group_lag_records Records after the offset that the group has committed.
# TYPE telltale_kafka_group_lag_records gauge
telltale_kafka_group_lag_records{group="sink",partition="3",topic="frames"} ` + records + `
# HELP telltale_kafka_group_lag_seconds For how long at least there has been a record after the offset that the group has committed, 0 for a group that keeps up.
# TYPE telltale_kafka_group_lag_seconds gauge
telltale_kafka_group_lag_seconds{group="sink",partition="3",topic="frames"} ` + seconds + "\n"
	}
	if err := testutil.CollectAndCompare(w, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

// TestLag follows a group that keeps up, stands still, catches up in part, and
// is away together with Kafka.
func TestLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &broker{committed: -1, end: 50}
		w := newWatch(t, b)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		step := func() { // to the middle between two questions, the second of which was answered
			<-time.After(Every)
			synctest.Wait()
		}
		<-time.After(Every / 2)
		synctest.Wait()
		expect(t, w, "", "") // nothing is committed

		b.set(func() { b.committed = 50 })
		step()
		expect(t, w, "0", "0")
		b.set(func() { b.end = 60 })
		step()
		expect(t, w, "10", "0")
		b.set(func() { b.end = 70 })
		step()
		expect(t, w, "20", "10")
		b.set(func() { b.err = errors.New("away") })
		step()
		expect(t, w, "20", "10") // as it was
		b.set(func() { b.err, b.committed = nil, 65 })
		step()
		expect(t, w, "5", "20") // what came with the second question is still there
		b.set(func() { b.committed = 70 })
		step()
		expect(t, w, "0", "0")
		b.set(func() { b.end = 80 })
		step()
		b.set(func() { b.committed, b.end = 0, 4 }) // the topic was made anew
		step()
		expect(t, w, "4", "0")
		if n := testutil.ToFloat64(w.retries.WithLabelValues("other")); n != 1 {
			t.Errorf("%v errors counted, want 1", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

// TestHistoryIsBounded: a group that stands still for days costs no more, and
// its time stays right.
func TestHistoryIsBounded(t *testing.T) {
	s := &state{}
	begin := time.Unix(0, 0)
	for i := range 100_000 {
		s.learn(0, int64(i+1), begin.Add(time.Duration(i)*Every))
		if len(s.seen) > history+1 {
			t.Fatalf("%d ends are remembered", len(s.seen))
		}
	}
	if !s.seen[0].at.Equal(begin) {
		t.Errorf("behind since %v, want %v", s.seen[0].at, begin)
	}
	s.learn(50_000, 100_000, begin.Add(100_000*Every))
	behind := s.seen[0].at.Sub(begin.Add(50_000 * Every))
	if behind < 0 || behind > 100_000*Every/100 {
		t.Errorf("behind since %v after the truth, want at most a hundredth of the time", behind)
	}
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("no options are taken")
	}
}
