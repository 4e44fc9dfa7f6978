//go:build integration

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/lab"
	"github.com/telltale-iot/telltale/simulator/verify"
)

const secureIngest = "127.0.0.1:28890" // its metrics

// startKafka starts an embedded Kafka.
func startKafka(t testing.TB) *lab.Kafka {
	t.Helper()
	kafka, err := lab.StartKafka("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kafka.Close() })
	return kafka
}

// startSecureIngest starts ingest's bridge between the broker's listener for services and
// Kafka, and waits until it is ready.
func startSecureIngest(t testing.TB, a *authority, kafka *lab.Kafka) *program {
	t.Helper()
	ingest := start(t, "telltale-ingest", "run", "--roles", "bridge", "--mqtt-url", servicesURL,
		"--mqtt-tls-ca-file", a.path("ca.crt"), "--mqtt-tls-cert-file", a.path("client/telltale-ingest.crt"), "--mqtt-tls-key-file", a.path("client/telltale-ingest.key"),
		"--mqtt-client-id", "telltale-ingest-7c1f", "--kafka-brokers", kafka.Addr(), "--kafka-partitions", "1", "--metrics-listen", secureIngest)
	await.True(t, time.Minute, "ingest is ready", func() bool { return readyAt(secureIngest) })
	return ingest
}

// secureAgent is a telltale-agent that serves its metrics. No chip answers here:
// its readings are of faults alone, and delivered like others.
type secureAgent struct {
	*program
	device, metrics string
}

// startAgent starts the agent of a device with the certificate of that kind and
// name, every path of which may be replaced by a setting of the same name.
func startAgent(t testing.TB, a *authority, device, certificate string, port int, settings ...string) *secureAgent {
	t.Helper()
	s := &secureAgent{device: device, metrics: "127.0.0.1:" + strconv.Itoa(port)}
	s.program = start(t, "telltale-agent", append([]string{
		"run", "--device", device, "--mqtt-url", devicesURL, "--mqtt-tls-ca-file", a.path("ca.crt"),
		"--mqtt-tls-cert-file", a.path("device", certificate+".crt"), "--mqtt-tls-key-file", a.path("device", certificate+".key"),
		"--buffer-dir", filepath.Join(t.TempDir(), "buffer"), "--uplink-receipt-timeout", "2s", "--uplink-backoff-min", "20ms", "--uplink-backoff-max", "500ms",
		"--clock-trust", "always", "--metrics-listen", s.metrics,
		"--sensors", fmt.Sprintf(`{id: %s, interval: 100ms, chips: [{driver: bme280, bus: "none", address: 0x76}]}`, device),
	}, settings...)...)
	return s
}

func (s *secureAgent) metric(name string) int { return int(metricAt(s.t, s.metrics, name)) }

// readings returns how many the agent has in its buffer or delivered.
func (s *secureAgent) readings() int {
	return s.metric(fmt.Sprintf("telltale_agent_readings_total{sensor=%q}", s.device))
}

// refusals returns how often the agent has not connected, for that reason.
func (s *secureAgent) refusals(reason string) int {
	return s.metric(fmt.Sprintf("telltale_agent_mqtt_connect_errors_total{reason=%q}", reason))
}

// delivers waits until that many more readings are taken, and all of now are in
// Kafka.
func (s *secureAgent) delivers(kafka *lab.Kafka, more int) {
	s.t.Helper()
	want := s.readings() + more
	await.True(s.t, 2*time.Minute, fmt.Sprintf("%d readings of %s in Kafka, none missing", want, s.device), func() bool {
		got := make(map[uint64]bool)
		for key := range inKafka(s.t, kafka) {
			if key.ID == s.device {
				got[key.Seq] = true
			}
		}
		for seq := range uint64(want) {
			if !got[seq] {
				return false
			}
		}
		return true
	})
	await.True(s.t, time.Minute, s.device+" is told so", func() bool { return s.metric("telltale_agent_uplink_receipted_frames_total") >= want })
}

// keepsAll holds that all readings, fifty at least, are in the agent's buffer.
func (s *secureAgent) keepsAll() {
	s.t.Helper()
	before, kept, after := s.readings(), s.metric("telltale_agent_buffer_frames"), s.readings()
	if before < 50 || kept < before-5 || kept > after {
		s.t.Errorf("%s has %d readings in its buffer, want %d to %d", s.device, kept, before, after)
	}
}

// inKafka returns how often each frame is in Kafka.
func inKafka(t testing.TB, kafka *lab.Kafka) map[verify.Key]int {
	t.Helper()
	frames := make(map[verify.Key]int)
	var decoder telemetry.Decoder
	for _, r := range readTopic(t, kafka.Addr(), "iot-frames") {
		var f telemetry.Frame
		if err := decoder.Decode(r.Value, &f); err != nil {
			t.Fatal(err)
		}
		frames[verify.KeyOf(&f)]++
	}
	return frames
}

// TestMutualTLS delivers the readings of two devices through Mosquitto to Kafka,
// revokes the certificate of one and renews it: the other notices nothing, the
// one loses nothing, and no agent is restarted.
func TestMutualTLS(t *testing.T) {
	a := newAuthority(t, "pi-1", "pi-2", "pi-3")
	b := startMosquitto(t, a, nil)
	kafka := startKafka(t)
	startSecureIngest(t, a, kafka)
	one, two := startAgent(t, a, "pi-1", "pi-1", 28891), startAgent(t, a, "pi-2", "pi-2", 28892)
	one.delivers(kafka, 20)
	two.delivers(kafka, 20)

	t.Log("a device takes a share of what is ingest's")
	thief := mustDialMQTT(t, devicesURL, a.client("device", "pi-3"))
	stolen := subscribeTo(t, thief, "$share/telltale-ingest/telltale/v1/+/frames")
	one.delivers(kafka, 20)
	two.delivers(kafka, 20)
	if len(stolen) > 0 {
		t.Errorf("it has got %q", <-stolen)
	}
	thief.Disconnect(0)

	t.Log("a certificate is revoked, and the connections end")
	a.pki("revoke", "device", "pi-1")
	b.install()
	b.restart()
	await.True(t, time.Minute, "pi-1 is refused", func() bool { return one.refusals("tls") >= 3 })
	two.delivers(kafka, 20)
	if n := one.metric("telltale_agent_mqtt_connected"); n != 0 {
		t.Error("pi-1 is connected")
	}
	sampled := one.readings()
	await.True(t, time.Minute, "pi-1 samples", func() bool { return one.readings() > sampled+10 })

	t.Log("it is renewed")
	a.pki("renew", "device", "pi-1")
	one.delivers(kafka, 20)
	two.delivers(kafka, 0)
	for _, agent := range []*secureAgent{one, two} {
		if n := agent.metric(`telltale_agent_readings_lost_total{reason="buffer_full"}`); n != 0 {
			t.Errorf("%s has lost %d", agent.device, n)
		}
		select {
		case <-agent.exited:
			t.Errorf("%s has ended", agent.device)
		default:
		}
	}
}

// TestAgentRefusesBroker shows which brokers an agent does not speak to.
func TestAgentRefusesBroker(t *testing.T) {
	a, foreign := newAuthority(t, "pi-1"), newAuthority(t)
	b := startMosquitto(t, a, nil)
	// serve gives the broker a certificate of another kind.
	serve := func(kind, name string) {
		overwrite(t, filepath.Join(b.dir, "certs/server.crt"), contentOf(t, a.path(kind, name+".crt")))
		overwrite(t, filepath.Join(b.dir, "certs/server.key"), contentOf(t, a.path(kind, name+".key")))
		b.restart()
	}
	refuses := func(t *testing.T, reason string, settings ...string) {
		before := len(b.output.String())
		agent := startAgent(t, a, "pi-1", "pi-1", 28891, settings...)
		await.True(t, time.Minute, "three attempts", func() bool { return agent.refusals(reason) >= 3 })
		if said := b.output.String()[before:]; agent.metric("telltale_agent_mqtt_connections_total") != 0 || strings.Contains(said, "New client connected") {
			t.Errorf("it has connected:\n%s", said)
		}
	}
	t.Run("of another authority", func(t *testing.T) { refuses(t, "tls", "--mqtt-tls-ca-file", foreign.path("ca.crt")) })
	t.Run("of the host's authorities", func(t *testing.T) { refuses(t, "tls", "--mqtt-tls-ca-file", "") })
	t.Run("of another name", func(t *testing.T) { refuses(t, "tls", "--mqtt-url", "tls://127.0.0.1:28883") })
	// Mosquitto hangs up on a handshake that is not MQTT.
	t.Run("without TLS", func(t *testing.T) { refuses(t, "network", "--mqtt-url", strings.Replace(seedURL, "tcp", "tls", 1)) })
	t.Run("expired", func(t *testing.T) {
		a.pki("renew", "server", "localhost", "--start", "20240101000000Z", "--end", "20240201000000Z")
		serve("server", "localhost")
		refuses(t, "tls")
	})
	t.Run("that is a client", func(t *testing.T) {
		a.pki("client", "localhost")
		serve("client", "localhost")
		refuses(t, "tls")
	})
	t.Run("but the right one", func(t *testing.T) {
		a.pki("renew", "server", "localhost")
		serve("server", "localhost")
		agent := startAgent(t, a, "pi-1", "pi-1", 28891)
		await.True(t, time.Minute, "it connects", func() bool { return agent.metric("telltale_agent_mqtt_connected") == 1 })
	})
}

// TestAgentOfAnotherName runs an agent whose configuration and certificate name
// two devices: the broker drops what it sends, it keeps it, and its check says why.
func TestAgentOfAnotherName(t *testing.T) {
	a := newAuthority(t, "pi-1")
	startMosquitto(t, a, nil)
	kafka := startKafka(t)
	startSecureIngest(t, a, kafka)
	agent := startAgent(t, a, "pi-2", "pi-1", 28891)
	await.True(t, time.Minute, "readings are sent again and again", func() bool {
		return agent.readings() >= 50 && agent.metric("telltale_agent_uplink_published_frames_total") > 50 && agent.metric("telltale_agent_uplink_retransmitted_frames_total") > 50
	})
	if frames := inKafka(t, kafka); len(frames) > 0 {
		t.Errorf("Kafka has %v", frames)
	}
	agent.keepsAll()
	args := append([]string{"check"}, agent.args[1:]...)
	out, err := exec.Command(agent.path, args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "common name") {
		t.Errorf("check: %v\n%s", err, out)
	}
}

// TestSpoofedFrames has a broker without rights, so that ingest alone keeps the
// devices apart: what comes by one's topic under another's name is a dead letter.
func TestSpoofedFrames(t *testing.T) {
	a := newAuthority(t, "pi-1", "pi-2")
	startMosquitto(t, a, func(conf string) string {
		var kept []string
		for line := range strings.Lines(conf) {
			if !strings.HasPrefix(line, "acl_file ") {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "")
	})
	kafka := startKafka(t)
	startSecureIngest(t, a, kafka)
	rogue := mustDialMQTT(t, devicesURL, a.client("device", "pi-2"))
	receipts := subscribeTo(t, rogue, "telltale/v1/+/receipts")
	frame := func(id string, seq int) string {
		return fmt.Sprintf(`{"id":%q,"timestamp":%d,"epoch":9,"seq":%d,"payload":{"temperature":99}}`, id, time.Now().UnixMilli(), seq)
	}
	spoofs := [][2]string{
		{"telltale/v1/pi-2/frames", frame("pi-1", 0)},
		{"telltale/v1/pi-2/frames", frame("pi-1.roof", 0)},
		{"telltale/v1/pi-2/frames", frame("pi-22", 0)},
		{"telltale/v1/pi-2/frames", `{"id":"pi-1","epoch":9,"lost":{"seq":[0,99],"reason":"buffer_full"}}`},
		{"telltale/v1/pi-1/frames", frame("pi-2", 0)},
		{"iot-frames", frame("pi-1", 0)},
	}
	for _, spoof := range spoofs {
		publishTo(t, rogue, spoof[0], spoof[1], false)
	}
	publishTo(t, rogue, "telltale/v1/pi-2/frames", frame("pi-2", 1), false)
	messagesUntil(t, receipts, `telltale/v1/pi-2/receipts {"frames":[{"id":"pi-2","epoch":9,"seq":[[1,1]]}]}`)
	const refused = `telltale_bridge_dead_letters_total{reason="foreign_id"}`
	await.True(t, time.Minute, "each is counted", func() bool { return int(metricAt(t, secureIngest, refused)) == len(spoofs) })
	letters := make(map[[2]string]int)
	for _, r := range readTopic(t, kafka.Addr(), "iot-dead-letter") {
		headers := make(map[string]string)
		for _, h := range r.Headers {
			headers[h.Key] = string(h.Value)
		}
		if headers["reason"] != "foreign_id" {
			t.Errorf("a dead letter has the headers %v", headers)
		}
		letters[[2]string{headers["topic"], string(r.Value)}]++
	}
	for _, spoof := range spoofs {
		if letters[spoof] != 1 {
			t.Errorf("%d dead letters have %q", letters[spoof], spoof)
		}
	}
	want := verify.KeyOf(&telemetry.Frame{ID: "pi-2", Sequenced: true, Epoch: 9, Seq: 1})
	if frames := inKafka(t, kafka); len(frames) != 1 || frames[want] != 1 {
		t.Errorf("Kafka has %v", frames)
	}
	if len(receipts) > 0 {
		t.Errorf("a spoof has its receipt: %s", <-receipts)
	}
}

// TestQueue stops ingest while clients and agents send: what Mosquitto has queued
// comes through its restart, what a kill takes after the last autosave the agents
// send again, and nothing is dropped at the default limits.
func TestQueue(t *testing.T) {
	const messages = 20_000
	var names []string
	for i := range 5 {
		names = append(names, fmt.Sprintf("pi-%d", i+1))
	}
	a := newAuthority(t, names...)
	b := startMosquitto(t, a, nil)
	kafka := startKafka(t)
	ingest := startSecureIngest(t, a, kafka)
	dir := t.TempDir()
	journal := filepath.Join(dir, "journal")
	fleet := start(t, "telltale-simulator", "fleet", "--devices", "5", "--prefix", "pi", "--interval", "100ms", "--dir", filepath.Join(dir, "fleet"), "--journal", journal,
		"--mqtt-url", devicesURL, "--mqtt-tls-ca-file", a.path("ca.crt"), "--mqtt-tls-cert-file", a.path("device/{device}.crt"), "--mqtt-tls-key-file", a.path("device/{device}.key"),
		"--for", "1h")
	// seed publishes n frames of clients without receipts, every one acknowledged.
	total := 0
	var sent []telemetry.Frame
	seed := func(n int) {
		t.Helper()
		load, err := dialPublisher(t.Context(), strings.TrimPrefix(seedURL, "tcp://"), "clients")
		if err != nil {
			t.Fatal(err)
		}
		defer load.close()
		frames, packets := seedLoad(n)
		total += n
		sent = append(sent, frames...)
		if err := load.send(t.Context(), packets, 0); err != nil {
			t.Fatal(err)
		}
	}
	// goesOn lets ingest go on, and waits until all that is sent and sampled is in
	// Kafka.
	goesOn := func() {
		t.Helper()
		ingest.signal(syscall.SIGCONT)
		sampled := sampledFrames(t, journal)
		for i := range sent {
			sampled = append(sampled, verify.KeyOf(&sent[i]))
		}
		await.True(t, 2*time.Minute, fmt.Sprintf("%d frames in Kafka", len(sampled)), func() bool {
			frames := inKafka(t, kafka)
			for _, key := range sampled {
				if frames[key] == 0 {
					return false
				}
			}
			return true
		})
	}
	samples := func(n int) {
		t.Helper()
		n += lines(t, journal)
		await.True(t, time.Minute, "agents sample", func() bool { return lines(t, journal) >= n })
	}
	samples(100)

	t.Log("Mosquitto restarts with a queue")
	ingest.signal(syscall.SIGSTOP)
	seed(messages)
	samples(100)
	b.restart()
	seed(1000) // for a session that Mosquitto knows by its file alone
	samples(100)
	goesOn()

	t.Log("Mosquitto is killed with a queue that it has saved, and what came after")
	ingest.signal(syscall.SIGSTOP)
	seed(1000)
	acknowledged := time.Now()
	await.True(t, 2*time.Minute, "the state is saved", func() bool {
		saved, err := os.Stat(filepath.Join(b.dir, "lib/mosquitto.db"))
		return err == nil && saved.ModTime().After(acknowledged)
	})
	samples(100)
	b.crash()
	b.listening()
	seed(1000)
	samples(100)
	goesOn()

	fleet.args[len(fleet.args)-1] = "1s"
	fleet.crash()
	if err := fleet.wait(2 * time.Minute); err != nil {
		t.Fatalf("the fleet ended with %v", err)
	}
	goesOn()
	t.Logf("%d frames of clients and %d of agents, 0 missing", total, len(sampledFrames(t, journal)))
}

// sampledFrames returns what the journal of a fleet has.
func sampledFrames(t *testing.T, journal string) (keys []verify.Key) {
	t.Helper()
	var decoder telemetry.Decoder
	data := string(contentOf(t, journal))
	for line := range strings.Lines(data[:strings.LastIndexByte(data, '\n')+1]) {
		var f telemetry.Frame
		if strings.TrimSpace(line) == "" {
			continue
		}
		if err := decoder.Decode([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, verify.KeyOf(&f))
	}
	return keys
}
