package command

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/telltale-iot/telltale/internal/endpoint"
	"github.com/telltale-iot/telltale/internal/settings"
)

// Health returns the command health of a program: it asks the program's own
// endpoint. configured gives it the flags of the program's settings and returns
// what loads them; file is a configuration for the examples.
func Health(program, file string, configured func(*cobra.Command) (load func() (endpoint.Config, error))) *cobra.Command {
	c := &cobra.Command{
		Use:   "health",
		Short: "say whether the process that runs is healthy, as a container's health check does",
		Long: fmt.Sprintf(`Asks the %[1]s that runs on this host, or in this container, for /healthz, or with
--ready for /readyz. Where it listens, and whether with TLS, is read from the same file,
environment and flags as those of "%[1]s run"; an address that stands for all, such as
:9464, is asked on the loopback. No shell and no other program is needed.

The exit code is 0 if the answer is 200, 1 if it is another or there is none in time,
which is then said on standard error, and 2 if the configuration is wrong or
metrics.listen is empty.`, program),
		Example: fmt.Sprintf(`  %[1]s health --config %[2]s
  %[1]s health --config %[2]s --ready --timeout 2s`, program, file),
		Args: cobra.NoArgs,
	}
	ready := c.Flags().Bool("ready", false, "ask whether it can do its work, not only whether it lives")
	timeout := c.Flags().Duration("timeout", 5*time.Second, "time that the answer may take")
	load := configured(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		config, err := load()
		if err != nil {
			return err
		}
		if config.Listen == "" {
			return settings.Problems{{Path: "metrics.listen", Value: `""`, Want: "the address that the process serves /healthz on, such as 127.0.0.1:9464, for there to be something to ask"}}
		}
		if *timeout <= 0 {
			return settings.Problems{{Source: "--timeout", Path: "timeout", Value: timeout.String(), Want: "more than 0s"}}
		}
		path := endpoint.Health
		if *ready {
			path = endpoint.Ready
		}
		ctx, cancel := context.WithTimeoutCause(c.Context(), *timeout, fmt.Errorf("no answer in %s", *timeout))
		defer cancel()
		return endpoint.Ask(ctx, config, path)
	}
	return c
}
