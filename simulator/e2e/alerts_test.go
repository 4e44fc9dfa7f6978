//go:build integration

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

const (
	// sinkAddr is where the process that has the sink alone tells of itself.
	sinkAddr = "127.0.0.1:29465"

	// wayAddr is where the tiny device looks for its broker, and finds none at
	// first. Its port is none that the kernel gives to others meanwhile.
	wayAddr = "127.0.0.1:29466"
)

// shortened are the bounds of alerts that are not durations, and what the test
// has in their place: like the durations, a sixtieth, but more for what statuses
// say, which are a minute old, and for windows.
var shortened = map[string]string{
	"> 900": "> 15", "> 1800": "> 90", "> 1200": "> 60", "- 86400": "- 1440", "* 86400": "* 1440", "4 * 3600": "4 * 60",
	"> 300": "> 5",
}

var duration = regexp.MustCompile(`\b(\d+)([mhd])\b`)

// shorten has rules go by in a sixtieth of their time: every duration in an
// expression, a for or an interval, and the bounds in shortened.
func shorten(t *testing.T, rules string, found map[string]bool) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(rules) {
		field, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch field {
		case "record", "alert", "summary", "description", "runbook_url", "labels", "- record", "- alert":
			out.WriteString(line) // the names of recorded series have spans in them
			continue
		}
		for from, to := range shortened {
			if strings.Contains(line, from) {
				found[from] = true
				line = strings.ReplaceAll(line, from, to)
			}
		}
		line = duration.ReplaceAllStringFunc(line, func(d string) string {
			parts := duration.FindStringSubmatch(d)
			n, err := strconv.Atoi(parts[1])
			if err != nil {
				t.Fatal(err)
			}
			return strconv.Itoa(n*map[string]int{"m": 1, "h": 60, "d": 24 * 60}[parts[2]]) + "s"
		})
		out.WriteString(line)
	}
	return out.String()
}

