package prom_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/telltale-iot/telltale/ingest/internal/prom"
)

var errEnd = errors.New("no more")

// script is a partition that hands out batches, a minute apart.
type script struct {
	clock     *clock
	batches   [][][]byte
	committed []int // how many batches had been handed out at each commit
	handed    int
}

func (s *script) Values(context.Context) ([][]byte, error) {
	if s.handed == len(s.batches) {
		return nil, errEnd
	}
	s.handed++
	s.clock.now = s.clock.now.Add(prom.CommitEvery)
	return s.batches[s.handed-1], nil
}

func (s *script) Commit(context.Context) error {
	s.committed = append(s.committed, s.handed)
	return nil
}

func TestFollowShowsFramesAndCommits(t *testing.T) {
	latest, c := newLatest(t, 10)
	partition := &script{clock: c, batches: [][][]byte{
		{[]byte(`{"id":"a","timestamp":1763870400000,"payload":{"temperature":20}}`), []byte(`poison`)},
		nil, // nothing came: nothing to commit
		{[]byte(`{"id":"a","timestamp":1763870401000,"payload":{"temperature":21}}`)},
	}}
	if err := latest.Follow(t.Context(), partition); !errors.Is(err, errEnd) {
		t.Fatalf("Follow returned %v, want the partition's error", err)
	}
	if got := testutil.CollectAndCount(latest, "telltale_temperature_celsius"); got != 1 {
		t.Errorf("%d series, want 1", got)
	}
	if want := []int{1, 3}; len(partition.committed) != 2 || partition.committed[0] != want[0] || partition.committed[1] != want[1] {
		t.Errorf("committed after batches %v, want %v", partition.committed, want)
	}
	c.now = c.now.Add(time.Hour)
	if got := testutil.CollectAndCount(latest, "telltale_temperature_celsius"); got != 0 {
		t.Errorf("%d series an hour later, want none", got)
	}
}
