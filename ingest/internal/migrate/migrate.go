package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/telltale-iot/telltale/ingest/internal/sink"
	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Source has the documents of the replaced system.
type Source interface {
	// SeedFrames calls fn for each document, those of one sensor together by
	// ascending timestamp. In another order the result is the same: it takes
	// longer, and duplicates are counted as stored before.
	SeedFrames(ctx context.Context, fn func(Document) error) error

	// SeedStrangers calls fn with the _id of each document that is of neither
	// system.
	SeedStrangers(ctx context.Context, fn func(id string) error) error
}

// Target is the database of ingest. Its errors are taken to be passing.
type Target interface {
	// FramesStored returns which of the named frames are stored.
	FramesStored(ctx context.Context, ids []string) (map[string]bool, error)

	// PutFrames is that of sink.Store.
	PutFrames(ctx context.Context, frames []sink.Frame) ([]error, error)

	// Sensors, PutSensors, Places and PutPlaces are those of aggregate.Store.
	Sensors(ctx context.Context, ids []string) ([]window.State, error)
	PutSensors(ctx context.Context, documents []*window.Document) ([]error, error)
	Places(ctx context.Context, ids []string) ([]window.PlaceState, error)
	PutPlaces(ctx context.Context, documents []*window.Document) ([]error, error)

	// PlaceIntervals calls fn for each stored window of a sensor that was at
	// the place and begins in [from, to), in the order of their beginnings.
	PlaceIntervals(ctx context.Context, place string, from, to int64, fn func(sensor string, i window.Interval) error) error

	// SensorsBetween returns the stored windows of the sensors that were at the
	// place, which begin in [from, to).
	SensorsBetween(ctx context.Context, place string, from, to int64) ([]window.State, error)
}

// Options configures a migration.
type Options struct {
	Source Source
	Target Target

	Apply     bool          // write; else only say what would be written
	Window    time.Duration // size of a window, as ingest's
	FramesTTL time.Duration // older frames are in windows only; 0 is never
	MaxFuture time.Duration // how far ahead of the clock a timestamp may be
	Examples  int           // of refused documents, for each reason
	Patience  time.Duration // how long a failing operation is tried again

	Now    func() time.Time // nil is time.Now
	Logger *slog.Logger     // nil discards
}

const (
	// batch is how many frames are gathered before they are stored.
	batch = 5000

	// maxBatch bounds what a window of more frames may add to them.
	maxBatch = 10 * batch

	// progressEvery is how often a line of the log says how far it is.
	progressEvery = 10 * time.Second
)

// Run migrates, or says what a migration would do. It returns as much of a
// report as there is, also with an error: that of ctx, or of an operation that
// failed for longer than Options.Patience. To run again goes on from there.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Source == nil || o.Target == nil {
		return nil, errors.New("migrate: want a source and a target")
	}
	if err := (window.Options{Size: o.Window, Idle: 1, MaxOpen: 1}).Validate(); err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m := &migration{Options: o, sensors: make(map[string]struct{}), places: make(map[string]*span), began: o.Now(), said: o.Now()}
	m.report.Apply, m.report.FramesTTL = o.Apply, o.FramesTTL
	err := m.run(ctx)
	m.report.Sensors, m.report.Places = len(m.sensors), len(m.places)
	if err != nil {
		err = fmt.Errorf("migrate: %w", err)
	}
	return &m.report, err
}

type migration struct {
	Options
	report  Report
	decoder telemetry.Decoder

	frames  []pending // not stored yet, in the source's order
	sensors map[string]struct{}
	places  map[string]*span

	began, said time.Time
}

// pending is a frame with the document that it came in.
type pending struct {
	telemetry.Frame
	document string
}

// span is where the windows of a place begin: from first to last.
type span struct{ first, last int64 }

func (m *migration) run(ctx context.Context) error {
	if err := m.Source.SeedFrames(ctx, func(d Document) error { return m.add(ctx, &d) }); err != nil {
		return err
	}
	if err := m.flush(ctx); err != nil {
		return err
	}
	if err := m.Source.SeedStrangers(ctx, func(id string) error {
		m.report.Documents++
		m.refuse(ReasonForeignID, Refusal{ID: id, Field: "_id", Detail: "want an ObjectId, as the replaced system's, or the id of a frame, as this one's"})
		return nil
	}); err != nil {
		return err
	}
	if !m.Apply {
		return nil
	}
	return m.foldPlaces(ctx)
}

func (m *migration) refuse(reason string, why Refusal) {
	m.report.refuse(reason, why, m.Examples)
}

