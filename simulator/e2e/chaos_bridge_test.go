//go:build integration

package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/verify"
)

// TestBridgeThroughStalledKafka stops the broker's process for two seconds while
// 100,000 frames come by MQTT, kills the bridge with all that it could not
// write, and goes on: every frame that Mosquitto has acknowledged is in MongoDB
// once, and so is every reading of real agents that send at the same time.
func TestBridgeThroughStalledKafka(t *testing.T) {
	messages, rate := 100_000, 10_000
	if isPython(t) {
		messages, rate = messages/5, rate/5
	}
	servers := startServers(t, "mosquitto", "kafka", "mongo")
	dropDatabase(t)
	dir := t.TempDir()
	ingest := startAllRoles(t)

	agents := filepath.Join(dir, "journal")
	fleet := start(t, "telltale-simulator", "fleet", "--mqtt-url", "tcp://"+mqttAddr, "--devices", strconv.Itoa(devices), "--interval", "100ms",
		"--dir", filepath.Join(dir, "fleet"), "--journal", agents, "--for", "15s")
	load, err := dialPublisher(t.Context(), mqttAddr, "clients")
	if err != nil {
		t.Fatal(err)
	}
	defer load.close()
	sent, packets := seedLoad(messages)
	sending := make(chan error, 1)
	go func() { sending <- load.send(t.Context(), packets, rate) }()
	await.True(t, 2*time.Minute, "a third of the frames in Kafka", func() bool { return kafkaRecords(t) >= messages/3 })

	t.Log("Kafka is stopped")
	servers.run("pause", "kafka")
	select {
	case err := <-sending:
		t.Fatalf("all was sent before: %v", err)
	case <-time.After(2 * time.Second):
	}
	t.Log("ingest is killed")
	ingest.kill()
	servers.run("resume", "kafka")
	ingest.spawn()
	if err := <-sending; err != nil {
		t.Fatal(err)
	}
	if err := fleet.wait(2 * time.Minute); err != nil {
		t.Fatalf("the fleet ended with %v", err)
	}

	journal := journalOf(t, agents)
	for i := range sent {
		journal.Record(&sent[i])
	}
	await.True(t, 4*time.Minute, "all frames in MongoDB", func() bool { return documents(t) >= journal.Len() })
	report := awaitEqual(t, journal, []string{kafkaAddr}, verify.Rules{Window: window})
	if n := journal.Len(); report.Sampled != n || n < messages+devices*100 {
		t.Errorf("%d frames were sent, of which agents sampled %d: %s", n, n-messages, report)
	}
}

// seedLoad makes frames of clients that wait for no receipt, and their messages.
func seedLoad(n int) (frames []telemetry.Frame, packets [][]byte) {
	const clients = 100
	begin := time.Now().Add(-5 * time.Minute).UnixMilli()
	for i := range n {
		id := fmt.Sprintf("client-%03d", i%clients)
		f := telemetry.Frame{ID: id, Name: "Client " + id, PlaceID: fmt.Sprintf("house-%d", i%7), Timestamp: begin + int64(i/clients)*100}
		f.Payload.Set(telemetry.Temperature, telemetry.Micro(rand.Int64N(50e6)))
		frames = append(frames, f)
		packets = append(packets, packet(telemetry.SeedTopic, telemetry.AppendFrame(nil, &f)))
	}
	return frames, packets
}
