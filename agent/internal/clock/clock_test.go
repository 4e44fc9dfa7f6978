package clock

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// machine is a Pi: its wall clock starts somewhere and can be set, its
// CLOCK_BOOTTIME runs fast or slow by drift, in parts per million.
type machine struct {
	now    time.Time // the truth
	booted time.Time
	drift  int64
	offset time.Duration // of the wall clock from CLOCK_BOOTTIME, since 1970
	synced bool
	slow   time.Duration // how long it takes to read a clock
}

var epoch = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func newMachine() *machine { return &machine{now: epoch, booted: epoch} }

func (m *machine) boottime() time.Duration {
	m.now = m.now.Add(m.slow)
	up := m.now.Sub(m.booted)
	return up + time.Duration(int64(up)/1e6*m.drift)
}

func (m *machine) wall() time.Time { return time.Unix(0, 0).Add(m.boottime() + m.offset) }

// set makes the wall clock say t now.
func (m *machine) set(t time.Time) { m.offset += t.Sub(m.wall()) }

// sync is what a time daemon does.
func (m *machine) sync() { m.set(m.now); m.synced = true }

// setByHand makes the kernel say that it is not synchronised.
func (m *machine) setByHand(t time.Time) { m.set(t); m.synced = false }

func (m *machine) pass(d time.Duration) { m.now = m.now.Add(d) }

func (m *machine) source() Source {
	return Source{Boottime: m.boottime, Wall: m.wall, Believed: func() bool { return m.synced }}
}

// TestClock goes through what happens to a Pi's clock. No moment that is known
// is wrong.
func TestClock(t *testing.T) {
	const hour = time.Hour
	tests := []struct {
		name  string
		steps func(m *machine, at func(State))
		error time.Duration // of moments that are known
	}{
		{"hours without the network", func(m *machine, at func(State)) {
			at(Unsynced)
			m.pass(5 * hour)
			at(Unsynced)
			m.sync()
			at(Synced)
			m.pass(hour)
			at(Synced)
		}, 0},
		{"stepped by the daemon", func(m *machine, at func(State)) {
			m.sync()
			at(Synced)
			m.set(m.now.Add(-300 * time.Millisecond))
			m.pass(time.Second)
			m.sync()
			at(Synced)
		}, 0},
		{"set by hand, forth and back", func(m *machine, at func(State)) {
			m.sync()
			at(Synced)
			m.setByHand(m.now.Add(1000 * hour))
			at(Holdover)
			m.pass(hour)
			m.setByHand(m.now.Add(-1000 * hour))
			at(Holdover)
			m.sync()
			at(Synced)
		}, 0},
		{"suspended for a night, the wall clock behind", func(m *machine, at func(State)) {
			m.sync()
			at(Synced)
			m.pass(8 * hour)
			m.setByHand(m.now.Add(-8 * hour)) // CLOCK_BOOTTIME has gone on
			at(Holdover)
			m.sync()
			at(Synced)
		}, 0},
		{"network lost for days", func(m *machine, at func(State)) {
			m.sync()
			at(Synced)
			m.synced = false // the kernel gives up after nine hours
			m.pass(72 * hour)
			at(Holdover)
			m.sync()
			at(Synced)
		}, 0},
		{"network lost for days, a crystal of 100 ppm", func(m *machine, at func(State)) {
			m.sync()
			at(Synced)
			m.synced, m.drift = false, 100
			m.pass(72 * hour)
			at(Holdover)
			m.sync()
			at(Synced)
		}, 26 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine()
			c := New(m.source())
			tt.steps(m, func(want State) {
				t.Helper()
				i := c.Now()
				if c.State() != want || i.Known != (want != Unsynced) {
					t.Errorf("state %s, known %v, want %s", c.State(), i.Known, want)
				}
				if late := i.Time.Sub(m.now).Abs(); i.Known && late > tt.error {
					t.Errorf("%s: wrong by %v, want at most %v", want, late, tt.error)
				}
			})
		})
	}
}

// TestOrigin places the moments before the first synchronisation. They are wrong
// by what the crystal drifted until then.
func TestOrigin(t *testing.T) {
	m := newMachine()
	m.drift = -100
	c := New(m.source())
	if _, known := c.Origin(); known {
		t.Error("the origin is known before the clock is")
	}
	var instants []Instant
	var truths []time.Time
	for range 5 {
		instants, truths = append(instants, c.Now()), append(truths, m.now)
		m.pass(time.Hour)
	}
	m.sync()
	origin, known := c.Origin()
	if !known {
		t.Fatal("the origin is not known")
	}
	for i, in := range instants {
		wrong := origin.Add(in.Boot).Sub(truths[i]).Abs()
		left := time.Duration(len(instants)-i) * time.Hour
		if most := left/10_000 + time.Millisecond; wrong > most {
			t.Errorf("%v before the synchronisation: wrong by %v, want at most %v", left, wrong, most)
		}
	}
}

// TestSetWhileItIsRead has the wall clock set, rightly or by hand, at any moment
// of a reading: a wrong time is never taken for a known one.
func TestSetWhileItIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine()
		if rapid.Bool().Draw(t, "synced before") {
			m.sync()
		}
		countdown := rapid.IntRange(0, 12).Draw(t, "at")
		byHand := rapid.Bool().Draw(t, "by hand")
		m.slow = rapid.SampledFrom([]time.Duration{0, time.Microsecond, 20 * time.Millisecond}).Draw(t, "slow")
		step := func() {
			if countdown--; countdown != 0 {
				return
			}
			if byHand {
				m.setByHand(m.now.Add(time.Hour))
			} else {
				m.sync()
			}
		}
		c := New(Source{
			Boottime: func() time.Duration { step(); return m.boottime() },
			Wall:     func() time.Time { step(); return m.wall() },
			Believed: func() bool { step(); return m.synced },
		})
		for range 3 {
			if i := c.Now(); i.Known && i.Time.Sub(m.now).Abs() > 200*time.Millisecond {
				t.Fatalf("wrong by %v", i.Time.Sub(m.now))
			}
		}
	})
}

// TestHost has the real clocks run on.
func TestHost(t *testing.T) {
	c := New(Host())
	first := c.Now()
	second := c.Now()
	if second.Boot < first.Boot || first.Boot <= 0 || second.Time.Sub(first.Time) > time.Minute {
		t.Errorf("%+v, then %+v", first, second)
	}
	if synced, err := KernelSynced(); err != nil || (c.State() == Synced) != synced {
		t.Errorf("state %s, and the kernel says %v, %v", c.State(), synced, err)
	}
}
