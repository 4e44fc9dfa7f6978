// Reread takes readings as telltale-agent's read does, with the same facade and
// output, but of one configuration again and again: one at its start and one at
// each SIGUSR1, until SIGTERM. To start an agent for each of hundreds of readings
// would take minutes on an emulated processor.
//
//	reread CONFIG
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/telltale-iot/telltale/agent"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGUSR1)
	if err := run(ctx, os.Args[1:], os.Stdout, again); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "reread:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer, again <-chan os.Signal) error {
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
	for {
		readings, err := agent.Read(ctx, agent.Options{Config: config})
		if err != nil {
			return err
		}
		if err := readings.WriteJSON(out); err != nil {
			return err
		}
		select {
		case <-again:
		case <-ctx.Done():
			return nil
		}
	}
}
