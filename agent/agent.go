package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"golang.org/x/sync/errgroup"
	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/agent/internal/buffer"
	"github.com/telltale-iot/telltale/agent/internal/clock"
	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/internal/certificate"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

const (
	// ackTimeout is how long the broker may take to acknowledge a message
	// before the connection is given up.
	ackTimeout = 30 * time.Second
	// writeTimeout is how long the network may take a message.
	writeTimeout = 10 * time.Second
	// statusInterval is how often the retained status is renewed, or as rarely as
	// messages are sent, for what wakes a radio is each of them.
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

	// OpenBus opens the bus that a chip's configuration names, for one
	// transaction; nil is the host's: "1", "/dev/i2c-1", the adapter's name or a
	// pattern of it. It is called by several goroutines at once. A bus that cannot
	// be opened is a fault of its chips until it can.
	OpenBus func(name string) (i2c.BusCloser, error)

	// Sysfs is where the kernel shows the devices that its drivers have; nil is
	// the host's /sys.
	Sysfs fs.FS

	// Clock is the machine's clocks, of which Config.Clock says when they are
	// believed; nil is the host's.
	Clock *ClockSource
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
	opts     Options // Config as it was at first
	started  time.Time
	clock    *clock.Clock
	buses    map[string]i2c.Bus
	sampling sampling
	current  atomic.Pointer[generation]
	buffer   atomic.Pointer[buffer.Failover]
	metrics  atomic.Pointer[net.TCPAddr]
	reloads  reloads
	progress *progress

	commitErrors *metrics.Counter
	commitFailed atomic.Bool // the latest commit
	clockLogged  clock.State // belongs to the loop of commits
}

// setHost makes the host's what is not given.
func (o *Options) setHost() {
	if o.OpenBus == nil {
		o.OpenBus = openHostBus
	}
	if o.Sysfs == nil {
		o.Sysfs = os.DirFS("/sys")
	}
}

// New returns an Agent. It opens nothing: that is for [Agent.Run].
func New(o Options) (*Agent, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	o.setHost()
	a := &Agent{
		opts:         o,
		started:      time.Now(),
		clock:        newClock(&o),
		buses:        make(map[string]i2c.Bus),
		reloads:      newReloads(o.Metrics),
		progress:     newProgress(),
		commitErrors: o.Metrics.GetOrCreateCounter("telltale_agent_buffer_commit_errors_total"),
	}
	first, err := a.newGeneration(o.Config)
	if err != nil {
		return nil, err
	}
	a.current.Store(first)
	o.Metrics.RegisterMetricsWriter(a.writeMetrics)
	return a, nil
}

// Run samples and delivers until ctx ends. Then it stops sampling, publishes
// that the device is offline, and commits and closes the buffer.
func (a *Agent) Run(ctx context.Context) (err error) {
	defer close(a.reloads.ended)
	c := &a.opts.Config
	t := a.beginTrial()
	b, err := buffer.OpenFailover(buffer.Options{
		Dir:         c.Buffer.Dir,
		MaxSize:     int64(c.Buffer.MaxSize),
		SegmentSize: int64(c.Buffer.SegmentSize),
		Drop:        dropPolicy(c.Buffer.Drop),
		BootID:      bootID(),
		Logger:      a.opts.Logger,
	}, int64(c.Buffer.MemorySize))
	if err != nil {
		return fmt.Errorf("buffer: %w", err)
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	a.buffer.Store(b)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.commit(ctx, b) })
	group.Go(func() error { return a.prove(ctx, &t) })
	group.Go(func() error { return a.serve(ctx, b) })
	group.Go(func() error { return certificate.Watch(ctx, a.warnOfExpiry) })
	err = group.Wait()
	a.opts.Logger.Info("agent stopped")
	return err
}

// StopSampling ends sampling for good, while what is in the buffer is still
// delivered. When it returns, no further reading will come into the buffer.
func (a *Agent) StopSampling() { a.sampling.stop() }

// commit makes durable, every commit interval, what was appended. Failures are
// the buffer's to log and to deal with.
func (a *Agent) commit(ctx context.Context, b *buffer.Failover) error {
	ticker := time.NewTicker(a.opts.Config.Buffer.CommitInterval)
	defer ticker.Stop()
	defer a.progress.ended()
	for {
		a.progress.committing()
		a.settleClock(b)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		err := b.Commit()
		a.commitFailed.Store(err != nil)
		if err != nil {
			a.commitErrors.Inc()
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
