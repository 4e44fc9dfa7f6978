//go:build integration

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// outage is what devices held back, and interval how often they sampled.
const (
	outage   = time.Hour
	interval = 2 * time.Second
	held     = int(outage / interval)
)

// TestPrometheus replays an hour's outage of several devices, after newer readings
// were there, to a Prometheus that is killed meanwhile: it then has every sample
// at its own time. What is before its out-of-order window is counted, and is not
// in the way of the rest. promtool has no objection to what all roles show.
func TestPrometheus(t *testing.T) {
	servers := startServers(t, "mosquitto", "kafka", "mongo", "prometheus")
	dropDatabase(t)
	start(t, "telltale-ingest", "run",
		"--mqtt-url", "tcp://"+mqttAddr, "--kafka-brokers", "["+kafkaAddr+"]", "--kafka-partitions", "3",
		"--mongo-uri", mongoURI(), "--mongo-database", databaseName, "--metrics-listen", metricsAddr,
		"--metrics-remote-write-url", "http://"+prometheusAddr+"/api/v1/write", "--metrics-time-series")
	client := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + mqttAddr).SetClientID("devices"))
	if token := client.Connect(); !token.WaitTimeout(30*time.Second) || token.Error() != nil {
		t.Fatalf("connect: %v", token.Error())
	}
	defer client.Disconnect(100)
	// A message that nobody subscribes to is gone; these have no receipts.
	await.True(t, 2*time.Minute, "ingest is ready", func() bool {
		response, err := http.Get("http://" + metricsAddr + "/readyz")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	})

	d := devicesOf(t, client, "cellar", "office", "roof", "shed")
	now := time.Now().Truncate(time.Second).UnixMilli()
	t.Log("the readings of now")
	for i := range 10 {
		d.sample(now + int64(i))
	}
	d.publish()
	await.True(t, 2*time.Minute, "they are in Prometheus", func() bool { return d.stored() })

	t.Log("the backlog, the first half")
	begin := now - outage.Milliseconds()
	at := func(i int) int64 { return begin + int64(i)*interval.Milliseconds() + int64(i%997) }
	const tooOld = 500
	for i := range held / 2 {
		d.sample(at(i))
		if i < tooOld { // in the same messages as the others
			d.sampleOne("cellar", now-(30*time.Hour).Milliseconds()+int64(i))
		}
	}
	d.publish()
	await.True(t, 2*time.Minute, "some of it is in Prometheus", func() bool {
		return metric(t, "telltale_remote_write_samples_sent_total", "") > 5*40+1000
	})
	t.Log("Prometheus is killed; the second half")
	servers.run("kill", "prometheus")
	for i := held / 2; i < held; i++ {
		d.sample(at(i))
	}
	d.publish()
	await.True(t, 2*time.Minute, "remote write tries again", func() bool {
		return metric(t, "telltale_remote_write_retries_total", `reason="connection"`) > 0
	})
	servers.run("start", "prometheus")
	d.refuse("cellar", now-(25*time.Hour).Milliseconds())
	await.True(t, 2*time.Minute, "every sample is in Prometheus, at its own time", func() bool { return d.stored() })
	await.True(t, 2*time.Minute, "those before the window are counted", func() bool {
		return metric(t, "telltale_remote_write_samples_refused_total", `reason="too_old"`) == 5*tooOld
	})
	if n := metric(t, "telltale_remote_write_samples_refused_total", ""); n != 5*tooOld {
		t.Errorf("%v samples refused, want the %d before the window alone", n, 5*tooOld)
	}

	all := 4*(10+held) + tooOld
	t.Log("a record of every frame in the time series")
	await.True(t, 2*time.Minute, "the records", func() bool { return metric(t, "telltale_time_series_records_total", "") >= float64(all) })
	d.checkTimeSeries(t)
	t.Log("how long the readings were under way")
	for _, name := range []string{"telltale_bridge_latency_seconds", "telltale_sink_latency_seconds"} {
		await.True(t, 2*time.Minute, name+" of every frame", func() bool { return metric(t, name+"_count", "") >= float64(all) })
		if n := metric(t, name+"_bucket", `le="900"`); n < 40 || n > float64(all/2) {
			t.Errorf("%s: %v readings of less than 15 minutes, want those of now and a quarter of an hour's backlog", name, n)
		}
		if n, all := metric(t, name+"_bucket", `le="86400"`), metric(t, name+"_count", ""); n != all-tooOld {
			t.Errorf("%s: %v readings of less than a day, want all but %d of %v", name, n, tooOld, all)
		}
	}

	if n := metric(t, "telltale_remote_write_retries_total", `reason="status_500"`); n > 0 {
		t.Errorf("%v requests were repeated that Prometheus will never take", n)
	}

	if out := promtool(t, exposition(t), "check", "metrics"); out != "" {
		t.Errorf("promtool check metrics says:\n%s", out)
	}
	checkDocument(t)
}

