package config

import (
	"cmp"
	"crypto/tls"
	"strings"
	"time"

	"github.com/telltale-iot/telltale/internal/endpoint"
	"github.com/telltale-iot/telltale/internal/settings"
)

// Config is all that an agent can be told.
type Config struct {
	Device  string       `yaml:"device" help:"the device's name, [A-Za-z0-9_-]{1,64}; its sensors, topics and MQTT user are named after it"`
	MQTT    MQTT         `yaml:"mqtt"`
	Buffer  Buffer       `yaml:"buffer"`
	Uplink  Uplink       `yaml:"uplink"`
	Clock   Clock        `yaml:"clock"`
	Trial   Trial        `yaml:"trial"`
	Sensors []Sensor     `yaml:"sensors" help:"the sensors: id, name, place_id, interval, chips"`
	Metrics Metrics      `yaml:"metrics"`
	Log     settings.Log `yaml:"log"`
}

// MQTT is the broker and how to reach it.
type MQTT struct {
	URL            string          `yaml:"url" help:"the broker, tls://HOST:PORT or tcp://HOST:PORT"`
	ClientID       string          `yaml:"client_id" help:"MQTT client identifier (empty: the device)"`
	Username       string          `yaml:"username" help:"MQTT user (empty: the device)"`
	Password       settings.Secret `yaml:"password" help:"MQTT user's password"`
	TLS            settings.TLS    `yaml:"tls"`
	KeepAlive      time.Duration   `yaml:"keep_alive" help:"time without traffic after which the connection is probed; whole seconds"`
	ConnectTimeout time.Duration   `yaml:"connect_timeout" help:"time that one attempt to connect may take"`
}

// Buffer is where readings wait until they are receipted.
type Buffer struct {
	Dir            string        `yaml:"dir" help:"folder of the buffer; made if absent"`
	MaxSize        settings.Size `yaml:"max_size" help:"most that the buffer occupies"`
	SegmentSize    settings.Size `yaml:"segment_size" help:"size of one file of the buffer"`
	Drop           string        `yaml:"drop" enum:"oldest,newest" help:"which readings are given up, and declared lost, when the buffer is full"`
	CommitInterval time.Duration `yaml:"commit_interval" help:"time after which readings are on the medium: the most that a power cut takes"`
	MemorySize     settings.Size `yaml:"memory_size" help:"most that readings occupy in memory while the disk fails"`
}

// Uplink is how readings leave the buffer.
type Uplink struct {
	Receipts       bool          `yaml:"receipts" help:"free a reading when ingest has receipted it (on) or when the broker has acknowledged it (off)"`
	BatchFrames    int           `yaml:"batch_frames" help:"most readings in one message"`
	BatchSize      settings.Size `yaml:"batch_size" help:"greatest size of one message"`
	BatchAge       time.Duration `yaml:"batch_age" help:"longest time that a reading waits for others to share a message with"`
	Compression    string        `yaml:"compression" enum:"none,zstd" help:"compression of messages; zstd needs telltale's ingest behind the broker"`
	MaxDrainRate   int           `yaml:"max_drain_rate" help:"most readings sent in a second, on average"`
	InFlight       int           `yaml:"in_flight" help:"most messages that are sent and not yet receipted"`
	ReceiptTimeout time.Duration `yaml:"receipt_timeout" help:"time without a receipt after which readings are sent again"`
	BackoffMin     time.Duration `yaml:"backoff_min" help:"bound of the first, random wait after a failure; it doubles with each further one"`
	BackoffMax     time.Duration `yaml:"backoff_max" help:"longest wait after a failure"`
}

// Clock is when the machine's wall clock is believed. A Raspberry Pi has no clock
// of its own: until it is set, it says some time in the past.
type Clock struct {
	Trust    string `yaml:"trust" enum:"kernel,minimum,always" help:"when the wall clock is believed: once the kernel says that it is synchronised, once it is past clock.minimum, or always"`
	Minimum  string `yaml:"minimum" help:"with trust minimum: the date before which the clock is certainly wrong, YYYY-MM-DD"`
	Unsynced string `yaml:"unsynced" enum:"wait,send" help:"readings taken meanwhile wait in the buffer until their time is known, or are sent at once, marked with clock unsynced"`
}

