package main

import (
	"context"
	"errors"
	"sync"

	"github.com/telltale-iot/telltale/ingest/internal/window"
)

// store is an aggregate.Store that knows of each window its revision. That is
// what the compare-and-set takes; it cannot give a window back.
type store struct {
	mu      sync.Mutex
	sensors map[string]int64
	places  map[string]int64
}

func newStore() *store {
	return &store{sensors: make(map[string]int64), places: make(map[string]int64)}
}

// errNotKept is the answer to what the benchmark does not come to: its frames
// come in order, once, and one process has them all.
var errNotKept = errors.New("inmemory: only revisions are kept")

func (s *store) PutSensors(_ context.Context, documents []*window.Document) ([]error, error) {
	return s.put(s.sensors, documents), nil
}

func (s *store) PutPlaces(_ context.Context, documents []*window.Document) ([]error, error) {
	return s.put(s.places, documents), nil
}

func (s *store) put(stored map[string]int64, documents []*window.Document) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	answers := make([]error, len(documents))
	for i, d := range documents {
		if stored[d.ID] != d.Revision-1 {
			answers[i] = window.ErrConflict
			continue
		}
		stored[d.ID] = d.Revision
	}
	return answers
}

func (s *store) Sensors(context.Context, []string) ([]window.State, error) { return nil, errNotKept }

func (s *store) Places(context.Context, []string) ([]window.PlaceState, error) {
	return nil, errNotKept
}

func (s *store) PutLosses(context.Context, []window.Declared) error { return errNotKept }

func (s *store) Losses(context.Context, []window.Declared) ([]window.Declared, error) {
	return nil, errNotKept
}

func (s *store) SensorsSpanning(context.Context, []window.Declared) ([]window.State, error) {
	return nil, errNotKept
}

func (s *store) SensorsAt(context.Context, string, window.Interval) ([]window.State, error) {
	return nil, errNotKept
}
