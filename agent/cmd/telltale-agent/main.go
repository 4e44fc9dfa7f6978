// The command telltale-agent reads the sensors of one device and delivers the
// readings to an MQTT broker.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/telltale-iot/telltale/agent"
	"github.com/telltale-iot/telltale/agent/internal/systemd"
	"github.com/telltale-iot/telltale/internal/command"
	"github.com/telltale-iot/telltale/internal/endpoint"
	"github.com/telltale-iot/telltale/internal/settings"
)

func main() {
	// A few readings a second need one processor, and wake fewer threads with
	// it. The heap is a few hundred kilobytes: collecting often costs nothing,
	// and keeps it that small.
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(20)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(command.Execute(ctx, root(), os.Stderr))
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "telltale-agent",
		Short: "reads I2C sensors and delivers every reading to an MQTT broker",
		Long: `telltale-agent reads sensors on a Raspberry Pi's I2C bus on schedule. Each reading
goes into a buffer on disk at once, and from there to the MQTT broker. It stays in
the buffer until telltale-ingest says that Kafka has it. Readings are taken from the
first second, whether or not there is a network.

A smallest configuration, /etc/telltale/agent.yaml:

  device: greenhouse-7
  mqtt: {url: "tcp://broker:1883"}
  sensors:
    - id: greenhouse-7
      name: Greenhouse 7
      place_id: house-2
      chips:
        - {driver: bme280, address: 0x76}

` + settings.NamingRule,
	}
	c.AddCommand(runCommand(), detectCommand(host{}), readCommand(host{}), checkCommand(host{}), healthCommand(), bufferCommand())
	return c
}

func runCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "run",
		Short: "sample and deliver until SIGINT or SIGTERM; SIGHUP reloads",
		Long: `Samples and delivers until SIGINT or SIGTERM. It does not end because the broker, a
sensor or a bus is away: it tries again, and says so in its log, its metrics and its
status topic.

SIGHUP makes it read its configuration anew, with the files that it names. What is in
the buffer stays there. If the new configuration is wrong the log says why, and the
old one goes on; so it does if device, buffer, clock, trial or log differ, which change
only when the agent is started anew.

Under systemd (Type=notify) it tells when it has started, how it is, and, with
WatchdogSec=, that it makes progress.`,
		Example: `  telltale-agent run --config /etc/telltale/agent.yaml
  telltale-agent run --config agent.yaml --buffer-dir ./buffer --metrics-listen 127.0.0.1:9465`,
		Args: cobra.NoArgs,
	}
	load := configured(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		hangups := make(chan os.Signal, 1)
		signal.Notify(hangups, syscall.SIGHUP) // first of all, as it would end the process
		defer signal.Stop(hangups)
		config, err := load()
		if err != nil {
			return err
		}
		logger, err := command.Logger(config.Log.Level, config.Log.Format, c.ErrOrStderr())
		if err != nil {
			return err
		}
		a, err := agent.New(agent.Options{Config: config, Logger: logger, Version: command.Version()})
		if err != nil {
			return err
		}
		notifier, err := newNotifier(a, logger)
		if err != nil {
			return err
		}
		group, ctx := errgroup.WithContext(c.Context())
		group.Go(func() error { return a.Run(ctx) })
		group.Go(func() error { return notifier.Run(ctx) })
		group.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-hangups:
					notifier.Reload(func() { _ = a.Reload(load) }) // it logs its error
				}
			}
		})
		return group.Wait()
	}
	return c
}

func healthCommand() *cobra.Command {
	return command.Health("telltale-agent", "/etc/telltale/agent.yaml", func(c *cobra.Command) func() (endpoint.Config, error) {
		load := configured(c)
		return func() (endpoint.Config, error) {
			config, err := load()
			return config.Metrics.Endpoint(), err
		}
	})
}

func newNotifier(a *agent.Agent, logger *slog.Logger) (*systemd.Notifier, error) {
	notify, watchdog, err := systemd.FromEnvironment()
	if err != nil {
		logger.Warn("no watchdog", "error", err)
	}
	return systemd.New(systemd.Options{Service: a, Notify: notify, Watchdog: watchdog, Logger: logger})
}

// configured gives c the flags of all settings, and returns what loads them.
func configured(c *cobra.Command) (load func() (agent.Config, error)) {
	config := agent.DefaultConfig()
	s := settings.New(&config)
	file := c.Flags().StringP("config", "c", "", "YAML file with the settings below")
	s.Flags(c.Flags())
	return func() (agent.Config, error) {
		err := s.Load(*file, os.LookupEnv)
		return config, err
	}
}
