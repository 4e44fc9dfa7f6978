package agent

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"

	"github.com/telltale-iot/telltale/agent/internal/buffer"
	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/internal/settings"
)

// ErrEnded says that the agent's Run has ended.
var ErrEnded = errors.New("the agent has ended")

// reloads is how Reload meets Run.
type reloads struct {
	requests    chan reload
	ended       chan struct{} // closed at the end of Run
	refused     atomic.Bool   // the latest reload
	oks, errors *metrics.Counter
}

type reload struct {
	config Config
	done   chan error // cap 1
}

func newReloads(set *metrics.Set) reloads {
	return reloads{
		requests: make(chan reload),
		ended:    make(chan struct{}),
		oks:      set.GetOrCreateCounter(`telltale_agent_config_reloads_total{result="ok"}`),
		errors:   set.GetOrCreateCounter(`telltale_agent_config_reloads_total{result="refused"}`),
	}
}

// Reload makes the agent go on with the configuration that load returns, which
// must be a validated one, while Run is on. The buffer stays open, and sensors
// whose settings are the same are sampled on; the connection to the broker is
// made anew. If load fails, or the configuration changes what cannot change
// while the agent runs, or its metrics endpoint is not to be had, the old
// configuration goes on as a whole; the error, which is logged too, says why. It
// returns when the new configuration is in force.
func (a *Agent) Reload(load func() (Config, error)) error {
	config, err := load()
	if err == nil {
		err = a.request(config)
	}
	a.reloads.refused.Store(err != nil)
	if err == nil {
		a.reloads.oks.Inc()
		a.opts.Logger.Info("configuration reloaded", "sensors", len(config.Sensors))
		return nil
	}
	a.reloads.errors.Inc()
	var problems settings.Problems
	if !errors.As(err, &problems) {
		a.opts.Logger.Error("configuration refused", "error", err)
	}
	for _, p := range problems {
		a.opts.Logger.Error("configuration refused", "error", p)
	}
	return err
}

// request hands a configuration to Run, and returns what Run says to it.
func (a *Agent) request(c Config) error {
	if problems := a.opts.Config.FixedChanges(c); len(problems) > 0 {
		return problems
	}
	r := reload{c, make(chan error, 1)}
	select {
	case a.reloads.requests <- r:
		return <-r.done
	case <-a.reloads.ended:
		return ErrEnded
	}
}

// serving is a generation that runs.
type serving struct {
	*generation
	link     *task
	endpoint *task
}

// serve runs what the configuration says, and after each reload what the new one
// says, until ctx ends.
func (a *Agent) serve(ctx context.Context, b *buffer.Failover) (err error) {
	s := serving{generation: a.current.Load()}
	up, err := a.newUplink(b, s.generation)
	if err != nil {
		return err
	}
	server, err := a.newServer(ctx, s.config.Metrics)
	if err != nil {
		return err
	}
	s.endpoint = startTask(ctx, server.run)
	s.link = startTask(ctx, link(s.client, up))
	a.sampling.change(ctx, s.sensors)
	defer func() {
		a.sampling.stop()
		err = errors.Join(s.link.stop(), s.endpoint.stop())
	}()
	a.opts.Logger.Info("agent started", "version", a.opts.Version, "device", s.config.Device, "sensors", len(s.sensors), "epoch", b.Epoch())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.link.done:
			return nil
		case <-s.endpoint.done:
			return nil
		case r := <-a.reloads.requests:
			r.done <- a.takeOver(ctx, b, &s, r.config)
		}
	}
}

// takeOver replaces the generation that runs by one of the configuration c, or
// leaves it as it is and says why. Readings are taken all the while, but for
// sensors that change.
func (a *Agent) takeOver(ctx context.Context, b *buffer.Failover, s *serving, c Config) error {
	next, err := a.newGeneration(c)
	if err != nil {
		return err
	}
	up, err := a.newUplink(b, next)
	if err != nil {
		return err
	}
	if c.Metrics != s.config.Metrics {
		if err := a.listenElsewhere(ctx, s, c.Metrics); err != nil {
			return err
		}
	}
	a.sampling.change(ctx, next.sensors)
	if err := s.link.stop(); err != nil {
		return err // it ends serve, too
	}
	a.current.Store(next)
	s.generation = next
	s.link = startTask(ctx, link(next.client, up))
	return nil
}

// listenElsewhere moves the endpoint, or changes what protects it. The old one is closed first, as the
// new address may contain it: 0.0.0.0 after 127.0.0.1. It comes back if the new
// one is not to be had.
func (a *Agent) listenElsewhere(ctx context.Context, s *serving, c config.Metrics) error {
	if err := s.endpoint.stop(); err != nil {
		return err // it ends serve, too
	}
	next, err := a.newServer(ctx, c)
	if err != nil {
		var lost error
		if next, lost = a.newServer(ctx, s.config.Metrics); lost != nil {
			next, err = &server{}, errors.Join(err, lost)
		}
	}
	s.endpoint = startTask(ctx, next.run)
	return err
}
