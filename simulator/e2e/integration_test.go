//go:build integration

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/verify"
)

const (
	devices = 20
	window  = 5 * time.Second

	// databaseName is one that nobody else's data is in: the test drops it.
	databaseName = "telltale_e2e"
)

// TestRealServers runs 20 real agents through ingest on the real servers,
// kills or restarts each part once in mid-stream, publishes the frames of the
// replaced system with a client that is not ours, and finds nothing missing,
// double or different.
func TestRealServers(t *testing.T) {
	servers := startServers(t, "mosquitto", "kafka", "mongo", "prometheus")
	dropDatabase(t)
	dir := t.TempDir()
	journal := filepath.Join(dir, "journal")

	ingest := start(t, "telltale-ingest", "run",
		"--mqtt-url", "tcp://"+mqttAddr, "--kafka-brokers", "["+kafkaAddr+"]", "--kafka-partitions", "4",
		"--mongo-uri", mongoURI(), "--mongo-database", databaseName, "--aggregate-window", window.String(), "--aggregate-idle", "5s",
		"--metrics-listen", metricsAddr)
	fleet := start(t, "telltale-simulator", "fleet",
		"--mqtt-url", "tcp://"+mqttAddr, "--devices", strconv.Itoa(devices), "--interval", "200ms",
		"--dir", filepath.Join(dir, "fleet"), "--journal", journal, "--for", "1h")

	// progress waits until that many more readings are sampled and in MongoDB.
	progress := func(readings int) {
		t.Helper()
		sampled, stored := lines(t, journal)+readings, documents(t)+readings
		await.True(t, 2*time.Minute, fmt.Sprintf("%d more readings in MongoDB", readings), func() bool {
			return lines(t, journal) >= sampled && documents(t) >= stored
		})
	}
	progress(500)

	t.Log("the seed's frames, by mosquitto_pub, retained and not")
	for i, frame := range seedFrames {
		publish(t, frame, i%2 == 0)
	}
	await.True(t, time.Minute, "the seed's frames in Kafka and MongoDB, unchanged", func() bool {
		return holdsSeedFrames(t)
	})

	t.Log("Prometheus scrapes the latest readings")
	await.True(t, time.Minute, "a value of every device in Prometheus", func() bool {
		return len(query(t, `telltale_temperature_celsius{sensor_id=~"device-.*"}`)) == devices
	})
	checkValues(t, journal, query(t, `telltale_temperature_celsius{sensor_id=~"device-.*"}`))

	t.Log("ingest is killed")
	ingest.crash()
	progress(500)
	t.Log("the agents are killed")
	fleet.crash()
	progress(500)
	t.Log("Mosquitto restarts")
	servers.restart("mosquitto")
	progress(500)
	t.Log("Kafka restarts")
	servers.restart("kafka")
	progress(500)

	t.Log("the agents end and are verified")
	fleet.args = append(fleet.args[:len(fleet.args)-1], "2s")
	fleet.crash()
	if err := fleet.wait(2 * time.Minute); err != nil {
		t.Fatalf("the fleet ended with %v", err)
	}
	check := start(t, "telltale-simulator", "verify", "--journal", journal, "--kafka", "["+kafkaAddr+"]",
		"--mongo", mongoURI(), "--database", databaseName, "--window", window.String(), "--timeout", "3m")
	err := check.wait(4 * time.Minute)
	t.Log(check.output.String())
	if err != nil {
		t.Fatalf("verify ended with %v", err)
	}
	var report verify.Report
	last := strings.TrimSpace(check.output.String())
	last = last[strings.LastIndexByte(last, '\n')+1:]
	if _, err := fmt.Sscanf(last, "verify sampled=%d kafka=%d mongo=%d windowed=%d missing=%d duplicate=%d different=%d",
		&report.Sampled, &report.Kafka, &report.Mongo, &report.Windowed, &report.Missing, &report.Duplicate, &report.Different); err != nil {
		t.Fatalf("%q: %v", last, err)
	}
	want := verify.Report{Sampled: report.Sampled, Kafka: report.Sampled, Mongo: report.Sampled, Windowed: report.Sampled}
	if report.String() != want.String() || report.Sampled < 2500+len(seedFrames) {
		t.Errorf("got %s, want %s with at least %d", &report, &want, 2500+len(seedFrames))
	}
}

// seedFrames are of the form that the replaced system's sensors publish:
// integers, a date beside the timestamp.
var seedFrames = []string{
	seedFrame("12434345", "32347983", 21, 40, 1013, 2400),
	seedFrame("21321434", "32347983", -5, 0, 1000, 0),
	seedFrame("43245253", "42343243", 34, 99, 1029, 64999),
}

func seedFrame(id, place string, temperature, humidity, pressure, luminosity int) string {
	now := time.Now().Add(-time.Minute)
	return fmt.Sprintf(`{"id":%q,"name":"Sensor %s","place_id":%q,"date":%q,"timestamp":%d,"payload":{"temperature":%d,"humidity":%d,"pressure":%d,"luminosity":%d}}`,
		id, id, place, now.UTC().Format("2006-01-02T15:04:05.000Z"), now.UnixMilli(), temperature, humidity, pressure, luminosity)
}

