package i2csim

import (
	"sync"
	"time"
)

// model is what one kind of chip does. Its core asks it, and has it locked
// then.
type model interface {
	// powerUp is what a supply that comes now does.
	powerUp(now time.Time)
	// advance carries out everything that has happened up to now.
	advance(now time.Time)
	// write and read are a [Device]'s, once the chip has advanced to now and
	// has acknowledged its address as far as core.deafTill is concerned.
	write(p []byte, now time.Time) int
	read(p []byte, now time.Time) bool
}

// stretcher is a model that holds the clock while it is read.
type stretcher interface {
	// held returns for how long it holds up a read that comes now, once it has
	// advanced to now.
	held(now time.Time) time.Duration
}

// core is what all chips have in common: surroundings, a supply, a clock, and
// the truth about what was measured. A chip embeds it, and becomes a [Chip] by
// being its model.
type core struct {
	model  model
	source Source
	now    func() time.Time
	sleep  func(time.Duration)
	timing Timing

	mu       sync.Mutex // guards what changes of this and of the model
	deafTill time.Time  // until then the address is not acknowledged

	// The conversion that runs or is the next; of no meaning if there is none.
	start, end time.Time
	last       Conversion
	converted  bool
}

// setUp makes c the core of m, the chip called name, which has been supplied for
// long then.
func (c *core) setUp(name string, o ChipOptions, m model) error {
	if err := o.complete(name); err != nil {
		return err
	}
	c.model, c.source, c.now, c.sleep, c.timing = m, o.Source, o.Now, o.Sleep, o.Timing
	m.powerUp(time.Time{})
	return nil
}

// PowerCycle is a brown-out: the chip is as when it was made, and answers again
// after its start-up time.
func (c *core) PowerCycle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget()
	c.model.powerUp(c.now())
}

// LastConversion returns the ground truth of the last conversion whose result
// the chip has, if there was one since the supply came.
func (c *core) LastConversion() (Conversion, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.model.advance(c.now())
	return c.last, c.converted
}

// Write implements [Device].
func (c *core) Write(p []byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, deaf := c.catchUp()
	if deaf {
		return -1
	}
	return c.model.write(p, now)
}

// Read implements [Device]. It returns after the time for which the chip holds
// the clock.
func (c *core) Read(p []byte) bool {
	if d := c.stretch(); d > 0 {
		c.sleep(d) // not locked: in the meantime others may look at the chip
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now, deaf := c.catchUp()
	return !deaf && c.model.read(p, now)
}

func (c *core) stretch() time.Duration {
	s, ok := c.model.(stretcher)
	if !ok {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now, deaf := c.catchUp()
	if deaf {
		return 0
	}
	return s.held(now)
}

// catchUp lets the chip advance to now.
func (c *core) catchUp() (now time.Time, deaf bool) {
	now = c.now()
	c.model.advance(now)
	return now, now.Before(c.deafTill)
}

// conclude makes the conversion from start to end the last, and returns what
// it measured.
func (c *core) conclude() Environment {
	e := c.source.At(c.start)
	c.last, c.converted = Conversion{Environment: e, Start: c.start, End: c.end}, true
	return e
}

func (c *core) forget() { c.last, c.converted = Conversion{}, false }

// skip leaves out conversions, one in each period, of which nobody sees
// anything: the one from start to end becomes the last that ends up to now.
func (c *core) skip(now time.Time, period time.Duration) {
	if passed := now.Sub(c.end).Truncate(period); passed > 0 {
		c.start, c.end = c.start.Add(passed), c.end.Add(passed)
	}
}
