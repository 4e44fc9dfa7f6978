package aggregate

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// world is a consumer group, its topics and a store. Every operation of every
// owner waits until the world lets it happen, so that rapid draws the order of
// them all, and what fails. It runs in a bubble of synctest.
type world struct {
	t       *rapid.T
	store   *twin
	topics  *topics
	maxOpen int
	batch   int // records in one Fetch

	shards []*shard // the partitions of iot-frames, and then that of iot-place-parts
	lives  []*life

	mu sync.Mutex // guards the lives' waits and killed
}

// shard is a partition with the group's state of it.
type shard struct {
	id        int
	records   func() []kafka.Record
	work      func(*Aggregate) func(context.Context, Source) error
	committed int64
	owner     *life
}

// life is a process that owns a shard, or did and does not know better.
type life struct {
	*world
	*shard
	next int64

	ctx    context.Context // ends when the process learns that it is no owner
	cancel func()
	done   chan struct{}
	err    error

	operation string
	waits     chan verdict // nil while no operation waits
	killed    bool
	stopped   bool // as by SIGSTOP: nothing of it happens
}

// verdict is what becomes of an operation.
type verdict struct {
	done bool
	err  error
}

func newWorld(t *rapid.T) *world {
	w := &world{
		t: t, store: newTwin(), topics: newTopics(),
		maxOpen: rapid.IntRange(1, 8).Draw(t, "max open"),
		batch:   rapid.IntRange(1, 20).Draw(t, "batch"),
	}
	sensors := func(a *Aggregate) func(context.Context, Source) error { return a.Sensors }
	for i := range rapid.IntRange(1, 2).Draw(t, "partitions") {
		topic := fmt.Sprint(FramesTopic, i)
		w.shards = append(w.shards, &shard{id: i, records: func() []kafka.Record { return w.topics.records[topic] }, work: sensors})
	}
	w.shards = append(w.shards, &shard{
		records: func() []kafka.Record { return w.topics.records[PartsTopic] },
		work:    func(a *Aggregate) func(context.Context, Source) error { return a.Places },
	})
	return w
}

// send puts a frame into the partition of its sensor.
func (w *world) send(f *telemetry.Frame) {
	topic := fmt.Sprint(FramesTopic, int(f.ID[len(f.ID)-1])%(len(w.shards)-1))
	w.topics.mu.Lock()
	defer w.topics.mu.Unlock()
	w.topics.records[topic] = append(w.topics.records[topic], message(0, f).Record)
}

