package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/refusal"
	"github.com/telltale-iot/telltale/ingest/internal/window"
)

// Places keeps the windows of the places of one partition of iot-place-parts
// until ctx ends or the source fails. It returns nil when ctx has ended.
func (a *Aggregate) Places(ctx context.Context, source Source) error {
	defer a.metrics.gone(byPlace, source)
	engine, err := window.NewPlaces(a.options.Window)
	if err != nil {
		return fmt.Errorf("aggregate: %w", err)
	}
	p := &places{output: newOutput(a, byPlace, source), engine: engine, next: source.Next(), owners: make(map[string]*window.Place)}
	for {
		err := p.turn(ctx)
		if errors.Is(err, kafka.ErrNotOwner) {
			p.repair(ctx)
			<-ctx.Done()
			err = nil
		}
		if ctx.Err() != nil {
			if len(p.produced) > 0 {
				p.repair(ctx)
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// places is the state of one partition.
type places struct {
	output
	engine *window.Places
	next   int64                    // offset after the last record read
	owners map[string]*window.Place // the windows produced since the last commit, by id
}

// turn reads once and does what follows from it.
func (p *places) turn(ctx context.Context) error {
	messages, err := p.source.Fetch(ctx)
	if err != nil {
		return err
	}
	now := p.now()
	for i := range messages {
		p.read(&messages[i], now)
	}
	p.engine.Tick(now)
	p.engine.Shed()
	for windows := range slices.Chunk(p.engine.Ready(), chunk) {
		if err := p.store(ctx, windows); err != nil {
			return err
		}
	}
	p.engine.Done()
	if err := p.produce(ctx); err != nil { // dead letters
		return err
	}
	p.metrics.progress(byPlace, p.source, p.engine.Len())
	if err := p.commit(ctx, p.engine.Needed(p.next)); err != nil {
		return err
	}
	if len(p.produced) == 0 {
		clear(p.owners)
	}
	return nil
}

// read takes in one record.
func (p *places) read(m *kafka.Message, now time.Time) {
	p.next = m.Offset + 1
	var part window.Part
	err := json.Unmarshal(m.Value, &part)
	if err == nil {
		var changed bool
		if changed, err = p.engine.Add(&part, m.Offset, now); err == nil {
			outcome := "outdated"
			if changed {
				outcome = "applied"
			}
			p.metrics.parts.WithLabelValues(outcome).Inc()
			return
		}
	}
	p.metrics.parts.WithLabelValues("invalid").Inc()
	p.letter(PartsTopic, m, "invalid_part", err.Error())
}

// store stores and produces windows.
func (p *places) store(ctx context.Context, windows []*window.Place) error {
	pause := newPause()
	for round := 0; len(windows) > 0; round++ {
		if round > 1 { // as in sensors.store
			if err := sleep(ctx, pause.NextBackOff()); err != nil {
				return err
			}
		}
		var documents []*window.Document
		var changed []*window.Place
		for _, w := range windows {
			if w.Changed() {
				documents = append(documents, w.Document(w.Revision+1))
				changed = append(changed, w)
			} else if err := p.publish(w, w.Document(w.Revision)); err != nil {
				return err
			}
		}
		if len(documents) == 0 {
			break
		}
		var answers []error
		err := p.retry(ctx, "store windows of places", func(ctx context.Context) (err error) {
			answers, err = p.options.Store.PutPlaces(ctx, documents)
			return err
		})
		if err != nil {
			return err
		}
		var conflicts []*window.Place
		for i, answer := range answers {
			w := changed[i]
			switch {
			case answer == nil:
				w.Stored(w.Revision + 1)
				p.metrics.put(byPlace, w.Revision)
				if err := p.publish(w, documents[i]); err != nil {
					return err
				}
			case errors.Is(answer, window.ErrConflict):
				p.metrics.conflicts.WithLabelValues(byPlace).Inc()
				conflicts = append(conflicts, w)
			default:
				if err := p.reject(PlacesTopic, documents[i], rejectedByStore, answer); err != nil {
					return err
				}
			}
		}
		if windows, err = p.reconcile(ctx, conflicts); err != nil {
			return err
		}
	}
	return p.produce(ctx)
}

func (p *places) publish(w *window.Place, d *window.Document) error {
	p.owners[d.ID] = w
	return p.document(PlacesTopic, d)
}

// reconcile folds what is stored into windows that met another revision, and
// returns them.
func (p *places) reconcile(ctx context.Context, windows []*window.Place) ([]*window.Place, error) {
	stored, err := p.states(ctx, windows)
	if err != nil {
		return nil, err
	}
	for _, w := range windows {
		if err := p.fold(ctx, w); err != nil {
			return nil, err
		}
		switch state := stored[w.Interval.ID(w.ID)]; {
		case state == nil:
			w.Stored(0)
		case w.Same(state):
			w.Stored(state.Revision)
		default:
			w.Revision = state.Revision
		}
	}
	return windows, nil
}

// states returns what is stored of windows, by id.
func (p *places) states(ctx context.Context, windows []*window.Place) (map[string]*window.PlaceState, error) {
	if len(windows) == 0 {
		return nil, nil
	}
	ids := make([]string, 0, len(windows))
	for _, w := range windows {
		ids = append(ids, w.Interval.ID(w.ID))
	}
	var states []window.PlaceState
	err := p.retry(ctx, "read windows of places", func(ctx context.Context) (err error) {
		states, err = p.options.Store.Places(ctx, ids)
		return err
	})
	if err != nil {
		return nil, err
	}
	stored := make(map[string]*window.PlaceState, len(states))
	for i := range states {
		s := &states[i]
		stored[window.Interval{Start: s.Start, End: s.End}.ID(s.Place)] = s
	}
	return stored, nil
}

// fold applies the parts of all sensors that were at the place: one query,
// however many they are. The store has every part that Kafka has, or a later one.
func (p *places) fold(ctx context.Context, w *window.Place) error {
	var states []window.State
	err := p.retry(ctx, "read sensors of a place", func(ctx context.Context) (err error) {
		states, err = p.options.Store.SensorsAt(ctx, w.ID, w.Interval)
		return err
	})
	if err != nil {
		return err
	}
	for i := range states {
		for _, part := range states[i].PlaceParts() {
			if part.Place != w.ID {
				continue
			}
			if _, err := w.Apply(&part); err != nil {
				p.refused(part.ID(), err)
			}
		}
	}
	return nil
}

// repair makes sure that nothing this process has produced hides a later
// revision that another owner has stored and produced before.
func (p *places) repair(ctx context.Context) {
	ctx, cancel := repairContext(ctx)
	defer cancel()
	p.batch.Reset() // what was not produced is the next owner's to produce
	for len(p.produced) > 0 {
		var windows []*window.Place
		known := make(map[string]int64)
		for id, revision := range p.produced {
			windows = append(windows, p.owners[id])
			known[id] = revision
			delete(p.produced, id)
			if len(windows) == chunk {
				break
			}
		}
		stored, err := p.states(ctx, windows)
		if err != nil {
			p.log.Log(ctx, refusal.Level(err), "cannot see whether another owner has stored later revisions", "partition", p.source.ID(), "windows", len(windows), "error", err)
			return
		}
		for _, w := range windows {
			id := w.Interval.ID(w.ID)
			if stored[id] == nil || stored[id].Revision <= known[id] {
				continue
			}
			p.metrics.repairs.WithLabelValues(byPlace).Inc()
			if err := p.fold(ctx, w); err != nil {
				return
			}
			w.Stored(stored[id].Revision)
			if err := p.publish(w, w.Document(w.Revision)); err != nil { // and is looked at once more
				p.refused(id, err)
			}
		}
		if err := p.produce(ctx); err != nil {
			return
		}
	}
}
