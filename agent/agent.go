package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"golang.org/x/sync/errgroup"
	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/agent/internal/buffer"
	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/agent/internal/mqtt"
	"github.com/telltale-iot/telltale/agent/internal/sample"
	"github.com/telltale-iot/telltale/agent/internal/uplink"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

const (
	// ackTimeout is how long the broker may take to acknowledge a message
	// before the connection is given up.
	ackTimeout = 30 * time.Second
	// writeTimeout is how long the network may take a message.
	writeTimeout = 10 * time.Second
	// statusInterval is how often the retained status is renewed.
	statusInterval = time.Minute
)

// Config is all that an agent can be told.
type Config = config.Config

// ParseConfig reads the content of a configuration file; name is the file's,
// for messages. The error says of everything that is wrong where it is and what
// was expected.
func ParseConfig(name string, data []byte) (Config, error) { return config.Parse(name, data) }

// DefaultConfig returns the configuration that holds where nothing else is
// said. It lacks device, mqtt.url and sensors.
func DefaultConfig() Config { return config.Default() }

// Options are what an [Agent] is made of. Config is required, and one that
// [ParseConfig] or its flags and environment have validated.
type Options struct {
	Config Config

	// OpenBus opens the bus that a chip's configuration names; nil is the
	// host's: "1", "/dev/i2c-1" or the adapter's name. A bus that cannot be
	// opened is tried again, and is a fault of its chips meanwhile.
	OpenBus func(name string) (i2c.BusCloser, error)

	// Observe, if not nil, is called after each reading is in the buffer, from
	// the goroutines that sample. It must not keep the frame.
	Observe func(*telemetry.Frame)

	Logger  *slog.Logger // nil: none
	Metrics *metrics.Set // of this agent alone; nil: its own
	Version string
}

// Agent is one device. Its methods are safe for concurrent use; Run is called
// once.
type Agent struct {
	opts    Options
	started time.Time
	buses   map[string]*bus
	sampler *sample.Sampler
	client  *mqtt.Client
	buffer  atomic.Pointer[buffer.Buffer]
	metrics atomic.Pointer[net.TCPAddr]

	commitErrors *metrics.Counter
	commitFailed atomic.Bool // the latest commit

	mu           sync.Mutex
	stopped      bool               // StopSampling was called
	stopSampling context.CancelFunc // of the sampler, once it runs
	sampled      chan struct{}      // closed when the sampler has ended
}

// New returns an Agent. It opens nothing: that is for [Agent.Run].
func New(o Options) (*Agent, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	if o.OpenBus == nil {
		o.OpenBus = openHostBus
	}
	a := &Agent{
		opts:         o,
		started:      time.Now(),
		buses:        make(map[string]*bus),
		sampled:      make(chan struct{}),
		commitErrors: o.Metrics.GetOrCreateCounter("telltale_agent_buffer_commit_errors_total"),
	}
	sensors, err := a.sensors()
	if err != nil {
		return nil, err
	}
	a.sampler, err = sample.New(sample.Options{
		Sensors: sensors,
		Append:  func(f *telemetry.Frame) error { return a.buffer.Load().Append(f) },
		Refusal: refusal,
		Observe: o.Observe,
		Now:     time.Now,
		Logger:  o.Logger,
		Metrics: o.Metrics,
	})
	if err != nil {
		return nil, err
	}
	c := &o.Config
	a.client, err = mqtt.New(mqtt.Options{
		Device:         c.Device,
		URL:            c.MQTT.URL,
		TLS:            func() (*tls.Config, error) { return c.MQTT.ClientTLS() },
		ClientID:       c.ClientID(),
		Username:       c.Username(),
		Password:       c.MQTT.Password.Reveal(),
		Receipts:       c.Uplink.Receipts,
		KeepAlive:      c.MQTT.KeepAlive,
		ConnectTimeout: c.MQTT.ConnectTimeout,
		WriteTimeout:   writeTimeout,
		AckTimeout:     ackTimeout,
		BackoffMin:     c.Uplink.BackoffMin,
		BackoffMax:     c.Uplink.BackoffMax,
		Status:         a.status,
		StatusInterval: statusInterval,
		Logger:         o.Logger,
		Metrics:        o.Metrics,
	})
	if err != nil {
		return nil, err
	}
	o.Metrics.RegisterMetricsWriter(a.writeMetrics)
	return a, nil
}

