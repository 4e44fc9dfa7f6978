//go:build integration

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/telltale-iot/telltale/internal/await"
)

// TestMigrate takes over a database as the replaced system left it: a day of
// three sensors, with dates as text, duplicates, and documents that are no
// readings. A dry run writes nothing, a run that is interrupted is gone on with,
// and another changes nothing. Then nothing is missing.
func TestMigrate(t *testing.T) {
	startServers(t, "mongo")
	dropDatabase(t)
	const seconds = 16_200 // of each sensor: four hours and a half
	begin := time.Now().Add(-24 * time.Hour).Truncate(5 * time.Minute)
	var documents []any
	poison := 0
	for n := range seconds {
		at := begin.Add(time.Duration(n) * time.Second)
		for i, sensor := range []struct{ id, place string }{{"12434345", "32347983"}, {"21321434", "32347983"}, {"43245253", "42343243"}} {
			timestamp := any(at.UnixMilli())
			if n%5 == 0 {
				timestamp = float64(at.UnixMilli())
			}
			d := bson.D{
				{Key: "id", Value: sensor.id}, {Key: "name", Value: "Sensor " + sensor.id}, {Key: "place_id", Value: sensor.place},
				{Key: "date", Value: at.UTC().Format("2006-01-02T15:04:05.000Z")}, {Key: "timestamp", Value: timestamp},
				{Key: "payload", Value: bson.D{
					{Key: "temperature", Value: int32((n+i)%40 - 5)}, {Key: "humidity", Value: int32(n % 100)},
					{Key: "pressure", Value: int64(1000 + n%30)}, {Key: "luminosity", Value: int32(n % 65_000)},
				}},
			}
			documents = append(documents, d)
			if n%100 == 0 {
				documents = append(documents, d) // the retained frame, at a new subscription
			}
		}
		if n%100 == 50 {
			poison++
			documents = append(documents, bson.D{{Key: "id", Value: "12434345"}, {Key: "timestamp", Value: bson.D{{Key: "$numberLong", Value: fmt.Sprint(at.UnixMilli())}}}})
		}
	}
	const frames = 3 * seconds
	if err := database(t, func(ctx context.Context, d *mongo.Database) error {
		_, err := d.Collection("iot_frames").InsertMany(ctx, documents)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	before := digest(t)

	migrate := func(wantCode int, args ...string) string {
		t.Helper()
		began := time.Now()
		args = append([]string{"migrate", "--mongo-uri", mongoURI(), "--mongo-database", databaseName}, args...)
		c := exec.Command(filepath.Join(root, "bin", "telltale-ingest"), args...)
		var stdout, stderr bytes.Buffer
		c.Stdout, c.Stderr = &stdout, &stderr
		if err := c.Run(); c.ProcessState.ExitCode() != wantCode {
			t.Fatalf("%v: %v\n%s%s", args, err, &stdout, &stderr)
		}
		t.Logf("%v: %.1f s, %.0f documents/s\n%s", args[5:], time.Since(began).Seconds(), float64(len(documents))/time.Since(began).Seconds(), &stdout)
		return stdout.String()
	}
	refused := fmt.Sprintf("refused %d\n wrong_type %d\n", poison, poison)
	holds := func(report string, wants ...string) {
		t.Helper()
		var plain strings.Builder
		for line := range strings.Lines(report) {
			indent := ""
			if line[0] == ' ' {
				indent = " "
			}
			plain.WriteString(indent + strings.Join(strings.Fields(line), " ") + "\n")
		}
		for _, want := range wants {
			if !strings.Contains(plain.String(), want) {
				t.Errorf("want %q in\n%s", want, &plain)
			}
		}
	}
	windows := 3 * seconds / 300
	holds(migrate(1), refused, fmt.Sprintf("frames to be stored %d\n", frames), fmt.Sprintf("duplicates %d 0 say", 3*seconds/100),
		fmt.Sprintf("windows of sensors to be stored %d\n", windows))
	if after := digest(t); after != before {
		t.Fatal("a dry run changed the database")
	}

	t.Log("it is killed")
	killed := start(t, "telltale-ingest", "migrate", "--apply", "--mongo-uri", mongoURI(), "--mongo-database", databaseName)
	await.True(t, time.Minute, "a thousand frames taken over", func() bool {
		return documentsOf(t, "iot_frames") > int64(len(documents))+1000
	})
	killed.signal(syscall.SIGKILL)
	<-killed.exited
	if n := documentsOf(t, "iot_frames"); n == int64(len(documents)+frames) {
		t.Error("it was done before it was killed")
	}

	holds(migrate(1, "--apply"), refused)
	first := digest(t)
	if n := documentsOf(t, "iot_frames"); n != int64(len(documents)+frames) {
		t.Errorf("%d documents, want %d and %d", n, len(documents), frames)
	}
	for name, want := range map[string]int{"iot_aggregate_metrics_sensor": windows, "iot_aggregate_metrics_place": windows / 3 * 2} {
		if n := documentsOf(t, name); n != int64(want) {
			t.Errorf("%s: %d windows, want %d", name, n, want)
		}
	}
	holds(migrate(1, "--apply"), refused, "frames stored 0\n", fmt.Sprintf("frames stored before %d\n", frames),
		fmt.Sprintf("windows of sensors stored before %d\n", windows), fmt.Sprintf("windows of places stored before %d\n", windows/3*2))
	if second := digest(t); second != first {
		t.Error("another run changed the database")
	}

	out, err := exec.Command(filepath.Join(root, "bin", "telltale-ingest"), "missing", "--mongo-uri", mongoURI(), "--mongo-database", databaseName, "--last", "25h").CombinedOutput()
	want := ""
	for _, id := range []string{"12434345", "21321434", "43245253"} {
		want += fmt.Sprintf("%s: unknown: %d without seq\n", id, seconds)
	}
	if err != nil || string(out) != want {
		t.Errorf("missing: %v, %s\nwant %s", err, out, want)
	}
}

// digest is of all that is stored.
func digest(t *testing.T) string {
	t.Helper()
	sum := sha256.New()
	if err := database(t, func(ctx context.Context, d *mongo.Database) error {
		for _, name := range []string{"iot_frames", "iot_losses", "iot_aggregate_metrics_sensor", "iot_aggregate_metrics_place"} {
			cursor, err := d.Collection(name).Find(ctx, bson.D{}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
			if err != nil {
				return err
			}
			for cursor.Next(ctx) {
				sum.Write(cursor.Current)
			}
			if err := cursor.Err(); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

func documentsOf(t *testing.T, collection string) int64 {
	t.Helper()
	var n int64
	if err := database(t, func(ctx context.Context, d *mongo.Database) (err error) {
		n, err = d.Collection(collection).CountDocuments(ctx, bson.D{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}
