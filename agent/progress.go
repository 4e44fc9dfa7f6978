package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// commitGrace is how long a commit may take beyond its interval before it
// counts as hanging: a worn card can take many seconds, and returns.
const commitGrace = 10 * time.Second

// progress is what the agent knows of its own life.
type progress struct {
	made      time.Time
	committed atomic.Int64  // when the commit loop came round, after made; 0 if it does not run
	ready     chan struct{} // closed by measured
	measured  func()        // a reading with a value is in the buffer
}

func newProgress() progress {
	ready := make(chan struct{})
	return progress{made: time.Now(), ready: ready, measured: sync.OnceFunc(func() { close(ready) })}
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
// is in the buffer.
func (a *Agent) Ready() <-chan struct{} { return a.progress.ready }

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
