//go:build integration

package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/simulator/verify"
)

// TestRestore loses the database, puts an old backup in its place and has ingest
// read Kafka again, as deploy/production.md says: every reading since the backup
// is there again, in its windows by sensor and by place.
func TestRestore(t *testing.T) {
	startServers(t, "mosquitto", "kafka", "mongo")
	dropDatabase(t)
	dir := t.TempDir()
	ingest := startAllRoles(t)
	sampled := filepath.Join(dir, "journal")
	fleet := start(t, "telltale-simulator", "fleet", "--mqtt-url", "tcp://"+mqttAddr, "--devices", strconv.Itoa(devices), "--interval", "100ms",
		"--dir", filepath.Join(dir, "fleet"), "--journal", sampled, "--for", "1h")
	progress := func(readings int) {
		t.Helper()
		want := documents(t) + readings
		await.True(t, 3*time.Minute, strconv.Itoa(readings)+" more readings in MongoDB", func() bool { return documents(t) >= want })
	}
	stop := func() {
		t.Helper()
		ingest.signal(syscall.SIGTERM)
		if err := ingest.wait(time.Minute); err != nil {
			t.Fatalf("ingest ended with %v", err)
		}
	}

	progress(2000)
	stop() // so that the backup is of one moment, as a snapshot's or an oplog's is
	backup := dump(t)
	ingest.spawn()
	t.Logf("a backup is made: %d readings, %d windows of sensors, %d of places", len(backup["iot_frames"]),
		len(backup["iot_aggregate_metrics_sensor"]), len(backup["iot_aggregate_metrics_place"]))
	progress(2000)
	fleet.kill()
	fleet.args = append(fleet.args[:len(fleet.args)-1], "2s") // in the end it delivers what it has
	fleet.spawn()
	if err := fleet.wait(2 * time.Minute); err != nil {
		t.Fatalf("the fleet ended with %v", err)
	}
	journal := journalOf(t, sampled)
	before := awaitEqual(t, journal, []string{kafkaAddr}, verify.Rules{Window: window})

	stop()
	dropDatabase(t)
	restore(t, backup)
	for _, group := range []string{"telltale-sink", "telltale-aggregate"} {
		kafkaTool(t, "kafka-consumer-groups.sh", "--bootstrap-server", kafkaAddr, "--group", group, "--topic", "iot-frames", "--reset-offsets", "--to-datetime", "2000-01-01T00:00:00.000", "--execute")
	}
	kafkaTool(t, "kafka-topics.sh", "--bootstrap-server", kafkaAddr, "--delete", "--topic", "iot-place-parts")
	t.Logf("the database is lost and restored: %d of %d readings", documents(t), before.Sampled)
	ingest.spawn()
	await.True(t, 2*time.Minute, "ingest is ready", ready)
	after := awaitEqual(t, journal, []string{kafkaAddr}, verify.Rules{Window: window})
	if after.String() != before.String() {
		t.Errorf("got %s, want %s", after, before)
	}
}

// dump reads all documents, by collection.
func dump(t *testing.T) map[string][]any {
	t.Helper()
	all := make(map[string][]any)
	if err := database(t, func(ctx context.Context, d *mongo.Database) error {
		names, err := d.ListCollectionNames(ctx, bson.D{})
		if err != nil {
			return err
		}
		for _, name := range names {
			cursor, err := d.Collection(name).Find(ctx, bson.D{})
			if err != nil {
				return err
			}
			var documents []bson.D
			if err := cursor.All(ctx, &documents); err != nil {
				return err
			}
			for _, document := range documents {
				all[name] = append(all[name], document)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// restore writes what dump has read.
func restore(t *testing.T, all map[string][]any) {
	t.Helper()
	if err := database(t, func(ctx context.Context, d *mongo.Database) error {
		for name, documents := range all {
			if _, err := d.Collection(name).InsertMany(ctx, documents); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// kafkaTool runs one of Kafka's own tools.
func kafkaTool(t *testing.T, name string, args ...string) {
	t.Helper()
	const script = `. deploy/local/versions.env && exec "${TELLTALE_CACHE:-$HOME/.cache/telltale}/kafka-$KAFKA_VERSION/bin/$0" "$@"`
	command := exec.Command("sh", append([]string{"-c", script, name}, args...)...)
	command.Dir = root
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	t.Logf("%s\n%s", name, out)
}
