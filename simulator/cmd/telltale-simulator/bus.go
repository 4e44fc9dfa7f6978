package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/telltale-iot/telltale/simulator/scenario"
	"github.com/telltale-iot/telltale/simulator/tinyusb"
	"github.com/telltale-iot/telltale/simulator/usbip"
)

// usbipPort is what the program usbip connects to.
const usbipPort = "3240"

func busCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bus",
		Short: "emulated chips on a real /dev/i2c-N of this machine, for an agent as it is",
		Long: `bus offers the chips of a scenario as USB adapters for I2C, over USB/IP. A Linux machine whose
kernel has vhci-hcd and i2c-tiny-usb plugs them in; its /dev/i2c-N is then read by the agent as it
is installed, by detect, read and i2cdetect. What the scenario says goes wrong does, by the clock,
from the start of this program on.

USB/IP knows no passwords: leave the address on the loopback.`,
		Example: `  telltale-simulator bus --config quiet-day
  telltale-simulator bus --config mine.yaml`,
		Args: cobra.NoArgs,
	}
	config := c.Flags().String("config", "", "scenario: a YAML file, or the name of one that comes with the program")
	listen := c.Flags().String("listen", net.JoinHostPort("127.0.0.1", usbipPort), "address that usbip attaches to")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *config == "" {
			return errors.New("--config: want a scenario: a YAML file, or one of " + strings.Join(scenario.Shipped(), ", "))
		}
		s, err := readScenario(*config)
		if err != nil {
			return err
		}
		return runBus(c.Context(), s, *listen, c.OutOrStdout(), c.ErrOrStderr())
	}
	return c
}

func runBus(ctx context.Context, s *scenario.Scenario, listen string, out, errOut io.Writer) error {
	world, err := s.World(time.Now())
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is taken by another program: choose another address with --listen HOST:PORT", listen)
	}
	if err != nil {
		return err
	}
	buses := world.Buses()
	names := slices.Sorted(maps.Keys(buses))
	var adapters []usbip.Device
	for _, name := range names {
		adapters = append(adapters, tinyusb.New(buses[name]))
	}
	if _, err := io.WriteString(out, busText(s, names, l.Addr().String(), vhciMissing())); err != nil {
		return errors.Join(err, l.Close())
	}
	logger := slog.New(slog.NewTextHandler(errOut, nil))
	return usbip.NewServer(logger, adapters...).Serve(ctx, l)
}

// busText says what there is, and how to plug it in. missing is why this
// machine cannot, "" if it can.
func busText(s *scenario.Scenario, names []string, addr, missing string) string {
	var b strings.Builder
	for i, name := range names {
		var chips []string
		for j := range s.Chips {
			if c := &s.Chips[j]; c.Bus == name {
				chips = append(chips, c.Where())
			}
		}
		fmt.Fprintf(&b, "%s  bus %s: %s\n", usbip.BusID(i), name, strings.Join(chips, ", "))
	}
	host, port, _ := net.SplitHostPort(addr)
	fmt.Fprintf(&b, "\nUSB/IP on %s. Ctrl-C stops it, which unplugs them.\n\n", addr)
	if missing != "" {
		fmt.Fprintf(&b, "This machine cannot plug them in: %s.\n"+
			"Another can, as a virtual machine with a distribution's ordinary kernel. Without one: telltale-simulator lab\n\n", missing)
	}
	b.WriteString("To plug them in, on Linux:\n  sudo modprobe -a vhci-hcd i2c-tiny-usb i2c-dev\n")
	tcpPort := ""
	if port != usbipPort {
		tcpPort = "--tcp-port " + port + " "
	}
	for i := range names {
		fmt.Fprintf(&b, "  sudo usbip %sattach -r %s -b %s\n", tcpPort, host, usbip.BusID(i))
	}
	b.WriteString("Then see which chips there are, and make an agent's configuration for them:\n  sudo telltale-agent detect --device pi-1 > agent.yaml\n")
	return b.String()
}
