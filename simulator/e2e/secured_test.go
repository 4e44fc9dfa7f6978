//go:build integration

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/scram"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/crypto/bcrypt"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/verify"
)

const (
	securedDevices = 5

	// watched is how long attempts are counted for after a refusal is in the log.
	watched = 6 * time.Second
)

// refusalCase is a server that does not serve ingest, and is then put right.
type refusalCase struct {
	name string

	// Ingest is started anew with these flags changed; nil: it goes on. What it
	// has connected before a password is changed is not refused.
	flags map[string]string
	spoil func() (mend func())

	server string   // as the log calls it
	words  []string // in the one line of the log, and in the answer of /readyz
	metric string   // the counter, with its reason
	gate   *gate
	most   int64 // connections while it is watched
}

// TestSecured runs real agents and ingest between real servers with TLS and
// credentials everywhere. Each server in turn refuses ingest: it says so once,
// counts it, is not ready, does not storm, does not end, and goes on when that is
// put right. In the end nothing is missing or double, and no secret is anywhere.
func TestSecured(t *testing.T) {
	var names []string
	for i := range securedDevices {
		names = append(names, fmt.Sprintf("device-%d", i+1))
	}
	s := startSecured(t, append(names, "device-99")...)
	journal := filepath.Join(s.dir, "journal")
	s.start(nil)
	marker := filepath.Join(s.dir, "device.password") // of no use to a broker that asks for certificates
	overwrite(t, marker, []byte("marker-of-the-devices"))
	fleet := start(t, "telltale-simulator", "fleet", "--mqtt-url", devicesURL, "--mqtt-tls-ca-file", s.authority.path("ca.crt"),
		"--mqtt-tls-cert-file", s.authority.path("device", "{device}.crt"), "--mqtt-tls-key-file", s.authority.path("device", "{device}.key"),
		"--mqtt-password-file", marker, "--log-level", "debug",
		"--devices", strconv.Itoa(securedDevices), "--interval", "250ms", "--dir", filepath.Join(s.dir, "fleet"), "--journal", journal, "--for", "1h")
	s.ready()
	// progress waits until that many more readings are sampled and in MongoDB.
	progress := func(t *testing.T) {
		t.Helper()
		const readings = 50
		sampled, stored := lines(t, journal)+readings, s.stored()+readings
		await.True(t, 3*time.Minute, "more readings in MongoDB", func() bool { return lines(t, journal) >= sampled && s.stored() >= stored })
	}
	progress(t)
	t.Run("plaintext and strangers", func(t *testing.T) { s.refuseStrangers(t) })
	await.True(t, time.Minute, "Prometheus has scraped ingest, and has been written to", func() bool {
		return strings.Contains(s.query(`up{job="telltale-ingest"} == 1`), `"value"`) && strings.Contains(s.query(`telltale_temperature_celsius{job=""}`), `"value"`)
	})

	for _, c := range s.refusalCases(t) {
		t.Run(c.name, func(t *testing.T) {
			s.refuse(t, &c)
			progress(t)
		})
	}

	var texts map[string]string
	var markers []string
	if !t.Run("secrets", func(t *testing.T) { texts, markers = s.checkSecrets(t) }) {
		t.FailNow()
	}
	texts["dead letters"] = s.deadLetters(t, "device-99")
	texts["ingest's command line"] = commandLine(t, s.ingest.cmd.Process.Pid)
	texts["the fleet's command line"] = commandLine(t, fleet.cmd.Process.Pid)
	_, texts["/metrics"] = s.get("/metrics")

	fleet.args = append(fleet.args[:len(fleet.args)-1], "2s")
	fleet.crash()
	if err := fleet.wait(2 * time.Minute); err != nil {
		t.Fatalf("the fleet ended with %v", err)
	}
	defer func() {
		texts["ingest's log"], texts["the fleet's log"] = s.ingest.output.String(), fleet.output.String()
		s.searchSecrets(t, texts, append(markers, "marker-of-the-devices")...)
	}()
	s.account(t, journal)
	s.stop()
}

