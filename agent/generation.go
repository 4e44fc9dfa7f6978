package agent

import (
	"context"
	"crypto/tls"

	"golang.org/x/sync/errgroup"

	"github.com/telltale-iot/telltale/agent/internal/buffer"
	"github.com/telltale-iot/telltale/agent/internal/clock"
	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/agent/internal/mqtt"
	"github.com/telltale-iot/telltale/agent/internal/sample"
	"github.com/telltale-iot/telltale/agent/internal/uplink"
	"github.com/telltale-iot/telltale/internal/certificate"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// generation is what an agent runs under one configuration, between two
// reloads. The buffer is not in it: it stays open over all of them.
type generation struct {
	config  Config
	sensors []*sensor
	client  *mqtt.Client
	expiry  *certificate.Expiry
}

// newGeneration makes what the configuration says, but for the sensors that are
// sampled already as it says. It opens nothing.
func (a *Agent) newGeneration(c Config) (*generation, error) {
	g := &generation{config: c, expiry: a.newExpiry(&c)}
	for i := range c.Sensors {
		s := a.sampling.find(&c.Sensors[i])
		if s == nil {
			var err error
			if s, err = a.newSensor(&c.Sensors[i]); err != nil {
				return nil, err
			}
		}
		g.sensors = append(g.sensors, s)
	}
	client, err := a.newClient(&g.config)
	g.client = client
	return g, err
}

func (a *Agent) newClient(c *Config) (*mqtt.Client, error) {
	return mqtt.New(mqtt.Options{
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
		StatusInterval: max(statusInterval, c.Uplink.BatchAge),
		Logger:         a.opts.Logger,
		Metrics:        a.opts.Metrics,
	})
}

func (a *Agent) newUplink(b *buffer.Failover, g *generation) (*uplink.Uplink[buffer.FailoverPosition], error) {
	c := &g.config.Uplink
	return uplink.New(uplink.Options[buffer.FailoverPosition]{
		Read:           func() uplink.Reader[buffer.FailoverPosition] { return b.Reader() },
		End:            buffer.ErrEnd,
		Free:           a.free(b),
		Updated:        b.Updated(),
		Publisher:      g.client,
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

func (a *Agent) newSensor(c *config.Sensor) (*sensor, error) {
	sampled, err := a.sensor(c)
	if err != nil {
		return nil, err
	}
	sampler, err := sample.New(sample.Options{
		Sensors: []sample.Sensor{sampled},
		Append:  a.append,
		Refusal: refusal,
		Observe: a.observe,
		Now:     a.clock.Now,
		Logger:  a.opts.Logger,
		Metrics: a.opts.Metrics,
	})
	return &sensor{config: *c, sampler: sampler}, err
}

// append puts a reading into the buffer: with its time if that is known, else to
// wait for it there, or with what the clock says if that is what is wanted and
// ingest would take it.
func (a *Agent) append(f *telemetry.Frame, at clock.Instant) error {
	b := a.buffer.Load()
	switch {
	case at.Known:
	case a.opts.Config.Clock.Unsynced == config.UnsyncedSend && f.Timestamp >= telemetry.MinTimestamp:
		f.Clock = telemetry.ClockUnsynced
	default:
		return b.AppendWaiting(f, at.Boot)
	}
	return b.Append(f)
}

// observe is called after each reading is in the buffer.
func (a *Agent) observe(f *telemetry.Frame) {
	if !f.Payload.Empty() {
		a.progress.measured()
	}
	if a.opts.Observe != nil {
		a.opts.Observe(f)
	}
}

// free returns what frees readings, of which it is known then that they can be
// delivered.
func (a *Agent) free(b *buffer.Failover) func(buffer.FailoverPosition) error {
	return func(after buffer.FailoverPosition) error {
		a.progress.delivered()
		return b.Free(after)
	}
}

// link publishes what is in the buffer until its context ends. The connection
// outlives the uplink, so that nothing is published into one that is being
// closed.
func link(client *mqtt.Client, up *uplink.Uplink[buffer.FailoverPosition]) func(context.Context) error {
	return func(ctx context.Context) error {
		var group errgroup.Group
		connected, disconnect := context.WithCancel(context.WithoutCancel(ctx))
		group.Go(func() error {
			defer disconnect()
			return up.Run(ctx)
		})
		group.Go(func() error { return client.Run(connected, up) })
		return group.Wait()
	}
}
