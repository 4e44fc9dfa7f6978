//go:build integration

package e2e

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/verify"
)

// TestUpgrade restarts one after the other, in the order of deploy/production.md,
// all that an upgrade restarts, while agents and clients of the replaced system
// send: two ingest processes, three Kafka brokers, MongoDB, Mosquitto and the
// agents. Nothing is missing, double, different or declared lost.
func TestUpgrade(t *testing.T) {
	messages, rate := 32_000, 400
	if isPython(t) {
		messages, rate = messages/5, rate/5
	}
	servers := startServers(t, "mosquitto", "kafka-1", "kafka-2", "kafka-3", "mongo")
	dropDatabase(t)
	dir := t.TempDir()
	ingest := make([]*program, 2)
	for i, seedTopic := range []string{telemetry.SeedTopic, ""} { // one process has the persistent session
		ingest[i] = start(t, "telltale-ingest", "run",
			"--mqtt-url", "tcp://"+mqttAddr, "--mqtt-client-id", "ingest-"+strconv.Itoa(i), "--mqtt-seed-topic", seedTopic,
			"--kafka-brokers", "["+strings.Join(clusterAddrs, ", ")+"]", "--kafka-partitions", "4", "--kafka-replication", "3",
			"--mongo-uri", mongoURI(), "--mongo-database", databaseName, "--aggregate-window", window.String(), "--aggregate-idle", "3s",
			"--metrics-listen", chaosMetrics(i))
	}
	for i := range ingest {
		await.True(t, 2*time.Minute, "ingest is ready", func() bool { return readyAt(chaosMetrics(i)) })
	}

	sampled := filepath.Join(dir, "journal")
	fleet := start(t, "telltale-simulator", "fleet", "--mqtt-url", "tcp://"+mqttAddr, "--devices", strconv.Itoa(devices), "--interval", "100ms",
		"--dir", filepath.Join(dir, "fleet"), "--journal", sampled, "--for", "1h")
	load, err := dialPublisher(t.Context(), mqttAddr, "clients")
	if err != nil {
		t.Fatal(err)
	}
	defer load.close()
	sent, packets := seedLoad(messages)
	sending := make(chan error, 1)
	begun := time.Now()
	go func() { sending <- load.send(t.Context(), packets, rate) }()
	flows := func(what string) {
		t.Helper()
		t.Logf("%4.1f s: %s", time.Since(begun).Seconds(), what)
		want := documents(t) + 500
		await.True(t, 3*time.Minute, "500 more readings in MongoDB after: "+what, func() bool { return documents(t) >= want })
	}
	flows("agents and clients send")

	for i := range ingest {
		ingest[i].signal(syscall.SIGTERM)
		if err := ingest[i].wait(time.Minute); err != nil {
			t.Fatalf("process %d ended with %v", i, err)
		}
		ingest[i].spawn()
		await.True(t, 2*time.Minute, "the new process is ready", func() bool { return readyAt(chaosMetrics(i)) })
		flows("ingest process " + strconv.Itoa(i) + " is restarted")
	}
	for _, name := range []string{"kafka-1", "kafka-2", "kafka-3"} {
		servers.restart(name)
		await.True(t, 3*time.Minute, "all replicas are in sync after the restart of "+name, func() bool { return inSync(t) })
		flows(name + " is restarted")
	}
	servers.restart("mongo")
	flows("MongoDB is restarted")
	if err := <-sending; err != nil { // these clients would not connect again, as real ones do
		t.Fatal(err)
	}
	servers.restart("mosquitto")
	flows("Mosquitto is restarted")
	fleet.signal(syscall.SIGTERM)
	if err := fleet.wait(2 * time.Minute); err != nil {
		t.Fatalf("the fleet ended with %v", err)
	}
	fleet.args = append(fleet.args[:len(fleet.args)-1], "5s")
	fleet.spawn()
	if err := fleet.wait(2 * time.Minute); err != nil {
		t.Fatalf("the fleet ended with %v", err)
	}
	t.Logf("%4.1f s: the agents are restarted, and all have delivered", time.Since(begun).Seconds())

	journal := journalOf(t, sampled)
	for i := range sent {
		journal.Record(&sent[i])
	}
	report := awaitEqual(t, journal, clusterAddrs, verify.Rules{Window: window})
	if n := journal.Len(); report.Sampled != n || n < messages+devices*100 {
		t.Errorf("%d frames were sent, of which agents sampled %d: %s", n, n-messages, report)
	}
	if err := database(t, func(ctx context.Context, d *mongo.Database) error {
		losses, err := d.Collection("iot_losses").CountDocuments(ctx, bson.D{})
		if losses != 0 {
			t.Errorf("%d losses were declared", losses)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// inSync reports whether each replica of ingest's topics has all of its records.
func inSync(t *testing.T) bool {
	t.Helper()
	client := &kafka.Client{Addr: kafka.TCP(clusterAddrs...)}
	metadata, err := client.Metadata(t.Context(), &kafka.MetadataRequest{Topics: []string{"iot-frames", "iot-place-parts"}})
	if err != nil {
		return false // the broker that was asked is the one that comes back
	}
	for _, topic := range metadata.Topics {
		if topic.Error != nil || len(topic.Partitions) == 0 {
			return false
		}
		for _, p := range topic.Partitions {
			if p.Error != nil || len(p.Isr) != 3 {
				return false
			}
		}
	}
	return true
}
