package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

const epoch = 42

// store is a buffer in memory. A position is how many frames are before it.
type store struct {
	mu      sync.Mutex
	frames  []telemetry.Frame
	freed   int
	frees   []int
	dropped int // all before were freed, or dropped to make room
	updated chan struct{}
	faults  int // how many reads fail
}

func newStore() *store { return &store{updated: make(chan struct{}, 1)} }

func (s *store) append(frames ...telemetry.Frame) {
	s.mu.Lock()
	s.frames = append(s.frames, frames...)
	s.mu.Unlock()
	select {
	case s.updated <- struct{}{}:
	default:
	}
}

func (s *store) free(p int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.freed = max(s.freed, p)
	s.frees = append(s.frees, p)
	return nil
}

// wentBack reports whether a position was freed after a later one.
func (s *store) wentBack() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.IsSorted(s.frees)
}

func (s *store) state() (freed, length int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.freed, len(s.frames)
}

// drop replaces the first n frames not freed by the declaration that they are
// lost.
func (s *store) drop(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = min(n, len(s.frames)-s.freed)
	if n < 2 || s.frames[s.freed].IsLoss() {
		return
	}
	last := s.freed + n - 1
	if s.frames[last].IsLoss() {
		return
	}
	seqs := telemetry.SeqRange{First: s.frames[s.freed].Seq, Last: s.frames[last].Seq}
	s.frames[last] = telemetry.Frame{ID: s.frames[last].ID, Sequenced: true, Epoch: epoch,
		Lost: telemetry.Loss{Seqs: seqs, Reason: "buffer_full"}}
	s.freed, s.dropped = last, last
}

var errRead = errors.New("the card is gone")

type storeReader struct {
	store *store
	at    int
}

func (s *store) reader() Reader[int] {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &storeReader{s, s.freed}
}

func (r *storeReader) Next(f *telemetry.Frame) (int, error) {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	if r.store.faults > 0 {
		r.store.faults--
		return 0, errRead
	}
	r.at = max(r.at, r.store.freed)
	if r.at == len(r.store.frames) {
		return 0, io.EOF
	}
	*f = r.store.frames[r.at]
	r.at++
	return r.at, nil
}

func readings(first, n int) []telemetry.Frame {
	frames := make([]telemetry.Frame, n)
	for i := range frames {
		f := telemetry.Frame{ID: "d", Timestamp: 1763870400000 + int64(first+i), Sequenced: true, Epoch: epoch, Seq: uint64(first + i)}
		f.Payload.Set(telemetry.Temperature, telemetry.Micro(first+i))
		frames[i] = f
	}
	return frames
}

var errDown = errors.New("link down")

// broker is a broker and the ingest service behind it, and the ways in which
// they and the network may fail. Chances are in percent.
type broker struct {
	uplink *Uplink[int]
	rand   *rand.Rand
	ctx    context.Context // of what is still to be delivered
	tasks  sync.WaitGroup

	mu        sync.Mutex
	faults    faults
	connected bool
	open      map[*publish]struct{} // neither acknowledged nor given up
	messages  [][]byte              // as they came
	ingested  map[string]int        // by FrameID, how often
	receipts  telemetry.Receipt     // all that were received by the uplink
}

type faults struct {
	LoseMessage, LoseAck, LoseReceipt, DoubleMessage, DoubleReceipt, HalveReceipt int
	Delay                                                                         time.Duration // up to
}

type publish struct {
	acked func(error)
}

func newBroker(ctx context.Context, seed uint64) *broker {
	return &broker{
		rand:     rand.New(rand.NewPCG(seed, 0)),
		ctx:      ctx,
		open:     make(map[*publish]struct{}),
		ingested: make(map[string]int),
	}
}

// chance draws; b.mu is held.
func (b *broker) chance(percent int) bool { return b.rand.IntN(100) < percent }

// later runs f after a delay of fake time, if the test is still on then.
// b.mu is held.
func (b *broker) later(f func()) {
	delay := time.Duration(b.rand.Int64N(int64(b.faults.Delay) + 1))
	b.tasks.Go(func() {
		select {
		case <-time.After(delay):
			f()
		case <-b.ctx.Done():
		}
	})
}

func (b *broker) Publish(_ context.Context, payload []byte, acked func(error)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.connected {
		return errDown
	}
	b.messages = append(b.messages, payload)
	p := &publish{acked}
	b.open[p] = struct{}{}
	if !b.chance(b.faults.LoseMessage) {
		b.later(func() { b.ingest(payload) })
	}
	if b.chance(b.faults.DoubleMessage) {
		b.later(func() { b.ingest(payload) })
	}
	if !b.chance(b.faults.LoseAck) {
		b.later(func() { b.finish(p, nil) })
	}
	return nil
}