// startAlerting starts Prometheus with the rules of deploy/prometheus, shortened,
// and nothing else than ingest to scrape.
func startAlerting(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	found := map[string]bool{}
	for _, file := range prometheusFiles(t, "rules/*.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		overwrite(t, filepath.Join(dir, filepath.Base(file)), []byte(shorten(t, string(text), found)))
	}
	if len(found) != len(shortened) {
		t.Fatalf("of %v only %v are in the rules", shortened, found)
	}
	config := filepath.Join(dir, "prometheus.yml")
	overwrite(t, config, fmt.Appendf(nil, `
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [recording.yaml, alerts.yaml]
scrape_configs:
  - {job_name: telltale-ingest, static_configs: [{targets: [%q, %q]}]}
`, metricsAddr, sinkAddr))
	promtool(t, "", "check", "config", config)
	launch(t, "prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+prometheusAddr, "--log.level=warn")
}

// ask returns Prometheus' answer to a GET, which must be a success.
func ask[T any](t *testing.T, path string) (data T, ok bool) {
	t.Helper()
	response, err := http.Get("http://" + prometheusAddr + path)
	if err != nil {
		return data, false // it starts
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusServiceUnavailable {
		return data, false
	}
	var answer struct {
		Status, Error string
		Data          T
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %v, %s", path, err, answer.Error)
	}
	return answer.Data, true
}

// answersTo returns how many series an expression has.
func answersTo(t *testing.T, expression string) int {
	t.Helper()
	data, _ := ask[struct{ Result []json.RawMessage }](t, "/api/v1/query?query="+url.QueryEscape(expression))
	return len(data.Result)
}

// fires reports whether an alert fires that has these labels.
func fires(t *testing.T, name string, labels map[string]string) bool {
	t.Helper()
	data, _ := ask[struct {
		Alerts []struct {
			State               string
			Labels, Annotations map[string]string
		}
	}](t, "/api/v1/alerts")
next:
	for _, a := range data.Alerts {
		if a.State != "firing" || a.Labels["alertname"] != name {
			continue
		}
		for label, value := range labels {
			if a.Labels[label] != value {
				continue next
			}
		}
		return true
	}
	return false
}

// patienceForAlert is how long an alert may take: the longest for here is 10 s, and
// what it is about may need a reconnection before.
const patienceForAlert = 3 * time.Minute

func awaitAlert(t *testing.T, name string, labels map[string]string) {
	t.Helper()
	await.True(t, patienceForAlert, name+" fires", func() bool { return fires(t, name, labels) })
	t.Logf("%s fires", name)
}

func awaitEnd(t *testing.T, name string, labels map[string]string) {
	t.Helper()
	await.True(t, patienceForAlert, name+" ends", func() bool { return !fires(t, name, labels) })
	t.Logf("%s has ended", name)
}

// look asks what a page asks, with the name of a device of ours in the place of
// the page's. Every question must be one, and some must have an answer.
func look(t *testing.T, page, device string) {
	t.Helper()
	answers := 0
	for _, block := range promQL.FindAllStringSubmatch(pageText(t, page), -1) {
		for question := range strings.Lines(block[1]) {
			answers += answersTo(t, strings.ReplaceAll(strings.TrimSpace(question), "pi-1", device))
		}
	}
	if answers == 0 {
		t.Errorf("nothing answers the questions of %s", page)
	}
}

func pageText(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deploy/prometheus/runbooks", page))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// command returns the page's command that begins so, which must be there.
func command(t *testing.T, page, begin string) string {
	t.Helper()
	for _, block := range shell.FindAllStringSubmatch(pageText(t, page), -1) {
		for line := range strings.Lines(block[1]) {
			if strings.HasPrefix(line, begin) {
				return strings.TrimSpace(line)
			}
		}
	}
	t.Fatalf("%s has no command %q", page, begin)
	return ""
}

// carryOut runs a page's command with more arguments and returns what it says.
func carryOut(t *testing.T, line string, more ...string) string {
	t.Helper()
	c := exec.Command("sh", append([]string{"-c", line + ` "$@"`, "sh"}, more...)...)
	c.Dir = root
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	t.Logf("%s\n%s", line, out)
	return string(out)
}

// tinyDevice runs an agent whose buffer holds some minutes, until the test ends. Its
// broker is at addr. It samples faster than its light chip converts, which therefore
// fails.
func tinyDevice(t *testing.T, addr string) *simulator.Fleet {
	t.Helper()
	fleet, err := simulator.New(simulator.Options{
		Devices: 1, Places: 1, Prefix: "tiny", Interval: 20 * time.Millisecond, Seed: 2, Dir: t.TempDir(),
		Source: func(int) (i2csim.Source, error) {
			return i2csim.Constant{Temperature: physic.ZeroCelsius + 21*physic.Celsius, Humidity: 40 * physic.PercentRH, Pressure: 101325 * physic.Pascal}, nil
		},
		MQTT:   simulator.MQTT{URL: "tcp://" + addr},
		Buffer: map[string]any{"segment_size": "64KiB", "max_size": "256KiB"},
		Uplink: map[string]any{"backoff_min": "100ms", "backoff_max": "1s"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- fleet.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return fleet
}

// TestAlerts breaks a running system in four ways. Each time Prometheus, with the
// rules of deploy/prometheus a sixtieth as long, tells of it; the alert's page
// leads to the cause; and when it is mended, the alert ends.
func TestAlerts(t *testing.T) {
	// The tiny device cannot reach the broker until there is a way: its buffer fills
	// while the test does other things.
	open := func() {
		l, err := net.Listen("tcp", wayAddr)
		if err != nil {
			t.Fatal(err)
		}
		newGateOn(t, l, mqttAddr)
	}
	tiny := tinyDevice(t, wayAddr)
	startServers(t, "mosquitto", "kafka", "mongo")
	dropDatabase(t)
	flags := func(roles, addr string) []string {
		return []string{
			"run", "--roles", roles, "--mqtt-url", "tcp://" + mqttAddr, "--kafka-brokers", "[" + kafkaAddr + "]", "--kafka-partitions", "2",
			"--mongo-uri", mongoURI(), "--mongo-database", databaseName, "--aggregate-window", window.String(), "--aggregate-idle", "5s", "--metrics-listen", addr,
		}
	}
	start(t, "telltale-ingest", flags("[bridge, aggregate, metrics]", metricsAddr)...)
	sink := start(t, "telltale-ingest", flags("[sink]", sinkAddr)...)
	device := start(t, "telltale-simulator", "fleet", "--mqtt-url", "tcp://"+mqttAddr, "--devices", "1", "--prefix", "victim", "--interval", "500ms",
		"--dir", t.TempDir(), "--for", "1h")
	startAlerting(t)
	await.True(t, 3*time.Minute, "the device online, and no alert", func() bool {
		return answersTo(t, `telltale:device_online:max == 1`) == 1 && answersTo(t, `telltale:sensor_reading_timestamp_seconds:max`) == 1 &&
			answersTo(t, `telltale_kafka_group_lag_seconds{group="telltale-sink"}`) == 1 && answersTo(t, `ALERTS{alertstate="firing"}`) == 0
	})

	t.Run("a device goes", func(t *testing.T) {
		device.kill()
		offline, silent := map[string]string{"device": "victim-1"}, map[string]string{"sensor_id": "victim-1"}
		awaitAlert(t, "TelltaleDeviceOffline", offline)
		awaitAlert(t, "TelltaleSensorSilent", silent)
		look(t, "device-offline.md", "victim-1")
		look(t, "sensor-silent.md", "victim-1")
		host, port, _ := strings.Cut(mqttAddr, ":")
		line := strings.NewReplacer("pi-1", "victim-1",
			// The broker here has no TLS; TestRights has what this user may do.
			"broker.example -p 8884 --cafile ca.crt --cert telltale-operator.crt --key telltale-operator.key", host+" -p "+port,
		).Replace(command(t, "device-offline.md", "mosquitto_sub "))
		if said := carryOut(t, line); !strings.Contains(said, `"state":"offline","reason":"connection_lost"`) {
			t.Errorf("the status is %s", said)
		}
		device.spawn()
		awaitEnd(t, "TelltaleDeviceOffline", offline)
		awaitEnd(t, "TelltaleSensorSilent", silent)
	})

	t.Run("a poison message", func(t *testing.T) {
		labels := map[string]string{"role": "bridge", "reason": "not_json"}
		host, port, _ := strings.Cut(mqttAddr, ":")
		carryOut(t, fmt.Sprintf("mosquitto_pub -h %s -p %s -q 1 -t %s -m '{\"id\":'", host, port, telemetry.Topic("victim-1", telemetry.Frames)))
		awaitAlert(t, "TelltaleDeadLetters", labels)
		look(t, "dead-letters.md", "victim-1")
		letters := readTopic(t, kafkaAddr, "iot-dead-letter")
		if len(letters) != 1 || string(letters[0].Value) != `{"id":` {
			t.Errorf("%d dead letters: %+v", len(letters), letters)
		}
		awaitEnd(t, "TelltaleDeadLetters", labels)
	})

	t.Run("no sink", func(t *testing.T) {
		labels := map[string]string{"group": "telltale-sink"}
		sink.signal(syscall.SIGTERM)
		if err := sink.wait(time.Minute); err != nil {
			t.Fatal(err)
		}
		awaitAlert(t, "TelltaleConsumerLag", labels)
		awaitAlert(t, "TelltaleRoleMissing", map[string]string{"role": "sink"})
		awaitAlert(t, "TelltaleTargetDown", map[string]string{"instance": sinkAddr})
		look(t, "consumer-lag.md", "victim-1")
		look(t, "role-not-ready.md", "victim-1")
		line := strings.Replace(command(t, "role-not-ready.md", "bin/telltale-ingest health"), "bin/telltale-ingest", "! bin/telltale-ingest", 1)
		carryOut(t, line, "--metrics-listen", sinkAddr)
		sink.spawn()
		for name, labels := range map[string]map[string]string{"TelltaleConsumerLag": labels, "TelltaleRoleMissing": nil, "TelltaleTargetDown": nil} {
			awaitEnd(t, name, labels)
		}
	})

	t.Run("a buffer is too small for an outage", func(t *testing.T) {
		labels := map[string]string{"reason": "buffer_full"}
		await.True(t, 8*time.Minute, "a hundred readings dropped", func() bool {
			now := tiny.Stats()
			return now.Sampled > now.Buffered+100
		})
		open()
		awaitAlert(t, "TelltaleReadingsLost", labels)
		look(t, "readings-lost.md", "tiny-1")
		await.True(t, time.Minute, "the backlog is sent", func() bool { return tiny.Stats().Buffered < 50 })
		said := carryOut(t, command(t, "readings-lost.md", "bin/telltale-ingest missing"), "--mongo-uri", mongoURI(), "--mongo-database", databaseName,
			"--aggregate-window", window.String(), "--aggregate-idle", "5s", "--sensor", "tiny-1")
		if !regexp.MustCompile(`tiny-1: .*lost \(buffer_full: \d{3,}\)`).MatchString(said) {
			t.Error("it does not say how many of tiny-1 are lost")
		}
		awaitAlert(t, "TelltaleChipFails", map[string]string{"device": "tiny-1", "driver": "bh1750"})
		look(t, "chip-fails.md", "tiny-1")
		awaitEnd(t, "TelltaleReadingsLost", labels)
	})

	// What was lost has used its part of the month's budget up, which is told longer.
	await.True(t, 3*time.Minute, "no other alert at the end", func() bool {
		return answersTo(t, `ALERTS{alertstate="firing",alertname!~"TelltaleChipFails|Telltale(Latency|Completeness)Budget.+"}`) == 0
	})
}
