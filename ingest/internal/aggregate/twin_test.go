package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/window"
)

var errAway = errors.New("away")

// twin is a Store in memory. It keeps documents as JSON, with the fields that
// MongoDB gets.
type twin struct {
	*tables

	// fault, if not nil, is called before each operation: what it answers, and
	// whether it is done (nevertheless).
	fault func(operation string) (done bool, err error)
}

type tables struct {
	mu      sync.Mutex
	sensors map[string][]byte
	places  map[string][]byte
	losses  map[window.Declared]struct{}
}

func newTwin() *twin {
	return &twin{tables: &tables{sensors: map[string][]byte{}, places: map[string][]byte{}, losses: map[window.Declared]struct{}{}}}
}

func (s *twin) do(operation string, op func()) error {
	done, err := true, error(nil)
	if s.fault != nil {
		done, err = s.fault(operation)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if done {
		op()
	}
	return err
}

func decode[T any](data []byte) T {
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		panic(err)
	}
	return v
}

func (s *twin) Sensors(_ context.Context, ids []string) (states []window.State, err error) {
	err = s.do("Sensors", func() {
		for _, id := range ids {
			if data, ok := s.sensors[id]; ok {
				states = append(states, decode[window.State](data))
			}
		}
	})
	return states, err
}

func (s *twin) Places(_ context.Context, ids []string) (states []window.PlaceState, err error) {
	err = s.do("Places", func() {
		for _, id := range ids {
			if data, ok := s.places[id]; ok {
				states = append(states, decode[window.PlaceState](data))
			}
		}
	})
	return states, err
}

// stored returns a document as the store keeps it.
func stored(d *window.Document) *window.Document { return &window.Document{Fields: d.Stored()} }

func put(into map[string][]byte, documents []*window.Document) []error {
	answers := make([]error, len(documents))
	for i, d := range documents {
		revision := int64(0)
		if data, ok := into[d.ID]; ok {
			revision = decode[window.PlaceState](data).Revision
		}
		if revision >= d.Revision {
			answers[i] = window.ErrConflict
			continue
		}
		into[d.ID] = mustJSON(stored(d))
	}
	return answers
}

func (s *twin) PutSensors(_ context.Context, documents []*window.Document) (answers []error, err error) {
	err = s.do("PutSensors", func() { answers = put(s.sensors, documents) })
	return answers, err
}

func (s *twin) PutPlaces(_ context.Context, documents []*window.Document) (answers []error, err error) {
	err = s.do("PutPlaces", func() { answers = put(s.places, documents) })
	return answers, err
}

func (s *twin) PutLosses(_ context.Context, losses []window.Declared) error {
	return s.do("PutLosses", func() {
		for _, l := range losses {
			s.losses[l] = struct{}{}
		}
	})
}

func touches(a, b window.Declared) bool {
	return a.Sensor == b.Sensor && a.Epoch == b.Epoch && a.Seqs.First <= b.Seqs.Last && b.Seqs.First <= a.Seqs.Last
}

func (s *twin) Losses(_ context.Context, spans []window.Declared) (losses []window.Declared, err error) {
	err = s.do("Losses", func() {
		for l := range s.losses {
			if slices.ContainsFunc(spans, func(span window.Declared) bool { return touches(l, span) }) {
				losses = append(losses, l)
			}
		}
	})
	return losses, err
}

func (s *twin) SensorsSpanning(_ context.Context, losses []window.Declared) (states []window.State, err error) {
	err = s.do("SensorsSpanning", func() {
		for _, data := range s.sensors {
			state := decode[window.State](data)
			for _, e := range state.Epochs {
				if slices.ContainsFunc(losses, func(l window.Declared) bool {
					return l.Sensor == state.Sensor && l.Epoch == uint64(e.Epoch) && uint64(e.First) < l.Seqs.Last && l.Seqs.First < uint64(e.Last)
				}) {
					states = append(states, state)
					break
				}
			}
		}
	})
	return states, err
}

func (s *twin) SensorsAt(_ context.Context, place string, i window.Interval) (states []window.State, err error) {
	err = s.do("SensorsAt", func() {
		for _, id := range slices.Sorted(maps.Keys(s.sensors)) {
			state := decode[window.State](s.sensors[id])
			if state.Start == i.Start && state.End == i.End &&
				slices.ContainsFunc(state.Parts, func(p window.PartState) bool { return p.Place == place }) {
				states = append(states, state)
			}
		}
	})
	return states, err
}

// topics is a Producer that keeps what it is given, in order.
type topics struct {
	*log
	fault func(operation string) (done bool, err error) // as twin's
}

type log struct {
	mu      sync.Mutex
	records map[string][]kafka.Record
}

func newTopics() *topics { return &topics{log: &log{records: map[string][]kafka.Record{}}} }

func (t *topics) Produce(_ context.Context, b *kafka.Batch) error {
	done, err := true, error(nil)
	if t.fault != nil {
		done, err = t.fault("Produce")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !done {
		return err
	}
	for i := range b.Len() {
		topic, r := b.Record(i)
		r.Key, r.Value = slices.Clone(r.Key), slices.Clone(r.Value)
		for i := range r.Headers {
			r.Headers[i].Value = slices.Clone(r.Headers[i].Value)
		}
		t.records[topic] = append(t.records[topic], r)
	}
	return err
}

// last returns the last record of each key.
func (t *topics) last(topic string) map[string]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := map[string]string{}
	for _, r := range t.records[topic] {
		last[string(r.Key)] = string(r.Value)
	}
	return last
}

// partition is a Source over messages in memory. What was committed outlives
// the owners.
type partition struct {
	messages []kafka.Message
	batch    int // messages in one Fetch
	next     int64
	commits  []int64

	fetched func() // called before each Fetch
	fault   func() error
}

func (p *partition) ID() int         { return 0 }
func (p *partition) Next() int64     { return p.next }
func (p *partition) SeekTo(at int64) { p.next = at }
func (p *partition) Lag() int64      { return int64(len(p.messages)) - p.next }

func (p *partition) Fetch(ctx context.Context) ([]kafka.Message, error) {
	if p.fetched != nil {
		p.fetched()
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	rest := p.messages[p.next:]
	got := rest[:min(p.batch, len(rest))]
	p.next += int64(len(got))
	return got, nil
}

func (p *partition) Commit(_ context.Context, offset int64) error {
	if p.fault != nil {
		if err := p.fault(); err != nil {
			return err
		}
	}
	p.commits = append(p.commits, offset)
	return nil
}

// reassigned returns the partition as its next owner gets it.
func (p *partition) reassigned() *partition {
	q := &partition{messages: p.messages, batch: p.batch, commits: p.commits}
	if n := len(p.commits); n > 0 {
		q.next = p.commits[n-1]
	}
	return q
}