// promtool returns what the tool says to its input. It must take it.
func promtool(t *testing.T, input string, args ...string) string {
	t.Helper()
	command := exec.Command("promtool", args...)
	command.Stdin = strings.NewReader(input)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

var fenced = regexp.MustCompile("(?s)```(promql|yaml)\n(.*?)```")

// checkDocument tries what ingest/prometheus.md has for Prometheus: its queries
// find something, its configuration is one.
func checkDocument(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "ingest/prometheus.md"))
	if err != nil {
		t.Fatal(err)
	}
	checked := map[string]int{}
	for _, block := range fenced.FindAllStringSubmatch(string(text), -1) {
		checked[block[1]]++
		if block[1] == "yaml" {
			file := filepath.Join(t.TempDir(), "prometheus.yml")
			if err := os.WriteFile(file, []byte(block[2]), 0o600); err != nil {
				t.Fatal(err)
			}
			promtool(t, "", "check", "config", file)
			continue
		}
		for expression := range strings.Lines(block[2]) {
			await.True(t, time.Minute, "an answer to "+expression, func() bool { return len(query(t, expression)) > 0 })
		}
	}
	if checked["promql"] < 2 || checked["yaml"] < 1 {
		t.Errorf("checked %v of ingest/prometheus.md", checked)
	}
}

