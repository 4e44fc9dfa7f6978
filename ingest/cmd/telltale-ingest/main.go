// The command telltale-ingest carries frames from an MQTT broker through Kafka
// to MongoDB and Prometheus.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/telltale-iot/telltale/ingest"
	"github.com/telltale-iot/telltale/internal/command"
	"github.com/telltale-iot/telltale/internal/endpoint"
	"github.com/telltale-iot/telltale/internal/settings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(command.Execute(ctx, root(), os.Stderr))
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "telltale-ingest",
		Short: "carries sensor readings from MQTT through Kafka to MongoDB and Prometheus",
		Long: `telltale-ingest is the cloud side of telltale. A process that runs has one or more roles:

  bridge      takes frames from MQTT and writes them to Kafka; acknowledges and
              receipts a frame only when Kafka has it
  aggregate   computes windows by sensor and by place; writes them to MongoDB and Kafka
  sink        writes every frame to MongoDB, once
  metrics     shows the latest reading of every sensor to Prometheus

Processes with the same role divide the work between them. None ends because the
broker, Kafka or MongoDB is away.

Two commands work on MongoDB alone: migrate takes over what the replaced system left
there, and missing says which readings are missing, and why.

` + settings.NamingRule,
	}
	c.AddCommand(runCommand(), healthCommand(), migrateCommand(), missingCommand())
	return c
}

func runCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "run",
		Short: "run until SIGINT or SIGTERM",
		Example: `  telltale-ingest run --config /etc/telltale/ingest.yaml
  telltale-ingest run --roles '[bridge]' --mqtt-url tcp://broker:1883 --kafka-brokers '[kafka:9092]'`,
		Args: cobra.NoArgs,
	}
	load := configured(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		config, err := load()
		if err != nil {
			return err
		}
		logger, err := command.Logger(config.Log.Level, config.Log.Format, c.ErrOrStderr())
		if err != nil {
			return err
		}
		registry := prometheus.NewRegistry()
		registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		i, err := ingest.New(ingest.Options{Config: config, Logger: logger, Registry: registry, Version: command.Version()})
		if err != nil {
			return err
		}
		return i.Run(c.Context())
	}
	return c
}

// configured gives c the flags of all settings, and returns what loads them.
func configured(c *cobra.Command) (load func() (ingest.Config, error)) {
	config := ingest.DefaultConfig()
	s := settings.New(&config)
	file := c.Flags().String("config", "", "YAML file with the settings below")
	s.Flags(c.Flags())
	return func() (ingest.Config, error) {
		err := s.Load(*file, os.LookupEnv)
		return config, err
	}
}

func healthCommand() *cobra.Command {
	return command.Health("telltale-ingest", "/etc/telltale/ingest.yaml", func(c *cobra.Command) func() (endpoint.Config, error) {
		load := configured(c)
		return func() (endpoint.Config, error) {
			config, err := load()
			return config.Metrics.Endpoint(), err
		}
	})
}
