// The command emulated-agent is telltale-agent with an emulated bus in the
// place of the host's: what the agent's footprint is measured with where there
// is no I2C.
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
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

func main() {
	runtime.GOMAXPROCS(1)  // as telltale-agent's main does
	debug.SetGCPercent(20) // likewise
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, file string) error {
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
	bh1750, err := i2csim.NewBH1750(i2csim.BH1750Options{Source: office})
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
	a, err := agent.New(agent.Options{
		Config: config, OpenBus: func(string) (i2c.BusCloser, error) { return bus.Open(), nil },
		Logger: logger, Metrics: metrics.NewSet(), Version: command.Version(),
	})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}
