package uplink

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// drain is an outage's backlog, and what is set for sending it.
type drain struct {
	Seed        uint64
	Rate        int
	BatchFrames int
	InFlight    int
	Backlog     int
	Faults      faults
	Breaks      int // of the connection, meanwhile
}

// TestRateIsNeverAbove holds what is sent, retransmissions included, against
// MaxDrainRate: over any interval it is no more than the rate times the interval
// and one full batch. All the same everything arrives, also in batches of more
// frames than the rate.
func TestRateIsNeverAbove(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := drain{
			Seed:        rapid.Uint64().Draw(rt, "seed"),
			Rate:        rapid.IntRange(1, 500).Draw(rt, "rate"),
			BatchFrames: rapid.SampledFrom([]int{1, 5, 50, 1000}).Draw(rt, "batch_frames"),
			InFlight:    rapid.IntRange(1, 8).Draw(rt, "in_flight"),
			Backlog:     rapid.IntRange(1, 2000).Draw(rt, "backlog"),
			Faults: faults{
				LoseReceipt: rapid.IntRange(0, 50).Draw(rt, "lose_receipt"),
				Forget:      rapid.IntRange(0, 100).Draw(rt, "forget"),
				Delay:       time.Duration(rapid.IntRange(0, 2000).Draw(rt, "delay")) * time.Millisecond,
			},
			Breaks: rapid.IntRange(0, 20).Draw(rt, "breaks"),
		}
		var err error
		synctest.Test(t, func(t *testing.T) { err = d.run(t) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func (d *drain) run(t *testing.T) error {
	s := newStore()
	b := run(t, s, d.Seed, func(o *Options[int]) {
		o.MaxDrainRate, o.BatchFrames, o.InFlight, o.BatchSize = d.Rate, d.BatchFrames, d.InFlight, 1<<20
	})
	b.faults = d.Faults
	rng := rand.New(rand.NewPCG(d.Seed, 1))
	s.append(readings(0, d.Backlog)...)
	b.connect()
	for i := range d.Breaks {
		<-time.After(time.Duration(rng.Int64N(int64(30 * time.Second))))
		b.disconnect()
		s.append(readings(d.Backlog+i, 1)...)
		b.connect()
	}
	b.mu.Lock()
	b.faults = faults{}
	b.mu.Unlock()
	// What is to be sent, what was sent in vain before, and the longest pauses.
	<-time.After(time.Duration(2*(d.Backlog+d.Breaks)/d.Rate+d.BatchFrames/d.Rate+600) * time.Second)
	synctest.Wait()
	if freed, length := s.state(); freed != length {
		return fmt.Errorf("freed %d of %d", freed, length)
	}
	return within(b.published(), float64(d.Rate), float64(d.BatchFrames))
}

// within holds that no interval from one message to another has more frames than
// rate and burst allow. It follows the token bucket by its definition: the worst
// interval that ends with a message is what the level of a bucket that leaks at
// rate says.
func within(messages []message, rate, burst float64) error {
	const rounding = 1e-6
	level := 0.0
	for i, m := range messages {
		if i > 0 {
			level = max(0, level-rate*m.at.Sub(messages[i-1].at).Seconds())
		}
		if level += float64(len(ids(m.payload))); level > burst+rounding {
			return fmt.Errorf("message %d: there is an interval up to it with %.3f frames more than the rate allows, the burst is %g", i, level, burst)
		}
	}
	return nil
}

// TestRateHoldsBack sends a backlog at exactly the rate, and counts the messages
// that wait for it.
func TestRateHoldsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.append(readings(0, 100)...)
		b := run(t, s, 1, func(o *Options[int]) { o.MaxDrainRate = 2 })
		began := time.Now()
		b.connect()
		<-time.After(time.Hour)
		synctest.Wait()
		messages := b.published()
		if len(messages) != 20 {
			t.Fatalf("%d messages, want 20 of 5 frames", len(messages))
		}
		for i, m := range messages {
			if got, want := m.at.Sub(began), time.Duration(i)*2500*time.Millisecond; got != want {
				t.Errorf("message %d after %v, want %v", i, got, want)
			}
		}
		if n := b.uplink.count.throttled.Get(); n != 19 {
			t.Errorf("counted %d messages that were held back, want all but the first, 19", n)
		}
	})
}