// Run samples and delivers until ctx ends. Then it stops sampling, publishes
// that the device is offline, and commits and closes the buffer.
func (a *Agent) Run(ctx context.Context) (err error) {
	c := &a.opts.Config
	b, err := buffer.Open(buffer.Options{
		Dir:         c.Buffer.Dir,
		MaxSize:     int64(c.Buffer.MaxSize),
		SegmentSize: int64(c.Buffer.SegmentSize),
		Drop:        dropPolicy(c.Buffer.Drop),
		BootID:      bootID(),
		Logger:      a.opts.Logger,
	})
	if err != nil {
		return fmt.Errorf("buffer: %w", err)
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	a.buffer.Store(b)

	up, err := a.newUplink(b)
	if err != nil {
		return err
	}
	server, err := a.newServer(ctx)
	if err != nil {
		return err
	}
	defer a.closeBuses()

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.sample(ctx) })
	group.Go(func() error { return a.commit(ctx, b) })
	group.Go(func() error { return server.run(ctx) })

	// The connection outlives the uplink, so that nothing is published into
	// one that is being closed.
	connected, disconnect := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error {
		defer disconnect()
		return up.Run(ctx)
	})
	group.Go(func() error { return a.client.Run(connected, up) })

	a.opts.Logger.Info("agent started", "version", a.opts.Version, "device", c.Device, "sensors", len(c.Sensors), "epoch", b.Epoch())
	err = group.Wait()
	a.opts.Logger.Info("agent stopped")
	return err
}

func (a *Agent) newUplink(b *buffer.Buffer) (*uplink.Uplink[buffer.Position], error) {
	c := &a.opts.Config.Uplink
	return uplink.New(uplink.Options[buffer.Position]{
		Read:           func() uplink.Reader[buffer.Position] { return b.Reader() },
		End:            buffer.ErrEnd,
		Free:           b.Free,
		Updated:        b.Updated(),
		Publisher:      a.client,
		PublishReason:  mqtt.Reason,
		Receipts:       c.Receipts,
		BatchFrames:    c.BatchFrames,
		BatchSize:      int(c.BatchSize),
		BatchAge:       c.BatchAge,
		MaxDrainRate:   c.MaxDrainRate,
		Compress:       c.Compression == config.CompressionZstd,
		InFlight:       c.InFlight,
		ReceiptTimeout: c.ReceiptTimeout,
		BackoffMin:     c.BackoffMin,
		BackoffMax:     c.BackoffMax,
		Logger:         a.opts.Logger,
		Metrics:        a.opts.Metrics,
	})
}

// sample runs the sampler until ctx ends or StopSampling is called.
func (a *Agent) sample(ctx context.Context) error {
	defer close(a.sampled)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.mu.Lock()
	stopped := a.stopped
	a.stopSampling = cancel
	a.mu.Unlock()
	if stopped {
		return nil
	}
	return a.sampler.Run(ctx)
}

// StopSampling ends sampling for good, while what is in the buffer is still
// delivered. When it returns, no further reading will come into the buffer.
func (a *Agent) StopSampling() {
	a.mu.Lock()
	a.stopped = true
	stop := a.stopSampling
	a.mu.Unlock()
	if stop != nil {
		stop()
		<-a.sampled
	}
}

// commit makes durable, every commit interval, what was appended.
func (a *Agent) commit(ctx context.Context, b *buffer.Buffer) error {
	ticker := time.NewTicker(a.opts.Config.Buffer.CommitInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		err := b.Commit()
		if err != nil {
			a.commitErrors.Inc()
		}
		switch failed := a.commitFailed.Swap(err != nil); {
		case err != nil && !failed:
			a.opts.Logger.Error("buffer commit failed", "error", err)
		case err == nil && failed:
			a.opts.Logger.Info("buffer commit recovered")
		}
	}
}

// refusal is the reason for which the buffer did not take a reading.
func refusal(err error) string {
	switch {
	case errors.Is(err, buffer.ErrDropped):
		return buffer.BufferFull
	case errors.Is(err, buffer.ErrFrame):
		return "invalid"
	case errors.Is(err, buffer.ErrClosed):
		return "closed"
	}
	return buffer.DiskError
}

func dropPolicy(name string) buffer.Policy {
	if name == config.DropNewest {
		return buffer.DropNewest
	}
	return buffer.DropOldest
}

// bootID names this boot of the machine, "" where the kernel does not tell. See
// random(4).
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}
