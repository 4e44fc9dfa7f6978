//go:build integration

package e2e

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/telltale-iot/telltale/internal/await"
)

// warmUp is how many readings a process has delivered before it is measured.
const warmUp = 10

// idler is a program whose footprint is measured, at one reading a second.
type idler struct {
	name   string
	binary string
	args   func(b *testing.B) []string
	ours   bool // its readings are in Kafka under the name of our device
	runs   []idleRun
}

// idleRun is what one process took.
type idleRun struct {
	cpu     float64 // percent of a core
	rss     float64 // MB at the end
	peak    float64 // MB
	wakeups float64 // a second
}

// BenchmarkAgentIdle measures the footprint of agents that take one reading a
// second, hold it on disk, and deliver it within a second. Our agent's two chips
// are emulated in its process; Telegraf makes its two values itself.
func BenchmarkAgentIdle(b *testing.B) {
	telegraf, version := telegrafBinary(b)
	emulated := buildGo(b, runtime.GOARCH, "./testdata/emulated-agent")
	idlers := []*idler{{name: "telltale-agent", binary: emulated, ours: true, args: func(b *testing.B) []string {
		return []string{agentConfig(b, time.Second, `[{driver: bme280, bus: "1", address: 0x76}, {driver: bh1750, bus: "1", address: 0x23}]`)}
	}}}
	if telegraf != "" {
		idlers = append(idlers, &idler{name: version, binary: telegraf, args: func(b *testing.B) []string {
			return []string{"--config", telegrafConfig(b, time.Second, `
[[inputs.mock]]
  metric_name = "bench"
  [[inputs.mock.sine_wave]]
    name = "temperature"
    amplitude = 1.0
    period = 60.0
  [[inputs.mock.step]]
    name = "count"
    start = 0.0
    step = 1.0
`, `
  topic = "telegraf/bench"
`)}
		}})
	}
	for b.Loop() {
		startBridge(b)
		topic := followFrames(b)
		for range *idleRuns {
			measureIdle(b, idlers, topic)
		}
		printIdle(b, idlers)
	}
	ours := idlers[0].runs
	b.ReportMetric(median(ours, func(r idleRun) float64 { return r.cpu }), "%core")
	b.ReportMetric(median(ours, func(r idleRun) float64 { return r.rss }), "rss-MB")
	b.ReportMetric(0, "ns/op")
}

// measureIdle starts all programs side by side, and adds a run to each.
func measureIdle(b *testing.B, idlers []*idler, topic *frameTopic) {
	b.Helper()
	ours := func() (n int) {
		for _, f := range topic.all() {
			if f.ID == device {
				n++
			}
		}
		return n
	}
	processes := make([]*supervisor, 0, len(idlers))
	before := make([]usage, len(idlers))
	delivered := ours()
	for _, i := range idlers {
		processes = append(processes, supervise(b, i.binary, i.args(b)...))
	}
	await.True(b, 60*time.Second, fmt.Sprintf("%d readings in Kafka", warmUp), func() bool { return ours() >= delivered+warmUp })
	begin := time.Now()
	for k, p := range processes {
		before[k] = usageOf(b, p.pid())
	}
	delivered = ours()
	waitUntil(begin.Add(*idleFor))
	seconds := time.Since(begin).Seconds()
	for k, p := range processes {
		after := usageOf(b, p.pid())
		if p.started() != 1 {
			b.Errorf("%s ended by itself", idlers[k].name)
		}
		const mb = 1 << 20
		idlers[k].runs = append(idlers[k].runs, idleRun{
			cpu: 100 * (after.cpu - before[k].cpu).Seconds() / seconds,
			rss: float64(after.rss) / mb, peak: float64(after.peak) / mb,
			wakeups: float64(after.wakeups-before[k].wakeups) / seconds,
		})
	}
	if n, want := ours()-delivered, int(seconds)-3; n < want {
		b.Errorf("%d of our readings came while it was measured, want at least %d", n, want)
	}
	for _, p := range processes {
		p.stop()
	}
}

func median[T any](runs []T, of func(T) float64) float64 {
	return sorted(runs, of)[len(runs)/2]
}

func sorted[T any](runs []T, of func(T) float64) []float64 {
	values := make([]float64, 0, len(runs))
	for _, r := range runs {
		values = append(values, of(r))
	}
	slices.Sort(values)
	return values
}

// spread prints the least, the median and the greatest of a figure.
func spread[T any](runs []T, format string, of func(T) float64) string {
	v := sorted(runs, of)
	return fmt.Sprintf(format+" / "+format+" / "+format, v[0], v[len(v)/2], v[len(v)-1])
}

// printIdle prints the least, the median and the greatest of each figure.
func printIdle(b *testing.B, idlers []*idler) {
	b.Helper()
	rows := []table.Row{{"one reading a second"}, {"CPU, % of a core"}, {"resident, MB"}, {"resident at most, MB"}, {"wake-ups a second"}, {"binary, MB"}}
	for _, i := range idlers {
		size := fmt.Sprintf("%s %.1f", runtime.GOARCH, megabytes(b, i.binary))
		if i.ours {
			const main = "../../agent/cmd/telltale-agent"
			size = fmt.Sprintf("amd64 %.1f, arm64 %.1f", megabytes(b, buildGo(b, "amd64", main)), megabytes(b, buildGo(b, "arm64", main)))
		}
		for k, cell := range []any{
			i.name, spread(i.runs, "%.3f", func(r idleRun) float64 { return r.cpu }), spread(i.runs, "%.1f", func(r idleRun) float64 { return r.rss }),
			spread(i.runs, "%.1f", func(r idleRun) float64 { return r.peak }), spread(i.runs, "%.1f", func(r idleRun) float64 { return r.wakeups }), size,
		} {
			rows[k] = append(rows[k], cell)
		}
	}
	printTable(fmt.Sprintf("At rest, %d runs of %v: least / median / greatest", *idleRuns, *idleFor), rows)
}

func megabytes(b *testing.B, file string) float64 {
	b.Helper()
	info, err := os.Stat(file)
	if err != nil {
		b.Fatal(err)
	}
	return float64(info.Size()) / 1e6
}
