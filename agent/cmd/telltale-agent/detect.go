package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/telltale-iot/telltale/agent"
	"github.com/telltale-iot/telltale/internal/settings"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

func detectCommand(h host) *cobra.Command {
	c := &cobra.Command{
		Use:   "detect",
		Short: "find the chips on the I2C buses, and print a configuration for them",
		Long: `Looks which addresses answer on the I2C buses and which chips they are. What it finds
goes to standard error; a configuration that reads the chips goes to standard output,
so that it can be kept in a file. The exit code is 1, and there is no configuration, if
there is no chip that an agent can read.

It reads one byte of each address from 0x08 to 0x77, as "i2cdetect -r" does. Where a
chip that an agent can read may be, it also writes: the address of the register in which
such a chip has its id or, at 0x40 and 0x44 to 0x46, a command that only asks. A PCA9548
multiplexer at 0x76 or 0x77 takes such a byte for a choice of channels. An AHT20 and a
BH1750 have no id: what answers as one of them would is probably one. The agent's README
has each address and byte. Addresses that a driver of the kernel has are left alone. It
may be used while an agent runs.`,
		Example: `  telltale-agent detect > agent.yaml
  telltale-agent detect --bus 1 --device greenhouse-7 --mqtt-url tls://broker:8883 > agent.yaml`,
		Args: cobra.NoArgs,
	}
	buses := c.Flags().StringArray("bus", nil, "I2C bus to look at: its number, /dev/i2c-N, or the adapter's name or a pattern of it; may be given several times (default all)")
	device := c.Flags().String("device", "", "the device's name in the configuration (default the host's name)")
	url := c.Flags().String("mqtt-url", "", "the broker in the configuration (default to be filled in)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := validate(*device, *url); err != nil {
			return err
		}
		found, err := agent.Detect(c.Context(), agent.DetectOptions{Buses: *buses, OpenBus: h.openBus, Adapters: h.adapters})
		if err != nil {
			return err
		}
		if err := found.WriteFindings(c.ErrOrStderr()); err != nil {
			return err
		}
		if found.Chips() == 0 {
			return errors.New("no chip found that an agent can read")
		}
		if _, err := fmt.Fprintln(c.ErrOrStderr(), next); err != nil {
			return err
		}
		return found.WriteConfig(c.OutOrStdout(), cmp.Or(*device, hostDevice(os.Hostname)), *url)
	}
	return c
}

// next is what to do with the configuration.
const next = "Next: fill in what the configuration leaves open, then telltale-agent check --config FILE"

// validate refuses flags that would make a configuration that is none.
func validate(device, url string) error {
	var problems settings.Problems
	if device != "" && !telemetry.ValidDevice(device) {
		problems = append(problems, settings.Problem{
			Source: "--device", Path: "device", Value: device, Want: "a device's name: 1 to 64 letters, digits, _ or -",
		})
	}
	if url != "" {
		settings.ValidateBroker(url, settings.TLS{}, func(_, _, want string) {
			problems = append(problems, settings.Problem{Source: "--mqtt-url", Path: "mqtt.url", Want: want})
		})
	}
	if problems != nil {
		return problems
	}
	return nil
}

var notInDevice = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// hostDevice makes a device's name of the host's, without its domain.
func hostDevice(hostname func() (string, error)) string {
	name, _ := hostname() // without one, the name is for the reader to say
	name, _, _ = strings.Cut(name, ".")
	name = notInDevice.ReplaceAllString(name, "-")
	return cmp.Or(name[:min(len(name), telemetry.MaxDevice)], "pi")
}
