// The command emulated-agent is telltale-agent with an emulated bus in the
// place of the host's: what the agent is measured with where there is no I2C.
//
//	emulated-agent CONFIG [JOURNAL]
//
// Into the journal goes each reading that is in the buffer, as on the wire, one a
// line. (The journal of package verify is the same, but would link the clients
// of Kafka and MongoDB.)
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/VictoriaMetrics/metrics"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/agent"
	"github.com/telltale-iot/telltale/internal/command"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

func main() {
	runtime.GOMAXPROCS(1)  // as telltale-agent's main does
	debug.SetGCPercent(20) // likewise
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, stop, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, stop func(), args []string) error {
	file := args[0]
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	config, err := agent.ParseConfig(file, data)
	if err != nil {
		return err
	}
	bus := i2csim.NewBus(i2csim.BusOptions{Name: "emulated"})
	office := i2csim.Constant{Temperature: 294*physic.Kelvin + 150*physic.MilliKelvin, Humidity: 40 * physic.PercentRH, Pressure: 101325 * physic.Pascal}
	bme280, err := i2csim.NewBME280(i2csim.BME280Options{Source: office})
	if err != nil {
		return err
	}
	bh1750, err := i2csim.NewBH1750(i2csim.ChipOptions{Source: office})
	if err != nil {
		return err
	}
	if err := bus.Attach(0x76, bme280); err != nil {
		return err
	}
	if err := bus.Attach(0x23, bh1750); err != nil {
		return err
	}
	logger, err := command.Logger(config.Log.Level, config.Log.Format, os.Stderr)
	if err != nil {
		return err
	}
	var observe func(*telemetry.Frame)
	if len(args) > 1 {
		journal, err := os.OpenFile(args[1], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		defer journal.Close()
		observe = record(journal, stop)
	}
	a, err := agent.New(agent.Options{
		Config: config, OpenBus: func(string) (i2c.BusCloser, error) { return bus.Open(), nil },
		Observe: observe, Logger: logger, Metrics: metrics.NewSet(), Version: command.Version(),
	})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// record returns what writes frames to the journal, from one goroutine. An agent
// whose journal cannot be written stops: what it samples would not be known.
func record(journal *os.File, stop func()) func(*telemetry.Frame) {
	var line []byte
	return func(f *telemetry.Frame) {
		line = append(telemetry.AppendFrame(line[:0], f), '\n')
		if _, err := journal.Write(line); err != nil {
			fmt.Fprintln(os.Stderr, err)
			stop()
		}
	}
}
