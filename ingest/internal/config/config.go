package config

import (
	"crypto/tls"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/telltale-iot/telltale/internal/endpoint"
	"github.com/telltale-iot/telltale/internal/settings"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Config is all that an ingest service can be told.
type Config struct {
	Roles     []string     `yaml:"roles" enum:"bridge,aggregate,sink,metrics" help:"what this process does"`
	MQTT      MQTT         `yaml:"mqtt"`
	Kafka     Kafka        `yaml:"kafka"`
	Mongo     Mongo        `yaml:"mongo"`
	Bridge    Bridge       `yaml:"bridge"`
	Aggregate Aggregate    `yaml:"aggregate"`
	Sink      Sink         `yaml:"sink"`
	Metrics   Metrics      `yaml:"metrics"`
	Log       settings.Log `yaml:"log"`
}

// MQTT is the broker that frames come from.
type MQTT struct {
	URL            string          `yaml:"url" help:"the broker, tls://HOST:PORT or tcp://HOST:PORT"`
	ClientID       string          `yaml:"client_id" help:"MQTT client identifier, one for each process (empty: telltale-ingest- and the host's name)"`
	Username       string          `yaml:"username" help:"MQTT user (empty: none)"`
	Password       settings.Secret `yaml:"password" help:"MQTT user's password"`
	TLS            settings.TLS    `yaml:"tls"`
	ShareGroup     string          `yaml:"share_group" help:"group of the shared subscription that processes divide the agents' frames by"`
	SeedTopic      string          `yaml:"seed_topic" help:"topic of clients that send frames without epoch and seq (empty: none)"`
	KeepAlive      time.Duration   `yaml:"keep_alive" help:"time without traffic after which the connection is probed; whole seconds"`
	ConnectTimeout time.Duration   `yaml:"connect_timeout" help:"time that one attempt to connect may take"`
}

// Kafka is the cluster, and how topics are made that it lacks.
type Kafka struct {
	Brokers     []string      `yaml:"brokers" help:"HOST:PORT of one or more brokers to begin with"`
	TLSEnabled  bool          `yaml:"tls_enabled" help:"encrypt the connections"`
	TLS         settings.TLS  `yaml:"tls"`
	SASL        SASL          `yaml:"sasl"`
	Partitions  int           `yaml:"partitions" help:"partitions of a topic that is made"`
	Replication int           `yaml:"replication" help:"replicas of a topic that is made"`
	Retention   time.Duration `yaml:"retention" help:"time that a topic that is made keeps its records"`

	SessionTimeout time.Duration `yaml:"session_timeout" help:"silence after which the work of a process is given to others"`
}

// SASL is how to authenticate to Kafka.
type SASL struct {
	Mechanism string          `yaml:"mechanism" enum:",PLAIN,SCRAM-SHA-256,SCRAM-SHA-512" help:"how to authenticate (empty: not at all)"`
	Username  string          `yaml:"username" help:"Kafka user"`
	Password  settings.Secret `yaml:"password" help:"Kafka user's password"`
}

// Mongo is the database.
type Mongo struct {
	URI       settings.Secret `yaml:"uri" secret:"url" help:"MongoDB connection string"`
	Database  string          `yaml:"database" help:"name of the database"`
	FramesTTL time.Duration   `yaml:"frames_ttl" help:"age at which frames are deleted (0s: never)"`
}

// Bridge bounds what is between MQTT and Kafka.
type Bridge struct {
	MaxUnacknowledged     int           `yaml:"max_unacknowledged" help:"most messages that are read from MQTT and not yet in Kafka"`
	MaxUnacknowledgedSize settings.Size `yaml:"max_unacknowledged_size" help:"most bytes of them"`
	BatchMessages         int           `yaml:"batch_messages" help:"most messages that go to Kafka at once"`
	BatchAge              time.Duration `yaml:"batch_age" help:"longest time that a message waits for others to go with"`
	MaxFuture             time.Duration `yaml:"max_future" help:"how far ahead of the clock a frame's timestamp may be"`
	MaxPayload            settings.Size `yaml:"max_payload" help:"greatest MQTT payload that is taken"`
	DeviceRate            int           `yaml:"device_rate" help:"most frames of one device that are taken in a second (0: any number)"`
	DeviceBandwidth       settings.Size `yaml:"device_bandwidth" help:"most bytes of one device that are taken in a second (0: any number)"`
	DeviceBurst           time.Duration `yaml:"device_burst" help:"how much of both may come at once, as time"`
}

// Aggregate is the windows.
type Aggregate struct {
	Window    time.Duration `yaml:"window" help:"length of a window; a day must be a whole number of them"`
	Reorder   time.Duration `yaml:"reorder" help:"how far a sensor's frames must pass a window's end to close it"`
	Idle      time.Duration `yaml:"idle" help:"silence of a sensor after which its window closes all the same"`
	Retention time.Duration `yaml:"retention" help:"age up to which late frames revise a window"`
	MaxOpen   int           `yaml:"max_open" help:"most windows that are held in memory for each partition; more are closed early"`
}

// Sink is how frames are written to MongoDB.
type Sink struct {
	Batch    int           `yaml:"batch" help:"most frames in one write"`
	BatchAge time.Duration `yaml:"batch_age" help:"longest time that a frame waits for others to be written with"`
}

// Metrics is the HTTP endpoint, of every role, and what the metrics role does
// with frames.
type Metrics struct {
	Listen      string        `yaml:"listen" help:"address that serves /metrics, /healthz and /readyz"`
	TLS         endpoint.TLS  `yaml:"tls"`
	Auth        endpoint.Auth `yaml:"auth"`
	StaleAfter  time.Duration `yaml:"stale_after" help:"age of a sensor's newest frame at which it is no longer shown"`
	MaxSensors  int           `yaml:"max_sensors" help:"most sensors that are shown"`
	MaxDevices  int           `yaml:"max_devices" help:"most devices whose status is shown (0: none)"`
	RemoteWrite RemoteWrite   `yaml:"remote_write"`
	TimeSeries  bool          `yaml:"time_series" help:"write a record of each frame to the topic iot-metrics-time-series"`
}

// RemoteWrite is the receiver that frames are sent to, each with its own time.
type RemoteWrite struct {
	URL         string          `yaml:"url" help:"Prometheus remote write receiver, http:// or https:// (empty: none)"`
	Username    string          `yaml:"username" help:"user of basic authentication (empty: none)"`
	Password    settings.Secret `yaml:"password" help:"user's password"`
	BearerToken settings.Secret `yaml:"bearer_token" help:"token of bearer authentication"`
	Headers     []string        `yaml:"headers" help:"more headers of a request, each NAME: VALUE"`
	TLS         settings.TLS    `yaml:"tls"`
	Batch       int             `yaml:"batch" help:"most samples in one request"`
	BatchAge    time.Duration   `yaml:"batch_age" help:"longest time that a sample waits for others to be sent with"`
	Timeout     time.Duration   `yaml:"timeout" help:"time that one request may take"`
}

// The roles.
const (
	RoleBridge    = "bridge"    // MQTT to Kafka
	RoleAggregate = "aggregate" // windows, from Kafka to MongoDB and Kafka
	RoleSink      = "sink"      // frames, from Kafka to MongoDB
	RoleMetrics   = "metrics"   // frames, from Kafka to Prometheus
)

// Default returns the configuration that holds where nothing else is said: all
// roles, with every server on this host.
func Default() Config {
	return Config{
		Roles: []string{RoleBridge, RoleAggregate, RoleSink, RoleMetrics},
		MQTT: MQTT{
			URL:            "tcp://127.0.0.1:1883",
			ShareGroup:     "telltale-ingest",
			SeedTopic:      telemetry.SeedTopic,
			KeepAlive:      30 * time.Second,
			ConnectTimeout: 10 * time.Second,
		},
		Kafka: Kafka{
			Brokers:     []string{"127.0.0.1:9092"},
			Partitions:  6,
			Replication: 1,
			Retention:   7 * 24 * time.Hour,

			SessionTimeout: 10 * time.Second,
		},
		Mongo: Mongo{
			URI:       settings.NewSecret("mongodb://127.0.0.1:27017"),
			Database:  "iot",
			FramesTTL: 90 * 24 * time.Hour,
		},
		Bridge: Bridge{
			MaxUnacknowledged:     4000,
			MaxUnacknowledgedSize: 8 * settings.MiB,
			BatchMessages:         2000,
			BatchAge:              3 * time.Millisecond,
			MaxFuture:             10 * time.Minute,
			MaxPayload:            256 * settings.KiB,
			DeviceRate:            2000,
			DeviceBandwidth:       2 * settings.MiB,
			DeviceBurst:           20 * time.Second,
		},
		Aggregate: Aggregate{
			Window:    5 * time.Minute,
			Reorder:   2 * time.Second,
			Idle:      30 * time.Second,
			Retention: 30 * 24 * time.Hour,
			MaxOpen:   100_000,
		},
		Sink: Sink{Batch: 1000, BatchAge: 100 * time.Millisecond},
		Metrics: Metrics{
			Listen: "127.0.0.1:9464", StaleAfter: 5 * time.Minute, MaxSensors: 10_000, MaxDevices: 10_000,
			RemoteWrite: RemoteWrite{Headers: []string{}, Batch: 2000, BatchAge: time.Second, Timeout: 30 * time.Second},
		},
		Log: settings.Log{Level: "info", Format: "text"},
	}
}

// Parse reads a configuration file's content; name is the file's, for messages.
// Secrets are read from the files that it names. The error is
// [settings.Problems].
func Parse(name string, data []byte) (Config, error) {
	c := Default()
	if err := settings.New(&c).Parse(name, data); err != nil {
		return Config{}, err
	}
	return c, nil
}

// Has reports whether the process has a role.
func (c *Config) Has(role string) bool { return slices.Contains(c.Roles, role) }

// ClientTLS returns the TLS of the connections to the broker, nil if they are
// not encrypted. The error says which file is wrong.
func (m MQTT) ClientTLS() (*tls.Config, error) {
	if !strings.HasPrefix(m.URL, "tls://") {
		return nil, nil
	}
	return m.TLS.Client()
}

// Endpoint returns what the HTTP endpoint is to be.
func (m Metrics) Endpoint() endpoint.Config {
	return endpoint.Config{Listen: m.Listen, TLS: m.TLS, Auth: m.Auth}
}

// ClientTLS returns the TLS of the connections to the receiver, nil if they are
// not encrypted. The error says which file is wrong.
func (r RemoteWrite) ClientTLS() (*tls.Config, error) {
	if !strings.HasPrefix(r.URL, "https://") {
		return nil, nil
	}
	return r.TLS.Client()
}

// Header returns the headers of a request that are configured.
func (r RemoteWrite) Header() http.Header {
	header := http.Header{}
	for _, h := range r.Headers {
		name, value, _ := strings.Cut(h, ":")
		header.Add(name, strings.TrimSpace(value))
	}
	switch {
	case r.Username != "":
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(r.Username+":"+r.Password.Reveal())))
	case !r.BearerToken.IsZero():
		header.Set("Authorization", "Bearer "+r.BearerToken.Reveal())
	}
	return header
}

// ClientTLS returns the TLS of the connections to Kafka, nil if they are not
// encrypted. The error says which file is wrong.
func (k Kafka) ClientTLS() (*tls.Config, error) {
	if !k.TLSEnabled {
		return nil, nil
	}
	return k.TLS.Client()
}
