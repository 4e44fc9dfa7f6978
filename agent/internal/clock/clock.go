package clock

import (
	"sync"
	"time"
)

// Source is where a [Clock] looks. Its functions are safe for concurrent use.
type Source struct {
	// Boottime is CLOCK_BOOTTIME.
	Boottime func() time.Duration
	// Wall is CLOCK_REALTIME.
	Wall func() time.Time
	// Believed reports whether Wall is believed now.
	Believed func() bool
}

// Instant is a moment of the machine.
type Instant struct {
	// Boot is CLOCK_BOOTTIME.
	Boot time.Duration
	// Time is the time if Known; else what the wall clock says.
	Time  time.Time
	Known bool
}

// State is how far a clock is to be believed.
type State string

// The states.
const (
	// Synced: the wall clock is believed.
	Synced State = "synced"
	// Holdover: the wall clock was believed earlier; since then the time is
	// counted by CLOCK_BOOTTIME, whatever the wall clock says.
	Holdover State = "holdover"
	// Unsynced: the wall clock has not been believed yet.
	Unsynced State = "unsynced"
)

// Clock tells the time. Its methods are safe for concurrent use.
type Clock struct {
	source Source

	mu     sync.Mutex
	state  State
	origin time.Time // when CLOCK_BOOTTIME was 0, by the wall clock when it was believed last
}

// New returns a clock that knows nothing yet.
func New(s Source) *Clock { return &Clock{source: s, state: Unsynced} }

// Now returns this moment.
func (c *Clock) Now() Instant {
	boot, wall, believed := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case believed:
		c.state, c.origin = Synced, wall.Add(-boot)
	case c.state == Unsynced:
		return Instant{Boot: boot, Time: wall}
	default:
		c.state = Holdover
	}
	return Instant{Boot: boot, Time: c.origin.Add(boot), Known: true}
}

// The two clocks are read one after the other. If that took longer than apart,
// because the process had to wait in between, it is tried again.
const (
	apart = time.Millisecond
	tries = 5
)

// read reads both clocks. The wall clock is believed only if it was before and
// after it was read: it may be set at any moment, and one who sets it by hand
// makes the kernel say that it is not synchronised.
func (c *Clock) read() (boot time.Duration, wall time.Time, believed bool) {
	s := &c.source
	for range tries {
		believed = s.Believed()
		before := s.Boottime()
		wall = s.Wall().Round(0) // without the monotonic reading
		after := s.Boottime()
		believed = believed && s.Believed()
		boot = before + (after-before)/2
		if after-before < apart {
			break
		}
	}
	return boot, wall, believed
}

// Origin returns the time at which CLOCK_BOOTTIME was 0, and whether that is
// known.
func (c *Clock) Origin() (time.Time, bool) {
	c.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.origin, c.state != Unsynced
}

// State returns how far the clock is to be believed, as of the last moment that
// was asked for.
func (c *Clock) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}
