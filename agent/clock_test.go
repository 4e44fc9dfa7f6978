package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/go-cmp/cmp"
	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/agent"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// clocks are those of a machine that does not know the time at first.
type clocks struct {
	mu     sync.Mutex
	booted time.Time
	synced bool
	wrong  int64 // what the wall clock says at the start, before it is set
}

func (c *clocks) source() *agent.ClockSource {
	locked := func() (time.Time, bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.booted, c.synced
	}
	return &agent.ClockSource{
		Boottime: func() time.Duration { booted, _ := locked(); return time.Since(booted) },
		Wall: func() time.Time {
			if booted, synced := locked(); !synced {
				return time.Unix(c.wrong, 0).Add(time.Since(booted))
			}
			return time.Now()
		},
		Believed: func() bool { _, synced := locked(); return synced },
	}
}

func (c *clocks) set() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.synced = true
}

// runWith runs an agent of the document with the texts replaced.
func runWith(t *testing.T, clock *agent.ClockSource, observe func(*telemetry.Frame), replace ...string) *running {
	t.Helper()
	config, err := agent.ParseConfig("agent.yaml", []byte(strings.NewReplacer(replace...).Replace(document)))
	must(t, err)
	bus := newBus(t)
	return start(t, agent.Options{
		Config:  config,
		OpenBus: func(string) (i2c.BusCloser, error) { return bus.Open(), nil },
		Clock:   clock,
		Observe: observe,
		Metrics: metrics.NewSet(),
		Version: "v1",
	})
}

// Readings that are taken before the clock is set wait, over a restart of the
// agent, and arrive with the time at which they were taken.
func TestReadingsWaitForTheirTime(t *testing.T) {
	begun := time.Now()
	received := newRecord()
	in := startIngest(t, "127.0.0.1:0", received)
	machine := &clocks{booted: time.Now().Add(-time.Hour)}
	dir := t.TempDir()
	// Nothing comes twice unless a receipt is late.
	replace := []string{"ADDR", in.addr, "DIR", dir, "receipt_timeout: 500ms", "receipt_timeout: 5m", "trust: always"}
	for _, rule := range []string{"trust: kernel", "trust: kernel, unsynced: send"} { // it is 1970: neither is sent
		replace := append(replace, rule)
		a := runWith(t, machine.source(), nil, replace...)
		eventually(t, "readings are taken", func() bool { return a.Stats().Sampled >= 5 })
		eventually(t, "the broker is connected", func() bool { return a.Stats().Connected })
		if st := a.Stats(); st.Clock != "unsynced" {
			t.Errorf("clock %q, want unsynced", st.Clock)
		}
		eventually(t, "the status says so", func() bool { return strings.Contains(<-in.status, `"clock":"unsynced"`) })
		a.stop()
	}
	if n := received.len(); n > 0 {
		t.Fatalf("%d readings arrived before their time was known", n)
	}

	a := runWith(t, machine.source(), nil, append(replace, "trust: kernel")...)
	eventually(t, "readings are taken", func() bool { return a.Stats().Sampled >= 5 })
	machine.set()
	eventually(t, "readings arrive", func() bool { return received.len() >= 20 })
	a.drained(t)
	if st := a.Stats(); st.Clock != "synced" {
		t.Errorf("clock %q, want synced", st.Clock)
	}
	next := map[string]uint64{}
	last := map[string]int64{}
	for _, f := range received.all() {
		if f.Clock != telemetry.ClockSynced || f.Timestamp < begun.UnixMilli()-1 || f.Timestamp > time.Now().UnixMilli()+1 {
			t.Errorf("%s/%d: time %d, clock %q, want one since %d", f.ID, f.Seq, f.Timestamp, f.Clock, begun.UnixMilli())
		}
		if f.Seq != next[f.ID] || f.Timestamp <= last[f.ID] {
			t.Errorf("%s: %d of %d after %d of %d", f.ID, f.Seq, f.Timestamp, next[f.ID]-1, last[f.ID])
		}
		next[f.ID], last[f.ID] = f.Seq+1, f.Timestamp
	}
	if len(received.double) > 0 {
		t.Errorf("came twice: %v", received.double)
	}
}

const year2010 = 1262304000

// With clock.unsynced: send, readings go at once, and say that their time is not
// to be believed. So does a clock before the date of clock.minimum. Those of a
// clock that nobody could believe wait.
func TestReadingsOfAnUnsyncedClockAreMarked(t *testing.T) {
	for _, rule := range []string{"trust: kernel, unsynced: send", `trust: minimum, minimum: "2026-01-01", unsynced: send`} {
		t.Run(rule, func(t *testing.T) {
			sampled, received := newRecord(), newRecord()
			in := startIngest(t, "127.0.0.1:0", received)
			machine := &clocks{booted: time.Now(), wrong: year2010}
			a := runWith(t, machine.source(), sampled.add, "ADDR", in.addr, "DIR", t.TempDir(), "trust: always", rule)
			eventually(t, "readings arrive", func() bool { return received.len() >= 5 })
			machine.set()
			eventually(t, "readings with the right time arrive", func() bool {
				all := received.all()
				return all[len(all)-1].Clock == telemetry.ClockSynced
			})
			a.drained(t)
			wantSame(t, sampled, received)
			for _, f := range received.all() {
				if year := time.UnixMilli(f.Timestamp).UTC().Year(); (year == 2010) != (f.Clock == telemetry.ClockUnsynced) {
					t.Errorf("a reading of %d is marked %q", year, f.Clock)
				}
			}
		})
	}
}

// The buffer's folder is not to be had at the start. The agent runs, says so,
// delivers, and puts the rest onto disk when it can.
func TestDiskThatFails(t *testing.T) {
	sampled, received := newRecord(), newRecord()
	in := startIngest(t, "127.0.0.1:0", received)
	dir := filepath.Join(t.TempDir(), "mount")
	must(t, os.WriteFile(dir, nil, 0o600)) // where a folder should be
	a := runWith(t, nil, sampled.add, "ADDR", in.addr, "DIR", dir)
	eventually(t, "readings arrive", func() bool { return received.len() >= 5 })
	if st := a.Stats(); st.DiskFault != "disk_error" || st.Refused != 0 {
		t.Errorf("stats %+v, want disk_error and nothing refused", st)
	}
	eventually(t, "the status says so", func() bool { return strings.Contains(<-in.status, `"fault":"disk_error"`) })

	in.stop()
	n := sampled.len()
	eventually(t, "readings stay in memory", func() bool { return sampled.len() >= n+10 })
	must(t, os.Remove(dir))
	eventually(t, "the disk takes over", func() bool { return a.Stats().DiskFault == "" })
	a.stop()

	in = startIngest(t, in.addr, received)
	a = runWith(t, nil, sampled.add, "ADDR", in.addr, "DIR", dir)
	eventually(t, "readings arrive again", func() bool { return received.len() >= n+10 })
	a.drained(t)
	if diff := cmp.Diff(sampled.all(), received.all(), cmp.AllowUnexported(telemetry.Payload{})); diff != "" {
		t.Errorf("sampled and received differ (-sampled +received):\n%s", diff)
	}
	epochs := map[uint64]int{}
	for _, f := range received.all() {
		epochs[f.Epoch]++
	}
	if len(epochs) != 2 {
		t.Errorf("readings by epoch: %v, want those of the memory and of the disk", epochs)
	}
}
