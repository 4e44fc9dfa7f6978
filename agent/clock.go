package agent

import (
	"time"

	"github.com/telltale-iot/telltale/agent/internal/buffer"
	"github.com/telltale-iot/telltale/agent/internal/clock"
	"github.com/telltale-iot/telltale/agent/internal/config"
)

// ClockSource is where an agent looks what time it is.
type ClockSource = clock.Source

// newClock returns the clock, believed when the configuration says.
func newClock(o *Options) *clock.Clock {
	source := clock.Host()
	if o.Clock != nil {
		source = *o.Clock
	}
	switch c := o.Config.Clock; c.Trust {
	case config.TrustAlways:
		source.Believed = func() bool { return true }
	case config.TrustMinimum:
		minimum, err := c.MinimumTime()
		wall := source.Wall
		source.Believed = func() bool { return err == nil && !wall().Before(minimum) }
	}
	return clock.New(source)
}

// settleClock tells the buffer the time of the readings that wait, as soon as it
// is known, and logs when that changes.
func (a *Agent) settleClock(b *buffer.Failover) {
	origin, known := a.clock.Origin()
	if known {
		b.SetClock(origin)
	}
	state := a.clock.State()
	if state == a.clockLogged {
		return
	}
	a.clockLogged = state
	switch state {
	case clock.Synced:
		a.opts.Logger.Info("clock synchronised", "booted", origin.UTC().Format(time.RFC3339))
	case clock.Holdover:
		a.opts.Logger.Warn("clock no longer synchronised, time is counted on from when it was")
	case clock.Unsynced:
		c := &a.opts.Config.Clock
		a.opts.Logger.Warn("clock not synchronised", "trust", c.Trust, "readings", c.Unsynced)
	}
}
