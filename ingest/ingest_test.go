package ingest_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/telltale-iot/telltale/ingest"
	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/certificate/certificatetest"
	"github.com/telltale-iot/telltale/internal/endpoint"
	"github.com/telltale-iot/telltale/internal/settings"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/lab"
	"github.com/telltale-iot/telltale/simulator/ledger"
)

// freeAddr returns an address on which nothing listens now.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func parse(t *testing.T, mqtt, kafka, mongo string) ingest.Config {
	t.Helper()
	config, err := ingest.ParseConfig("ingest.yaml", fmt.Appendf(nil, `
mqtt: {url: "tcp://%s"}
kafka: {brokers: ["%s"], partitions: 2}
mongo: {uri: "mongodb://%s", frames_ttl: 0s}
metrics: {listen: "127.0.0.1:0"}
`, mqtt, kafka, mongo))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// run runs ingest until the test ends.
func run(t *testing.T, config ingest.Config) *ingest.Ingest {
	t.Helper()
	i, err := ingest.New(ingest.Options{Config: config, Registry: prometheus.NewRegistry(), Version: "test",
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- i.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run returned %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("Run does not return")
		}
	})
	return i
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// TestServersThatComeLate starts ingest with no server there at all: it lives,
// says by /readyz what it waits for, and works as soon as they come.
func TestServersThatComeLate(t *testing.T) {
	mqttAddr, kafkaAddr, mongoAddr := freeAddr(t), freeAddr(t), freeAddr(t)
	i := run(t, parse(t, mqttAddr, kafkaAddr, mongoAddr))
	base := "http://" + i.MetricsAddr()

	await.True(t, time.Minute, "the process lives and is not ready", func() bool {
		alive, _ := get(t, base+"/healthz")
		status, body := get(t, base+"/readyz")
		for _, want := range []string{
			"topics: not seen to yet", "bridge, subscription frames: not connected to the MQTT broker",
			"bridge, subscription seed: not connected", "bridge, receipts: not connected", "sink: mongo",
			"metrics, fleet: not connected",
		} {
			if !strings.Contains(body, want) {
				t.Fatalf("/readyz does not say %q:\n%s", want, body)
			}
		}
		return alive == http.StatusOK && status == http.StatusServiceUnavailable
	})

	discard := slog.New(slog.DiscardHandler)
	mongo, err := lab.StartMongo(mongoAddr, t.TempDir(), discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mongo.Close() })
	kafka, err := lab.StartKafka(kafkaAddr, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kafka.Close() })
	mqtt, err := lab.StartMQTT(mqttAddr, discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mqtt.Close() })
	await.True(t, 3*time.Minute, "all roles are ready", func() bool {
		status, _ := get(t, base+"/readyz")
		return status == http.StatusOK
	})

	client := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + mqttAddr).SetClientID("device"))
	if token := client.Connect(); !token.WaitTimeout(30*time.Second) || token.Error() != nil {
		t.Fatalf("connect: %v", token.Error())
	}
	defer client.Disconnect(0)
	receipts := make(chan string, 10)
	client.Subscribe(telemetry.Topic("device", telemetry.Receipts), 0, func(_ paho.Client, m paho.Message) { receipts <- string(m.Payload()) }).Wait()
	client.Publish(telemetry.Topic("device", telemetry.Frames), 1, false,
		fmt.Sprintf(`{"id":"device","place_id":"p","timestamp":%d,"epoch":9,"seq":0,"payload":{"temperature":21.5}}`, time.Now().UnixMilli()))
	select {
	case got := <-receipts:
		if want := `{"frames":[{"id":"device","epoch":9,"seq":[[0,0]]}]}`; got != want {
			t.Errorf("the receipt is %s, want %s", got, want)
		}
	case <-time.After(time.Minute):
		t.Fatal("no receipt")
	}
	client.Publish(telemetry.Topic("device", telemetry.Status), 1, true, `{"state":"online","version":"v1"}`)
	await.True(t, 3*time.Minute, "what the processes tell of the device, of themselves and of Kafka", func() bool {
		_, metrics := get(t, base+"/metrics")
		for _, want := range []string{
			`telltale_device_online{device="device"} 1`, `telltale_ingest_ready{task="sink"} 1`, `telltale_ingest_role{role="bridge"} 1`,
			`telltale_kafka_group_lag_records{group="telltale-sink",partition="0",topic="iot-frames"} 0`, `telltale_readings_lost_total{reason="power_cut"} 0`,
		} {
			if !strings.Contains(metrics, want+"\n") {
				return false
			}
		}
		return true
	})
	follower, err := ledger.New(ledger.Options{Brokers: []string{kafkaAddr}, MongoURI: mongo.URI(), Database: "iot"})
	if err != nil {
		t.Fatal(err)
	}
	await.True(t, time.Minute, "the frame in MongoDB", func() bool {
		count, _, err := follower.Stored(t.Context())
		return err == nil && count == 1
	})

	kafka.Close()
	await.True(t, time.Minute, "what is tried again, counted for each group", func() bool {
		_, metrics := get(t, base+"/metrics")
		for _, group := range []string{"telltale-aggregate", "telltale-places", "telltale-sink", "telltale-metrics"} {
			if !strings.Contains(metrics, fmt.Sprintf("telltale_kafka_consumer_retries_total{group=%q,reason=", group)) {
				return false
			}
		}
		return true
	})
}

