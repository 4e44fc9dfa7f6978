package main

import (
	"github.com/spf13/cobra"

	"github.com/telltale-iot/telltale/agent"
)

func readCommand(h host) *cobra.Command {
	c := &cobra.Command{
		Use:   "read",
		Short: "read each configured chip once",
		Long: `Takes one reading of each chip of the configuration and prints it. The exit code is 1
if a chip fails. Neither the buffer nor the broker is touched: what is read here is kept
nowhere.

It may be used while an agent runs, as no transaction on the bus is cut in two, but both
then use the same chips. A chip that has a configuration, such as a BME280, is configured
anew here, most by a reset: the agent notices, configures it again and measures again, and
its filter begins anew; if both do so at once, one of them has the fault "reset" or
"not_ready" for one reading. A BH1750 begins its measurement anew: a reading that the agent
takes within that time may repeat the light of the one before, and with other settings in
this configuration than in the agent's it may be wrong by their ratio. Where each reading
counts, stop the agent first.`,
		Example: `  telltale-agent read --config /etc/telltale/agent.yaml
  telltale-agent read --config agent.yaml --format json`,
		Args: cobra.NoArgs,
	}
	load := configured(c)
	write := formatted(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		config, err := load()
		if err != nil {
			return err
		}
		readings, err := agent.Read(c.Context(), agent.Options{Config: config, OpenBus: h.openBus})
		if err != nil {
			return err
		}
		if err := write(readings); err != nil {
			return err
		}
		return failed(readings.Failed(), len(readings), "chips")
	}
	return c
}
