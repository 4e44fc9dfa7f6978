// Package lag watches how far consumer groups are behind, from the offsets that
// they have committed. So a group is watched that has no member, and one whose
// members are stuck, of which neither could tell by itself.
package lag

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/refusal"
)

// Every is how often offsets are asked for: what the time behind is exact to.
const Every = 10 * time.Second

// history bounds the ends that are remembered of a partition. When there are
// more, every second one is forgotten, and the next are remembered as far apart:
// the time behind is then exact to a hundredth of the longest.
const history = 256

// Group is a consumer group and the topic that it reads.
type Group struct{ Name, Topic string }

// Options configures a Watch.
type Options struct {
	Groups []Group
	// Offsets asks Kafka for what a group has committed in a topic, once.
	Offsets  func(ctx context.Context, group, topic string) (kafka.Offsets, error)
	Registry prometheus.Registerer
	Logger   *slog.Logger     // nil discards
	Now      func() time.Time // nil is time.Now
}

// Watch is a [prometheus.Collector] of how far groups are behind. A group that
// has committed nothing in a partition is not shown there.
type Watch struct {
	options Options
	retries *prometheus.CounterVec // reason

	mu         sync.Mutex
	partitions map[partition]*state
}

type partition struct {
	Group
	id int
}

// state is what is known of a group in one partition.
type state struct {
	committed, end int64
	at             time.Time     // when these were learnt
	seen           []seen        // ascending
	apart          time.Duration // how far apart these are at least
}

// seen is an end of the partition, and when it was seen first.
type seen struct {
	end int64
	at  time.Time
}

var (
	recordsDesc = prometheus.NewDesc("telltale_kafka_group_lag_records",
		"Records after the offset that the group has committed.", []string{"group", "topic", "partition"}, nil)
	secondsDesc = prometheus.NewDesc("telltale_kafka_group_lag_seconds",
		"For how long at least there has been a record after the offset that the group has committed, 0 for a group that keeps up.", []string{"group", "topic", "partition"}, nil)
)

// New validates o and returns a Watch, which is registered.
func New(o Options) (*Watch, error) {
	if len(o.Groups) == 0 || o.Offsets == nil || o.Registry == nil {
		return nil, errors.New("lag: want groups, a way to their offsets and a registry")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Watch{options: o, partitions: make(map[partition]*state), retries: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "telltale_kafka_group_lag_errors_total", Help: "Attempts to learn the offsets of a group that failed, by reason; the next is made in its turn.",
	}, []string{"reason"})}
	for _, c := range []prometheus.Collector{w, w.retries} {
		if err := o.Registry.Register(c); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// Run asks for the offsets now and every [Every] until ctx ends, and returns
// nil.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	failing := false
	for {
		err := w.ask(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			w.options.Logger.Log(ctx, refusal.Level(err), "cannot learn how far consumer groups are behind; retrying", "error", err)
		}
		failing = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// ask asks for each group once. One that it cannot learn of is shown as it was.
func (w *Watch) ask(ctx context.Context) error {
	var errs []error
	for _, g := range w.options.Groups {
		offsets, err := w.options.Offsets(ctx, g.Name, g.Topic)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			w.retries.WithLabelValues(kafka.Reason(err)).Inc()
			errs = append(errs, err)
			continue
		}
		w.learn(g, offsets)
	}
	return errors.Join(errs...)
}

func (w *Watch) learn(g Group, o kafka.Offsets) {
	now := w.options.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.partitions {
		if _, ok := o.Committed[p.id]; p.Group == g && !ok {
			delete(w.partitions, p)
		}
	}
	for id, committed := range o.Committed {
		end, ok := o.Ends[id]
		if !ok {
			continue
		}
		s := w.partitions[partition{g, id}]
		if s == nil {
			s = &state{}
			w.partitions[partition{g, id}] = s
		}
		s.learn(committed, end, now)
	}
}

func (s *state) learn(committed, end int64, now time.Time) {
	if end < s.end { // the topic was made anew
		s.seen = nil
	}
	s.committed, s.end, s.at = committed, end, now
	behind := 0
	for behind < len(s.seen) && s.seen[behind].end <= committed {
		behind++
	}
	s.seen = s.seen[behind:]
	switch last := len(s.seen) - 1; {
	case end <= committed:
	case last < 0:
		s.apart = 0
		s.seen = append(s.seen, seen{end, now})
	case s.seen[last].end < end && now.Sub(s.seen[last].at) >= s.apart:
		s.seen = append(s.seen, seen{end, now})
	}
	if len(s.seen) > history {
		kept := make([]seen, 0, history)
		for i := 0; i < len(s.seen); i += 2 {
			kept = append(kept, s.seen[i])
		}
		s.seen = kept
		s.apart = max(2*s.apart, 2*Every)
	}
}

// Describe implements [prometheus.Collector].
func (w *Watch) Describe(descs chan<- *prometheus.Desc) {
	descs <- recordsDesc
	descs <- secondsDesc
}

// Collect implements [prometheus.Collector].
func (w *Watch) Collect(metrics chan<- prometheus.Metric) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p, s := range w.partitions {
		seconds := 0.0
		if len(s.seen) > 0 {
			seconds = s.at.Sub(s.seen[0].at).Seconds()
		}
		id := strconv.Itoa(p.id)
		metrics <- prometheus.MustNewConstMetric(recordsDesc, prometheus.GaugeValue, float64(max(s.end-s.committed, 0)), p.Name, p.Topic, id)
		metrics <- prometheus.MustNewConstMetric(secondsDesc, prometheus.GaugeValue, max(seconds, 0), p.Name, p.Topic, id)
	}
}
