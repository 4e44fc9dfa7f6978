package agent_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metrics"
	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/agent"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// TestReadinessOfAVersion starts an agent of version v2 on a device where others
// have worked or not, with chips and a broker or without.
func TestReadinessOfAVersion(t *testing.T) {
	const v1, v2, both = `{"proven":["v1"]}`, `{"proven":["v2"]}`, `{"proven":["v2","v1"]}`
	for _, c := range []struct {
		name           string
		file           string // before
		deaf, offline  bool   // no chip answers; the broker is away
		receipts       string // of the configuration
		trial, ready   bool
		after, summary string
	}{
		{name: "first of all, offline", offline: true, ready: true},
		{name: "first of all", ready: true, after: v2},
		{name: "first of all, without a chip", deaf: true},
		{name: "proven, offline", file: v2, offline: true, ready: true, after: v2},
		{name: "new and good", file: v1, ready: true, after: both},
		{name: "new and good, where the broker's word counts", file: v1, receipts: "off", ready: true, after: both},
		{name: "new, reads and does not deliver", file: v1, offline: true, trial: true, after: `{"proven":["v1"],"trial":"v2"}`, summary: "version v2 on trial"},
		{name: "new, delivers and does not read", file: v1, deaf: true, trial: true, after: `{"proven":["v1"],"trial":"v2"}`, summary: "version v2 on trial"},
		{name: "begun before, offline", file: `{"proven":["v1"],"trial":"v2"}`, offline: true, ready: true, after: `{"proven":["v1"],"trial":"v2"}`},
		{name: "begun before, and good", file: `{"proven":["v1"],"trial":"v2"}`, ready: true, after: both},
		{name: "a damaged file", file: `{"proven":`, offline: true, ready: true, after: `{"proven":`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "trial")
			if c.file != "" {
				must(t, os.WriteFile(file, []byte(c.file+"\n"), 0o600))
			}
			in := startIngest(t, "127.0.0.1:0", newRecord())
			if c.offline {
				in.stop()
			}
			bus := newBus(t)
			if c.deaf {
				bus.SetFaults(func(i2csim.Transaction) i2csim.Fault { return i2csim.Fault{Kind: i2csim.NACK} })
			}
			text := strings.NewReplacer("ADDR", in.addr, "DIR", filepath.Join(dir, "buffer"), "uplink: {", "uplink: {receipts: "+orOn(c.receipts)+", ").Replace(document)
			config, err := agent.ParseConfig("agent.yaml", []byte(text+"trial: {file: \""+file+"\"}\n"))
			must(t, err)
			a := start(t, agent.Options{
				Config:  config,
				OpenBus: func(string) (i2c.BusCloser, error) { return bus.Open(), nil },
				Metrics: metrics.NewSet(),
				Version: "v2",
			})
			switch {
			case c.ready:
				eventually(t, "it is ready", func() bool { return isReady(a) })
			case c.deaf:
				eventually(t, "readings without values arrive", func() bool { return in.len() > 5 })
			default:
				eventually(t, "readings wait", func() bool { return a.Stats().Buffered > 5 })
			}
			if ready := isReady(a); ready != c.ready || a.OnTrial() != c.trial {
				t.Errorf("ready %v, on trial %v, want %v, %v", ready, a.OnTrial(), c.ready, c.trial)
			}
			if !strings.Contains(a.Summary(), c.summary) || c.summary == "" && strings.Contains(a.Summary(), "trial") {
				t.Errorf("summary %q, want %q in it", a.Summary(), c.summary)
			}
			eventually(t, "the file is "+c.after, func() bool { return content(t, file) == c.after })
		})
	}
}

func orOn(receipts string) string {
	if receipts == "" {
		return "on"
	}
	return receipts
}

func isReady(a *running) bool {
	select {
	case <-a.Ready():
		return true
	default:
		return false
	}
}

func content(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// TestTrialEndsWithTheFirstReceipt has a new version come while the broker is away,
// which returns.
func TestTrialEndsWithTheFirstReceipt(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "trial")
	must(t, os.WriteFile(file, []byte(`{"proven":["v0"]}`), 0o600))
	received := newRecord()
	in := startIngest(t, "127.0.0.1:0", received)
	addr := in.addr
	in.stop()
	config, err := agent.ParseConfig("agent.yaml", []byte(strings.NewReplacer("ADDR", addr, "DIR", dir+"/buffer").Replace(document)+"trial: {file: \""+file+"\"}\n"))
	must(t, err)
	bus := newBus(t)
	a := start(t, agent.Options{Config: config, OpenBus: func(string) (i2c.BusCloser, error) { return bus.Open(), nil }, Version: "v1"})
	eventually(t, "readings wait", func() bool { return a.Stats().Buffered > 5 })
	if isReady(a) || !a.OnTrial() {
		t.Fatal("it is ready before it has delivered anything")
	}
	startIngest(t, addr, received)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case <-a.Ready():
	case <-ctx.Done():
		t.Fatal("it is not ready after a receipt")
	}
	if a.OnTrial() || content(t, file) != `{"proven":["v1","v0"]}` {
		t.Errorf("on trial %v, the file says %s", a.OnTrial(), content(t, file))
	}
}