// refuseStrangers holds that the servers want TLS and credentials from everybody.
func (s *secured) refuseStrangers(t *testing.T) {
	mechanism := func(user, password string) *kafka.Dialer {
		m, err := scram.Mechanism(scram.SHA512, user, password)
		if err != nil {
			t.Fatal(err)
		}
		return s.dialer(m)
	}
	controller := "127.0.0.1:" + portAfter(t, s.brokers[strings.LastIndexByte(s.brokers, ':')+1:], 1)
	for name, stranger := range map[string]struct {
		dialer *kafka.Dialer
		addr   string
	}{
		"plaintext":                                {&kafka.Dialer{Timeout: 10 * time.Second}, s.kafka.target},
		"no user":                                  {s.dialer(nil), s.kafka.target},
		"a wrong password":                         {mechanism(ingestUser, "wrong-password"), s.kafka.target},
		"plaintext to the brokers":                 {&kafka.Dialer{Timeout: 10 * time.Second}, s.brokers},
		"a client's credentials to the brokers":    {mechanism(ingestUser, s.secret("kafka")), s.brokers},
		"plaintext to the controller":              {&kafka.Dialer{Timeout: 10 * time.Second}, controller},
		"a client's credentials to the controller": {mechanism(ingestUser, s.secret("kafka")), controller},
	} {
		conn, err := stranger.dialer.DialContext(t.Context(), "tcp", stranger.addr)
		if err == nil {
			_, err = conn.Brokers()
			conn.Close()
		}
		if err == nil {
			t.Errorf("Kafka serves a stranger: %s", name)
		}
	}
	for name, uri := range map[string]string{
		"plaintext":        strings.Replace(s.mongoURI(s.mongo.target, ingestUser, s.secret("ingest"), ""), "&tls=true&tlsCAFile=", "", 1),
		"no user":          strings.Replace(s.mongoURI(s.mongo.target, "", "", s.authority.path("ca.crt")), ":@", "", 1),
		"a wrong password": s.mongoURI(s.mongo.target, ingestUser, "wrong-password", s.authority.path("ca.crt")),
	} {
		client, err := mongo.Connect(options.Client().ApplyURI(uri).SetServerSelectionTimeout(2 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Database(s.database).Collection("iot_frames").FindOne(t.Context(), bson.D{}).Err(); err == nil {
			t.Errorf("MongoDB serves a stranger: %s", name)
		}
		_ = client.Disconnect(context.WithoutCancel(t.Context())) // there was nothing to disconnect
	}
	for url, want := range map[string]int{
		"http://" + s.prometheus.target + "/api/v1/query?query=up":  http.StatusBadRequest,
		"https://" + s.prometheus.target + "/api/v1/query?query=up": http.StatusUnauthorized,
		"https://" + s.prometheus.target + "/api/v1/write":          http.StatusUnauthorized,
		"http://" + metricsAddr + "/metrics":                        http.StatusBadRequest,
		"https://" + metricsAddr + "/metrics":                       http.StatusUnauthorized,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if status, body := s.do(request); status != want {
			t.Errorf("%s answers %d, want %d: %.100s", url, status, want, body)
		}
	}
}

func (s *secured) refusalCases(t *testing.T) []refusalCase {
	restart := map[string]string{}
	other := tlsWithout(t)
	otherURI := filepath.Join(s.dir, "other.uri")
	overwrite(t, otherURI, []byte(s.mongoURI(s.mongo.addr, ingestUser, s.secret("ingest"), other)))
	user := fmt.Sprintf("%q", ingestUser)
	acl := func(resource kafka.ResourceType, name string, operation kafka.ACLOperationType) func() func() {
		return func() func() { return s.forbid(resource, name, operation) }
	}
	nothing := func() func() { return func() {} }
	return []refusalCase{
		{
			name: "Kafka, a topic that may not be read", spoil: acl(kafka.ResourceTypeTopic, "iot-frames", kafka.ACLOperationTypeRead),
			server: "kafka", words: []string{s.kafka.addr, user, "topic iot-frames", "ACLs (deploy/kafka/README.md)"},
			metric: `telltale_kafka_consumer_retries_total{group="telltale-sink",reason="topic_authorization_failed"}`, gate: s.kafka, most: 60,
		},
		{
			name: "Kafka, a topic that may not be written", spoil: acl(kafka.ResourceTypeTopic, "iot-aggregate-metrics-sensor", kafka.ACLOperationTypeWrite),
			server: "kafka", words: []string{s.kafka.addr, user, "topic iot-aggregate-metrics-sensor", "ACLs (deploy/kafka/README.md)"},
			metric: `telltale_kafka_producer_retries_total{reason="topic_authorization_failed",role="aggregate"}`, gate: s.kafka, most: 60,
		},
		{
			name: "Kafka, a group", spoil: acl(kafka.ResourceTypeGroup, "telltale-sink", kafka.ACLOperationTypeRead),
			server: "kafka", words: []string{s.kafka.addr, user, "consumer group telltale-sink", "ACLs (deploy/kafka/README.md)"},
			metric: `telltale_kafka_consumer_retries_total{group="telltale-sink",reason="group_authorization_failed"}`, gate: s.kafka, most: 60,
		},
		{
			name: "Kafka, a wrong password", flags: restart,
			spoil: func() func() {
				s.setKafkaPassword("another-password")
				return func() { s.setKafkaPassword(s.secret("kafka")) }
			},
			server: "kafka", words: []string{s.kafka.addr, user, "SCRAM-SHA-512", "a wrong password", "kafka.sasl.password_file"},
			metric: `telltale_kafka_topic_retries_total{reason="authentication_failed"}`, gate: s.kafka, most: 60,
		},
		{
			name: "Kafka, no such user", flags: restart,
			spoil: func() func() {
				s.setKafkaPassword("")
				return func() { s.setKafkaPassword(s.secret("kafka")) }
			},
			server: "kafka", words: []string{s.kafka.addr, user, "no such user", "kafka.sasl.username"},
			metric: `telltale_kafka_topic_retries_total{reason="authentication_failed"}`, gate: s.kafka, most: 60,
		},
		{
			name: "Kafka, another authority", flags: map[string]string{"kafka-tls-ca-file": other}, spoil: nothing,
			server: "kafka", words: []string{s.kafka.addr, "certificate that is not trusted", "kafka.tls.ca_file"},
			metric: `telltale_kafka_topic_retries_total{reason="tls"}`, gate: s.kafka, most: 60,
		},
		{
			name: "MongoDB, no right to write frames",
			spoil: func() func() {
				s.setFramesActions("find", "createIndex", "listIndexes")
				return func() {
					s.setFramesActions("find", "insert", "update", "createIndex", "listIndexes", "dropIndex", "collMod")
				}
			},
			server: "mongodb", words: []string{s.mongo.addr, user, "iot_frames", "roles", "deploy/mongodb/README.md"},
			metric: `telltale_mongo_failures_total{reason="unauthorized"}`, gate: s.mongo, most: 60,
		},
		{
			name: "MongoDB, a wrong password", flags: restart,
			spoil: func() func() {
				s.setMongo(bson.E{Key: "pwd", Value: "another-password"})
				return func() { s.setMongo(bson.E{Key: "pwd", Value: s.secret("ingest")}) }
			},
			server: "mongodb", words: []string{s.mongo.addr, user, "a wrong password", "mongo.uri_file"},
			metric: `telltale_mongo_failures_total{reason="authentication_failed"}`, gate: s.mongo, most: 100,
		},
		{
			name: "MongoDB, another authority", flags: map[string]string{"mongo-uri-file": otherURI}, spoil: nothing,
			server: "mongodb", words: []string{s.mongo.addr, "certificate that is not trusted", "tlsCAFile"},
			metric: `telltale_mongo_failures_total{reason="tls"}`, gate: s.mongo, most: 60,
		},
		{
			name: "remote write, a wrong password",
			spoil: func() func() {
				// Prometheus reads the file at each request.
				file := filepath.Join(filepath.Dir(s.secrets), "prometheus-secure-web.yml")
				before := contentOf(t, file)
				hash, err := bcrypt.GenerateFromPassword([]byte("another-password"), bcrypt.MinCost)
				if err != nil {
					t.Fatal(err)
				}
				overwrite(t, file, regexp.MustCompile(`\$2y\$\S+[^}\s]`).ReplaceAllLiteral(before, hash))
				return func() { overwrite(t, file, before) }
			},
			server: "remote write", words: []string{s.prometheus.addr, "user " + user, "401", "metrics.remote_write"},
			metric: `telltale_remote_write_retries_total{reason="status_401"}`, gate: s.prometheus, most: 60,
		},
	}
}

// refuse plays one case.
func (s *secured) refuse(t *testing.T, c *refusalCase) {
	if c.flags != nil {
		s.stop()
	}
	offset := len(s.ingest.output.String())
	mend := c.spoil()
	if c.flags != nil {
		s.start(c.flags)
	}
	await.True(t, 2*time.Minute, "a refusal in the log", func() bool { return len(s.logged(offset, "ERROR")) > 0 })
	before := c.gate.passed.Load()
	select {
	case <-time.After(watched):
	case <-t.Context().Done():
	}
	attempts := c.gate.passed.Load() - before
	said := s.logged(offset, "ERROR")
	t.Logf("%d connections in %s; said: %s", attempts, watched, strings.Join(said, "\n"))
	if len(said) != 1 || !strings.Contains(said[0], `msg="refused by a server; retrying" server=`+strings.Trim(strconv.Quote(c.server), `"`)) && !strings.Contains(said[0], "server="+strconv.Quote(c.server)) {
		t.Errorf("%d lines of errors, want one, of %s:\n%s", len(said), c.server, strings.Join(said, "\n"))
	}
	if attempts > c.most {
		t.Errorf("%d connections in %s, want at most %d", attempts, watched, c.most)
	}
	for _, word := range c.words {
		if !strings.Contains(strings.ReplaceAll(said[0], `\"`, `"`), word) {
			t.Errorf("the log does not say %q: %s", word, said[0])
		}
	}
	var status int
	var ready, metrics string
	defer func() {
		if t.Failed() {
			t.Logf("/readyz answers %d: %s\n%s", status, ready, metrics)
		}
	}()
	await.True(t, time.Minute, fmt.Sprintf("/readyz says %q", c.words), func() bool {
		status, ready = s.get("/readyz")
		return status == http.StatusServiceUnavailable && !slices.ContainsFunc(c.words, func(word string) bool { return !strings.Contains(ready, word) })
	})
	counted := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(c.metric) + ` [1-9]`)
	await.True(t, time.Minute, c.metric+" has counted", func() bool {
		_, metrics = s.get("/metrics")
		return counted.MatchString(metrics)
	})
	mend()
	if len(c.flags) > 0 {
		s.stop()
		s.start(nil)
	}
	s.ready()
}

// account holds all that was sampled against what is stored, to the last reading.
func (s *secured) account(t *testing.T, path string) {
	journal := journalOf(t, path)
	admin := s.admin().Transport.(*kafka.Transport)
	report, err := verify.Await(t.Context(), journal, verify.Sources{
		Brokers: []string{s.brokers}, Kafka: s.dialer(admin.SASL), Database: s.database,
		MongoURI: s.mongoURI(s.mongo.target, "telltale-read", s.secret("read"), s.authority.path("ca.crt")),
	}, verify.Rules{Window: window}, 4*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(report)
	for _, finding := range report.Findings {
		t.Error(finding)
	}
	if report.Sampled == 0 || report.Mongo != report.Sampled || report.Windowed != report.Sampled {
		t.Errorf("got %s", report)
	}
	temperatures := temperaturesOf(t, path)
	var answer string
	defer func() {
		if t.Failed() {
			t.Logf("Prometheus has, of %d: %s", temperatures, answer)
		}
	}()
	await.True(t, 2*time.Minute, "every reading at its own time in Prometheus", func() bool {
		answer = s.query(`sum(count_over_time(telltale_temperature_celsius{job=""}[1h]))`)
		return strings.Contains(answer, fmt.Sprintf(`,"%d"]`, temperatures))
	})
}

// temperaturesOf returns how many readings of a journal have a temperature: on a
// busy machine a chip may not answer in time.
func temperaturesOf(t *testing.T, path string) int {
	t.Helper()
	measured := make(map[string]bool)
	var decoder telemetry.Decoder
	for line := range bytes.Lines(contentOf(t, path)) {
		var f telemetry.Frame
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err := decoder.Decode(line, &f); err != nil {
			t.Fatal(err)
		}
		if _, ok := f.Payload.Get(telemetry.Temperature); ok {
			measured[fmt.Sprint(f.ID, f.Timestamp)] = true
		}
	}
	return len(measured)
}

// searchSecrets looks for every password of the servers, and further markers.
func (s *secured) searchSecrets(t *testing.T, texts map[string]string, markers ...string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.secrets, "*.password"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d passwords, %v", len(files), err)
	}
	markers = append(markers, "another-password", "wrong-password")
	for _, file := range files {
		markers = append(markers, string(contentOf(t, file)))
	}
	for where, text := range texts {
		if text == "" {
			t.Errorf("%s is empty: the search would show nothing", where)
		}
		for _, marker := range markers {
			if i := strings.Index(text, marker); i >= 0 {
				t.Errorf("%s has the secret %q: …%s", where, marker, text[max(0, i-100):min(len(text), i+50)])
			}
		}
	}
}
