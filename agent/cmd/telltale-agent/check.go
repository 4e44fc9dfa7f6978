package main

import (
	"github.com/spf13/cobra"

	"github.com/telltale-iot/telltale/agent"
)

func checkCommand(h host) *cobra.Command {
	c := &cobra.Command{
		Use:   "check",
		Short: "say what keeps an agent from its work, and what to do about it",
		Long: `Checks the configuration, its buses and chips, the disk, the clock, the TLS files and
the broker, and prints a line for each: ok, warn or fail, what was checked, what was
seen, and what to do. The exit code is 0 if nothing fails, 1 if something does, and 2 if
the configuration is wrong, which is then said with file, line and column.

Run it as the agent's user: another may read and write other files. It changes nothing
and may be used while an agent runs, with what "telltale-agent read --help" says of a
chip that two read at once. The broker is tried under the client id of the agent with
"-check" behind it. A broker that makes client ids of user names (Mosquitto's
use_username_as_clientid) takes that for the agent's own connection, which the agent
then makes anew. Whether the broker lets the device publish is seen only when the agent
does.`,
		Example: `  sudo -u telltale telltale-agent check --config /etc/telltale/agent.yaml
  telltale-agent check --config agent.yaml --offline
  telltale-agent check --config agent.yaml --config-only`,
		Args: cobra.NoArgs,
	}
	load := configured(c)
	write := formatted(c)
	offline := c.Flags().Bool("offline", false, "leave the broker out")
	configOnly := c.Flags().Bool("config-only", false, "leave everything but the configuration out, as on another machine than the agent's")
	c.RunE = func(c *cobra.Command, _ []string) error {
		config, err := load()
		if err != nil {
			return err
		}
		report, err := agent.Check(c.Context(), agent.CheckOptions{
			Config: config, ConfigOnly: *configOnly, Offline: *offline, OpenBus: h.openBus, Machine: h.machine,
		})
		if err != nil {
			return err
		}
		if err := write(report); err != nil {
			return err
		}
		return failed(report.Failed(), len(report), "checks")
	}
	return c
}
