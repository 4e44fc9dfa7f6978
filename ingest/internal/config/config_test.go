package config

import (
	"errors"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/internal/settings"
	"github.com/telltale-iot/telltale/internal/settings/settingstest"
)

var configs = cmp.AllowUnexported(settings.Secret{})

func TestParse(t *testing.T) {
	want := Default()
	want.Roles = []string{RoleSink}
	want.MQTT.SeedTopic = ""
	want.MQTT.URL = "tls://broker:8883"
	want.MQTT.TLS.ServerName = "b"
	want.Kafka.Brokers = []string{"kafka-1:9092", "[::1]:9092"}
	want.Kafka.TLSEnabled = true
	want.Kafka.TLS.ServerName = "k"
	want.Mongo.URI = settings.NewSecret("mongodb+srv://user@cluster.example/?w=majority")
	want.Mongo.FramesTTL = 0
	want.Bridge.MaxPayload = settings.MiB
	want.Aggregate.Window = 10 * time.Second
	want.Metrics.Listen = ":0"
	want.Metrics.TimeSeries = true
	want.Metrics.RemoteWrite.URL = "https://receiver/api/v1/write"
	want.Metrics.RemoteWrite.Headers = []string{"X-Scope-OrgID: factory"}
	got, err := Parse("ingest.yaml", []byte(`
roles: [sink]
mqtt: {url: "tls://broker:8883", seed_topic: "", tls: {server_name: b}}
kafka:
  brokers:
    - kafka-1:9092
    - "[::1]:9092"
  tls_enabled: on
  tls: {server_name: k}
mongo: {uri: "mongodb+srv://user@cluster.example/?w=majority", frames_ttl: 0s}
bridge: {max_payload: 1MiB}
aggregate: {window: 10s}
metrics:
  listen: ":0"
  remote_write: {url: "https://receiver/api/v1/write", headers: ["X-Scope-OrgID: factory"]}
  time_series: on
`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, configs); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got.Has(RoleBridge) || !got.Has(RoleSink) {
		t.Errorf("got roles %v", got.Roles)
	}
}

func TestClientTLS(t *testing.T) {
	none := settings.TLS{CAFile: "testdata/none"}
	for name, client := range map[string]func() (bool, error){
		"MQTT": func() (bool, error) {
			config, err := MQTT{URL: "tcp://a:1", TLS: none}.ClientTLS()
			return config != nil, err
		},
		"the receiver": func() (bool, error) {
			config, err := RemoteWrite{URL: "http://a", TLS: none}.ClientTLS()
			return config != nil, err
		},
		"Kafka": func() (bool, error) { config, err := Kafka{TLS: none}.ClientTLS(); return config != nil, err },
	} {
		if encrypted, err := client(); encrypted || err != nil {
			t.Errorf("%s without TLS: got %t, %v", name, encrypted, err)
		}
	}
	if config, err := (RemoteWrite{URL: "https://a", TLS: settings.TLS{ServerName: "b"}}).ClientTLS(); err != nil || config.ServerName != "b" {
		t.Errorf("the receiver: got %v, %v", config, err)
	}
	if config, err := (MQTT{URL: "tls://a:1", TLS: settings.TLS{ServerName: "b"}}).ClientTLS(); err != nil || config.ServerName != "b" {
		t.Errorf("MQTT: got %v, %v", config, err)
	}
	if _, err := (Kafka{TLSEnabled: true, TLS: none}).ClientTLS(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Kafka without authorities: got %v", err)
	}
}

func TestRemoteWriteHeader(t *testing.T) {
	for _, tt := range []struct {
		settings RemoteWrite
		want     http.Header
	}{
		{RemoteWrite{}, http.Header{}},
		{RemoteWrite{Headers: []string{"X-Scope-OrgID:  factory ", "a: b:c"}, BearerToken: settings.NewSecret("t")},
			http.Header{"X-Scope-Orgid": {"factory"}, "A": {"b:c"}, "Authorization": {"Bearer t"}}},
		// RFC 7617, section 2
		{RemoteWrite{Username: "Aladdin", Password: settings.NewSecret("open sesame")}, http.Header{"Authorization": {"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}}},
	} {
		if diff := cmp.Diff(tt.want, tt.settings.Header()); diff != "" {
			t.Errorf("%+v: -want +got:\n%s", tt.settings, diff)
		}
	}
}

// A receiver has one kind of credentials, and a password its user.
func TestRemoteWriteCredentials(t *testing.T) {
	for _, tt := range []struct {
		settings RemoteWrite
		want     string
	}{
		{RemoteWrite{Password: settings.NewSecret("p")}, "username"},
		{RemoteWrite{Username: "u", Password: settings.NewSecret("p"), BearerToken: settings.NewSecret("t")}, "bearer_token_file"},
		{RemoteWrite{Username: "u", Password: settings.NewSecret("p")}, ""},
		{RemoteWrite{BearerToken: settings.NewSecret("t")}, ""},
	} {
		r := Default().Metrics.RemoteWrite
		r.URL, r.Username, r.Password, r.BearerToken = "https://a", tt.settings.Username, tt.settings.Password, tt.settings.BearerToken
		got := ""
		r.Validate(func(path, _, _ string) { got += path })
		if got != tt.want {
			t.Errorf("%+v: reported %q, want %q", tt.settings, got, tt.want)
		}
	}
}

func TestProblems(t *testing.T) {
	for _, tt := range []struct{ name, yaml, want string }{
		{"unknown key", "bridge: {max_unacked: 5}", "ingest.yaml:1:10: bridge.max_unacked: want a setting that exists: max_unacknowledged, max_unacknowledged_size, batch_messages, batch_age, max_future, max_payload, device_rate, device_bandwidth or device_burst"},
		{"no role", "roles: []", "ingest.yaml:1:1: roles: want at least one role: bridge, aggregate, sink or metrics"},
		{"unknown role", "roles: [bridge, snik]", "ingest.yaml:1:17: roles[1]: snik: want bridge, aggregate, sink or metrics"},
		{"role twice", "roles:\n- sink\n- sink", "ingest.yaml:3:3: roles[1]: sink: want each role once"},

		{"scheme of the MQTT url", "mqtt: {url: mqtt://broker:1883}", "ingest.yaml:1:13: mqtt.url: mqtt://broker:1883: want the broker as tcp://HOST:PORT or tls://HOST:PORT"},
		{"MQTT password", "mqtt:\n  username: a\n  password: hunter2", "ingest.yaml:3:3: mqtt.password: want the secret in a file of its own, named by password_file, or in TELLTALE_MQTT_PASSWORD"},
		{"share group", "mqtt: {share_group: a/b}", "ingest.yaml:1:21: mqtt.share_group: a/b: want a name without /, + and #"},
		{"seed topic", "mqtt: {seed_topic: iot/#}", "ingest.yaml:1:20: mqtt.seed_topic: iot/#: want a topic without wildcards"},
		{"keep alive", "mqtt: {keep_alive: 0s}", "ingest.yaml:1:20: mqtt.keep_alive: 0s: want a duration of whole seconds from 1s to 18h12m15s"},
		{"connect timeout", "mqtt: {connect_timeout: 5}", "ingest.yaml:1:25: mqtt.connect_timeout: 5: want a duration with its unit, such as 500ms, 5s or 1h30m"},

		{"no brokers", "kafka:\n  brokers: []", "ingest.yaml:2:3: kafka.brokers: want at least one broker"},
		{"broker without port", "kafka:\n  brokers: [a:1, b]", "ingest.yaml:2:18: kafka.brokers[1]: b: want a host and a port, such as kafka-1:9092 or [::1]:9092"},
		{"TLS that is not enabled", "kafka: {tls: {ca_file: a}}", "ingest.yaml:1:1: kafka.tls_enabled: false: want true if there is a tls setting"},
		{"partitions", "kafka: {partitions: 0}", "ingest.yaml:1:21: kafka.partitions: 0: want from 1 to 10000"},
		{"replication", "kafka: {replication: 0}", "ingest.yaml:1:22: kafka.replication: 0: want from 1 to 100"},
		{"retention", "kafka: {retention: 7d}", "ingest.yaml:1:20: kafka.retention: 7d: want a duration with its unit, such as 500ms, 5s or 1h30m"},
		{"session timeout", "kafka: {session_timeout: 5s}", "ingest.yaml:1:26: kafka.session_timeout: 5s: want from 6s to 30m"},
		{"SASL mechanism", "kafka: {sasl: {mechanism: plain}}", `ingest.yaml:1:27: kafka.sasl.mechanism: plain: want "", PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512`},
		{"SASL without a user", "kafka: {sasl: {mechanism: PLAIN}}", "ingest.yaml:1:9: kafka.sasl.username: want the user that is to authenticate"},
		{"SASL without a password", "kafka: {sasl: {mechanism: PLAIN, username: a}}", "ingest.yaml:1:9: kafka.sasl.password_file: want the file that holds the user's password"},
		{"SASL without a mechanism", "kafka: {sasl: {username: a}}", "ingest.yaml:1:9: kafka.sasl.mechanism: want the mechanism by which username is to authenticate"},
		{"SASL password file absent", "kafka: {sasl: {mechanism: PLAIN, username: a, password_file: testdata/none}}",
			"ingest.yaml:1:62: kafka.sasl.password_file: testdata/none: want a file that holds the secret: no such file or directory"},

		{"scheme of the MongoDB URI", "mongo: {uri: http://a}", "ingest.yaml:1:14: mongo.uri: want a connection string that begins with mongodb:// or mongodb+srv://"},
		{"MongoDB URI without a host", "mongo: {uri: \"mongodb://\"}", "ingest.yaml:1:14: mongo.uri: want a connection string that begins with mongodb:// or mongodb+srv://"},
		{"MongoDB URI with a password", "mongo: {uri: \"mongodb://u:hunter2@a,b\"}", "ingest.yaml:1:14: mongo.uri: want a URL without a password, or the secret in a file of its own, named by uri_file, or in TELLTALE_MONGO_URI"},
		{"database", "mongo: {database: a.b}", `ingest.yaml:1:19: mongo.database: a.b: want a database's name: at most 63 bytes, none of them space or one of /\."$*<>:|?`},
		{"frames' TTL", "mongo: {frames_ttl: 59s}", "ingest.yaml:1:21: mongo.frames_ttl: 59s: want from 1m to 595680h"},

		{"bridge", "bridge: {max_unacknowledged: 0, batch_messages: 0, batch_age: -1s, max_future: -1s, max_payload: 1B}",
			"ingest.yaml:1:30: bridge.max_unacknowledged: 0: want from 1 to 100000\n" +
				"ingest.yaml:1:49: bridge.batch_messages: 0: want from 1 to 100000\n" +
				"ingest.yaml:1:63: bridge.batch_age: -1s: want from 0s to 1m\n" +
				"ingest.yaml:1:80: bridge.max_future: -1s: want from 0s to 8760h\n" +
				"ingest.yaml:1:98: bridge.max_payload: 1B: want from 1KiB to 256MiB"},
		{"bytes for less than a message", "bridge: {max_unacknowledged_size: 1MiB, max_payload: 2MiB}", "ingest.yaml:1:35: bridge.max_unacknowledged_size: 1MiB: want from 2MiB to 64GiB"},
		{"limits of a device", "bridge: {device_rate: -1, device_bandwidth: 2GiB, device_burst: 0s}",
			"ingest.yaml:1:23: bridge.device_rate: -1: want from 0 to 10000000\n" +
				"ingest.yaml:1:45: bridge.device_bandwidth: 2GiB: want from 0B to 1GiB\n" +
				"ingest.yaml:1:65: bridge.device_burst: 0s: want from 1s to 1h"},

		{"window that does not divide a day", "aggregate: {window: 7m}", "ingest.yaml:1:21: aggregate.window: 7m: want a duration from 1s to 24h that divides 24h, such as 10s, 5m or 1h"},
		{"window of two days", "aggregate: {window: 48h}", "ingest.yaml:1:21: aggregate.window: 48h: want a duration from 1s to 24h that divides 24h, such as 10s, 5m or 1h"},
		{"window of no length", "aggregate: {window: 0s}", "ingest.yaml:1:21: aggregate.window: 0s: want a duration from 1s to 24h that divides 24h, such as 10s, 5m or 1h"},
		{"aggregate", "aggregate: {reorder: -1s, idle: 0s, retention: 1m, max_open: 0}",
			"ingest.yaml:1:22: aggregate.reorder: -1s: want from 0s to 24h\n" +
				"ingest.yaml:1:33: aggregate.idle: 0s: want from 100ms to 24h\n" +
				"ingest.yaml:1:48: aggregate.retention: 1m: want from 5m to 876000h\n" +
				"ingest.yaml:1:62: aggregate.max_open: 0: want from 1 to 10000000"},
		{"sink", "sink: {batch: 0, batch_age: 2m}",
			"ingest.yaml:1:15: sink.batch: 0: want from 1 to 100000\ningest.yaml:1:29: sink.batch_age: 2m: want from 0s to 1m"},
		{"metrics", "metrics: {listen: 9464, stale_after: 0s, max_sensors: 0}",
			"ingest.yaml:1:19: metrics.listen: 9464: want text; put it in quotes\n" +
				"ingest.yaml:1:38: metrics.stale_after: 0s: want from 1s to 8760h\n" +
				"ingest.yaml:1:55: metrics.max_sensors: 0: want from 1 to 10000000"},
		{"remote write", "metrics: {remote_write: {url: \"receiver:9090\", batch: 4, batch_age: -1s, timeout: 0s}}",
			"ingest.yaml:1:31: metrics.remote_write.url: receiver:9090: want the receiver as http://HOST/PATH or https://HOST/PATH\n" +
				"ingest.yaml:1:55: metrics.remote_write.batch: 4: want from 5 to 100000\n" +
				"ingest.yaml:1:69: metrics.remote_write.batch_age: -1s: want from 0s to 1m\n" +
				"ingest.yaml:1:83: metrics.remote_write.timeout: 0s: want from 100ms to 10m"},
		{"remote write url with a user", "metrics: {remote_write: {url: \"http://u:hunter2@a\"}}",
			"ingest.yaml:1:31: metrics.remote_write.url: want the receiver as http://HOST/PATH or https://HOST/PATH; user and password belong in username and password_file"},
		{"remote write TLS without https", "metrics: {remote_write: {url: \"http://a\", tls: {ca_file: b}}}",
			"ingest.yaml:1:31: metrics.remote_write.url: http://a: want a url that begins with https:// if there is a tls setting"},
		{"remote write user without a password", "metrics: {remote_write: {url: \"http://a\", username: b}}",
			"ingest.yaml:1:11: metrics.remote_write.password_file: want the file that holds the user's password"},
		{"remote write headers", "metrics: {remote_write: {url: \"http://a\", headers: [\"hunter2\"]}}",
			"ingest.yaml:1:43: metrics.remote_write.headers: want each header as NAME: VALUE"},
		{"remote write credentials in a header", "metrics: {remote_write: {url: \"http://a\", headers: [\"authorization: hunter2\"]}}",
			"ingest.yaml:1:43: metrics.remote_write.headers: want the credentials in password_file or bearer_token_file"},
		{"no address to listen on", "metrics: {listen: \"\"}", `ingest.yaml:1:19: metrics.listen: "": want an address to listen on, such as 127.0.0.1:9464 or :9464`},
		{"log", "log: {level: loud}", "ingest.yaml:1:14: log.level: loud: want debug, info, warn or error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("ingest.yaml", []byte(tt.yaml))
			var problems settings.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("got %v, want Problems", err)
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestPasswordWithoutUser(t *testing.T) {
	c := Default()
	err := settings.New(&c).Load("", func(key string) (string, bool) { return "hunter2", key == "TELLTALE_MQTT_PASSWORD" })
	if want := "mqtt.username: want the user that the password belongs to"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// The defaults are valid, and an empty file is a configuration.
func TestDefault(t *testing.T) {
	got, err := Parse("ingest.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got, configs); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The example has every setting, and what is commented out is the default.
func TestExample(t *testing.T) {
	file, err := os.ReadFile("../../../deploy/ingest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := settingstest.Uncomment(file)
	for name, data := range map[string][]byte{"as it is": file, "with all settings": all} {
		got, err := Parse("ingest.yaml", data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(Default(), got, configs); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
	paths, err := settingstest.Paths(all)
	if err != nil {
		t.Fatal(err)
	}
	c := Default()
	for _, d := range settings.New(&c).Document() {
		if d.Type != "secret" && !paths[d.Path] {
			t.Errorf("ingest.yaml lacks %s", d.Path)
		}
	}
}