// add takes in one document.
func (m *migration) add(ctx context.Context, d *Document) error {
	m.report.Documents++
	f, reason, why := m.decode(d)
	if reason != "" {
		m.refuse(reason, why)
		return m.progress(ctx)
	}
	if n := len(m.frames); n > 0 {
		last := &m.frames[n-1]
		if last.ID == f.ID && last.Timestamp == f.Timestamp {
			m.report.Duplicates++
			if !same(&last.Frame, &f) {
				m.report.Contradicting++
			}
			// ObjectIds ascend: the first that was delivered stays, as in ingest.
			if d.ID < last.document {
				*last = pending{f, d.ID}
			}
			return m.progress(ctx)
		}
		boundary := last.ID != f.ID || window.IntervalOf(last.Timestamp, m.Window) != window.IntervalOf(f.Timestamp, m.Window)
		if n >= batch && boundary || n >= maxBatch {
			if err := m.flush(ctx); err != nil {
				return err
			}
		}
	}
	m.frames = append(m.frames, pending{f, d.ID})
	return m.progress(ctx)
}

// progress says how far it is, and whether to go on.
func (m *migration) progress(ctx context.Context) error {
	if now := m.Now(); now.Sub(m.said) >= progressEvery {
		m.said = now
		m.Logger.Info("reading", "documents", m.report.Documents, "refused", m.report.RefusedDocuments(),
			"per_second", int64(float64(m.report.Documents)/now.Sub(m.began).Seconds()))
	}
	return ctx.Err()
}

// flush stores the pending frames and their windows.
func (m *migration) flush(ctx context.Context) error {
	if len(m.frames) == 0 {
		return nil
	}
	refused, err := m.storeFrames(ctx)
	if err != nil {
		return err
	}
	var windows []*counting
	byID := make(map[string]*counting)
	for i := range m.frames {
		f := &m.frames[i]
		if refused[i] {
			continue
		}
		m.report.frame(f.Timestamp)
		m.sensors[f.ID] = struct{}{}
		interval := window.IntervalOf(f.Timestamp, m.Window)
		if f.PlaceID != "" {
			m.touch(f.PlaceID, interval.Start)
		}
		id := interval.ID(f.ID)
		if byID[id] == nil {
			byID[id] = &counting{id: id, sensor: f.ID, Interval: interval}
			windows = append(windows, byID[id])
		}
		byID[id].frames = append(byID[id].frames, f)
	}
	if err := m.storeWindows(ctx, windows); err != nil {
		return err
	}
	clear(m.frames)
	m.frames = m.frames[:0]
	return nil
}

// touch notes that a place has a window that begins at start and is to be folded.
func (m *migration) touch(place string, start int64) {
	if at := m.places[place]; at == nil {
		m.places[place] = &span{start, start}
	} else {
		at.first, at.last = min(at.first, start), max(at.last, start)
	}
}

// storeFrames stores those of the pending frames that the database would keep,
// and returns which it will never take.
func (m *migration) storeFrames(ctx context.Context) (refused map[int]bool, err error) {
	var frames []sink.Frame
	var index []int
	var ids []string
	oldest := m.Now().Add(-m.FramesTTL).UnixMilli()
	for i := range m.frames {
		f := &m.frames[i]
		if m.FramesTTL > 0 && f.Timestamp < oldest {
			m.report.Expired++
			continue
		}
		frames, index, ids = append(frames, sink.Frame{Frame: f.Frame}), append(index, i), append(ids, telemetry.FrameID(&f.Frame))
	}
	if len(frames) == 0 {
		return nil, nil
	}
	// Asking first makes another run several times as fast as inserting in vain.
	var stored map[string]bool
	if err := m.retry(ctx, "look for frames", func() (err error) {
		stored, err = m.Target.FramesStored(ctx, ids)
		return err
	}); err != nil {
		return nil, err
	}
	n := 0
	for i := range frames {
		if !stored[ids[i]] {
			frames[n], index[n] = frames[i], index[i]
			n++
		}
	}
	m.report.FramesThere += len(frames) - n
	frames = frames[:n]
	if !m.Apply || n == 0 {
		m.report.FramesNew += n
		return nil, nil
	}
	var answers []error
	if err := m.retry(ctx, "store frames", func() (err error) {
		answers, err = m.Target.PutFrames(ctx, frames)
		return err
	}); err != nil {
		return nil, err
	}
	refused = make(map[int]bool)
	for i, answer := range answers {
		switch {
		case answer == nil:
			m.report.FramesNew++
		case errors.Is(answer, sink.ErrDuplicate):
			m.report.FramesThere++
		default:
			refused[index[i]] = true
			m.refuse(ReasonRejected, Refusal{ID: m.frames[index[i]].document, Detail: answer.Error()})
		}
	}
	return refused, nil
}

// retry does an operation until it succeeds, ctx ends, or it has failed for
// Options.Patience.
func (m *migration) retry(ctx context.Context, what string, op func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = 100 * time.Millisecond
	wait.MaxInterval = 10 * time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, op() }, backoff.WithBackOff(wait),
		backoff.WithMaxElapsedTime(max(m.Patience, 1)), backoff.WithNotify(func(err error, _ time.Duration) {
			m.Logger.Warn("fails; retrying", "operation", what, "error", err)
		}))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
