package migrate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/telltale-iot/telltale/ingest/internal/sink"
	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

var errAway = errors.New("away")

// source is a Source in memory.
type source struct {
	documents []Document
	strangers []string
}

func (s *source) SeedFrames(_ context.Context, fn func(Document) error) error {
	for _, d := range s.documents {
		if err := fn(d); err != nil {
			return err
		}
	}
	return nil
}

func (s *source) SeedStrangers(_ context.Context, fn func(string) error) error {
	for _, id := range s.strangers {
		if err := fn(id); err != nil {
			return err
		}
	}
	return nil
}

// twin is a Target in memory, which keeps documents as JSON.
type twin struct {
	frames, sensors, places map[string]string

	// before, if not nil, is called before each operation: whether it is done,
	// and what it answers.
	before func(operation string) (done bool, err error)
}

func newTwin() *twin {
	return &twin{frames: map[string]string{}, sensors: map[string]string{}, places: map[string]string{}}
}

func (s *twin) do(operation string, op func()) error {
	done, err := true, error(nil)
	if s.before != nil {
		done, err = s.before(operation)
	}
	if done {
		op()
	}
	return err
}

func decode[T any](text string) T {
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		panic(err)
	}
	return v
}

func encode(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// document returns the JSON of a document as it is stored.
func document(d *window.Document) string { return encode(&window.Document{Fields: d.Stored()}) }

func (s *twin) FramesStored(_ context.Context, ids []string) (stored map[string]bool, err error) {
	err = s.do("FramesStored", func() {
		stored = map[string]bool{}
		for _, id := range ids {
			if _, ok := s.frames[id]; ok {
				stored[id] = true
			}
		}
	})
	return stored, err
}

var errTooLarge = errors.New("too large")

func (s *twin) PutFrames(_ context.Context, frames []sink.Frame) (answers []error, err error) {
	answers = make([]error, len(frames))
	err = s.do("PutFrames", func() {
		for i := range frames {
			id := telemetry.FrameID(&frames[i].Frame)
			switch _, there := s.frames[id]; {
			case frames[i].Name == "too large":
				answers[i] = errTooLarge
			case there:
				answers[i] = sink.ErrDuplicate
			default:
				s.frames[id] = string(telemetry.AppendFrame(nil, &frames[i].Frame))
			}
		}
	})
	return answers, err
}

func all[T any](s *twin, operation string, stored map[string]string, ids []string) (states []T, err error) {
	err = s.do(operation, func() {
		for _, id := range ids {
			if text, ok := stored[id]; ok {
				states = append(states, decode[T](text))
			}
		}
	})
	return states, err
}

func (s *twin) put(operation string, stored map[string]string, documents []*window.Document) (answers []error, err error) {
	answers = make([]error, len(documents))
	err = s.do(operation, func() {
		for i, d := range documents {
			revision := int64(0)
			if text, ok := stored[d.ID]; ok {
				revision = decode[window.PlaceState](text).Revision
			}
			if revision >= d.Revision {
				answers[i] = window.ErrConflict
				continue
			}
			stored[d.ID] = document(d)
		}
	})
	return answers, err
}

func (s *twin) Sensors(_ context.Context, ids []string) ([]window.State, error) {
	return all[window.State](s, "Sensors", s.sensors, ids)
}

func (s *twin) Places(_ context.Context, ids []string) ([]window.PlaceState, error) {
	return all[window.PlaceState](s, "Places", s.places, ids)
}

func (s *twin) PutSensors(_ context.Context, documents []*window.Document) ([]error, error) {
	return s.put("PutSensors", s.sensors, documents)
}

func (s *twin) PutPlaces(_ context.Context, documents []*window.Document) ([]error, error) {
	return s.put("PutPlaces", s.places, documents)
}

func (s *twin) at(place string, from, to int64) []window.State {
	var states []window.State
	for _, text := range s.sensors {
		state := decode[window.State](text)
		if state.Start >= from && state.Start < to && strings.Contains(encode(state.Parts), `"place_id":`+encode(place)) {
			states = append(states, state)
		}
	}
	slices.SortFunc(states, func(a, b window.State) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End), cmp.Compare(a.Sensor, b.Sensor))
	})
	return states
}

func (s *twin) PlaceIntervals(_ context.Context, place string, from, to int64, fn func(string, window.Interval) error) error {
	var states []window.State
	if err := s.do("PlaceIntervals", func() { states = s.at(place, from, to) }); err != nil {
		return err
	}
	for i := range states {
		if err := fn(states[i].Sensor, window.Interval{Start: states[i].Start, End: states[i].End}); err != nil {
			return err
		}
	}
	return nil
}

func (s *twin) SensorsBetween(_ context.Context, place string, from, to int64) (states []window.State, err error) {
	err = s.do("SensorsBetween", func() { states = s.at(place, from, to) })
	return states, err
}
