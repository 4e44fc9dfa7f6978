//go:build integration

package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/telltale-iot/telltale/internal/await"
)

// How long the comparison of agents takes.
var (
	samplingFor = flag.Duration("sampling", time.Minute, "BenchmarkAgentOutage: how long the agents sample")
	outageFor   = flag.Duration("outage", 20*time.Second, "BenchmarkAgentOutage: how long the broker is away in the middle of it")
	idleFor     = flag.Duration("idle", time.Minute, "BenchmarkAgentIdle: how long one run is measured")
	idleRuns    = flag.Int("runs", 3, "BenchmarkAgentIdle: how many runs there are")
)

// telegrafVariable names the Telegraf to compare with, or is "off".
const telegrafVariable = "TELLTALE_TEST_TELEGRAF"

// telegrafBinary returns Telegraf's path and version, "" if it is to be left out.
func telegrafBinary(b *testing.B) (path, version string) {
	b.Helper()
	switch path = os.Getenv(telegrafVariable); path {
	case "":
		b.Fatalf("%s is not set: want the path that deploy/local/telegraf prints, or off", telegrafVariable)
	case "off":
		return "", ""
	}
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		b.Fatalf("%s --version: %v", path, err)
	}
	return path, strings.TrimSpace(string(out))
}

// startBridge starts the servers, and the bridge that all agents' readings go
// through.
func startBridge(b *testing.B) *servers {
	b.Helper()
	s := startServers(b, "mosquitto", "kafka")
	start(b, "telltale-ingest", "run", "--roles", "[bridge]",
		"--mqtt-url", "tcp://"+mqttAddr, "--kafka-brokers", "["+kafkaAddr+"]", "--kafka-partitions", "1", "--metrics-listen", metricsAddr)
	await.True(b, 30*time.Second, "ingest is ready", ready)
	return s
}

// buildGo builds a package as `make build` does, for linux on arch.
func buildGo(b *testing.B, arch, pkg string) (path string) {
	b.Helper()
	path = filepath.Join(b.TempDir(), filepath.Base(pkg))
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("building %s for %s: %v\n%s", pkg, arch, err, out)
	}
	return path
}

// device is the name of our agent, and of its sensor.
const device = "bench"

// agentConfig writes the configuration of an agent with the chips, as flow
// YAML, and returns its file. The clock is the machine's own.
func agentConfig(b *testing.B, interval time.Duration, chips string) (file string) {
	b.Helper()
	dir := b.TempDir()
	return writeFile(b, filepath.Join(dir, "agent.yaml"), fmt.Sprintf(`
device: %s
mqtt: {url: "tcp://%s"}
buffer: {dir: %q}
clock: {trust: always}
sensors:
  - {id: %[1]s, name: Bench, place_id: lab, interval: %[4]s, chips: %[5]s}
`, device, mqttAddr, filepath.Join(dir, "buffer"), interval, chips))
}

// telegrafConfig writes the configuration of a Telegraf that does what our
// agent does: each reading goes into a buffer on disk, and within a second to
// the broker. Input and output say where from and where to.
func telegrafConfig(b *testing.B, interval time.Duration, input, output string) (file string) {
	b.Helper()
	dir := b.TempDir()
	return writeFile(b, filepath.Join(dir, "telegraf.conf"), fmt.Sprintf(`
[agent]
  interval = %q
  flush_interval = "1s"
  metric_buffer_limit = 1000000
  buffer_strategy = "disk"
  buffer_directory = %q
  omit_hostname = true
%s
[[outputs.mqtt]]
  servers = ["tcp://%s"]
  qos = 1
  data_format = "json"
  json_timestamp_units = "1ms"
%s`, interval, filepath.Join(dir, "buffer"), input, mqttAddr, output))
}

func writeFile(b testing.TB, path, content string) string {
	b.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// printTable prints a table for people.
func printTable(title string, rows []table.Row) {
	_, _ = fmt.Fprintf(os.Stdout, "\n%s\n", title)
	t := table.NewWriter()
	t.SetOutputMirror(os.Stdout)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(rows[0])
	t.AppendRows(rows[1:])
	t.Render()
}