// start begins a life as the owner of s.
func (w *world) start(s *shard) {
	l := &life{world: w, shard: s, next: s.committed, done: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(context.Background())
	l.ctx, l.cancel = ctx, func() { cancel(kafka.ErrNotOwner) }
	s.owner = l
	w.lives = append(w.lives, l)
	a, err := New(Options{
		Window:    window.Options{Size: size, Reorder: 2 * time.Second, Idle: 30 * time.Second, MaxOpen: w.maxOpen},
		Retention: 24 * time.Hour, Registry: prometheus.NewRegistry(),
		Store: &twin{tables: w.store.tables, fault: l.pass}, Producer: &topics{log: w.topics.log, fault: l.pass},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(l.done)
		l.err = s.work(a)(l.ctx, l)
	}()
}

// pass is called before each operation and waits for what becomes of it.
func (l *life) pass(operation string) (done bool, err error) {
	l.mu.Lock()
	if l.killed {
		l.mu.Unlock()
		return false, errAway
	}
	waits := make(chan verdict)
	l.operation, l.waits = operation, waits
	l.mu.Unlock()
	v := <-waits
	return v.done, v.err
}

func (l *life) ID() int         { return l.id }
func (l *life) Next() int64     { return l.next }
func (l *life) SeekTo(at int64) { l.next = at }
func (l *life) Lag() int64      { return 0 }

func (l *life) Fetch(ctx context.Context) ([]kafka.Message, error) {
	_, _ = l.pass("Fetch") // it is tried again until it succeeds
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	l.topics.mu.Lock()
	defer l.topics.mu.Unlock()
	var got []kafka.Message
	for _, r := range l.records()[l.next:] {
		if len(got) == l.batch {
			break
		}
		got = append(got, kafka.Message{Record: r, Offset: l.next})
		l.next++
	}
	return got, nil
}

func (l *life) Commit(_ context.Context, offset int64) error {
	done, err := l.pass("Commit")
	if l.owner != l || !done {
		return fmt.Errorf("%w: %w", kafka.ErrNotOwner, errAway)
	}
	l.committed = offset
	if err != nil {
		return fmt.Errorf("%w: %w", kafka.ErrNotOwner, err)
	}
	return nil
}

// waiting returns the lives of which an operation waits, when nothing else goes
// on.
func (w *world) waiting() []*life {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	var waiting []*life
	for _, l := range w.lives {
		if l.waits != nil && !l.stopped {
			waiting = append(waiting, l)
		}
	}
	return waiting
}

// answer lets the waiting operation of l happen, or not.
func (w *world) answer(l *life, v verdict) {
	w.mu.Lock()
	waits := l.waits
	l.waits = nil
	w.mu.Unlock()
	waits <- v
}

// kill ends l as kill -9 does: its operation under way may have been done.
func (w *world) kill(l *life) {
	w.mu.Lock()
	l.killed = true
	waits := l.waits
	w.mu.Unlock()
	if waits != nil {
		w.answer(l, verdict{rapid.Bool().Draw(w.t, "done before the kill"), errAway})
	}
	l.cancel()
	synctest.Wait()
}

// chaos sends frames and lets that many things happen.
func (w *world) chaos(steps int, frames []telemetry.Frame) {
	for _, s := range w.shards {
		w.start(s)
	}
	for range steps {
		waiting := w.waiting()
		s := w.shards[rapid.IntRange(0, len(w.shards)-1).Draw(w.t, "shard")]
		switch rapid.IntRange(0, 49).Draw(w.t, "event") {
		case 0:
			s.owner.stopped = rapid.Bool().Draw(w.t, "stopped")
			w.start(s) // the owner before it does not know yet
		case 1:
			w.kill(s.owner)
			w.start(s)
		case 2:
			w.enlighten()
		case 3:
			// A zombie that has learned of it is given the time to make good
			// what it did.
			if !slices.ContainsFunc(w.lives, (*life).repairing) {
				<-time.After(time.Duration(rapid.IntRange(1, 40).Draw(w.t, "seconds")) * time.Second)
			}
		case 4, 5, 6, 7:
			for range min(len(frames), rapid.IntRange(1, 10).Draw(w.t, "sent")) {
				w.send(&frames[0])
				frames = frames[1:]
			}
		default:
			if len(waiting) == 0 {
				<-time.After(100 * time.Millisecond)
				continue
			}
			l := waiting[rapid.IntRange(0, len(waiting)-1).Draw(w.t, "life")]
			if l.operation == "Produce" && l.owner == l && rapid.IntRange(0, 4).Draw(w.t, "stops between store and produce") == 0 {
				l.stopped = true
				w.start(l.shard)
				continue
			}
			v := verdict{done: true}
			if l.operation != "Fetch" && l.operation != "Commit" && rapid.IntRange(0, 9).Draw(w.t, "fails") == 0 {
				v = verdict{rapid.Bool().Draw(w.t, "done"), errAway}
			}
			w.answer(l, v)
		}
	}
	for i := range frames {
		w.send(&frames[i])
	}
}

// repairing reports whether l has learned that it is no owner and has not ended.
func (l *life) repairing() bool {
	select {
	case <-l.done:
		return false
	default:
		return l.ctx.Err() != nil
	}
}

// enlighten tells the first zombie what it is. Of what was under way when it
// was stopped, it learns the outcome first.
func (w *world) enlighten() {
	synctest.Wait() // whatever was answered last is done
	for _, l := range w.lives {
		if l.owner == l || l.ctx.Err() != nil {
			continue
		}
		l.stopped = false
		if l.waits != nil {
			w.answer(l, verdict{done: true})
			synctest.Wait()
		}
		l.cancel()
		return
	}
}

// settle ends the zombies before or after the owners have done all their work,
// without faults, and then the owners.
func (w *world) settle() {
	if rapid.Bool().Draw(w.t, "zombies come late") {
		for _, l := range w.lives {
			l.stopped = l.owner != l && l.ctx.Err() == nil
		}
		w.idle()
	}
	for range w.lives {
		w.enlighten()
	}
	w.idle()
	for _, l := range w.lives {
		l.cancel()
	}
	for waiting := w.waiting(); len(waiting) > 0; waiting = w.waiting() {
		w.answer(waiting[0], verdict{done: true})
	}
	for _, l := range w.lives {
		if <-l.done; l.err != nil && !l.killed {
			w.t.Fatalf("an owner of partition %d ended with %v", l.id, l.err)
		}
	}
}

// idle lets everything happen until nothing has for a while.
func (w *world) idle() {
	for quiet := 0; quiet < 20; {
		waiting := w.waiting()
		work := slices.IndexFunc(waiting, func(l *life) bool {
			return l.repairing() || l.operation != "Fetch" || l.next < int64(len(l.records()))
		})
		switch {
		case work >= 0:
			quiet = 0
			w.answer(waiting[work], verdict{done: true})
		case len(waiting) < len(w.shards):
			<-time.After(100 * time.Millisecond) // one is in a backoff
		default:
			quiet++
			<-time.After(5 * time.Second)
			for _, l := range waiting {
				w.answer(l, verdict{done: true})
			}
		}
	}
}

// end kills whoever is left.
func (w *world) end() {
	for _, l := range w.lives {
		w.mu.Lock()
		l.killed = true
		waits := l.waits
		w.mu.Unlock()
		if waits != nil {
			w.answer(l, verdict{err: errAway})
		}
		l.cancel()
		<-l.done
	}
}
