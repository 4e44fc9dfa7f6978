//go:build integration

package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/await"
)

// TestSiteBroker has a site's broker forward to the central one, as
// deploy/mosquitto/bridge.conf says: receipts come back through it, an outage
// between the two loses nothing, and the site can send for its own devices only.
func TestSiteBroker(t *testing.T) {
	a := newAuthority(t, "pi-1", "pi-2")
	a.pki("client", "site-1")
	central := startMosquitto(t, a, nil)
	services := filepath.Join(central.dir, "services.acl")
	overwrite(t, services, append(contentOf(t, services), `
user site-1
topic write telltale/v1/pi-1/frames
topic write telltale/v1/pi-1/status
topic read telltale/v1/pi-1/receipts
topic write iot-frames
`...))
	central.restart()
	kafka := startKafka(t)
	startSecureIngest(t, a, kafka)
	startMosquitto(t, a, func(conf string) string {
		conf += strings.ReplaceAll(string(contentOf(t, filepath.Join(root, "deploy/mosquitto/bridge.conf"))), "broker.example:8884", strings.TrimPrefix(servicesURL, "tls://"))
		return strings.NewReplacer("listener 8883\n", "listener 28893 127.0.0.1\n", "listener 8884\n", "listener 28894 127.0.0.1\n", "listener 1883 127", "listener 28895 127").Replace(conf)
	})
	one := startAgent(t, a, "pi-1", "pi-1", 28891, "--mqtt-url", "tls://localhost:28893")
	two := startAgent(t, a, "pi-2", "pi-2", 28892, "--mqtt-url", "tls://localhost:28893")
	one.delivers(kafka, 20)

	t.Log("the central broker is away")
	central.signal(syscall.SIGTERM) // a kill would take the session that ingest has just made
	if err := central.wait(time.Minute); err != nil {
		t.Fatalf("Mosquitto ended with %v", err)
	}
	client := mustDialMQTT(t, "tcp://127.0.0.1:28895", nil)
	var seeds []string
	for i := range 100 {
		seeds = append(seeds, fmt.Sprintf(`{"id":"old-1","timestamp":%d,"payload":{"temperature":21}}`, time.Now().UnixMilli()+int64(i)))
		publishTo(t, client, "iot-frames", seeds[i], false)
	}
	sampled := one.readings()
	await.True(t, time.Minute, "the agent samples", func() bool { return one.readings() > sampled+20 })
	central.spawn()
	central.listening()
	one.delivers(kafka, 20)
	await.True(t, 2*time.Minute, "what the clients sent meanwhile in Kafka", func() bool {
		var values []string
		for _, r := range readTopic(t, kafka.Addr(), "iot-frames") {
			values = append(values, string(r.Value))
		}
		return !slices.ContainsFunc(seeds, func(seed string) bool { return !slices.Contains(values, seed) })
	})

	t.Log("of a device that is not the site's nothing has come")
	for key := range inKafka(t, kafka) {
		if key.ID == "pi-2" {
			t.Fatalf("Kafka has %v", key)
		}
	}
	two.keepsAll()
}
