//go:build integration

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/segmentio/kafka-go"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/agent"
	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/certificate/certificatetest"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator"
	"github.com/telltale-iot/telltale/simulator/climate"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

const (
	nodeAddr      = "127.0.0.1:29100"
	cadvisorAddr  = "127.0.0.1:29101"
	mosquittoAddr = "127.0.0.1:29102" // of its exporter
	mongoAddr     = "127.0.0.1:29103" // of its exporter
	klagAddr      = "127.0.0.1:8000"  // deploy/exporters/klag.toml has the port
	lastVersion   = "v0.9.0"
)

// runPlatform runs the pipeline, all that it runs on and what watches that, with
// devices some of which fail, until the test ends.
func runPlatform(t *testing.T) {
	t.Helper()
	// As a replica set, as which it presents itself otherwise, the MongoDB server
	// of the tests lacks a part of its status on which Telegraf relies.
	t.Setenv("MONGO_ARGS", "--standalone")
	servers := startServers(t, "mosquitto", "kafka", "mongo")
	dropDatabase(t)
	startIngest(t)
	startExporters(t)
	prometheus := startPrometheus(t)
	ready := answersOK("http://" + metricsAddr + "/readyz")
	await.True(t, 3*time.Minute, "ingest is ready", ready)

	r := &residents{t: t}
	r.fleet("office", 6, 500*time.Millisecond, func(i int) (i2csim.Source, error) {
		return climate.NewReplay(climate.ReplayOptions{Series: climate.Office(), Begin: time.Now(), Offset: 17*time.Hour + time.Duration(i)*7*time.Minute, Speed: 300, Weather: 1, Seed: uint64(i) + 1})
	})
	leave := r.fleet("cellar", 1, time.Second, constant)
	r.broken("shed")
	byHand := r.byHand()
	stored := func(n int) func() bool {
		return func() bool { return metric(t, "telltale_sink_frames_stored_total", "") > float64(n) }
	}
	await.True(t, 2*time.Minute, "readings in MongoDB", stored(300))

	t.Log("Prometheus is away, and Kafka has records that are no frames")
	prometheus.kill()
	writeTopic(t, "iot-frames", "no frame")
	await.True(t, 3*time.Minute, "retries to Prometheus, and dead letters", func() bool {
		return metric(t, "telltale_remote_write_retries_total", "") > 0 &&
			metric(t, "telltale_sink_dead_letters_total", "") > 0 && metric(t, "telltale_aggregate_dead_letters_total", "") > 0
	})
	prometheus.spawn()
	t.Log("Kafka restarts, then MongoDB; a device leaves")
	servers.restart("kafka")
	await.True(t, 3*time.Minute, "retries to Kafka", func() bool { return metric(t, "telltale_kafka_consumer_retries_total", "") > 0 })
	servers.run("stop", "mongo")
	leave()
	await.True(t, 3*time.Minute, "retries to MongoDB", func() bool {
		return metric(t, "telltale_sink_retries_total", "") > 0 && metric(t, "telltale_aggregate_retries_total", "") > 0
	})
	servers.run("start", "mongo")
	t.Log("Mosquitto stands until a device's buffer has overflowed")
	servers.run("stop", "mosquitto")
	await.True(t, 8*time.Minute, "readings dropped by the small buffer", func() bool { return r.small.Stats().Losses["buffer_full"] > 0 })
	servers.run("start", "mosquitto")
	// A message that nobody subscribes to is gone, and this client sends once.
	await.True(t, 3*time.Minute, "ingest and the client by hand are back", func() bool { return byHand.IsConnectionOpen() && ready() })
	r.misbehave(byHand)
	await.True(t, 2*time.Minute, "the loss is in MongoDB", func() bool { return metric(t, "telltale_readings_lost_total", `reason="buffer_full"`) > 0 })
	await.True(t, 2*time.Minute, "an incomplete window", func() bool { return metric(t, "telltale_aggregate_windows_incomplete_total", "") > 0 })
}