// Trial is how a version of the agent that is new to the device is held to work.
type Trial struct {
	File string `yaml:"file" help:"file that remembers the versions that have worked here; beside them a new one counts as started after its first reading and its first receipt only, for a supervisor that else puts the former one back (empty: none)"`
}

// Sensor is one source of readings: chips that are read together.
type Sensor struct {
	ID       string        `yaml:"id" help:"the device's name, or that, a dot and a suffix"`
	Name     string        `yaml:"name" help:"name for people"`
	PlaceID  string        `yaml:"place_id" help:"the place by which readings are aggregated"`
	Interval time.Duration `yaml:"interval" help:"time between two readings"`
	Chips    []Chip        `yaml:"chips" help:"the chips that supply its measures"`
}

// Metrics is the agent's own metrics endpoint.
type Metrics struct {
	Listen string        `yaml:"listen" help:"address that serves /metrics, /healthz and /readyz (empty: none)"`
	TLS    endpoint.TLS  `yaml:"tls"`
	Auth   endpoint.Auth `yaml:"auth"`
}

// The policies of a full buffer.
const (
	DropOldest = "oldest"
	DropNewest = "newest"
)

// The compressions of messages.
const (
	CompressionNone = "none"
	CompressionZstd = "zstd"
)

// When the wall clock is believed.
const (
	TrustKernel  = "kernel"
	TrustMinimum = "minimum"
	TrustAlways  = "always"
)

// What becomes of readings until then.
const (
	UnsyncedWait = "wait"
	UnsyncedSend = "send"
)

// Default returns the configuration that holds where nothing else is said. It
// lacks what every agent must be told: device, mqtt.url and sensors.
func Default() Config {
	return Config{
		MQTT: MQTT{KeepAlive: 30 * time.Second, ConnectTimeout: 10 * time.Second},
		Buffer: Buffer{
			Dir:            "/var/lib/telltale-agent/buffer",
			MaxSize:        256 * settings.MiB,
			SegmentSize:    4 * settings.MiB,
			Drop:           DropOldest,
			CommitInterval: 5 * time.Second,
			MemorySize:     4 * settings.MiB,
		},
		Uplink: Uplink{
			Receipts:       true,
			BatchFrames:    50,
			BatchSize:      64 * settings.KiB,
			BatchAge:       time.Second,
			Compression:    CompressionNone,
			MaxDrainRate:   1000,
			InFlight:       8,
			ReceiptTimeout: 10 * time.Second,
			BackoffMin:     500 * time.Millisecond,
			BackoffMax:     time.Minute,
		},
		Clock: Clock{Trust: TrustKernel, Unsynced: UnsyncedWait},
		Log:   settings.Log{Level: "info", Format: "text"},
	}
}

// SetDefaults gives a sensor its interval.
func (s *Sensor) SetDefaults() { s.Interval = time.Second }

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

// ClientID returns the MQTT client identifier.
func (c *Config) ClientID() string { return cmp.Or(c.MQTT.ClientID, c.Device) }

// Username returns the MQTT user.
func (c *Config) Username() string { return cmp.Or(c.MQTT.Username, c.Device) }

// ClientTLS returns the TLS of the connection to the broker, nil if it is not
// encrypted. The error says which file is wrong.
func (m MQTT) ClientTLS() (*tls.Config, error) {
	if !strings.HasPrefix(m.URL, "tls://") {
		return nil, nil
	}
	return m.TLS.Client()
}

// Endpoint returns what the endpoint is to be; its Listen is empty if there is to
// be none.
func (m Metrics) Endpoint() endpoint.Config { return endpoint.Config(m) }

// MinimumTime returns the moment at which the date Minimum begins in UTC.
func (c Clock) MinimumTime() (time.Time, error) { return time.Parse(time.DateOnly, c.Minimum) }