// finish ends a publish, once.
func (b *broker) finish(p *publish, err error) {
	b.mu.Lock()
	_, open := b.open[p]
	delete(b.open, p)
	b.mu.Unlock()
	if open {
		p.acked(err)
	}
}

// ingest takes a message as the ingest service does.
func (b *broker) ingest(payload []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var halves [2]telemetry.Receipt
	halve := b.chance(b.faults.HalveReceipt)
	var d telemetry.Decoder
	err := d.Each(payload, func(_ []byte, f *telemetry.Frame, err error) {
		if err != nil {
			panic(err)
		}
		b.ingested[telemetry.FrameID(f)]++
		seqs := telemetry.SeqRange{First: f.Seq, Last: f.Seq}
		if f.IsLoss() {
			seqs = f.Lost.Seqs
		}
		half := 0
		if halve {
			half = b.rand.IntN(2)
		}
		halves[half].Add(f.ID, f.Epoch, seqs)
	})
	if err != nil {
		panic(err)
	}
	for i := range halves {
		if len(halves[i].Frames) == 0 {
			continue
		}
		receipt := telemetry.AppendReceipt(nil, &halves[i])
		if !b.chance(b.faults.LoseReceipt) {
			b.later(func() { b.receipt(receipt) })
		}
		if b.chance(b.faults.DoubleReceipt) {
			b.later(func() { b.receipt(receipt) })
		}
	}
}

// receipt delivers a receipt if there is a connection.
func (b *broker) receipt(payload []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.connected {
		return
	}
	var r telemetry.Receipt
	if err := telemetry.DecodeReceipt(payload, &r); err != nil {
		panic(err)
	}
	for _, s := range r.Frames {
		for _, seqs := range s.Seqs {
			b.receipts.Add(s.ID, s.Epoch, seqs)
		}
	}
	b.uplink.Receive(payload)
}

func (b *broker) connect() {
	b.mu.Lock()
	b.connected = true
	b.mu.Unlock()
	b.uplink.Connected()
}

func (b *broker) disconnect() {
	b.mu.Lock()
	b.connected = false
	open := b.open
	b.open = make(map[*publish]struct{})
	b.mu.Unlock()
	b.uplink.Disconnected()
	for p := range open {
		p.acked(errDown)
	}
}

// delivered returns how often the frame was ingested.
func (b *broker) delivered(f *telemetry.Frame) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ingested[telemetry.FrameID(f)]
}

func (b *broker) published() [][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([][]byte(nil), b.messages...)
}

// receipted returns how many of the frames in s, from its start, were dropped or
// are covered by the receipts that the uplink was given.
func (b *broker) receipted(s *store) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.dropped
	for n < len(s.frames) && b.receipts.Covers(&s.frames[n]) {
		n++
	}
	return n
}

func options(s *store, p Publisher) Options[int] {
	return Options[int]{
		Read:           s.reader,
		End:            io.EOF,
		Free:           s.free,
		Updated:        s.updated,
		Publisher:      p,
		PublishReason:  func(err error) string { return map[bool]string{true: "down", false: "other"}[errors.Is(err, errDown)] },
		Receipts:       true,
		BatchFrames:    5,
		BatchSize:      1 << 10,
		BatchAge:       time.Second,
		InFlight:       3,
		ReceiptTimeout: 10 * time.Second,
		BackoffMin:     500 * time.Millisecond,
		BackoffMax:     time.Minute,
		Logger:         slog.New(slog.DiscardHandler),
		Metrics:        metrics.NewSet(),
	}
}

// run starts an uplink between s and a new broker. What it starts ends with
// the test's bubble.
func run(t *testing.T, s *store, seed uint64, change func(*Options[int])) *broker {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	b := newBroker(ctx, seed)
	o := options(s, b)
	if change != nil {
		change(&o)
	}
	u, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	b.uplink = u
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		b.tasks.Wait()
	})
	return b
}

func ids(payload []byte) (ids []string) {
	var d telemetry.Decoder
	err := d.Each(payload, func(_ []byte, f *telemetry.Frame, err error) {
		if err != nil {
			panic(err)
		}
		id := fmt.Sprint(f.Seq)
		if f.IsLoss() {
			id = fmt.Sprintf("lost %d-%d", f.Lost.Seqs.First, f.Lost.Seqs.Last)
		}
		ids = append(ids, id)
	})
	if err != nil {
		panic(err)
	}
	return ids
}

func (b *broker) batches() (batches [][]string) {
	for _, payload := range b.published() {
		batches = append(batches, ids(payload))
	}
	return batches
}
