package prom_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/prom"
)

var errEnd = errors.New("no more")

// script is a partition that hands out batches, prom.CommitEvery apart.
type script struct {
	clock     *clock
	batches   [][]string
	handed    int
	next      int64
	committed []int64
	commit    func() error
}

func (s *script) ID() int     { return 3 }
func (s *script) Next() int64 { return s.next }
func (s *script) Lag() int64  { return 7 }

func (s *script) Fetch(context.Context) ([]kafka.Message, error) {
	if s.handed == len(s.batches) {
		return nil, errEnd
	}
	var messages []kafka.Message
	for _, value := range s.batches[s.handed] {
		messages = append(messages, kafka.Message{Record: kafka.Record{Value: []byte(value)}, Offset: s.next})
		s.next++
	}
	s.handed++
	s.clock.now = s.clock.now.Add(prom.CommitEvery)
	return messages, nil
}

func (s *script) Commit(_ context.Context, offset int64) error {
	if s.commit != nil {
		return s.commit()
	}
	s.committed = append(s.committed, offset)
	return nil
}

func TestFollowShowsFramesAndCommits(t *testing.T) {
	latest, c := newLatest(t, 10)
	partition := &script{clock: c, batches: [][]string{
		{`{"id":"a","timestamp":1763870400000,"payload":{"temperature":20}}`, `poison`},
		nil, // nothing came: nothing to commit
		{`{"id":"a","timestamp":1763870401000,"payload":{"temperature":21}}`},
	}}
	lag := make(chan int, 1)
	partition.commit = func() error { // still assigned
		partition.committed = append(partition.committed, partition.next)
		select {
		case lag <- testutil.CollectAndCount(latest, "telltale_metrics_lag_records"):
		default:
		}
		return nil
	}
	if err := latest.Follow(t.Context(), partition); !errors.Is(err, errEnd) {
		t.Fatalf("Follow returned %v, want the partition's error", err)
	}
	expect(t, latest, "telltale_temperature_celsius", `
# HELP telltale_temperature_celsius Latest temperature of the sensor.
# TYPE telltale_temperature_celsius gauge
telltale_temperature_celsius{place_id="",sensor_id="a",sensor_name=""} 21
`)
	expect(t, latest, "telltale_metrics_undecodable_total", `
# HELP telltale_metrics_undecodable_total Records of iot-frames that are no frame.
# TYPE telltale_metrics_undecodable_total counter
telltale_metrics_undecodable_total 1
`)
	if want := []int64{2, 3}; !slices.Equal(partition.committed, want) {
		t.Errorf("committed %v, want %v", partition.committed, want)
	}
	if during, after := <-lag, testutil.CollectAndCount(latest, "telltale_metrics_lag_records"); during != 1 || after != 0 {
		t.Errorf("%d and %d series of lag with the partition and without, want 1 and 0", during, after)
	}
	c.now = c.now.Add(time.Hour)
	if got := testutil.CollectAndCount(latest, "telltale_temperature_celsius"); got != 0 {
		t.Errorf("%d series an hour later, want none", got)
	}
}

// A member that lost its partition waits until the group says so.
func TestFollowWaitsWhenThePartitionIsGone(t *testing.T) {
	latest, c := newLatest(t, 10)
	ctx, cancel := context.WithCancel(t.Context())
	partition := &script{clock: c, batches: [][]string{{`{"id":"a","timestamp":1763870400000}`}}}
	partition.commit = func() error {
		time.AfterFunc(time.Millisecond, cancel)
		return kafka.ErrNotOwner
	}
	if err := latest.Follow(ctx, partition); err != nil || ctx.Err() == nil {
		t.Errorf("Follow returned %v, with the context's %v", err, ctx.Err())
	}
}
