// Periphbus takes readings as telltale-agent's read does, with the same facade and
// output, but through periph's bus of the host, where the agent has one of its own.
//
//	periphbus CONFIG
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/host/v3/sysfs"

	"github.com/telltale-iot/telltale/agent"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "periphbus:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("want CONFIG")
	}
	data, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	config, err := agent.ParseConfig(args[0], data)
	if err != nil {
		return err
	}
	readings, err := agent.Read(ctx, agent.Options{Config: config, OpenBus: open})
	if err != nil {
		return err
	}
	return readings.WriteJSON(out)
}

func open(name string) (i2c.BusCloser, error) {
	number, err := strconv.Atoi(name)
	if err != nil {
		return nil, err
	}
	return sysfs.NewI2C(number)
}
