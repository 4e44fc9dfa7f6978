package uplink

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// life is what happens to an uplink before its link becomes healthy.
type life struct {
	Seed     uint64
	Faults   faults
	Rate     int
	Steps    int
	Drops    bool
	Receipts bool
}

// TestHostileLink sends frames over a link that loses, doubles, delays and
// reorders messages, acknowledgements and receipts, that breaks, and whose broker
// then forgets all that is on its way or delivers it on the next connection;
// behind it an ingest service takes and answers messages in part. At each quiet
// moment the buffer is free exactly as far as the receipts reach without a gap
// (without receipts, the acknowledgements), which is never further than Kafka
// has it. Once the link is healthy every frame, or a loss that declares it, has
// arrived and all is freed.
func TestHostileLink(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		percent := func(name string) int { return rapid.IntRange(0, 60).Draw(rt, name) }
		l := life{
			Seed: rapid.Uint64().Draw(rt, "seed"),
			Faults: faults{
				LoseMessage:   percent("lose_message"),
				LoseAck:       percent("lose_ack"),
				LoseReceipt:   percent("lose_receipt"),
				DoubleMessage: percent("double_message"),
				DoubleReceipt: percent("double_receipt"),
				HalveReceipt:  percent("halve_receipt"),
				AnswerHalf:    percent("answer_half"),
				LateReceipt:   percent("late_receipt"),
				Forget:        percent("forget"),
				Delay:         time.Duration(rapid.IntRange(0, 30_000).Draw(rt, "delay")) * time.Millisecond,
			},
			Rate:     rapid.SampledFrom([]int{20, 1000, math.MaxInt32}).Draw(rt, "rate"),
			Steps:    rapid.IntRange(1, 60).Draw(rt, "steps"),
			Drops:    rapid.Bool().Draw(rt, "drops"),
			Receipts: rapid.Bool().Draw(rt, "receipts"),
		}
		if !l.Receipts && rapid.Bool().Draw(rt, "keeps") {
			l.Faults.LoseMessage, l.Faults.AnswerHalf, l.Faults.Forget = 0, 0, 0
		}
		var err error
		synctest.Test(t, func(t *testing.T) { err = live(t, &l) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func live(t *testing.T, l *life) error {
	s := newStore()
	b := run(t, s, l.Seed, func(o *Options[int]) { o.Receipts, o.MaxDrainRate = l.Receipts, l.Rate })
	b.faults, b.silent = l.Faults, !l.Receipts
	rng := rand.New(rand.NewPCG(l.Seed, 1))
	seq := 0
	original := make(map[int]telemetry.Frame)
	appendSome := func() {
		frames := readings(seq, 1+rng.IntN(20))
		for _, f := range frames {
			original[seq] = f
			seq++
		}
		s.append(frames...)
	}
	for range l.Steps {
		switch rng.IntN(6) {
		case 0, 1:
			appendSome()
		case 2:
			b.connect()
		case 3:
			b.disconnect()
		case 4:
			<-time.After(time.Duration(rng.Int64N(int64(time.Minute))))
		case 5:
			if l.Drops {
				s.drop(2 + rng.IntN(10))
			}
		}
		synctest.Wait()
		if err := quiet(b, s, l); err != nil {
			return err
		}
	}

	b.mu.Lock()
	b.faults = faults{Delay: 100 * time.Millisecond}
	up := b.connected
	b.mu.Unlock()
	if !up {
		b.connect()
	}
	appendSome()
	<-time.After(10 * time.Minute)
	synctest.Wait()
	if err := quiet(b, s, l); err != nil {
		return err
	}
	freed, length := s.state()
	if freed != length {
		return fmt.Errorf("freed %d of %d after ten minutes of a healthy link", freed, length)
	}
	if !l.keeps() {
		return nil // what the broker has acknowledged and then lost is gone
	}
	var lost telemetry.Receipt
	for i := range s.frames {
		if f := &s.frames[i]; f.IsLoss() {
			if b.delivered(f) == 0 && !b.kafka.Covers(f) {
				return fmt.Errorf("the loss %v did not arrive", f.Lost)
			}
			lost.Add(f.ID, f.Epoch, f.Lost.Seqs)
		}
	}
	for n := range seq {
		f := original[n]
		if b.delivered(&f) == 0 && !lost.Covers(&f) {
			return fmt.Errorf("reading %d did not arrive", n)
		}
	}
	return nil
}

// keeps reports whether what was freed must have arrived: ingest said so, or
// the broker did and loses nothing.
func (l *life) keeps() bool {
	return l.Receipts || l.Faults.LoseMessage == 0 && l.Faults.AnswerHalf == 0 && l.Faults.Forget == 0
}

// quiet checks what holds whenever nothing is going on.
func quiet(b *broker, s *store, l *life) error {
	u := b.uplink
	if n, most := int(u.count.unreceipted.Get()), u.opts.InFlight*u.opts.BatchFrames; n > most {
		return fmt.Errorf("remembers %d frames, want at most %d", n, most)
	}
	said := &b.receipts
	if !l.Receipts {
		said = &b.acked
	}
	// A loss that was declared after the receipts for some of its frames came
	// has to be receipted itself.
	freed, _ := s.state()
	if reach := b.reach(s, said); freed > reach || freed < reach && !l.Drops {
		return fmt.Errorf("freed %d, receipts reach %d", freed, reach)
	}
	if reach := b.reach(s, &b.kafka); l.Receipts && freed > reach {
		return fmt.Errorf("freed %d, Kafka has %d", freed, reach)
	}
	if s.wentBack() {
		return errors.New("freed backwards")
	}
	return nil
}
