package uplink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/klauspost/compress/zstd"

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

	mu        sync.Mutex
	faults    faults
	silent    bool // ingest sends no receipts
	connected bool
	era       int                   // how often all that was on its way has been forgotten
	open      map[*publish]struct{} // neither acknowledged nor given up
	messages  []message             // as they came
	late      [][]byte              // receipts that the next connection gets
	ingested  map[string]int        // by FrameID, how often
	kafka     telemetry.Receipt     // all that were ingested
	acked     telemetry.Receipt     // all whose messages were acknowledged to the uplink
	receipts  telemetry.Receipt     // all that were received by the uplink
}

type faults struct {
	LoseMessage, LoseAck, LoseReceipt, DoubleMessage, DoubleReceipt int

	HalveReceipt int           // ingest answers a message with two receipts
	AnswerHalf   int           // ingest takes, and answers, some frames of a message only
	LateReceipt  int           // a receipt comes on the connection after the one it was sent on
	Forget       int           // with a connection, the broker loses all that is on its way, both ways
	Delay        time.Duration // up to
}

type message struct {
	payload []byte
	at      time.Time
}

type publish struct {
	payload []byte
	acked   func(error)
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
	era := b.era
	time.AfterFunc(delay, func() {
		b.mu.Lock()
		over := b.ctx.Err() != nil || b.era != era
		b.mu.Unlock()
		if !over {
			f()
		}
	})
}

func (b *broker) Publish(_ context.Context, payload []byte, acked func(error)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.connected {
		return errDown
	}
	b.messages = append(b.messages, message{payload, time.Now()})
	p := &publish{payload, acked}
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
	if open && err == nil {
		each(p.payload, func(f *telemetry.Frame) { b.acked.Add(f.ID, f.Epoch, seqsOf(f)) })
	}
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
	halve, answerHalf := b.chance(b.faults.HalveReceipt), b.chance(b.faults.AnswerHalf)
	each(payload, func(f *telemetry.Frame) {
		if answerHalf && b.rand.IntN(2) == 0 {
			return
		}
		b.ingested[telemetry.FrameID(f)]++
		b.kafka.Add(f.ID, f.Epoch, seqsOf(f))
		half := 0
		if halve {
			half = b.rand.IntN(2)
		}
		halves[half].Add(f.ID, f.Epoch, seqsOf(f))
	})
	for i := range halves {
		if len(halves[i].Frames) == 0 || b.silent {
			continue
		}
		receipt := telemetry.AppendReceipt(nil, &halves[i])
		switch {
		case b.chance(b.faults.LoseReceipt):
		case b.chance(b.faults.LateReceipt):
			b.late = append(b.late, receipt)
		default:
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
	late := b.late
	b.late = nil
	b.mu.Unlock()
	b.uplink.Connected()
	for _, receipt := range late {
		b.receipt(receipt)
	}
}

func (b *broker) disconnect() {
	b.mu.Lock()
	b.connected = false
	open := b.open
	b.open = make(map[*publish]struct{})
	if b.chance(b.faults.Forget) {
		b.era++
		b.late = nil
	}
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

func (b *broker) published() []message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.messages)
}

// reach returns how many of the frames in s, from its start, were dropped or are
// covered by r, which is one of the broker's.
func (b *broker) reach(s *store, r *telemetry.Receipt) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.dropped
	for n < len(s.frames) && r.Covers(&s.frames[n]) {
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
		MaxDrainRate:   math.MaxInt32, // a batch in 3 ns
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
	})
	return b
}

// plain returns the text of a message that may be compressed.
func plain(payload []byte) []byte {
	if !bytes.HasPrefix(payload, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		return payload
	}
	d, err := zstd.NewReader(nil)
	if err != nil {
		panic(err)
	}
	defer d.Close()
	text, err := d.DecodeAll(payload, nil)
	if err != nil {
		panic(err)
	}
	return text
}

// each calls f with the frames of a message.
func each(payload []byte, f func(*telemetry.Frame)) {
	var d telemetry.Decoder
	err := d.Each(plain(payload), func(_ []byte, frame *telemetry.Frame, err error) {
		if err != nil {
			panic(err)
		}
		f(frame)
	})
	if err != nil {
		panic(err)
	}
}

// seqsOf returns the sequence numbers that a reading or a loss stands for.
func seqsOf(f *telemetry.Frame) telemetry.SeqRange {
	if f.IsLoss() {
		return f.Lost.Seqs
	}
	return telemetry.SeqRange{First: f.Seq, Last: f.Seq}
}

func ids(payload []byte) (ids []string) {
	each(payload, func(f *telemetry.Frame) {
		id := fmt.Sprint(f.Seq)
		if f.IsLoss() {
			id = fmt.Sprintf("lost %d-%d", f.Lost.Seqs.First, f.Lost.Seqs.Last)
		}
		ids = append(ids, id)
	})
	return ids
}

func (b *broker) batches() (batches [][]string) {
	for _, m := range b.published() {
		batches = append(batches, ids(m.payload))
	}
	return batches
}
