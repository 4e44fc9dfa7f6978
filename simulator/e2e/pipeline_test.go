package e2e

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator"
	"github.com/telltale-iot/telltale/simulator/climate"
	"github.com/telltale-iot/telltale/simulator/i2csim"
	"github.com/telltale-iot/telltale/simulator/pipeline"
	"github.com/telltale-iot/telltale/simulator/verify"
)

const anyPort = "127.0.0.1:0"

// startPipeline runs the whole system on the embedded servers until the test
// ends. stop ends it earlier.
func startPipeline(t *testing.T, devices int, window time.Duration) (p *pipeline.Pipeline, journal *verify.Journal, stop func()) {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	journal = verify.NewJournal(nil)
	p, err := pipeline.New(pipeline.Options{
		Listen: pipeline.Listen{MQTT: anyPort, Kafka: anyPort, Mongo: anyPort, Metrics: anyPort},
		Dir:    t.TempDir(), Window: window, Version: "test", Logger: logger,
		Fleet: simulator.Options{
			Devices: devices, Places: 2, Prefix: "office", Interval: 250 * time.Millisecond, Seed: 3, Version: "test", Logger: logger,
			Observe: journal.Record, Uplink: map[string]any{"compression": "zstd"},
			Climate: map[string]any{"self_heating": 1.5, "calibration": []map[string]any{{"measure": "pressure", "date": "2026-11-26", "offset": -0.5}}},
			Source: func(i int) (i2csim.Source, error) {
				return climate.NewReplay(climate.ReplayOptions{Series: climate.Office(), Begin: time.Now(), Offset: 17 * time.Hour, Speed: 600, Weather: 1, Seed: uint64(i) + 1})
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the pipeline ended with %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("the pipeline does not end")
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return p, journal, stop
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// calibrated is a reading of a calibrated BME280 beside a BH1750.
var calibrated = regexp.MustCompile(`"payload":\{"temperature":.*\},"raw":\{"temperature":[^a-z]*,"humidity":[^a-z]*,"pressure":[^a-z]*\}`)

// TestPipeline runs real agents, ingest and the embedded servers, and holds
// what was sampled against Kafka, MongoDB and the windows. Frames of the
// replaced system's form, from a client that is not ours, and frames that no
// one should send, go through it at the same time.
func TestPipeline(t *testing.T) {
	const window = time.Second
	p, journal, stop := startPipeline(t, 3, window)
	await.True(t, time.Minute, "ingest is ready", func() bool {
		status, _ := get(t, "http://"+p.MetricsAddr()+"/readyz")
		return status == http.StatusOK
	})

	client := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + p.MQTTAddr()).SetClientID("visitor"))
	publish := func(topic string, retained bool, payload string) {
		t.Helper()
		if token := client.Publish(topic, 1, retained, payload); !token.WaitTimeout(30*time.Second) || token.Error() != nil {
			t.Fatalf("publish: %v", token.Error())
		}
	}
	if token := client.Connect(); !token.WaitTimeout(30*time.Second) || token.Error() != nil {
		t.Fatalf("connect: %v", token.Error())
	}
	defer client.Disconnect(0)

	now := time.Now()
	seed := fmt.Sprintf(`{"id":"12434345","name":"Sensor 1","place_id":"32347983","date":%q,"timestamp":%d,"payload":{"temperature":-5,"humidity":99,"pressure":1029,"luminosity":64999}}`,
		now.UTC().Format("2006-01-02T15:04:05.000Z"), now.UnixMilli())
	publish(telemetry.SeedTopic, true, seed)
	publish(telemetry.SeedTopic, false, seed) // again: it must change nothing

	frame := func(id string, timestamp int64) string {
		return fmt.Sprintf(`{"id":%q,"timestamp":%d,"epoch":1,"seq":0,"payload":{"temperature":1}}`, id, timestamp)
	}
	deep := strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000)
	bad := map[string]string{ // payload by the reason it is refused with
		"not_json":          `{"id":"visitor",`,
		"wrong_type":        `{"id":"visitor","timestamp":"now"}`,
		"out_of_range":      `{"id":"visitor","timestamp":1763870400000,"payload":{"temperature":1e400}}`,
		"missing_id":        `{"timestamp":1763870400000}`,
		"missing_timestamp": `{"id":"visitor"}`,
		"foreign_id":        frame("somebody-else", now.UnixMilli()),
		"before_2000":       frame("visitor", 946684799999),
		"in_future":         frame("visitor", now.Add(time.Hour).UnixMilli()),
		"too_large":         strings.Repeat(" ", 1<<20) + "{}",
		"too_deep":          `{"id":"visitor","timestamp":1763870400000,"extra":` + deep + `}`,
		"invalid_utf8":      "{\"id\":\"visitor\",\"timestamp\":1763870400000,\"name\":\"\xff\"}",
	}
	for _, payload := range bad {
		publish(telemetry.Topic("visitor", telemetry.Frames), false, payload)
	}
	const badInBatch = `{"id":"visitor","timestamp":null}`
	good := fmt.Sprintf(`{"id":"visitor.good","place_id":"room-9","timestamp":%d,"epoch":1,"seq":0,"payload":{"temperature":7},"extra":[1,2]}`, now.UnixMilli())
	publish(telemetry.Topic("visitor", telemetry.Frames), false, `[`+good+`,`+badInBatch+`]`)

	await.True(t, 2*time.Minute, "30 readings and a few windows", func() bool {
		totals := p.Ledger.Totals()
		return journal.Len() >= 30 && totals.Windows >= 6
	})
	p.Fleet.StopSampling()
	await.True(t, time.Minute, "empty buffers", func() bool { return p.Fleet.Stats().Buffered == 0 })
	sources := verify.Sources{Brokers: []string{p.KafkaAddr()}, MongoURI: p.MongoURI(), Database: pipeline.Database}
	report, err := verify.Await(t.Context(), journal, sources, verify.Rules{Window: window}, 2*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	sampled := journal.Len() + 2 // the seed's and the good one of the bad batch
	want := verify.Report{Sampled: sampled, Kafka: sampled, Mongo: sampled, Windowed: sampled}
	if report.String() != want.String() || !report.OK() {
		t.Errorf("got  %s\nwant %s\n%v", report, &want, report.Findings)
	}

	letters := make(map[string][]string) // payloads by reason
	bodies := make(map[string]bool)
	for _, r := range readTopic(t, p.KafkaAddr(), "iot-dead-letter") {
		headers := make(map[string]string)
		for _, h := range r.Headers {
			headers[h.Key] = string(h.Value)
		}
		if headers["topic"] != "telltale/v1/visitor/frames" || headers["device"] != "visitor" || headers["detail"] == "" {
			t.Errorf("a dead letter has the headers %v", headers)
		}
		letters[headers["reason"]] = append(letters[headers["reason"]], string(r.Value))
	}
	for reason, payload := range bad {
		if !slices.ContainsFunc(letters[reason], func(got string) bool { return got == payload || len(got) == 64<<10 && strings.HasPrefix(payload, got) }) {
			t.Errorf("no dead letter of %s has %.100q, but %.100q", reason, payload, letters[reason])
		}
	}
	if !slices.Contains(letters["missing_timestamp"], badInBatch) {
		t.Errorf("the bad frame of the batch has no dead letter: %q", letters["missing_timestamp"])
	}
	for _, r := range readTopic(t, p.KafkaAddr(), "iot-frames") {
		bodies[string(r.Value)] = true
	}
	if !bodies[seed] {
		t.Error("the seed's frame is not in Kafka unchanged")
	}
	whole := 0
	for body := range bodies {
		if strings.Contains(body, "extra") {
			t.Errorf("an unknown field got into Kafka: %s", body)
		}
		// That it is the same in MongoDB, the report above says.
		switch {
		case !strings.HasPrefix(body, `{"id":"office-`):
		case calibrated.MatchString(body):
			whole++
		case !strings.Contains(body, `"temperature":"timeout"`): // a busy machine has a chip time out
			t.Errorf("a reading of a calibrated chip lacks what it measured: %s", body)
		}
	}
	if whole < 20 {
		t.Errorf("%d readings have what a calibrated chip measured, of %d", whole, len(bodies))
	}

	lines := []string{
		`telltale_temperature_celsius{place_id="32347983",sensor_id="12434345",sensor_name="Sensor 1"} -5`,
		`telltale_pressure_pascals{place_id="32347983",sensor_id="12434345",sensor_name="Sensor 1"} 102900`,
		`telltale_relative_humidity_ratio{place_id="32347983",sensor_id="12434345",sensor_name="Sensor 1"} 0.99`,
		`telltale_illuminance_lux{place_id="32347983",sensor_id="12434345",sensor_name="Sensor 1"} 64999`,
		`telltale_bridge_dead_letters_total{reason="not_json"} 1`,
		`telltale_sink_frames_stored_total ` + fmt.Sprint(sampled),
	}
	var metrics string
	missing := func(line string) bool { return !strings.Contains(metrics, line+"\n") }
	defer func() {
		if i := slices.IndexFunc(lines, missing); i >= 0 {
			t.Errorf("/metrics has no line %s", lines[i])
		}
	}()
	await.True(t, time.Minute, "all that was sent in the metrics", func() bool { // the latest values come by a way of their own
		_, metrics = get(t, "http://"+p.MetricsAddr()+"/metrics")
		return !slices.ContainsFunc(lines, missing)
	})
	if strings.Contains(metrics, "telltale_bridge_compressed_messages_total 0\n") {
		t.Error("no message came compressed")
	}
	stop()
}

// TestPipelineWithoutSensors shows that the system runs for what others send.
func TestPipelineWithoutSensors(t *testing.T) {
	p, _, stop := startPipeline(t, 0, 10*time.Second)
	client := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + p.MQTTAddr()).SetClientID("mine"))
	if token := client.Connect(); !token.WaitTimeout(30*time.Second) || token.Error() != nil {
		t.Fatalf("connect: %v", token.Error())
	}
	defer client.Disconnect(0)
	at := time.Now().Truncate(time.Millisecond)
	await.True(t, time.Minute, "ingest is ready", func() bool {
		status, _ := get(t, "http://"+p.MetricsAddr()+"/readyz")
		return status == http.StatusOK
	})
	client.Publish(telemetry.SeedTopic, 1, false, fmt.Sprintf(`{"id":"mine","place_id":"room-1","timestamp":%d,"payload":{"temperature":21.5}}`, at.UnixMilli()))
	await.True(t, time.Minute, "the reading in MongoDB", func() bool {
		count, rows, err := p.Ledger.Stored(t.Context())
		if err != nil || count == 0 || len(rows) == 0 || rows[0].Date.IsZero() {
			return false
		}
		if got := rows[0]; got.ID != "mine" || got.PlaceID != "room-1" || !got.Date.Equal(at) || !cmp.Equal(*got.Values[telemetry.Temperature], 21.5) {
			t.Fatalf("MongoDB has %+v", got)
		}
		return true
	})
	stop()
}

// readTopic returns all records of a topic.
func readTopic(t testing.TB, broker, topic string) []kafka.Message {
	t.Helper()
	conn, err := kafka.DialContext(t.Context(), "tcp", broker)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	partitions, err := conn.ReadPartitions(topic)
	if err != nil {
		t.Fatal(err)
	}
	var records []kafka.Message
	for _, p := range partitions {
		leader, err := kafka.DialLeader(t.Context(), "tcp", broker, topic, p.ID)
		if err != nil {
			t.Fatal(err)
		}
		first, end, err := leader.ReadOffsets()
		leader.Close()
		if err != nil {
			t.Fatal(err)
		}
		reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{broker}, Topic: topic, Partition: p.ID, MaxWait: 100 * time.Millisecond})
		for offset := first; offset < end; {
			record, err := reader.ReadMessage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			offset = record.Offset + 1
			records = append(records, record)
		}
		reader.Close()
	}
	return records
}
