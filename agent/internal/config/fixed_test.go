package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFixedChanges(t *testing.T) {
	old := Default()
	next := old
	next.Buffer.Dir, next.Clock.Minimum, next.Clock.Trust = "/mnt", "2026-11-26", TrustMinimum
	next.MQTT.URL, next.Uplink.InFlight, next.Sensors, next.Metrics.Listen = "tcp://other:1883", 1, []Sensor{{ID: "a"}}, ":1"
	want := `buffer.dir: /mnt: want /var/lib/telltale-agent/buffer as before, since it changes only when the agent is started anew
clock.trust: minimum: want kernel as before, since it changes only when the agent is started anew
clock.minimum: 2026-11-26: want "" as before, since it changes only when the agent is started anew`
	if diff := cmp.Diff(want, old.FixedChanges(next).Error()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	next = old
	next.Buffer.CommitInterval = time.Minute
	if got := old.FixedChanges(next); len(got) != 1 || got[0].Path != "buffer.commit_interval" || got[0].Value != "1m0s" {
		t.Errorf("got %v, want buffer.commit_interval", got)
	}
	if got := old.FixedChanges(old); got != nil {
		t.Errorf("got %v without a change", got)
	}
}

// Every setting of these groups is fixed, so that one that is added is not
// forgotten.
func TestFixedIsComplete(t *testing.T) {
	var want, got []string
	for path := range documented() {
		group, _, _ := strings.Cut(path, ".")
		switch group {
		case "device", "buffer", "clock", "trial", "log":
			want = append(want, path)
		}
	}
	c := Default()
	for _, s := range c.fixed() {
		got = append(got, s.path)
	}
	if diff := cmp.Diff(toSet(want), toSet(got)); diff != "" {
		t.Errorf("-documented +fixed:\n%s", diff)
	}
}

func toSet(names []string) map[string]bool {
	set := map[string]bool{}
	for _, name := range names {
		set[name] = true
	}
	return set
}