// startIngest runs ingest in a container, as cAdvisor sees only containers.
func startIngest(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	// What podman needs where systemd has no say in control groups.
	config := writeFile(t, filepath.Join(dir, "containers.conf"), `[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
`)
	t.Setenv("CONTAINERS_CONF", config)
	podman := []string{"--root", filepath.Join(dir, "storage"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs"}
	image := filepath.Join(dir, "image")
	binary, err := os.ReadFile(filepath.Join(root, "bin/telltale-ingest"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(image, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(image, "telltale-ingest"), binary, 0o755); err != nil {
		t.Fatal(err)
	}
	broker := mqttByTLS(t, image)
	t.Cleanup(func() {
		out, err := exec.Command("podman", append(podman, "rm", "--force", "--time", "5", "--all")...).CombinedOutput()
		if err != nil {
			t.Errorf("podman rm: %v\n%s", err, out)
		}
	})
	launch(t, "podman", append(podman, "run", "--name", "ingest", "--network=host", "--read-only", "--cap-drop=all", "--user=65532:65532",
		"--rootfs", image, "/telltale-ingest", "run",
		"--mqtt-url", "tls://"+broker, "--mqtt-tls-ca-file", "/ca.crt", "--mqtt-tls-cert-file", "/client.crt", "--mqtt-tls-key-file", "/client.key",
		"--kafka-brokers", "["+kafkaAddr+"]", "--kafka-partitions", "3",
		"--mongo-uri", mongoURI(), "--mongo-database", databaseName, "--aggregate-window", "5s", "--aggregate-idle", "5s",
		"--metrics-listen", metricsAddr, "--metrics-remote-write-url", "http://"+prometheusAddr+"/api/v1/write", "--metrics-time-series")...)
	socket := "unix://" + filepath.Join(dir, "podman.sock")
	launch(t, "podman", append(podman, "system", "service", "--time=0", socket)...)
	await.True(t, 3*time.Minute, "podman's API", func() bool {
		conn, err := net.Dial("unix", strings.TrimPrefix(socket, "unix://"))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	launch(t, exporter(t, "cadvisor"), "-podman", socket, cadvisorAddr)
}

// mqttByTLS returns where the broker is reached by TLS, with the certificates that
// it puts into the folder: so ingest has some, whose ends it tells.
func mqttByTLS(t *testing.T, folder string) (addr string) {
	t.Helper()
	end := time.Now().Add(100 * 24 * time.Hour)
	authority := certificatetest.Authority(t, end)
	server, client := authority.Issue(t, "127.0.0.1", end), authority.Issue(t, "telltale-ingest", end.Add(-60*24*time.Hour))
	for name, content := range map[string][]byte{"ca.crt": authority.PEM(), "client.crt": client.PEM(), "client.key": client.KeyPEM(t)} {
		// ingest has another user.
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{server.TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.Pool(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return newGateOn(t, listener, mqttAddr).addr
}

// exporter returns the path of one that deploy/local has built.
func exporter(t *testing.T, name string) string {
	t.Helper()
	command := exec.Command(filepath.Join(root, "deploy/local/exporters"))
	command.Stderr = t.Output()
	out, err := command.Output()
	if err != nil {
		t.Fatalf("deploy/local/exporters: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), name)
}

func startExporters(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"TELLTALE_MQTT_URL": "tcp://" + mqttAddr, "TELLTALE_MONGO_URI": mongoURI(),
		"TELLTALE_MOSQUITTO_LISTEN": mosquittoAddr, "TELLTALE_MONGODB_LISTEN": mongoAddr,
		"TELLTALE_KAFKA_BROKERS": kafkaAddr, "TELLTALE_KAFKA_PROTOCOL": "PLAINTEXT",
		"TELLTALE_EXPORTER_INTERVAL": scrapeInterval.String(),
		"RUST_LOG":                   "warn", // of klag-exporter
		"TELLTALE_EXPORTER_CA":       "", "TELLTALE_EXPORTER_CERT": "", "TELLTALE_EXPORTER_KEY": "",
	} {
		t.Setenv(name, value)
	}
	launch(t, exporter(t, "node_exporter"), "--web.listen-address="+nodeAddr, "--log.level=error")
	launch(t, exporter(t, "telegraf"), "--strict-env-handling", "--quiet", "--config", filepath.Join(root, "deploy/exporters/telegraf.conf"))
	launch(t, exporter(t, "klag-exporter"), "--config", filepath.Join(root, "deploy/exporters/klag.toml"))
}

func startPrometheus(t *testing.T) *program {
	t.Helper()
	dir := t.TempDir()
	rules, err := filepath.Abs(filepath.Join(root, "deploy/prometheus/rules/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("global: {scrape_interval: %s, evaluation_interval: %[1]s}\nstorage: {tsdb: {out_of_order_time_window: 1h}}\nrule_files: [%q]\nscrape_configs:\n", scrapeInterval, rules)
	for _, job := range []struct{ name, target string }{
		{"telltale-ingest", metricsAddr}, {"prometheus", prometheusAddr}, {"node", nodeAddr}, {"cadvisor", cadvisorAddr},
		{"mosquitto", mosquittoAddr}, {"mongodb", mongoAddr}, {"kafka", klagAddr},
	} {
		config += fmt.Sprintf("  - job_name: %s\n    static_configs: [{targets: [%q]}]\n", job.name, job.target)
		if job.target == metricsAddr { // the readings come by remote write
			config += "    metric_relabel_configs: [{source_labels: [__name__], regex: 'telltale_(temperature_celsius|relative_humidity_ratio|pressure_pascals|illuminance_lux|reading_timestamp_seconds)', action: drop}]\n"
		}
	}
	p := launch(t, "prometheus", "--config.file="+writeFile(t, filepath.Join(dir, "prometheus.yml"), config), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+prometheusAddr, "--web.enable-remote-write-receiver", "--log.level=warn")
	await.True(t, 3*time.Minute, "Prometheus is ready", answersOK("http://"+prometheusAddr+"/-/ready"))
	return p
}

// answersOK returns what asks an address whether it is well.
func answersOK(address string) func() bool {
	return func() bool {
		response, err := http.Get(address)
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	}
}

// writeTopic writes a record to Kafka.
func writeTopic(t *testing.T, topic, value string) {
	t.Helper()
	w := &kafka.Writer{Addr: kafka.TCP(kafkaAddr), Topic: topic, RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond}
	defer w.Close()
	if err := w.WriteMessages(t.Context(), kafka.Message{Value: []byte(value)}); err != nil {
		t.Fatal(err)
	}
}

// residents are the devices, real agents all but one.
type residents struct {
	t     *testing.T
	small *agent.Agent
}

func constant(int) (i2csim.Source, error) {
	return i2csim.Constant{Temperature: physic.ZeroCelsius + 11*physic.Celsius, Humidity: 60 * physic.PercentRH, Pressure: 101325 * physic.Pascal}, nil
}

// run runs an agent or a fleet of them until the test ends, or leave is called.
func (r *residents) run(run func(context.Context) error) (leave func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	left := false
	leave = func() {
		if cancel(); left {
			return
		}
		left = true
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	}
	r.t.Cleanup(leave)
	return leave
}

func (r *residents) fleet(prefix string, devices int, interval time.Duration, source func(int) (i2csim.Source, error)) (leave func()) {
	r.t.Helper()
	f, err := simulator.New(simulator.Options{
		Devices: devices, Places: 3, Prefix: prefix, Interval: interval, Seed: 1, Source: source, Dir: r.t.TempDir(),
		MQTT: simulator.MQTT{URL: "tcp://" + mqttAddr}, Version: "v1.0.0", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return r.run(f.Run)
}

// broken runs a device whose light chips are not there, that takes more readings,
// though of faults, than its buffer has room for in an outage.
func (r *residents) broken(device string) {
	r.t.Helper()
	bus := i2csim.NewBus(i2csim.BusOptions{Name: device})
	source, _ := constant(0)
	chip, err := i2csim.NewBME280(i2csim.BME280Options{Source: source})
	if err == nil {
		err = bus.Attach(0x76, chip)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	document := fmt.Sprintf(`device: %[1]s
mqtt: {url: tcp://%s}
buffer: {dir: %s, max_size: 256KiB, segment_size: 64KiB, commit_interval: 100ms}
clock: {trust: always}
sensors:
  - id: %[1]s
    name: Shed
    place_id: garden
    interval: 1s
    chips: [{driver: bme280, bus: "1", address: 0x76}, {driver: bh1750, bus: "1", address: 0x23}]
  - id: %[1]s.fast
    name: Shed, fast
    place_id: garden
    interval: 10ms
    chips: [{driver: bh1750, bus: "1", address: 0x5c}]
`, device, mqttAddr, r.t.TempDir())
	config, err := agent.ParseConfig("agent.yaml", []byte(document))
	if err != nil {
		r.t.Fatal(err)
	}
	r.small, err = agent.New(agent.Options{
		Config: config, OpenBus: func(string) (i2c.BusCloser, error) { return bus.Open(), nil },
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.NewSet(), Version: lastVersion,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.run(r.small.Run)
}

// byHand connects as a device that is no agent of ours. It has a certificate
// that ends soon, which the agents have not, as the broker here has no TLS.
func (r *residents) byHand() paho.Client {
	r.t.Helper()
	client := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + mqttAddr).SetClientID("roof").SetMaxReconnectInterval(time.Second))
	if token := client.Connect(); !token.WaitTimeout(30*time.Second) || token.Error() != nil {
		r.t.Fatalf("connect: %v", token.Error())
	}
	r.t.Cleanup(func() { client.Disconnect(100) })
	return client
}

// misbehave sends what ingest must refuse, has already, finds missing or late.
func (r *residents) misbehave(client paho.Client) {
	r.t.Helper()
	now := time.Now()
	publish := func(device string, kind telemetry.Kind, retained bool, payload []byte) {
		token := client.Publish(telemetry.Topic(device, kind), 1, retained, payload)
		if !token.WaitTimeout(30*time.Second) || token.Error() != nil {
			r.t.Fatalf("publish: %v", token.Error())
		}
	}
	publish("roof", telemetry.Status, true, fmt.Appendf(nil,
		`{"state":"online","version":%q,"timestamp":%d,"uptime_s":86400,"readings":9,"clock":"holdover","certificate_expires":%d,"buffer":{"frames":2,"bytes":131072,"oldest":%d,"memory_frames":2,"fault":"disk_full","used_bytes":400,"capacity_bytes":1000000}}`,
		lastVersion, now.UnixMilli(), now.Add(10*24*time.Hour).Unix(), now.Add(-time.Minute).UnixMilli()))
	publish("roof", telemetry.Status, false, []byte(`{"state":"asleep"}`))
	publish("roof", telemetry.Frames, false, []byte("no frame"))
	d := devicesOf(r.t, client, "roof")
	for i := range 20 {
		if i == 7 || i == 9 || i == 11 { // one at least is within a window
			d.seqs["roof"] += 3 // are missing, and nobody says why
		}
		d.sample(now.Add(time.Duration(i-20) * time.Second).UnixMilli())
	}
	batch := telemetry.AppendBatch(nil, d.pending["roof"])
	publish("roof", telemetry.Frames, false, batch)
	publish("roof", telemetry.Frames, false, batch)
	publish("office-1", telemetry.Frames, false, batch) // another's readings
	d.pending["roof"] = nil
	d.sample(now.Add(-10 * time.Minute).UnixMilli())
	d.publish()
}
