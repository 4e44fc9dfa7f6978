package simulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/goccy/go-yaml"
	"golang.org/x/sync/errgroup"
	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/agent"
	"github.com/telltale-iot/telltale/internal/settings"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// The I2C addresses of the chips that each device has.
const (
	bme280Address = 0x76
	bh1750Address = 0x23
)

// Options configures a [Fleet].
type Options struct {
	Devices  int           // how many; 0 is none
	Places   int           // the devices are spread over so many places; at least 1
	Prefix   string        // of the devices' names: prefix-1, prefix-2, …
	Interval time.Duration // between two readings of a sensor
	Seed     uint64        // of the chips' calibrations

	// Source supplies what the chips of device i (from 0) measure.
	Source func(i int) (i2csim.Source, error)

	// Dir holds a folder for each device, with its configuration and buffer. A
	// fleet that finds its folders from an earlier run goes on with them.
	Dir string

	MQTT    MQTT
	Version string

	// Buffer and Uplink are settings of these groups of the agents'
	// configuration, beside or in the place of the fleet's own.
	Buffer, Uplink map[string]any

	// Climate are settings of the devices' BME280 likewise.
	Climate map[string]any

	// Observe, unless nil, is called with each reading as it was sampled, from
	// the agents' goroutines, once it is in the buffer.
	Observe func(*telemetry.Frame)

	Logger *slog.Logger
}

// MQTT is how the devices reach their broker. In the names of files {device}
// stands for the device's name.
type MQTT struct {
	URL          string       `yaml:"url" help:"the broker: tcp://host:port or tls://host:port"`
	Username     string       `yaml:"username" help:"user name (empty: the device's name)"`
	PasswordFile string       `yaml:"password_file" help:"file that holds the password; {device} is the device's name"`
	TLS          settings.TLS `yaml:"tls"`
}

// Sensor is one sensor of a fleet.
type Sensor struct {
	ID, Name, PlaceID string
}

// Fleet is a number of devices, each an agent and a bus with a BME280 and a
// BH1750.
type Fleet struct {
	agents  []*agent.Agent
	sensors []Sensor
}

// New makes the fleet's devices. The caller runs it.
func New(o Options) (*Fleet, error) {
	if o.Devices < 0 || o.Places < 1 || o.Interval <= 0 {
		return nil, fmt.Errorf("simulator: %d devices at %d places every %s: want no negative number, and at least one place", o.Devices, o.Places, o.Interval)
	}
	if !telemetry.ValidDevice(o.Prefix) {
		return nil, fmt.Errorf("simulator: prefix %q: want letters, digits, - and _", o.Prefix)
	}
	f := &Fleet{}
	for i := range o.Devices {
		sensor := Sensor{
			ID:      fmt.Sprintf("%s-%d", o.Prefix, i+1),
			Name:    fmt.Sprintf("%s %d", strings.ToUpper(o.Prefix[:1])+o.Prefix[1:], i+1),
			PlaceID: fmt.Sprintf("room-%d", i%o.Places+1),
		}
		a, err := newDevice(&o, i, sensor)
		if err != nil {
			return nil, fmt.Errorf("simulator: device %s: %w", sensor.ID, err)
		}
		f.agents = append(f.agents, a)
		f.sensors = append(f.sensors, sensor)
	}
	return f, nil
}

func newDevice(o *Options, i int, sensor Sensor) (*agent.Agent, error) {
	source, err := o.Source(i)
	if err != nil {
		return nil, err
	}
	bus, err := newBus(source, sensor.ID, o.Seed+uint64(i))
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(o.Dir, sensor.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	document, err := configuration(o, sensor, dir)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(file, document, 0o600); err != nil {
		return nil, err
	}
	config, err := agent.ParseConfig(file, document)
	if err != nil {
		return nil, err
	}
	return agent.New(agent.Options{
		Config:  config,
		OpenBus: func(string) (i2c.BusCloser, error) { return bus.Open(), nil },
		Observe: o.Observe,
		Logger:  o.Logger,
		Metrics: metrics.NewSet(),
		Version: o.Version,
	})
}

func newBus(source i2csim.Source, name string, seed uint64) (*i2csim.Bus, error) {
	bus := i2csim.NewBus(i2csim.BusOptions{Name: name})
	bme280, err := i2csim.NewBME280(i2csim.BME280Options{Source: source, Seed: seed})
	if err != nil {
		return nil, err
	}
	bh1750, err := i2csim.NewBH1750(i2csim.ChipOptions{Source: source})
	if err != nil {
		return nil, err
	}
	return bus, errors.Join(bus.Attach(bme280Address, bme280), bus.Attach(bh1750Address, bh1750))
}

// configuration writes the agent's configuration of one device, for the
// agent's own strict parser.
func configuration(o *Options, sensor Sensor, dir string) ([]byte, error) {
	type document = map[string]any
	mqtt := o.MQTT
	for _, file := range []*string{&mqtt.PasswordFile, &mqtt.TLS.CertFile, &mqtt.TLS.KeyFile} {
		*file = strings.ReplaceAll(*file, "{device}", sensor.ID)
	}
	buffer := document{"dir": filepath.Join(dir, "buffer"), "max_size": "64MiB", "segment_size": "256KiB", "commit_interval": "1s"}
	maps.Copy(buffer, o.Buffer)
	climate := document{"driver": "bme280", "bus": "1", "address": bme280Address}
	maps.Copy(climate, o.Climate)
	return yaml.Marshal(document{
		"device": sensor.ID,
		"mqtt":   mqtt,
		"buffer": buffer,
		"uplink": o.Uplink,
		"clock":  document{"trust": "always"}, // the machine's own is as good as any
		"sensors": []document{{
			"id": sensor.ID, "name": sensor.Name, "place_id": sensor.PlaceID, "interval": o.Interval.String(),
			"chips": []document{
				climate,
				{"driver": "bh1750", "bus": "1", "address": bh1750Address},
			},
		}},
	})
}

// Run runs all agents until ctx ends.
func (f *Fleet) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { // a fleet of none runs, too
		<-ctx.Done()
		return nil
	})
	for _, a := range f.agents {
		group.Go(func() error { return a.Run(ctx) })
	}
	return group.Wait()
}

// Sensors returns the fleet's sensors.
func (f *Fleet) Sensors() []Sensor { return f.sensors }

// StopSampling ends sampling; the agents go on sending what they hold.
func (f *Fleet) StopSampling() {
	for _, a := range f.agents {
		a.StopSampling()
	}
}

// Stats is what the agents of a fleet count, summed.
type Stats struct {
	Sampled  uint64 // readings put into buffers since the start
	Buffered uint64 // readings and declared losses not yet freed
}

// Stats returns the sums over all agents.
func (f *Fleet) Stats() Stats {
	var sum Stats
	for _, a := range f.agents {
		s := a.Stats()
		sum.Sampled += s.Sampled
		sum.Buffered += s.Buffered
	}
	return sum
}
