//go:build integration

package e2e

import (
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/telltale-iot/telltale/internal/await"
)

const (
	outageInterval = 50 * time.Millisecond

	// drainFor bounds the wait for what agents still hold when the time is over.
	drainFor = 30 * time.Second
)

// BenchmarkAgentOutage samples at 20 Hz, takes the broker away in the middle,
// kills the agents with SIGKILL in the middle of that, and counts in Kafka what
// became of the readings. Ours must have lost none.
func BenchmarkAgentOutage(b *testing.B) {
	telegraf, version := telegrafBinary(b)
	ours := buildGo(b, runtime.GOARCH, "./testdata/emulated-agent")
	for b.Loop() {
		servers := startBridge(b)
		topic := followFrames(b)
		agents := []*contestant{ourContestant(b, ours)}
		if telegraf != "" {
			agents = append(agents, telegrafContestant(b, telegraf, version))
		}
		some := func(condition func(account) bool, m moments) bool {
			frames := topic.all()
			return slices.ContainsFunc(agents, func(c *contestant) bool { return condition(c.account(frames, m)) })
		}
		await.True(b, 30*time.Second, "readings of every agent in Kafka", func() bool {
			return !some(func(a account) bool { return a.records == 0 }, moments{end: time.Now()})
		})

		m := moments{begin: time.Now()}
		m.end = m.begin.Add(*samplingFor)
		gone := m.begin.Add((*samplingFor - *outageFor) / 2)
		waitUntil(gone)
		servers.run("stop", "mosquitto")
		waitUntil(gone.Add(*outageFor / 2))
		m.killed = time.Now()
		for _, c := range agents {
			c.process.signal(syscall.SIGKILL)
		}
		waitUntil(gone.Add(*outageFor))
		servers.run("start", "mosquitto")
		m.back = time.Now()
		waitUntil(m.end)
		for time.Since(m.end) < drainFor && some(func(a account) bool { return a.lost > 0 }, m) {
			waitUntil(time.Now().Add(time.Second))
		}
		frames := topic.all()
		report(agents, frames, m)
		if a := agents[0].account(frames, m); a.lost != 0 || a.doubled != 0 || a.different != 0 || a.unknown > 1 {
			b.Errorf("ours lost %d readings, stored %d twice, %d with another content, and %d that it did not note as sampled, of which the kill explains one",
				a.lost, a.doubled, a.different, a.unknown)
		}
	}
	b.ReportMetric(0, "ns/op")
}

func waitUntil(t time.Time) { <-time.After(time.Until(t)) }

// report prints what became of the readings of all agents.
func report(agents []*contestant, frames []storedFrame, m moments) {
	rows := []table.Row{
		{"of one sensor at 20 Hz"}, {"times to sample"}, {"sampled"}, {"not sampled, killed till restarted"}, {"not sampled, else"},
		{"sampled and lost"}, {"stored as two readings"}, {"redundant records in Kafka"}, {"backlog in Kafka after"}, {"starts"},
	}
	for _, c := range agents {
		a := c.account(frames, m)
		for i, cell := range []any{c.name, a.ticks, a.sampled, a.gap, a.missed, a.lost, a.doubled, a.redundant,
			fmt.Sprintf("%.1f s", a.backlog.Seconds()), c.process.started()} {
			rows[i] = append(rows[i], cell)
		}
	}
	printTable(fmt.Sprintf("%v, the broker away for %v in the middle, agents killed in the middle of that", *samplingFor, *outageFor), rows)
}
