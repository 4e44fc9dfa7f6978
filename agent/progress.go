package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/telltale-iot/telltale/agent/internal/trial"
)

// commitGrace is how long a commit may take beyond its interval before it
// counts as hanging: a worn card can take many seconds, and returns.
const commitGrace = 10 * time.Second

// progress is what the agent knows of its own life.
type progress struct {
	made      time.Time
	committed atomic.Int64 // when the commit loop came round, after made; 0 if it does not run

	// Each may be called again; the channel is closed by the first call.
	measured     func() // a reading with a value is in the buffer
	hasMeasured  <-chan struct{}
	delivered    func() // readings have their receipts
	hasDelivered <-chan struct{}
	beReady      func()
	ready        <-chan struct{}

	trial atomic.Bool // the version is on trial, and not proven yet
}

func newProgress() *progress {
	p := &progress{made: time.Now()}
	p.measured, p.hasMeasured = event()
	p.delivered, p.hasDelivered = event()
	p.beReady, p.ready = event()
	return p
}

// event returns what says that something has happened, cheap after the first time,
// and a channel that is closed then.
func event() (happened func(), ever <-chan struct{}) {
	c := make(chan struct{})
	return sync.OnceFunc(func() { close(c) }), c
}

// committing notes that the commit loop has come round.
func (p *progress) committing() { p.committed.Store(max(1, int64(time.Since(p.made)))) }

// ended notes that the commit loop is at its end.
func (p *progress) ended() { p.committed.Store(0) }

// commitStalled reports whether the loop has not come round for a few intervals.
func (p *progress) commitStalled(interval time.Duration) bool {
	committed := time.Duration(p.committed.Load())
	return committed > 0 && time.Since(p.made)-committed > 3*interval+commitGrace
}

// Ready returns a channel that is closed once a reading with at least one value
// is in the buffer and, if the version is on trial, another has its receipt.
func (a *Agent) Ready() <-chan struct{} { return a.progress.ready }

// OnTrial reports whether the version is new to this device and has not yet both
// measured and delivered. Until then only a channel that is closed by
// [Agent.Ready] says that it works. It is false without Config.Trial.
func (a *Agent) OnTrial() bool { return a.progress.trial.Load() }

// beginTrial notes that this version starts. That it cannot be noted keeps no
// version from its work.
func (a *Agent) beginTrial() trial.Trial {
	t, err := trial.Begin(a.opts.Config.Trial.File, a.opts.Version)
	if err != nil {
		a.opts.Logger.Warn("trial not noted", "error", err)
	}
	a.progress.trial.Store(t.On())
	if t.On() {
		a.opts.Logger.Info("version on trial", "version", a.opts.Version)
	}
	return t
}

// prove is ready when the version has shown what it has to, and notes when it has
// shown all.
func (a *Agent) prove(ctx context.Context, t *trial.Trial) error {
	if !await(ctx, a.progress.hasMeasured) {
		return nil
	}
	if !t.On() {
		a.progress.beReady()
	}
	if !await(ctx, a.progress.hasDelivered) {
		return nil
	}
	if err := t.Prove(); err != nil {
		a.opts.Logger.Warn("trial not noted", "error", err)
	} else if t.On() {
		a.opts.Logger.Info("version proven", "version", a.opts.Version)
	}
	a.progress.trial.Store(false)
	a.progress.beReady()
	return nil
}

// await reports whether c was closed before ctx ended.
func await(ctx context.Context, c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

// Stalled says which part of the agent hangs, so that only a new start helps,
// and is "" if none does. A sensor, a disk or a network that fails is no hang;
// a call of the system that does not return is one.
func (a *Agent) Stalled() string {
	if id := a.sampling.stalled(); id != "" {
		return "sampling of " + id
	}
	if a.progress.commitStalled(a.opts.Config.Buffer.CommitInterval) {
		return "commit of the buffer"
	}
	return ""
}

// Summary says in a line how the agent is:
//
//	2 sensors, 1 fault (bmp280@1:0x77 nack), 12 readings buffered, broker connected
func (a *Agent) Summary() string {
	st := a.Stats()
	parts := []string{count(len(a.current.Load().sensors), "sensor")}
	if len(st.Faults) == 0 {
		parts = append(parts, "no faults")
	} else {
		var faults []string
		for _, chip := range slices.Sorted(maps.Keys(st.Faults)) {
			faults = append(faults, chip+" "+st.Faults[chip])
		}
		parts = append(parts, count(len(faults), "fault")+" ("+strings.Join(faults, ", ")+")")
	}
	parts = append(parts, count(int(st.Buffered), "reading")+" buffered")
	if st.Connected {
		parts = append(parts, "broker connected")
	} else {
		parts = append(parts, "broker not connected")
	}
	if a.commitFailed.Load() {
		parts = append(parts, "buffer commits fail")
	}
	if a.OnTrial() {
		parts = append(parts, "version "+a.opts.Version+" on trial")
	}
	if a.reloads.refused.Load() {
		parts = append(parts, "latest configuration refused")
	}
	return strings.Join(parts, ", ")
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
