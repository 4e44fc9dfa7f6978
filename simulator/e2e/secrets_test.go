//go:build integration

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/segmentio/kafka-go"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// otherMetricsAddr is where the second ingest process serves its metrics.
const otherMetricsAddr = "127.0.0.1:29465"

// checkSecrets has ingest refused by every server while all of its secrets are of
// the environment, and looks for them in everything that it lets be seen: its log
// at the level debug, its command line, its endpoint, its help, and what it says
// of a mistake. The texts and the markers are for a search in the end.
func (s *secured) checkSecrets(t *testing.T) (texts map[string]string, markers []string) {
	texts = map[string]string{}
	marker := func(of string) string {
		markers = append(markers, "marker-of-"+of+"-0123456789")
		return markers[len(markers)-1]
	}
	t.Setenv("TELLTALE_MQTT_PASSWORD", marker("mqtt"))
	t.Setenv("TELLTALE_MONGO_URI", s.mongoURI(s.mongo.addr, ingestUser, marker("mongo"), s.authority.path("ca.crt")))
	t.Setenv("TELLTALE_METRICS_REMOTE_WRITE_BEARER_TOKEN", marker("remote-write"))
	t.Setenv("TELLTALE_METRICS_AUTH_BEARER_TOKEN", marker("endpoint"))
	args := []string{
		"run", "--log-level=debug", "--mqtt-url=" + servicesURL, "--mqtt-tls-ca-file=" + s.flags["mqtt-tls-ca-file"], "--mqtt-username=somebody",
		"--mqtt-client-id=other", "--mqtt-seed-topic=", "--kafka-brokers=" + s.flags["kafka-brokers"], "--kafka-tls-enabled",
		"--kafka-tls-ca-file=" + s.flags["kafka-tls-ca-file"], "--kafka-sasl-mechanism=SCRAM-SHA-512", "--kafka-sasl-username=" + ingestUser,
		"--metrics-listen=" + otherMetricsAddr, "--metrics-remote-write-url=" + s.flags["metrics-remote-write-url"],
		"--metrics-remote-write-tls-ca-file=" + s.flags["metrics-remote-write-tls-ca-file"],
	}
	for kafkaPassword, refusals := range map[string][]string{
		marker("kafka"):   {"server=kafka", "server=mongodb"},
		s.secret("kafka"): {"server=mongodb", `server="remote write"`},
	} {
		name := "ingest, " + strings.Join(refusals, " and ")
		t.Setenv("TELLTALE_KAFKA_SASL_PASSWORD", kafkaPassword)
		other := start(t, "telltale-ingest", args...)
		await.True(t, 2*time.Minute, name+" in the log", func() bool {
			for _, refusal := range append(refusals, "server=mqtt") {
				if !strings.Contains(other.output.String(), refusal) {
					return false
				}
			}
			return true
		})
		texts[name+": command line"] = commandLine(t, other.cmd.Process.Pid)
		for _, path := range []string{"/metrics", "/readyz"} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+otherMetricsAddr+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", "Bearer "+os.Getenv("TELLTALE_METRICS_AUTH_BEARER_TOKEN"))
			_, texts[name+": "+path] = s.do(request)
		}
		other.kill()
		texts[name+": log"] = other.output.String()
	}
	for _, command := range []string{"run --help", "missing --last 1h", "missing --last 1h --mongo-database a/b", "run --kafka-brokers nowhere"} {
		said, err := exec.CommandContext(t.Context(), filepath.Join(root, "bin/telltale-ingest"), strings.Fields(command)...).CombinedOutput()
		if (err == nil) != (command == "run --help") {
			t.Errorf("telltale-ingest %s: %v\n%s", command, err, said)
		}
		texts["telltale-ingest "+command] = string(said)
	}
	return texts, markers
}

// commandLine returns what ps shows of a process.
func commandLine(t *testing.T, pid int) string {
	t.Helper()
	return string(contentOf(t, fmt.Sprintf("/proc/%d/cmdline", pid)))
}

// deadLetters has a device send what is no frame, and returns the letters.
func (s *secured) deadLetters(t *testing.T, device string) string {
	t.Helper()
	client := mustDialMQTT(t, devicesURL, s.authority.client("device", device), func(o *paho.ClientOptions) { o.SetClientID(device) })
	publishTo(t, client, telemetry.Topic(device, telemetry.Frames), `{"no":"frame"`, false)
	var text strings.Builder
	await.True(t, time.Minute, "a dead letter", func() bool {
		for partition := range 4 {
			s.readPartition(t, &text, "iot-dead-letter", partition)
		}
		return text.Len() > 0
	})
	return text.String()
}

// readPartition writes all of the records of a partition to w.
func (s *secured) readPartition(t *testing.T, w *strings.Builder, topic string, partition int) {
	t.Helper()
	dialer := s.dialer(s.admin().Transport.(*kafka.Transport).SASL)
	conn, err := dialer.DialLeader(t.Context(), "tcp", s.brokers, topic, partition)
	if err != nil {
		t.Fatal(err)
	}
	first, last, err := conn.ReadOffsets()
	conn.Close()
	if err != nil {
		t.Fatal(err)
	}
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{s.brokers}, Dialer: dialer, Topic: topic, Partition: partition, MaxWait: 100 * time.Millisecond})
	defer reader.Close()
	for ; first < last; first++ {
		record, err := reader.ReadMessage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, "%s %s %s\n", record.Key, record.Value, record.Headers)
	}
}