func publish(t *testing.T, frame string, retained bool) {
	t.Helper()
	host, port, _ := strings.Cut(mqttAddr, ":")
	args := []string{"-h", host, "-p", port, "-q", "1", "-t", telemetry.SeedTopic, "-m", frame}
	if retained {
		args = append(args, "-r")
	}
	if out, err := exec.Command("mosquitto_pub", args...).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub: %v\n%s", err, out)
	}
}

func holdsSeedFrames(t *testing.T) bool {
	t.Helper()
	stored, err := verify.Read(t.Context(), verify.Sources{Brokers: []string{kafkaAddr}, MongoURI: mongoURI(), Database: databaseName})
	if err != nil {
		t.Logf("reading: %v", err)
		return false
	}
	values := make(map[string]bool)
	for _, record := range readTopic(t, kafkaAddr, "iot-frames") {
		values[string(record.Value)] = true
	}
	inMongo := make(map[verify.Key]telemetry.Frame)
	for i := range stored.Frames {
		inMongo[verify.KeyOf(&stored.Frames[i])] = stored.Frames[i]
	}
	var decoder telemetry.Decoder
	for _, seed := range seedFrames {
		var want telemetry.Frame
		if err := decoder.Decode([]byte(seed), &want); err != nil {
			t.Fatal(err)
		}
		if got, ok := inMongo[verify.KeyOf(&want)]; !ok || !values[seed] {
			return false
		} else if got != want {
			t.Fatalf("MongoDB has %+v, published was %s", got, seed)
		}
	}
	return true
}

// startAllRoles starts ingest in all of its roles, and waits until it is ready.
func startAllRoles(t *testing.T) *program {
	t.Helper()
	ingest := start(t, "telltale-ingest", "run",
		"--mqtt-url", "tcp://"+mqttAddr, "--kafka-brokers", "["+kafkaAddr+"]", "--kafka-partitions", "4",
		"--mongo-uri", mongoURI(), "--mongo-database", databaseName, "--aggregate-window", window.String(), "--aggregate-idle", "3s",
		"--metrics-listen", metricsAddr)
	await.True(t, 2*time.Minute, "ingest is ready", ready)
	return ingest
}

// journalOf reads what a fleet has sampled.
func journalOf(t *testing.T, name string) *verify.Journal {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	journal, err := verify.ReadJournal(name, file)
	if err != nil {
		t.Fatal(err)
	}
	return journal
}

// lines returns how many readings the journal has.
func lines(t *testing.T, journal string) int {
	t.Helper()
	data, err := os.ReadFile(journal)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return bytes.Count(data, []byte("}\n"))
}

func database(t testing.TB, use func(context.Context, *mongo.Database) error) error {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(mongoURI()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Disconnect(context.WithoutCancel(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	return use(ctx, client.Database(databaseName))
}

func dropDatabase(t testing.TB) {
	t.Helper()
	if err := database(t, func(ctx context.Context, d *mongo.Database) error { return d.Drop(ctx) }); err != nil {
		t.Fatal(err)
	}
}

// documents returns how many readings MongoDB has.
func documents(t *testing.T) int {
	t.Helper()
	var n int64
	if err := database(t, func(ctx context.Context, d *mongo.Database) (err error) {
		n, err = d.Collection("iot_frames").CountDocuments(ctx, bson.D{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// query asks Prometheus and returns the values by sensor.
func query(t *testing.T, expression string) map[string]float64 {
	t.Helper()
	response, err := http.Get("http://" + prometheusAddr + "/api/v1/query?query=" + url.QueryEscape(expression))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Data struct {
			Result []struct {
				Metric struct {
					Sensor string `json:"sensor_id"`
				}
				Value [2]any
			}
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, result := range answer.Data.Result {
		value, err := strconv.ParseFloat(result.Value[1].(string), 64)
		if err != nil {
			t.Fatal(err)
		}
		values[result.Metric.Sensor] = value
	}
	return values
}

// checkValues holds what Prometheus says against what the devices sampled.
func checkValues(t *testing.T, journal string, values map[string]float64) {
	t.Helper()
	data, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	sampled := make(map[string]map[float64]bool)
	var decoder telemetry.Decoder
	for line := range bytes.Lines(data[:bytes.LastIndexByte(data, '\n')+1]) {
		var f telemetry.Frame
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err := decoder.Decode(line, &f); err != nil {
			t.Fatal(err)
		}
		if v, ok := f.Payload.Get(telemetry.Temperature); ok {
			if sampled[f.ID] == nil {
				sampled[f.ID] = make(map[float64]bool)
			}
			sampled[f.ID][v.Float()] = true
		}
	}
	for id, value := range values {
		if !sampled[id][value] {
			t.Errorf("Prometheus has %v for %s, which was never sampled", value, id)
		}
	}
}
