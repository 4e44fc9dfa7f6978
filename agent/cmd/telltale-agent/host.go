package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/agent"
	"github.com/telltale-iot/telltale/internal/settings"
)

// host is the machine as the commands see it. The zero host is the machine itself.
type host struct {
	openBus  func(name string) (i2c.BusCloser, error)
	adapters func() ([]agent.Adapter, error)
	machine  *agent.Machine
}

// result is what a command found, for people and for programs.
type result interface {
	WriteText(w io.Writer) error
	WriteJSON(w io.Writer) error
}

// formatted gives c the flag --format, and returns what writes a result accordingly.
func formatted(c *cobra.Command) (write func(result) error) {
	format := c.Flags().String("format", "text", "form of the output: text or json")
	c.PreRunE = func(*cobra.Command, []string) error {
		if *format != "text" && *format != "json" {
			return settings.Problems{{Source: "--format", Path: "format", Value: *format, Want: "text or json"}}
		}
		return nil
	}
	return func(r result) error {
		if *format == "json" {
			return r.WriteJSON(c.OutOrStdout())
		}
		return r.WriteText(c.OutOrStdout())
	}
}

// failed is the error of n things of all that failed, nil if none has.
func failed(n, all int, what string) error {
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d %s failed", n, all, what)
}