// TestMistakesEndNew shows what is an error at once, not waited for.
func TestMistakesEndNew(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := []struct {
		name  string
		spoil func(*ingest.Options)
		want  string
	}{
		{"no registry", func(o *ingest.Options) { o.Registry = nil }, "Registry"},
		{"metrics' address taken", func(o *ingest.Options) { o.Config.Metrics.Listen = taken.Addr().String() }, "metrics.listen: listen tcp " + taken.Addr().String()},
		{"no CA file", func(o *ingest.Options) {
			o.Config.MQTT.URL = "tls://localhost:8883"
			o.Config.MQTT.TLS.CAFile = "/nonexistent/ca.pem"
		}, "bridge: certificate authorities: open /nonexistent/ca.pem"},
		{"no certificate of the endpoint", func(o *ingest.Options) {
			o.Config.Metrics.TLS = endpoint.TLS{CertFile: "/nonexistent/cert.pem", KeyFile: "/nonexistent/key.pem"}
		}, "metrics.tls: certificate: open /nonexistent/cert.pem"},
		{"no CA file of the receiver", func(o *ingest.Options) {
			o.Config.Metrics.RemoteWrite.URL = "https://receiver/api/v1/write"
			o.Config.Metrics.RemoteWrite.TLS.CAFile = "/nonexistent/ca.pem"
		}, "metrics: remote write: certificate authorities: open /nonexistent/ca.pem"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := ingest.Options{Config: parse(t, "127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1"), Registry: prometheus.NewRegistry()}
			test.spoil(&o)
			if _, err := ingest.New(o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("New returned %v, want an error with %q", err, test.want)
			}
		})
	}
}

// TestSecuredEndpoint asks a process, none of whose servers is there, for its
// metrics, with a user and over TLS.
func TestSecuredEndpoint(t *testing.T) {
	end := time.Now().Add(time.Hour)
	root := certificatetest.Authority(t, end)
	pair := root.Issue(t, "127.0.0.1", end)
	dir := t.TempDir()
	config := parse(t, "127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1")
	config.Metrics.TLS = endpoint.TLS{CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key")}
	config.Metrics.Auth.BearerToken = settings.NewSecret("0123456789abcdef")
	certificatetest.Write(t, config.Metrics.TLS.CertFile, pair.PEM())
	certificatetest.Write(t, config.Metrics.TLS.KeyFile, pair.KeyPEM(t))
	i := run(t, config)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: root.Pool()}}}
	for _, tt := range []struct {
		path, token string
		status      int
		has         string
	}{
		{"/metrics", "guess", http.StatusUnauthorized, "unauthorized\n"},
		{"/metrics", "0123456789abcdef", http.StatusOK, fmt.Sprintf("telltale_certificate_expiry_timestamp_seconds{use=\"metrics_server\"} %v\n", float64(pair.NotAfter.Unix()))},
		{"/metrics", "0123456789abcdef", http.StatusOK, "telltale_endpoint_refused_total{reason=\"unauthorized\"} 1\n"},
		{"/healthz", "", http.StatusOK, "ok\n"},
		{"/readyz", "", http.StatusServiceUnavailable, "the reasons are in the log"},
		{"/readyz", "0123456789abcdef", http.StatusServiceUnavailable, "topics: not seen to yet"},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+i.MetricsAddr()+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+tt.token)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != tt.status || !strings.Contains(string(body), tt.has) {
			t.Errorf("%s with %q: %d, %v, want %d and %q in\n%s", tt.path, tt.token, response.StatusCode, err, tt.status, tt.has, body)
		}
	}
}
