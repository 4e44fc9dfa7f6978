package aggregate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/refusal"
	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// errOverlap says that a stored window and the one in memory have frames in
// common, and each has others: the frames have to be counted again.
var errOverlap = errors.New("aggregate: stored window overlaps")

var errUnreadable = errors.New("what is stored of it is not readable")

// Sensors keeps the windows of the sensors of one partition of iot-frames until
// ctx ends or the source fails. It returns nil when ctx has ended.
func (a *Aggregate) Sensors(ctx context.Context, source Source) error {
	defer a.metrics.gone(bySensor, source)
	s := &sensors{output: newOutput(a, bySensor, source), next: source.Next()}
	if err := s.begin(0); err != nil {
		return err
	}
	for {
		err := s.turn(ctx)
		switch {
		case err == nil:
		case errors.Is(err, errOverlap):
			err = s.replay()
		case errors.Is(err, kafka.ErrNotOwner):
			s.repair(ctx)
			<-ctx.Done()
			err = nil
		}
		if ctx.Err() != nil {
			if len(s.produced) > 0 {
				s.repair(ctx)
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// maxTimestamp is the end of the year 9999, the last that a date has a form for.
const maxTimestamp = 253402300799999

// sensors is the state of one partition.
type sensors struct {
	output
	engine  *window.Engine
	decoder telemetry.Decoder
	next    int64 // offset after the last record read

	late   []late            // frames whose windows have to be read
	losses []window.Declared // not yet kept
	least  int64             // offset of the first of late and losses
}

type late struct {
	frame    telemetry.Frame
	position int64
}

// begin starts with no window in memory; those met before the offset reads are
// read before they open.
func (s *sensors) begin(reads int64) error {
	engine, err := window.NewEngine(s.options.Window, reads)
	if err != nil {
		return fmt.Errorf("aggregate: %w", err)
	}
	s.engine = engine
	s.late, s.losses, s.least = s.late[:0], s.losses[:0], math.MaxInt64
	s.batch.Reset()
	return nil
}

// replay drops all windows in memory and reads their frames again, this time
// into the stored windows.
func (s *sensors) replay() error {
	s.metrics.replays.Inc()
	s.log.Info("reading again from the commit to merge a window stored by another",
		"partition", s.source.ID(), "from", s.committed, "to", s.next)
	s.source.SeekTo(s.committed)
	return s.begin(s.next)
}

// turn reads once and does what follows from it.
func (s *sensors) turn(ctx context.Context) error {
	messages, err := s.source.Fetch(ctx)
	if err != nil {
		return err
	}
	now := s.now()
	for i := range messages {
		s.read(&messages[i], now)
	}
	s.engine.Tick(now)
	if err := s.settle(ctx, now); err != nil {
		return err
	}
	s.metrics.progress(bySensor, s.source, s.engine.Len())
	return s.commit(ctx, s.engine.Needed(s.next))
}

// read takes in one record.
func (s *sensors) read(m *kafka.Message, now time.Time) {
	s.next = m.Offset + 1
	var f telemetry.Frame
	if err := s.decoder.Decode(m.Value, &f); err != nil {
		reason, detail := "undecodable", err.Error()
		var bad *telemetry.DecodeError
		if errors.As(err, &bad) {
			reason = bad.Reason
		}
		s.metrics.frames.WithLabelValues("undecodable").Inc()
		s.letter(FramesTopic, m, reason, detail)
		return
	}
	if f.IsLoss() {
		s.metrics.losses.Inc()
		s.losses = append(s.losses, window.Declared{Sensor: f.ID, Epoch: f.Epoch, Loss: f.Lost})
		s.least = min(s.least, m.Offset)
		return
	}
	// Measured by the time of receipt, so that reading the topic again comes
	// to the same result.
	if f.Timestamp < m.Time-s.options.Retention.Milliseconds() {
		s.refuse(&f, m, "too_late", fmt.Sprintf("received at %d, its timestamp is %d, retention is %v", m.Time, f.Timestamp, s.options.Retention))
		return
	}
	if f.Timestamp > maxTimestamp {
		s.refuse(&f, m, "too_early", fmt.Sprintf("its timestamp is %d", f.Timestamp))
		return
	}
	outcome := s.engine.Add(&f, m.Offset, now)
	if outcome == window.Late {
		s.metrics.late.Inc()
		s.late = append(s.late, late{f, m.Offset})
		s.least = min(s.least, m.Offset)
		return
	}
	s.count(outcome, &f, m)
}

// count counts what became of a frame.
func (s *sensors) count(outcome window.Outcome, f *telemetry.Frame, m *kafka.Message) {
	switch outcome {
	case window.Counted:
		s.metrics.counted.Inc()
	case window.Duplicate:
		s.metrics.duplicate.Inc()
	case window.Full:
		s.refuse(f, m, "window_full", window.ErrFull.Error())
	}
}

// refuse counts a frame that can be in no window, and keeps it as a dead
// letter. Its message is nil if it is no longer at hand.
func (s *sensors) refuse(f *telemetry.Frame, m *kafka.Message, reason, detail string) {
	if m == nil {
		m = &kafka.Message{Record: kafka.Record{Key: []byte(f.ID), Value: telemetry.AppendFrame(nil, f)}}
	}
	s.metrics.frames.WithLabelValues(reason).Inc()
	s.letter(FramesTopic, m, reason, detail)
}

// settle stores what has closed, and opens what late frames and declared losses
// belong to, until nothing waits.
func (s *sensors) settle(ctx context.Context, now time.Time) error {
	losses := s.losses
	if len(losses) > 0 {
		// Kept before any window is stored: of a window and a loss in it,
		// whichever comes later finds the other in the store.
		err := s.retry(ctx, "put losses", func(ctx context.Context) error {
			return s.options.Store.PutLosses(ctx, losses)
		})
		if err != nil {
			return err
		}
	}
	for {
		s.engine.Shed()
		if err := s.store(ctx); err != nil {
			return err
		}
		if len(losses) > 0 {
			if err := s.reopen(ctx, losses, now); err != nil {
				return err
			}
			losses = nil
		}
		if len(s.late) == 0 {
			break
		}
		if err := s.admit(ctx, now); err != nil {
			return err
		}
	}
	s.losses, s.least = s.losses[:0], math.MaxInt64
	return s.produce(ctx)
}

// reopen opens the stored windows in which losses explain a gap.
func (s *sensors) reopen(ctx context.Context, losses []window.Declared, now time.Time) error {
	var states []window.State
	err := s.retry(ctx, "find windows of losses", func(ctx context.Context) (err error) {
		states, err = s.options.Store.SensorsSpanning(ctx, losses)
		return err
	})
	if err != nil {
		return err
	}
	for i := range states {
		w, err := window.Restore(&states[i])
		if err != nil {
			s.refused(states[i].ID(), err)
			continue
		}
		if !s.engine.IsOpen(w.Sensor, w.Interval) {
			s.engine.Open(w, s.least, now)
		}
	}
	return nil
}

// admit reads the windows of the late frames, opens them and counts the frames.
func (s *sensors) admit(ctx context.Context, now time.Time) error {
	wanted := make(map[string]*window.Window)
	for i := range s.late {
		if w := s.windowOf(&s.late[i].frame); !s.engine.IsOpen(w.Sensor, w.Interval) {
			wanted[w.ID(w.Sensor)] = w
		}
	}
	invalid, err := s.load(ctx, wanted)
	if err != nil {
		return err
	}
	for _, w := range wanted {
		s.engine.Open(w, s.least, now)
	}
	waiting := s.late
	s.late = nil
	for i := range waiting {
		l := &waiting[i]
		outcome := s.engine.Add(&l.frame, l.position, now)
		if outcome != window.Late {
			s.count(outcome, &l.frame, nil)
			continue
		}
		if w := s.windowOf(&l.frame); slices.Contains(invalid, w.ID(w.Sensor)) {
			s.refuse(&l.frame, nil, storedWindowInvalid, errUnreadable.Error())
		} else { // it closed again in between
			s.late = append(s.late, *l)
		}
	}
	return nil
}

func (s *sensors) windowOf(f *telemetry.Frame) *window.Window {
	return window.New(f.ID, window.IntervalOf(f.Timestamp, s.options.Window.Size))
}

// load puts the stored windows in the place of the empty ones with their ids.
// It takes out and returns those whose stored form is not this program's: to
// them nothing can be added.
func (s *sensors) load(ctx context.Context, windows map[string]*window.Window) (invalid []string, err error) {
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(windows)), chunk) {
		states, err := s.states(ctx, ids)
		if err != nil {
			return nil, err
		}
		for i := range states {
			id := states[i].ID()
			w, err := window.Restore(&states[i])
			if err != nil {
				s.refused(id, err)
				delete(windows, id)
				invalid = append(invalid, id)
				continue
			}
			windows[id] = w
		}
	}
	return invalid, nil
}

func (s *sensors) states(ctx context.Context, ids []string) (states []window.State, err error) {
	err = s.retry(ctx, "read windows of sensors", func(ctx context.Context) (err error) {
		states, err = s.options.Store.Sensors(ctx, ids)
		return err
	})
	return states, err
}

// store stores and adds to the output what has closed.
func (s *sensors) store(ctx context.Context) error {
	for windows := range slices.Chunk(s.engine.Ready(), chunk) {
		pause := newPause()
		for round := 0; len(windows) > 0; round++ {
			if round > 1 {
				// What was in the way is not yet readable: a majority of the
				// servers may have to learn of it first.
				if err := sleep(ctx, pause.NextBackOff()); err != nil {
					return err
				}
			}
			conflicts, err := s.put(ctx, windows)
			if err != nil {
				return err
			}
			if windows, err = s.reconcile(ctx, conflicts); err != nil {
				return err
			}
		}
		if err := s.produce(ctx); err != nil {
			return err
		}
	}
	s.engine.Done()
	return nil
}

// put tries to store windows, adds the records of those that are stored, and
// returns those that the store has another revision of.
func (s *sensors) put(ctx context.Context, windows []*window.Window) (conflicts []*window.Window, err error) {
	losses, err := s.lossesOf(ctx, windows)
	if err != nil {
		return nil, err
	}
	var documents []*window.Document
	var changed []candidate
	for _, w := range windows {
		missing, lost := window.Explain(w.Gaps(), losses[w.Sensor])
		if !w.Changed(missing, lost) {
			if err := s.publish(w); err != nil {
				return nil, err
			}
			continue
		}
		d, _ := w.Document(w.Revision+1, missing, lost)
		documents = append(documents, d)
		changed = append(changed, candidate{w, missing, lost})
	}
	if len(documents) == 0 {
		return nil, nil
	}
	var answers []error
	err = s.retry(ctx, "store windows of sensors", func(ctx context.Context) (err error) {
		answers, err = s.options.Store.PutSensors(ctx, documents)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, answer := range answers {
		c := changed[i]
		switch {
		case answer == nil:
			before, _ := c.StoredGaps()
			c.Stored(c.Revision+1, c.missing, c.lost)
			s.metrics.sensor(c.Revision, c.End, s.now().UnixMilli(), before, c.missing)
			if err := s.publish(c.Window); err != nil {
				return nil, err
			}
		case errors.Is(answer, window.ErrConflict):
			s.metrics.conflicts.WithLabelValues(bySensor).Inc()
			conflicts = append(conflicts, c.Window)
		default:
			if err := s.reject(SensorsTopic, documents[i], rejectedByStore, answer); err != nil {
				return nil, err
			}
		}
	}
	return conflicts, nil
}

// candidate is a window with the gaps that it is to be stored with.
type candidate struct {
	*window.Window
	missing, lost []window.Gap
}

// publish adds the records of a window as it is stored.
func (s *sensors) publish(w *window.Window) error {
	missing, lost := w.StoredGaps()
	d, parts := w.Document(w.Revision, missing, lost)
	if err := s.document(SensorsTopic, d); err != nil {
		return err
	}
	for i := range parts {
		if err := s.part(&parts[i]); err != nil {
			return err
		}
	}
	return nil
}

// lossesOf returns what is declared of the gaps of windows, by sensor.
func (s *sensors) lossesOf(ctx context.Context, windows []*window.Window) (map[string][]window.Declared, error) {
	var spans []window.Declared
	for _, w := range windows {
		for _, g := range w.Gaps() {
			if n := len(spans); n > 0 && spans[n-1].Sensor == w.Sensor && spans[n-1].Epoch == g.Epoch {
				spans[n-1].Seqs.Last = max(spans[n-1].Seqs.Last, g.Seqs.Last)
				spans[n-1].Seqs.First = min(spans[n-1].Seqs.First, g.Seqs.First)
				continue
			}
			spans = append(spans, window.Declared{Sensor: w.Sensor, Epoch: g.Epoch, Loss: telemetry.Loss{Seqs: g.Seqs}})
		}
	}
	if len(spans) == 0 {
		return nil, nil
	}
	var losses []window.Declared
	err := s.retry(ctx, "read losses", func(ctx context.Context) (err error) {
		losses, err = s.options.Store.Losses(ctx, spans)
		return err
	})
	if err != nil {
		return nil, err
	}
	bySensor := make(map[string][]window.Declared)
	for _, l := range losses {
		bySensor[l.Sensor] = append(bySensor[l.Sensor], l)
	}
	return bySensor, nil
}

// reconcile returns the windows to store in the place of those that met
// another revision.
func (s *sensors) reconcile(ctx context.Context, windows []*window.Window) ([]*window.Window, error) {
	if len(windows) == 0 {
		return nil, nil
	}
	stored := make(map[string]*window.Window, len(windows))
	for _, w := range windows {
		stored[w.ID(w.Sensor)] = window.New(w.Sensor, w.Interval)
	}
	if _, err := s.load(ctx, stored); err != nil {
		return nil, err
	}
	merged := make([]*window.Window, 0, len(windows))
	for _, w := range windows {
		there := stored[w.ID(w.Sensor)]
		if there == nil {
			d, _ := w.Document(w.Revision+1, w.Gaps(), nil)
			if err := s.reject(SensorsTopic, d, storedWindowInvalid, errUnreadable); err != nil {
				return nil, err
			}
			continue
		}
		m, ok := window.Reconcile(there, w)
		if !ok {
			return nil, fmt.Errorf("%w: %s", errOverlap, w.ID(w.Sensor))
		}
		merged = append(merged, m)
	}
	return merged, nil
}

// How long is tried to make good what was done to a partition that is
// another's already: while the process goes on, and when it is to end.
const (
	repairTimeout = time.Minute
	endTimeout    = 5 * time.Second
)

// repairContext returns the context of a repair, after the end of ctx or before.
func repairContext(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := repairTimeout
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), kafka.ErrNotOwner) {
		timeout = endTimeout
	}
	return context.WithTimeout(context.WithoutCancel(ctx), timeout)
}

// repair makes sure that nothing this process has produced hides a later
// revision that another owner has stored and produced before.
func (s *sensors) repair(ctx context.Context) {
	ctx, cancel := repairContext(ctx)
	defer cancel()
	s.batch.Reset() // what was not produced is the next owner's to produce
	for len(s.produced) > 0 {
		ids := make([]string, 0, chunk)
		for id := range s.produced {
			if ids = append(ids, id); len(ids) == chunk {
				break
			}
		}
		states, err := s.states(ctx, ids)
		if err != nil {
			s.log.Log(ctx, refusal.Level(err), "cannot see whether another owner has stored later revisions", "partition", s.source.ID(), "windows", len(s.produced), "error", err)
			return
		}
		known := make(map[string]int64, len(ids))
		for _, id := range ids {
			known[id] = s.produced[id]
			delete(s.produced, id)
		}
		for i := range states {
			w, err := window.Restore(&states[i])
			if err != nil || w.Revision <= known[w.ID(w.Sensor)] {
				continue
			}
			s.metrics.repairs.WithLabelValues(bySensor).Inc()
			if err := s.publish(w); err != nil { // and is looked at once more
				s.refused(w.ID(w.Sensor), err)
			}
		}
		if err := s.produce(ctx); err != nil {
			return
		}
	}
}
