package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/telltale-iot/telltale/internal/command"
	"github.com/telltale-iot/telltale/internal/settings"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator"
	"github.com/telltale-iot/telltale/simulator/verify"
)

type fleetConfig struct {
	Devices  int            `yaml:"devices" help:"how many devices"`
	Places   int            `yaml:"places" help:"how many places they are spread over"`
	Prefix   string         `yaml:"prefix" help:"of the devices' names: prefix-1, prefix-2, ..."`
	Interval time.Duration  `yaml:"interval" help:"time between two readings of a sensor"`
	For      time.Duration  `yaml:"for" help:"stop sampling after this long, send what is left, and end (0: go on until stopped)"`
	Dir      string         `yaml:"dir" help:"folder of the devices' configurations and buffers; a later run with it goes on where this one ends"`
	Journal  string         `yaml:"journal" help:"file to append every reading to as it was sampled, for 'verify' (empty: none)"`
	Speed    int            `yaml:"speed" help:"how many times as fast as the clock the recorded series runs"`
	Seed     uint64         `yaml:"seed" help:"of the chips' calibrations and deviations"`
	Replay   string         `yaml:"replay" help:"CSV file with Date, Temperature, Humidity and Light (empty: an office's week, built in)"`
	MQTT     simulator.MQTT `yaml:"mqtt"`
	Log      settings.Log   `yaml:"log"`
}

// Validate implements [settings.Validator].
func (c fleetConfig) Validate(report func(path, value, want string)) {
	if c.Devices < 1 {
		report("devices", "", "1 or more")
	}
	if c.Dir == "" {
		report("dir", "", "a folder for the devices' buffers")
	}
	if !telemetry.ValidDevice(c.Prefix) {
		report("prefix", "", "letters, digits, - and _")
	}
	common(report, c.Places, c.Speed, c.Interval)
}

func common(report func(path, value, want string), places, speed int, interval time.Duration) {
	if places < 1 {
		report("places", "", "1 or more")
	}
	if speed < 1 {
		report("speed", "", "1 or more")
	}
	if interval < 10*time.Millisecond {
		report("interval", "", "10ms or more")
	}
}

func fleetCommand() *cobra.Command {
	config := fleetConfig{
		Devices: 10, Places: 3, Prefix: "device", Interval: time.Second, Speed: 1, Seed: 1,
		MQTT: simulator.MQTT{URL: "tcp://127.0.0.1:1883"},
		Log:  settings.Log{Level: "warn", Format: "text"},
	}
	return configured(&cobra.Command{
		Use:   "fleet",
		Short: "emulated devices, with real agents, against brokers that are there already",
		Example: `  telltale-simulator fleet --dir /tmp/fleet --devices 20 --mqtt-url tcp://127.0.0.1:1883
  telltale-simulator fleet --dir /tmp/fleet --for 1m --journal /tmp/fleet/journal`,
	}, &config, func(c *cobra.Command) error {
		return runFleet(c.Context(), &config, c.OutOrStdout(), c.ErrOrStderr())
	})
}

func runFleet(ctx context.Context, config *fleetConfig, out, errOut io.Writer) (err error) {
	logger, err := command.Logger(config.Log.Level, config.Log.Format, errOut)
	if err != nil {
		return err
	}
	source, err := replay(config.Replay, config.Speed, config.Seed)
	if err != nil {
		return err
	}
	var observe func(*telemetry.Frame)
	if config.Journal != "" {
		file, err := os.OpenFile(config.Journal, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("journal: %w", err)
		}
		journal := verify.NewJournal(file)
		observe = journal.Record
		defer func() { err = errors.Join(err, journal.Err(), file.Close()) }()
	}
	fleet, err := simulator.New(simulator.Options{
		Devices: config.Devices, Places: config.Places, Prefix: config.Prefix, Interval: config.Interval,
		Seed: config.Seed, Source: source, Dir: filepath.Clean(config.Dir), MQTT: config.MQTT,
		Version: command.Version(), Observe: observe, Logger: logger,
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return fleet.Run(ctx) })
	group.Go(func() error {
		defer stop()
		return drive(ctx, fleet, config.For, func(s simulator.Stats) {
			// A terminal that is gone is no reason to stop sampling.
			_, _ = fmt.Fprintf(out, "sampled=%d buffered=%d\n", s.Sampled, s.Buffered)
		})
	})
	return group.Wait()
}

// drive reports the fleet's counts every 5 s and, if it is to sample for a
// limited time, stops it and returns once the buffers are empty.
func drive(ctx context.Context, fleet *simulator.Fleet, limit time.Duration, report func(simulator.Stats)) error {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	var end <-chan time.Time
	if limit > 0 {
		end = time.After(limit)
	}
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	var drained <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			report(fleet.Stats())
		case <-end:
			fleet.StopSampling()
			drained = poll.C
		case <-drained:
			if s := fleet.Stats(); s.Buffered == 0 {
				report(s)
				return nil
			}
		}
	}
}
