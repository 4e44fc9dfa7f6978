package config

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/internal/settings"
)

var configs = cmp.AllowUnexported(settings.Secret{})

func TestParse(t *testing.T) {
	eight, filter, mode, mtreg := 8, 16, ModeHigh2, 254
	want := Default()
	want.Device = "pi"
	want.MQTT.URL = "tls://[::1]:8883"
	want.MQTT.TLS.CAFile = "ca.pem"
	want.Uplink.Receipts = false
	want.Uplink.BatchAge = 0
	want.Buffer.MaxSize = settings.GiB
	want.Metrics.Listen = ":0"
	want.Sensors = []Sensor{
		{ID: "pi", Name: "Küche", PlaceID: "home", Interval: 10 * time.Millisecond, Chips: []Chip{
			{Driver: BMP280, Bus: "1", Address: 0x77, Oversampling: &eight, Filter: &filter},
			{Driver: BH1750, Bus: "/dev/i2c-0", Address: 0x5c, Mode: &mode, MeasurementTime: &mtreg},
		}},
		{ID: "pi.out", Interval: time.Second, Chips: []Chip{{Driver: BME280, Bus: "0", Address: 0x77}}},
	}
	got, err := Parse("agent.yaml", []byte(`
device: pi
mqtt: {url: "tls://[::1]:8883", tls: {ca_file: ca.pem}}
uplink: {receipts: off, batch_age: 0s}
buffer: {max_size: 1GiB}
metrics: {listen: ":0"}
sensors:
  - id: pi
    name: Küche
    place_id: home
    interval: 10ms
    chips:
      - {driver: bmp280, address: 0x77, oversampling: 8, filter: 16}
      - {driver: bh1750, bus: /dev/i2c-0, address: 0x5c, mode: high2, measurement_time: 254}
  - id: pi.out
    chips: [{driver: bme280, bus: "0", address: 119}]
`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, configs); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDerived(t *testing.T) {
	c := Config{Device: "pi"}
	if c.ClientID() != "pi" || c.Username() != "pi" {
		t.Errorf("got client %s, user %s, want the device", c.ClientID(), c.Username())
	}
	c.MQTT.ClientID, c.MQTT.Username = "a", "b"
	if c.ClientID() != "a" || c.Username() != "b" {
		t.Errorf("got client %s, user %s, want a and b", c.ClientID(), c.Username())
	}
	if config, err := (MQTT{URL: "tcp://a:1"}).ClientTLS(); config != nil || err != nil {
		t.Errorf("tcp: got %v, %v", config, err)
	}
	if config, err := (MQTT{URL: "tls://a:1", TLS: settings.TLS{ServerName: "b"}}).ClientTLS(); err != nil || config.ServerName != "b" {
		t.Errorf("tls: got %v, %v", config, err)
	}
	if _, err := (MQTT{URL: "tls://a:1", TLS: settings.TLS{CAFile: "testdata/none"}}).ClientTLS(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no authorities: got %v", err)
	}
}

// good is what an agent must be told but for its sensors.
const good = "device: pi\nmqtt: {url: tcp://broker:1883}\n"

// oneChip is good with a sensor, and the mapping of its chip left open.
func chip(settings string) string { return good + "sensors: [{id: pi, chips: [{" + settings + "}]}]" }

const oneChip = good + "sensors: [{id: pi, chips: [{driver: bme280, address: 0x76"

// complete is all that an agent must be told.
const complete = oneChip + "}]}]\n"

func repeat(n int) string { return strings.Repeat("a", n) }

// cases are documents that are wrong, and all that Parse says. beyond are those
// that the schema does not see to be wrong.
var cases = []struct {
	name, yaml, want string
	beyond           bool
}{
	{name: "nothing", yaml: "{}", want: "agent.yaml:1:1: device: want a device's name: 1 to 64 letters, digits, _ or -\n" +
		"agent.yaml:1:1: sensors: want at least one sensor\n" +
		"agent.yaml:1:1: mqtt.url: want the broker as tcp://HOST:PORT or tls://HOST:PORT"},
	{name: "unknown key", yaml: complete + "uplink:\n  batch_frame: 5\n", want: "agent.yaml:5:3: uplink.batch_frame: want a setting that exists, perhaps batch_frames"},
	{name: "unknown group", yaml: complete + "upplink: {}\n", want: "agent.yaml:4:1: upplink: want a setting that exists, perhaps uplink"},
	{name: "unknown key of a chip", yaml: oneChip + ", addrs: 5}]}]", want: "agent.yaml:3:60: sensors[0].chips[0].addrs: want a setting that exists, perhaps address"},
	{name: "literal password", yaml: "device: pi\nmqtt:\n  url: tcp://broker:1883\n  password: hunter2\nsensors: [{id: pi, chips: [{driver: bme280, address: 0x76}]}]",
		want: "agent.yaml:4:3: mqtt.password: want the secret in a file of its own, named by password_file, or in TELLTALE_MQTT_PASSWORD"},
	{name: "number for a device", yaml: strings.Replace(complete, "device: pi", "device: 7", 1), want: "agent.yaml:1:9: device: 7: want text; put it in quotes"},
	{name: "device with a slash", yaml: "device: a/b\n" + complete[len("device: pi\n"):], want: "agent.yaml:1:9: device: a/b: want a device's name: 1 to 64 letters, digits, _ or -"},
	{name: "device with a dot", yaml: "device: pi.a\n" + complete[len("device: pi\n"):], want: "agent.yaml:1:9: device: pi.a: want a device's name: 1 to 64 letters, digits, _ or -"},
	{name: "long device", yaml: "device: " + repeat(65) + "\n" + complete[len("device: pi\n"):], want: "agent.yaml:1:9: device: " + repeat(65) + ": want a device's name: 1 to 64 letters, digits, _ or -"},

	{name: "unit missing", yaml: complete + "mqtt2: {}\nbuffer: {commit_interval: 5}", want: "agent.yaml:4:1: mqtt2: want a setting that exists, perhaps mqtt\n" +
		"agent.yaml:5:27: buffer.commit_interval: 5: want a duration with its unit, such as 500ms, 5s or 1h30m"},
	{name: "unit wrong", yaml: complete + "buffer: {commit_interval: 5sec}", want: "agent.yaml:4:27: buffer.commit_interval: 5sec: want a duration with its unit, such as 500ms, 5s or 1h30m"},
	{name: "size for a duration", yaml: complete + "buffer: {commit_interval: 5KiB}", want: "agent.yaml:4:27: buffer.commit_interval: 5KiB: want a duration with its unit, such as 500ms, 5s or 1h30m"},
	{name: "decimal size", yaml: complete + "buffer: {max_size: 256MB}", want: "agent.yaml:4:20: buffer.max_size: 256MB: want a size with its unit, such as 64KiB or 256MiB"},
	{name: "size without unit", yaml: complete + "buffer: {max_size: 268435456}", want: "agent.yaml:4:20: buffer.max_size: 268435456: want a size with its unit, such as 64KiB or 256MiB"},
	{name: "fraction of a message", yaml: complete + "uplink: {batch_frames: 1.5}", want: "agent.yaml:4:24: uplink.batch_frames: 1.5: want a whole number"},
	{name: "receipts neither on nor off", yaml: complete + "uplink: {receipts: yes}", want: "agent.yaml:4:20: uplink.receipts: yes: want true or false"},
	{name: "drop", yaml: complete + "buffer: {drop: random}", want: "agent.yaml:4:16: buffer.drop: random: want oldest or newest"},
	{name: "log level", yaml: complete + "log: {level: trace, format: xml}", want: "agent.yaml:4:14: log.level: trace: want debug, info, warn or error\n" +
		"agent.yaml:4:29: log.format: xml: want text or json"},
	{name: "null", yaml: complete + "buffer: {dir: }", want: "agent.yaml:4:14: buffer.dir: null: want text"},

	{name: "url scheme", yaml: strings.Replace(complete, "tcp:", "ws:", 1), want: "agent.yaml:2:13: mqtt.url: ws://broker:1883: want the broker as tcp://HOST:PORT or tls://HOST:PORT"},
	{name: "url without port", yaml: strings.Replace(complete, ":1883", "", 1), want: "agent.yaml:2:13: mqtt.url: tcp://broker: want the broker as tcp://HOST:PORT or tls://HOST:PORT"},
	{name: "url with a path", yaml: strings.Replace(complete, ":1883", ":1883/mqtt", 1), want: "agent.yaml:2:13: mqtt.url: tcp://broker:1883/mqtt: want the broker as tcp://HOST:PORT or tls://HOST:PORT"},
	{name: "url with a password", yaml: strings.Replace(complete, "tcp://", "tcp://pi:hunter2@", 1),
		want: "agent.yaml:2:13: mqtt.url: want the broker as tcp://HOST:PORT or tls://HOST:PORT; user and password belong in username and password_file"},
	{name: "port", yaml: strings.Replace(complete, ":1883", ":65536", 1), beyond: true,
		want: "agent.yaml:2:13: mqtt.url: tcp://broker:65536: want the broker as tcp://HOST:PORT or tls://HOST:PORT"},
	{name: "tls with tcp", yaml: strings.Replace(complete, "1883}", "1883, tls: {ca_file: a}}", 1), beyond: true,
		want: "agent.yaml:2:47: mqtt.tls.ca_file: a: want a url that begins with tls:// if there is a tls setting"},
	{name: "certificate without key", yaml: strings.Replace(complete, "tcp://broker:1883}", "tls://broker:1883, tls: {cert_file: a}}", 1), beyond: true,
		want: "agent.yaml:2:32: mqtt.tls.key_file: want the private key that belongs to cert_file"},
	{name: "key without certificate", yaml: strings.Replace(complete, "tcp://broker:1883}", "tls://broker:1883, tls: {key_file: a}}", 1), beyond: true,
		want: "agent.yaml:2:32: mqtt.tls.cert_file: want the certificate that belongs to key_file"},
	{name: "password file absent", yaml: strings.Replace(complete, "1883}", "1883, password_file: testdata/none}", 1), beyond: true,
		want: "agent.yaml:2:47: mqtt.password_file: testdata/none: want a file that holds the secret: no such file or directory"},
	{name: "keep alive in fractions", yaml: strings.Replace(complete, "1883}", "1883, keep_alive: 1500ms}", 1), beyond: true,
		want: "agent.yaml:2:44: mqtt.keep_alive: 1500ms: want a duration of whole seconds from 1s to 18h12m15s"},
	{name: "connect timeout", yaml: strings.Replace(complete, "1883}", "1883, connect_timeout: 99ms}", 1), beyond: true,
		want: "agent.yaml:2:49: mqtt.connect_timeout: 99ms: want from 100ms to 10m"},

	{name: "clock", yaml: complete + "clock: {trust: ntp, unsynced: drop}", want: "agent.yaml:4:16: clock.trust: ntp: want kernel, minimum or always\n" +
		"agent.yaml:4:31: clock.unsynced: drop: want wait or send"},
	{name: "minimum date absent", yaml: complete + "clock: {trust: minimum}", beyond: true,
		want: "agent.yaml:4:1: clock.minimum: want the date before which the clock is certainly wrong, such as 2026-11-26, as trust is minimum"},
	{name: "minimum date wrong", yaml: complete + "clock: {trust: minimum, minimum: 2026-02-30}", beyond: true,
		want: "agent.yaml:4:34: clock.minimum: 2026-02-30: want the date before which the clock is certainly wrong, such as 2026-11-26, as trust is minimum"},
	{name: "minimum date unused", yaml: complete + "clock: {minimum: 2026-02-20}", beyond: true,
		want: "agent.yaml:4:18: clock.minimum: 2026-02-20: want it left out, or trust to be minimum"},
	{name: "memory", yaml: complete + "buffer: {memory_size: 1KiB}", want: "agent.yaml:4:23: buffer.memory_size: 1KiB: want from 256KiB to 1GiB", beyond: true},
	{name: "drain rate", yaml: complete + "uplink: {max_drain_rate: 0, compression: gzip}", want: "agent.yaml:4:26: uplink.max_drain_rate: 0: want from 1 to 1000000\n" +
		"agent.yaml:4:42: uplink.compression: gzip: want none or zstd"},

	{name: "no folder", yaml: complete + "buffer: {dir: \"\"}", want: `agent.yaml:4:15: buffer.dir: "": want a folder`},
	{name: "small segments", yaml: complete + "buffer: {segment_size: 63KiB}", want: "agent.yaml:4:24: buffer.segment_size: 63KiB: want from 64KiB to 1GiB", beyond: true},
	{name: "few segments", yaml: complete + "buffer: {segment_size: 16MiB, max_size: 63MiB}", want: "agent.yaml:4:41: buffer.max_size: 63MiB: want at least four times segment_size, 64MiB", beyond: true},
	{name: "few segments by default", yaml: complete + "buffer: {segment_size: 128MiB}", want: "agent.yaml:4:1: buffer.max_size: 256MiB: want at least four times segment_size, 512MiB", beyond: true},
	{name: "commit interval", yaml: complete + "buffer: {commit_interval: 9ms}", want: "agent.yaml:4:27: buffer.commit_interval: 9ms: want from 10ms to 1h", beyond: true},

	{name: "no frames", yaml: complete + "uplink: {batch_frames: 0}", want: "agent.yaml:4:24: uplink.batch_frames: 0: want from 1 to 1000"},
	{name: "many frames", yaml: complete + "uplink: {batch_frames: 1001}", want: "agent.yaml:4:24: uplink.batch_frames: 1001: want from 1 to 1000"},
	{name: "batch size", yaml: complete + "uplink: {batch_size: 1023B}", want: "agent.yaml:4:22: uplink.batch_size: 1023B: want from 1KiB to 16MiB", beyond: true},
	{name: "batch age", yaml: complete + "uplink: {batch_age: -1s}", want: "agent.yaml:4:21: uplink.batch_age: -1s: want from 0s to 1h"},
	{name: "in flight", yaml: complete + "uplink: {in_flight: 0}", want: "agent.yaml:4:21: uplink.in_flight: 0: want from 1 to 1000"},
	{name: "receipt timeout", yaml: complete + "uplink: {receipt_timeout: 99ms}", want: "agent.yaml:4:27: uplink.receipt_timeout: 99ms: want from 100ms to 1h", beyond: true},
	{name: "backoff", yaml: complete + "uplink: {backoff_min: 0s}", want: "agent.yaml:4:23: uplink.backoff_min: 0s: want from 1ms to 1h", beyond: true},
	{name: "backoff that sinks", yaml: complete + "uplink: {backoff_min: 5s, backoff_max: 4s}", want: "agent.yaml:4:40: uplink.backoff_max: 4s: want from 5s to 24h", beyond: true},

	{name: "no sensors", yaml: good + "sensors: []", want: "agent.yaml:3:1: sensors: want at least one sensor"},
	{name: "sensor without id", yaml: good + "sensors:\n  - name: a\n    chips: [{driver: bme280, address: 0x76}]", want: "agent.yaml:4:5: sensors[0].id: want a sensor's id: at most 128 letters, digits, _, - or ."},
	{name: "sensor with a slash", yaml: good + "sensors: [{id: pi/a, chips: [{driver: bme280, address: 0x76}]}]", want: "agent.yaml:3:16: sensors[0].id: pi/a: want a sensor's id: at most 128 letters, digits, _, - or ."},
	{name: "sensor of another device", yaml: good + "sensors: [{id: pi2, chips: [{driver: bme280, address: 0x76}]}]", want: "agent.yaml:3:16: sensors[0].id: pi2: want pi or pi.SUFFIX, as the sensor is the device's", beyond: true},
	{name: "sensor with an empty suffix", yaml: good + "sensors: [{id: pi., chips: [{driver: bme280, address: 0x76}]}]", want: "agent.yaml:3:16: sensors[0].id: pi.: want pi or pi.SUFFIX, as the sensor is the device's", beyond: true},
	{name: "sensor id twice", yaml: good + "sensors:\n- {id: pi, chips: [{driver: bme280, address: 0x76}]}\n- {id: pi, chips: [{driver: bme280, address: 0x77}]}", beyond: true,
		want: "agent.yaml:5:8: sensors[1].id: pi: want an id of its own; sensors[0] has this one"},
	{name: "short interval", yaml: good + "sensors: [{id: pi, interval: 9ms, chips: [{driver: bme280, address: 0x76}]}]", want: "agent.yaml:3:30: sensors[0].interval: 9ms: want from 10ms to 24h", beyond: true},
	{name: "long name", yaml: good + "sensors: [{id: pi, name: " + repeat(257) + ", chips: [{driver: bme280, address: 0x76}]}]", want: "agent.yaml:3:26: sensors[0].name: " + repeat(80) + "…: want at most 256 bytes"},
	{name: "sensor without chips", yaml: good + "sensors: [{id: pi}]", want: "agent.yaml:3:11: sensors[0].chips: want at least one chip"},
	{name: "measure twice", yaml: good + "sensors:\n- id: pi\n  chips:\n  - {driver: bme280, address: 0x76}\n  - {driver: bmp280, address: 0x77}", beyond: true,
		want: "agent.yaml:7:14: sensors[0].chips[1].driver: bmp280: want a chip without temperature, which chips[0] (bme280) supplies already; make it a sensor of its own"},

	{name: "unknown driver", yaml: good + "sensors: [{id: pi, chips: [{driver: sht31, address: 0x44}]}]", want: "agent.yaml:3:37: sensors[0].chips[0].driver: sht31: want aht20, bh1750, bme280, bme680, bmp280, bmp388, bmp390, htu21d, iio, lps22hb, opt3001, sht3x, sht4x, si7021, tsl2591 or veml7700"},
	{name: "no driver", yaml: good + "sensors: [{id: pi, chips: [{address: 0x76}]}]", want: "agent.yaml:3:28: sensors[0].chips[0].driver: want what the chip is, such as bme280"},
	{name: "number for a bus", yaml: oneChip + ", bus: 1}]}]", want: "agent.yaml:3:65: sensors[0].chips[0].bus: 1: want text; put it in quotes"},
	{name: "no bus", yaml: oneChip + ", bus: ''}]}]", want: `agent.yaml:3:65: sensors[0].chips[0].bus: "": want the I2C bus, such as "1"`},
	{name: "no address", yaml: good + "sensors: [{id: pi, chips: [{driver: bh1750}]}]", want: "agent.yaml:3:28: sensors[0].chips[0].address: want an I2C address from 0x08 to 0x77: a bh1750 has 0x23 or 0x5c"},
	{name: "address out of range", yaml: good + "sensors: [{id: pi, chips: [{driver: bme280, address: 0x99}]}]", want: "agent.yaml:3:54: sensors[0].chips[0].address: 0x99: want an I2C address from 0x08 to 0x77: a bme280 has 0x76 or 0x77"},
	{name: "address far out of range", yaml: good + "sensors: [{id: pi, chips: [{driver: bme280, address: 0x10076}]}]", want: "agent.yaml:3:54: sensors[0].chips[0].address: 0x10076: want an I2C address from 0x08 to 0x77"},
	{name: "another chip's address", yaml: good + "sensors: [{id: pi, chips: [{driver: bme280, address: 0x23}]}]", want: "agent.yaml:3:54: sensors[0].chips[0].address: 0x23: want an I2C address from 0x08 to 0x77: a bme280 has 0x76 or 0x77"},
	{name: "text for an address", yaml: good + "sensors: [{id: pi, chips: [{driver: bme280, address: \"0x76\"}]}]", want: "agent.yaml:3:54: sensors[0].chips[0].address: 0x76: want an I2C address from 0x08 to 0x77"},
	{name: "address twice", yaml: good + "sensors:\n- {id: pi, chips: [{driver: bme280, address: 0x76}]}\n- {id: pi.b, chips: [{driver: bmp280, bus: /dev/i2c-1, address: 118}]}", beyond: true,
		want: "agent.yaml:5:65: sensors[1].chips[0].address: 118: want an address of its own; on bus /dev/i2c-1, sensors[0].chips[0] (bme280) has this one"},
	{name: "oversampling", yaml: oneChip + ", oversampling: 3}]}]", want: "agent.yaml:3:74: sensors[0].chips[0].oversampling: 3: want 1, 2, 4, 8 or 16"},
	{name: "much oversampling", yaml: oneChip + ", oversampling: 32}]}]", want: "agent.yaml:3:74: sensors[0].chips[0].oversampling: 32: want 1, 2, 4, 8 or 16"},
	{name: "filter", yaml: oneChip + ", filter: 1}]}]", want: "agent.yaml:3:68: sensors[0].chips[0].filter: 1: want 0, 2, 4, 8 or 16"},
	{name: "filter in words", yaml: oneChip + ", filter: off}]}]", want: "agent.yaml:3:68: sensors[0].chips[0].filter: off: want a whole number"},
	{name: "mode of a bme280", yaml: oneChip + ", mode: high}]}]", want: "agent.yaml:3:66: sensors[0].chips[0].mode: high: want it left out: a bme280 has no mode"},
	{name: "filter of a bh1750", yaml: good + "sensors: [{id: pi, chips: [{driver: bh1750, address: 0x23, filter: 0}]}]", want: "agent.yaml:3:68: sensors[0].chips[0].filter: 0: want it left out: a bh1750 has no filter"},
	{name: "mode", yaml: good + "sensors: [{id: pi, chips: [{driver: bh1750, address: 0x23, mode: fast}]}]", want: "agent.yaml:3:66: sensors[0].chips[0].mode: fast: want high, high2 or low"},
	{name: "measurement time", yaml: good + "sensors: [{id: pi, chips: [{driver: bh1750, address: 0x23, measurement_time: 30}]}]", want: "agent.yaml:3:78: sensors[0].chips[0].measurement_time: 30: want a whole number from 31 to 254"},

	{name: "what another chip has", yaml: chip("driver: sht4x, address: 0x44, resolution: 14"), want: "agent.yaml:3:71: sensors[0].chips[0].resolution: 14: want it left out: an sht4x has no resolution"},
	{name: "filter of a bmp390", yaml: chip("driver: bmp390, address: 0x76, filter: 2"), want: "agent.yaml:3:68: sensors[0].chips[0].filter: 2: want 0, 1, 3, 7, 15, 31, 63 or 127"},
	{name: "gain of a tsl2591", yaml: chip("driver: tsl2591, address: 0x29, gain: 1/8"), want: "agent.yaml:3:67: sensors[0].chips[0].gain: 1/8: want auto, 1, 25, 428 or 9876"},
	{name: "no such gain", yaml: chip("driver: tsl2591, address: 0x29, gain: '3'"), want: "agent.yaml:3:67: sensors[0].chips[0].gain: 3: want auto, 1/8, 1/4, 1, 2, 25, 428 or 9876"},
	{name: "integration time", yaml: chip("driver: veml7700, address: 0x10, gain: '1', integration_time: 300ms"), want: "agent.yaml:3:91: sensors[0].chips[0].integration_time: 300ms: want 25ms, 50ms, 100ms, 200ms, 400ms or 800ms"},
	{name: "integration time without gain", yaml: chip("driver: veml7700, address: 0x10, integration_time: 100ms"), want: "agent.yaml:3:80: sensors[0].chips[0].integration_time: 100ms: want it left out, or a gain that is not auto"},
	{name: "conversion time", yaml: chip("driver: opt3001, address: 0x44, conversion_time: 200ms"), want: "agent.yaml:3:78: sensors[0].chips[0].conversion_time: 200ms: want 100ms or 800ms"},
	{name: "address of an opt3001", yaml: chip("driver: opt3001, address: 0x48"), want: "agent.yaml:3:55: sensors[0].chips[0].address: 0x48: want an I2C address from 0x08 to 0x77: an opt3001 has 0x44, 0x45, 0x46 or 0x47"},
	{name: "multiplexer", yaml: chip("driver: sht4x, address: 0x44, multiplexer: 0x6f"), want: "agent.yaml:3:72: sensors[0].chips[0].multiplexer: 0x6f: want the I2C address of a TCA9548A, from 0x70 to 0x77"},
	{name: "channel", yaml: chip("driver: sht4x, address: 0x44, multiplexer: 0x70, channel: 8"), want: "agent.yaml:3:87: sensors[0].chips[0].channel: 8: want a channel of the multiplexer, from 0 to 7"},
	{name: "channel of nothing", yaml: chip("driver: sht4x, address: 0x44, channel: 1"), want: "agent.yaml:3:68: sensors[0].chips[0].channel: 1: want it left out, or the address of a multiplexer"},
	{name: "behind and before a multiplexer", yaml: chip("driver: sht4x, address: 0x44, multiplexer: 0x70}, {driver: opt3001, address: 0x44"), beyond: true,
		want: "agent.yaml:3:106: sensors[0].chips[1].address: 0x44: want an address of its own; on bus 1, sensors[0].chips[0] (sht4x) has this one"},
	{name: "one channel twice", yaml: chip("driver: sht4x, address: 0x44, multiplexer: 0x70, channel: 2}, {driver: opt3001, address: 0x44, multiplexer: 0x70, channel: 2"), beyond: true,
		want: "agent.yaml:3:118: sensors[0].chips[1].address: 0x44: want an address of its own; on bus 1, sensors[0].chips[0] (sht4x) has this one"},
	{name: "a multiplexer's address", yaml: chip("driver: bme280, address: 0x76}, {driver: bh1750, address: 0x23, multiplexer: 0x76"), beyond: true,
		want: "agent.yaml:3:54: sensors[0].chips[0].address: 0x76: want an address of its own; on bus 1, the multiplexer of sensors[0].chips[1] has this one"},
	{name: "no device", yaml: chip("driver: iio, measures: [pressure]"), want: "agent.yaml:3:28: sensors[0].chips[0].device: want the device's name, as in /sys/bus/iio/devices/*/name or /sys/class/hwmon/*/name"},
	{name: "no measures", yaml: chip("driver: iio, device: dht11"), want: "agent.yaml:3:28: sensors[0].chips[0].measures: want what the device measures, such as [temperature, humidity]"},
	{name: "measure twice of a device", yaml: chip("driver: iio, device: dht11, measures: [humidity, humidity]"), want: "agent.yaml:3:78: sensors[0].chips[0].measures[1]: humidity: want each measure once"},
	{name: "path of a device", yaml: chip("driver: iio, device: hwmon/hwmon1, measures: [humidity]"), want: "agent.yaml:3:50: sensors[0].chips[0].device: hwmon/hwmon1: want the device's name, as in /sys/bus/iio/devices/*/name or /sys/class/hwmon/*/name"},
	{name: "address of a device", yaml: chip("driver: iio, device: dht11, measures: [humidity], address: 0x44"), want: "agent.yaml:3:88: sensors[0].chips[0].address: 0x44: want it left out: an iio has no address"},
	{name: "device of a chip", yaml: chip("driver: aht20, address: 0x38, device: aht20"), want: "agent.yaml:3:67: sensors[0].chips[0].device: aht20: want it left out: an aht20 has no device"},
	{name: "device twice", yaml: good + "sensors:\n- {id: pi, chips: [{driver: iio, device: a, measures: [humidity]}]}\n- {id: pi.b, chips: [{driver: iio, device: a, measures: [pressure]}]}", beyond: true,
		want: "agent.yaml:5:44: sensors[1].chips[0].device: a: want a device of its own; sensors[0].chips[0] (iio) has this one"},
	{name: "stuck_after", yaml: oneChip + ", stuck_after: 721h}]}]",
		want: "agent.yaml:3:73: sensors[0].chips[0].stuck_after: 721h: want from 0s to 720h", beyond: true},
	{name: "self_heating", yaml: oneChip + ", self_heating: -1}]}]",
		want: "agent.yaml:3:74: sensors[0].chips[0].self_heating: -1: want from 0 to 20", beyond: true},
	{name: "self_heating in words", yaml: oneChip + ", self_heating: 1K}]}]",
		want: "agent.yaml:3:74: sensors[0].chips[0].self_heating: 1K: want a number with at most 6 digits after the point, such as 21.5 or -0.35"},
	{name: "self_heating of a bh1750", yaml: good + "sensors: [{id: pi, chips: [{driver: bh1750, address: 0x23, self_heating: 1}]}]",
		want: "agent.yaml:3:74: sensors[0].chips[0].self_heating: 1: want it left out: a bh1750 has no temperature", beyond: true},
	{name: "calibration of nothing", yaml: oneChip + ", calibration: [{date: 2026-11-26, offset: 1}]}]}]",
		want: "agent.yaml:3:74: sensors[0].chips[0].calibration[0].measure: want temperature, humidity, pressure or luminosity"},
	{name: "calibration of what there is not", yaml: oneChip + ", calibration: [{measure: gas, date: 2026-11-26, offset: 1}]}]}]",
		want: "agent.yaml:3:84: sensors[0].chips[0].calibration[0].measure: gas: want temperature, humidity, pressure or luminosity"},
	{name: "calibration of another chip's measure", yaml: oneChip + ", calibration: [{measure: luminosity, date: 2026-11-26, offset: 1}]}]}]",
		want: "agent.yaml:3:84: sensors[0].chips[0].calibration[0].measure: luminosity: want a measure that a bme280 has", beyond: true},
	{name: "calibration of one measure twice", yaml: oneChip + ", calibration: [{measure: temperature, date: 2026-11-26, offset: 1}, {measure: temperature, date: 2026-11-26, offset: 1}]}]}]",
		want: "agent.yaml:3:137: sensors[0].chips[0].calibration[1].measure: temperature: want each measure once; calibration[0] is of it", beyond: true},
	{name: "calibration without a date", yaml: oneChip + ", calibration: [{measure: temperature, offset: 1}]}]}]",
		want: "agent.yaml:3:74: sensors[0].chips[0].calibration[0].date: want the day on which it was done, such as 2026-11-26"},
	{name: "calibration on no day", yaml: oneChip + ", calibration: [{measure: temperature, date: 2026-02-30, offset: 1}]}]}]",
		want: "agent.yaml:3:103: sensors[0].chips[0].calibration[0].date: 2026-02-30: want the day on which it was done, such as 2026-11-26", beyond: true},
	{name: "calibration on a day in words", yaml: oneChip + ", calibration: [{measure: temperature, date: yesterday, offset: 1}]}]}]",
		want: "agent.yaml:3:103: sensors[0].chips[0].calibration[0].date: yesterday: want the day on which it was done, such as 2026-11-26"},
	{name: "long reference", yaml: oneChip + ", calibration: [{measure: temperature, date: 2026-11-26, offset: 1, reference: " + repeat(257) + "}]}]}]",
		want: "agent.yaml:3:137: sensors[0].chips[0].calibration[0].reference: " + repeat(80) + "…: want at most 256 bytes"},
	{name: "calibration that says nothing", yaml: oneChip + ", calibration: [{measure: temperature, date: 2026-11-26}]}]}]",
		want: "agent.yaml:3:74: sensors[0].chips[0].calibration[0].offset: want an offset, or points"},
	{name: "calibration that says it twice", yaml: oneChip + ", calibration: [{measure: temperature, date: 2026-11-26, offset: 1, points: [{raw: 0, actual: 0}, {raw: 1, actual: 1}]}]}]}]",
		want: "agent.yaml:3:126: sensors[0].chips[0].calibration[0].points: want them left out, as there is an offset"},
	{name: "great offset", yaml: oneChip + ", calibration: [{measure: temperature, date: 2026-11-26, offset: 1000000000.1}]}]}]",
		want: "agent.yaml:3:123: sensors[0].chips[0].calibration[0].offset: 1000000000.1: want from -1000000000 to 1000000000", beyond: true},
	{name: "fine offset", yaml: oneChip + ", calibration: [{measure: temperature, date: 2026-11-26, offset: 0.0000001}]}]}]",
		want: "agent.yaml:3:123: sensors[0].chips[0].calibration[0].offset: 0.0000001: want a number with at most 6 digits after the point, such as 21.5 or -0.35", beyond: true},
	{name: "one point", yaml: oneChip + ", calibration: [{measure: temperature, date: 2026-11-26, points: [{raw: 1, actual: 2}]}]}]}]",
		want: "agent.yaml:3:115: sensors[0].chips[0].calibration[0].points: want two points, not 1"},
	{name: "three points", yaml: oneChip + ", calibration: [{measure: temperature, date: 2026-11-26, points: [{raw: 1, actual: 1}, {raw: 2, actual: 2}, {raw: 3, actual: 3}]}]}]}]",
		want: "agent.yaml:3:115: sensors[0].chips[0].calibration[0].points: want two points, not 3"},
	{name: "point without what was measured", yaml: oneChip + ", calibration: [{measure: temperature, date: 2026-11-26, points: [{actual: 1}, {raw: 2, actual: 2}]}]}]}]",
		want: "agent.yaml:3:124: sensors[0].chips[0].calibration[0].points[0].raw: want what the chip measured"},
	{name: "point without its reference", yaml: oneChip + ", calibration: [{measure: temperature, date: 2026-11-26, points: [{raw: 1}, {raw: 2, actual: 2}]}]}]}]",
		want: "agent.yaml:3:124: sensors[0].chips[0].calibration[0].points[0].actual: want what the reference had"},
	{name: "great raw value", yaml: oneChip + ", calibration: [{measure: temperature, date: 2026-11-26, points: [{raw: -1000000001, actual: 0}, {raw: 2, actual: 2}]}]}]}]",
		want: "agent.yaml:3:130: sensors[0].chips[0].calibration[0].points[0].raw: -1000000001: want from -1000000000 to 1000000000", beyond: true},
	{name: "equal raw values", yaml: oneChip + ", calibration: [{measure: temperature, date: 2026-11-26, points: [{raw: 2.5, actual: 2}, {raw: 2.50, actual: 3}]}]}]}]",
		want: "agent.yaml:3:153: sensors[0].chips[0].calibration[0].points[1].raw: 2.50: want another raw value than that of points[0]", beyond: true},
	{name: "flat line", yaml: oneChip + ", calibration: [{measure: temperature, date: 2026-11-26, points: [{raw: 10, actual: 10}, {raw: 20, actual: 14.9}]}]}]}]",
		want: "agent.yaml:3:115: sensors[0].chips[0].calibration[0].points: want a slope from 0.5 to 2, actual to raw, as no chip is as wrong as 4.9 to 10", beyond: true},
	{name: "steep line", yaml: oneChip + ", calibration: [{measure: temperature, date: 2026-11-26, points: [{raw: 20, actual: 30.1}, {raw: 10, actual: 10}]}]}]}]",
		want: "agent.yaml:3:115: sensors[0].chips[0].calibration[0].points: want a slope from 0.5 to 2, actual to raw, as no chip is as wrong as 20.1 to 10", beyond: true},
	{name: "falling line", yaml: oneChip + ", calibration: [{measure: temperature, date: 2026-11-26, points: [{raw: 10, actual: 20}, {raw: 20, actual: 10}]}]}]}]",
		want: "agent.yaml:3:115: sensors[0].chips[0].calibration[0].points: want a slope from 0.5 to 2, actual to raw, as no chip is as wrong as -10 to 10", beyond: true},

	{name: "metrics", yaml: complete + "metrics: {listen: localhost}", want: "agent.yaml:4:19: metrics.listen: localhost: want an address to listen on, such as 127.0.0.1:9464 or :9464"},
}

func TestProblems(t *testing.T) {
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("agent.yaml", []byte(tt.yaml))
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

// The schema refuses what Parse refuses, but for rules that it cannot express,
// and takes what Parse takes.
func TestSchemaAgrees(t *testing.T) {
	schema := compile(t)
	for _, tt := range cases {
		err := schema.Validate(instance(t, []byte(tt.yaml)))
		if refused := err != nil; refused == tt.beyond {
			t.Errorf("%s: got %v, want an error: %t", tt.name, err, !tt.beyond)
		}
	}
	for name, yaml := range map[string]string{
		"little":            complete,
		"empty groups":      complete + "buffer:\nuplink:\nmetrics:\nlog: {}\n",
		"compound duration": complete + "buffer: {commit_interval: 1m30s}",
		"receipts on":       complete + "uplink: {receipts: on}",
		"receipts true":     complete + "uplink: {receipts: true}",
		"every option":      oneChip + ", oversampling: 16, filter: 0, bus: '1'}, {driver: bh1750, address: 92, mode: low, measurement_time: 31}]}]",
		"every chip": good + `sensors:
- {id: pi.1, chips: [{driver: bme680, address: 0x77, oversampling: 16, filter: 127}]}
- {id: pi.2, chips: [{driver: bmp388, address: 0x76, oversampling: 32, filter: 1}]}
- {id: pi.2b, chips: [{driver: htu21d, address: 0x40, resolution: 11, bus: "2"}]}
- {id: pi.3, chips: [{driver: sht3x, address: 0x44, repeatability: low}, {driver: tsl2591, address: 0x29, gain: "9876", integration_time: 600ms}]}
- {id: pi.4, chips: [{driver: sht4x, address: 0x46, repeatability: medium}, {driver: veml7700, address: 0x10, gain: auto}]}
- {id: pi.5, chips: [{driver: aht20, address: 0x38}, {driver: opt3001, address: 0x45, conversion_time: 100ms}]}
- {id: pi.6, chips: [{driver: si7021, address: 0x40, resolution: 13}]}
- {id: pi.7, chips: [{driver: lps22hb, address: 0x5d, filter: 20}]}
- {id: pi.8, chips: [{driver: bmp390, address: 0x76, bus: "2", filter: 63}]}
- {id: pi.9, chips: [{driver: iio, device: a, measures: [luminosity, pressure]}, {driver: iio, device: 1-0044, measures: [humidity, temperature]}]}
`,
		"multiplexed": good + `sensors:
- {id: pi.b, chips: [{driver: bme280, address: 0x76, multiplexer: 0x71}]}
- {id: pi, chips: [{driver: bme280, address: 0x76, multiplexer: 0x70}]}
- {id: pi.a, chips: [{driver: bme280, address: 0x76, multiplexer: 0x70, channel: 7}]}
`,
		"calibrations": oneChip + ", stuck_after: 0s, self_heating: 20, calibration: [{measure: pressure, date: 2026-11-26, offset: -1.5}, " +
			"{measure: humidity, date: 2024-02-29, reference: salts, points: [{raw: 10, actual: '10'}, {raw: 20, actual: 30}]}, " +
			"{measure: temperature, date: 2024-02-29, points: [{raw: 30, actual: 10}, {raw: 10, actual: 0}]}]}]}]",
		"no calibrations": oneChip + ", calibration: []}]}]",
		"address IPv6":    strings.Replace(complete, "tcp://broker:1883", `"tls://[::1]:8883"`, 1),
		"aliases":         good + "sensors:\n- {id: pi, chips: &c [{driver: bme280, address: 0x76, bus: &b x}]}\n- {id: pi.b, chips: [{driver: bh1750, address: 0x23, bus: *b}]}\n",
	} {
		if _, err := Parse("agent.yaml", []byte(yaml)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := schema.Validate(instance(t, []byte(yaml))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChipNames(t *testing.T) {
	for want, chip := range map[string]Chip{
		"bme280@1:0x76":       {Driver: BME280, Bus: "1", Address: 0x76},
		"sht4x@1:0x70.3:0x44": {Driver: SHT4X, Bus: "1", Address: 0x44, Multiplexer: 0x70, Channel: 3},
		"veml7700@1:0x10":     {Driver: VEML7700, Bus: "1", Address: 0x10},
		"iio@dht11":           {Driver: IIO, Bus: "1", Device: "dht11"},
	} {
		if got := chip.Name(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestSupplies(t *testing.T) {
	for driver, want := range map[string]string{
		AHT20: "temperature humidity", BH1750: "luminosity", BME280: "temperature humidity pressure",
		BME680: "temperature humidity pressure", BMP280: "temperature pressure", BMP388: "temperature pressure",
		BMP390: "temperature pressure", HTU21D: "temperature humidity", LPS22HB: "temperature pressure",
		OPT3001: "luminosity", SHT3X: "temperature humidity", SHT4X: "temperature humidity",
		Si7021: "temperature humidity", TSL2591: "luminosity", VEML7700: "luminosity",
		IIO: "humidity pressure", "": "",
	} {
		var names []string
		for _, m := range (Chip{Driver: driver, Measures: []string{"pressure", "humidity"}}).Supplies() {
			names = append(names, m.String())
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: got %s, want %s", driver, got, want)
		}
	}
}
