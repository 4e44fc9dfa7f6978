// The command telltale-simulator runs telltale without hardware: the whole
// system in one process, or fleets of emulated devices against real brokers.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/telltale-iot/telltale/internal/command"
	"github.com/telltale-iot/telltale/internal/settings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(command.Execute(ctx, root(), os.Stderr))
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:   "telltale-simulator",
		Short: "telltale without hardware: real agents on emulated chips",
		Long: `telltale-simulator runs real agents whose I2C chips are emulated register by register.

  lab       the whole system in this process: broker, Kafka, MongoDB, ingest, agents
  fleet     any number of devices against brokers that are there already
  verify    holds what a fleet sampled against Kafka, MongoDB and the windows
  bus       emulated chips on a real /dev/i2c-N of this machine, for an agent as it is
  scenario  the agent's sampling on chips that fail by script

` + settings.NamingRule,
	}
	c.AddCommand(labCommand(), fleetCommand(), verifyCommand(), busCommand(), scenarioCommand())
	return c
}

// configured gives c the settings of cfg as flags, and --config, and runs run
// once they are read.
func configured(c *cobra.Command, cfg any, run func(*cobra.Command) error) *cobra.Command {
	s := settings.New(cfg)
	s.Flags(c.Flags())
	file := c.Flags().String("config", "", "YAML file with these settings")
	c.Args = cobra.NoArgs
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := s.Load(*file, os.LookupEnv); err != nil {
			return err
		}
		return run(c)
	}
	return c
}