// exposition returns what ingest shows.
func exposition(t *testing.T) string {
	t.Helper()
	response, err := http.Get("http://" + metricsAddr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// metric returns the sum of those series of ingest's that have the label.
func metric(t *testing.T, name, label string) (sum float64) {
	t.Helper()
	for line := range strings.Lines(exposition(t)) {
		line = strings.TrimSpace(line)
		space := strings.LastIndexByte(line, ' ') // a label's value may have some, too
		series, text := line[:max(space, 0)], line[space+1:]
		if found, labels, _ := strings.Cut(series, "{"); found != name || !strings.Contains(labels, label) {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		sum += value
	}
	return sum
}

// emulated are devices that publish what they are told to sample, and know it.
type emulated struct {
	t       *testing.T
	client  paho.Client
	ids     []string
	seqs    map[string]uint64
	pending map[string][]telemetry.Frame
	want    map[string]map[int64]telemetry.Frame // by sensor and timestamp
	refused map[string]int64                     // what is older is not wanted in Prometheus
}

func devicesOf(t *testing.T, client paho.Client, ids ...string) *emulated {
	d := &emulated{t: t, client: client, ids: ids, seqs: map[string]uint64{}, pending: map[string][]telemetry.Frame{},
		want: map[string]map[int64]telemetry.Frame{}, refused: map[string]int64{}}
	for _, id := range ids {
		d.want[id] = map[int64]telemetry.Frame{}
	}
	return d
}

func (d *emulated) sample(timestamp int64) {
	for _, id := range d.ids {
		d.sampleOne(id, timestamp)
	}
}

func (d *emulated) sampleOne(id string, timestamp int64) {
	seq := d.seqs[id]
	d.seqs[id]++
	f := telemetry.Frame{ID: id, Name: "The " + id, PlaceID: "house", Timestamp: timestamp, Sequenced: true, Epoch: 7, Seq: seq}
	f.Payload.Set(telemetry.Temperature, telemetry.Micro(20_000_000+seq*1_300))
	f.Payload.Set(telemetry.Humidity, telemetry.Micro(40_000_000+seq*700))
	f.Payload.Set(telemetry.Pressure, telemetry.Micro(1_013_250_000-seq*10_000))
	f.Payload.Set(telemetry.Luminosity, telemetry.Micro(seq*1_000_000))
	d.pending[id] = append(d.pending[id], f)
	d.want[id][timestamp] = f
}

// publish sends what was sampled, 50 frames in a message.
func (d *emulated) publish() {
	d.t.Helper()
	for _, id := range d.ids {
		for batch := range slices.Chunk(d.pending[id], 50) {
			token := d.client.Publish(telemetry.Topic(id, telemetry.Frames), 1, false, telemetry.AppendBatch(nil, batch))
			if !token.WaitTimeout(30*time.Second) || token.Error() != nil {
				d.t.Fatalf("publish: %v", token.Error())
			}
		}
		d.pending[id] = nil
	}
}

// refuse says that Prometheus will not have what a device sampled before.
func (d *emulated) refuse(id string, before int64) { d.refused[id] = before }

// stored reports whether Prometheus has all samples, and fails if it has others.
func (d *emulated) stored() bool {
	d.t.Helper()
	of := map[string]func(telemetry.Frame) float64{
		"telltale_temperature_celsius":       payload(telemetry.Temperature, 1e6),
		"telltale_relative_humidity_ratio":   payload(telemetry.Humidity, 1e8),
		"telltale_pressure_pascals":          payload(telemetry.Pressure, 1e4),
		"telltale_illuminance_lux":           payload(telemetry.Luminosity, 1e6),
		"telltale_reading_timestamp_seconds": func(f telemetry.Frame) float64 { return float64(f.Timestamp) / 1e3 },
	}
	for name, value := range of {
		for _, id := range d.ids {
			want := map[int64]float64{}
			for timestamp, f := range d.want[id] {
				if timestamp >= d.refused[id] {
					want[timestamp] = value(f)
				}
			}
			got := samples(d.t, fmt.Sprintf(`%s{sensor_id=%q,sensor_name="The %s",place_id="house",job=""}[48h]`, name, id, id))
			for timestamp, v := range got {
				if w, ok := want[timestamp]; !ok || v != w {
					d.t.Fatalf("%s of %s at %d is %v in Prometheus, want %v, %t", name, id, timestamp, v, w, ok)
				}
			}
			if !maps.Equal(got, want) {
				return false
			}
		}
	}
	return true
}

func payload(m telemetry.Measure, perUnit float64) func(telemetry.Frame) float64 {
	return func(f telemetry.Frame) float64 {
		v, _ := f.Payload.Get(m)
		return float64(v) / perUnit
	}
}

// samples asks Prometheus for the samples of a range selector, none if there is
// no such series, or while it starts.
func samples(t *testing.T, selector string) map[int64]float64 {
	t.Helper()
	// Some seconds ahead, so that no sample of now is missed.
	at := time.Now().Add(10 * time.Second).Unix()
	response, err := http.Get(fmt.Sprintf("http://%s/api/v1/query?time=%d&query=%s", prometheusAddr, at, url.QueryEscape(selector)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusServiceUnavailable {
		return nil
	}
	var answer struct {
		Status string
		Data   struct {
			Result []struct{ Values [][2]json.RawMessage }
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Status != "success" || len(answer.Data.Result) > 1 {
		t.Fatalf("%s: %v, %+v", selector, err, answer)
	}
	found := map[int64]float64{}
	for _, result := range answer.Data.Result {
		for _, pair := range result.Values {
			seconds, err := strconv.ParseFloat(string(pair[0]), 64)
			if err != nil {
				t.Fatal(err)
			}
			value, err := strconv.ParseFloat(strings.Trim(string(pair[1]), `"`), 64)
			if err != nil {
				t.Fatal(err)
			}
			found[int64(seconds*1000+0.5)] = value
		}
	}
	return found
}

// checkTimeSeries finds the record of each frame in its topic.
func (d *emulated) checkTimeSeries(t *testing.T) {
	t.Helper()
	type key struct {
		sensor    string
		timestamp int64
	}
	records := map[key]map[string]float64{}
	for _, m := range readTopic(t, kafkaAddr, "iot-metrics-time-series") {
		var r struct {
			Name, Type string
			Timestamp  int64
			Dimensions map[string]string
			Values     map[string]float64
		}
		if err := json.Unmarshal(m.Value, &r); err != nil {
			t.Fatalf("%s: %v", m.Value, err)
		}
		id := r.Dimensions["sensor_id"]
		if r.Name != "sample_sensor_metric" || r.Type != "sensor" || string(m.Key) != id || r.Dimensions["sensor_name"] != "The "+id || r.Dimensions["place_id"] != "house" {
			t.Fatalf("record %s of key %s", m.Value, m.Key)
		}
		records[key{id, r.Timestamp}] = r.Values
	}
	for _, id := range d.ids {
		for timestamp, f := range d.want[id] {
			want := map[string]float64{}
			for m := range telemetry.Measure(telemetry.Measures) {
				v, _ := f.Payload.Get(m)
				want[m.String()] = v.Float()
			}
			if got := records[key{id, timestamp}]; !maps.Equal(got, want) {
				t.Fatalf("the record of %s at %d has %v, want %v", id, timestamp, got, want)
			}
		}
	}
}
