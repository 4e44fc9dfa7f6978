package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/telltale-iot/telltale/internal/command"
	"github.com/telltale-iot/telltale/simulator"
	"github.com/telltale-iot/telltale/simulator/pipeline"
	"github.com/telltale-iot/telltale/simulator/verify"
)

type labConfig struct {
	Sensors  int             `yaml:"sensors" help:"how many emulated sensors (0: none; what others publish is shown all the same)"`
	Places   int             `yaml:"places" help:"how many places they are spread over"`
	Interval time.Duration   `yaml:"interval" help:"time between two readings of a sensor"`
	Window   time.Duration   `yaml:"window" help:"size of the aggregates' windows"`
	For      time.Duration   `yaml:"for" help:"stop sampling after this long, send what is left, and end (0: go on until Ctrl-C)"`
	Verify   bool            `yaml:"verify" help:"in the end hold what was sampled against Kafka, MongoDB and the windows; needs --for"`
	Speed    int             `yaml:"speed" help:"how many times as fast as the clock the recorded series runs"`
	Seed     uint64          `yaml:"seed" help:"of the chips' calibrations and deviations"`
	Replay   string          `yaml:"replay" help:"CSV file with Date, Temperature, Humidity and Light (empty: an office's week, built in)"`
	Dir      string          `yaml:"dir" help:"folder for all state (empty: a new one in the temporary folder); it must be empty, and is removed in the end"`
	Keep     bool            `yaml:"keep" help:"do not remove the folder"`
	Listen   pipeline.Listen `yaml:"listen"`
}

// Validate implements [settings.Validator].
func (c labConfig) Validate(report func(path, value, want string)) {
	if c.Sensors < 0 {
		report("sensors", "", "0 or more")
	}
	if c.Window < time.Second || (24*time.Hour)%c.Window != 0 {
		report("window", "", "1s to 24h, dividing a day evenly")
	}
	if c.Verify && c.For <= 0 {
		report("verify", "", "the setting for as well, such as --for 20s")
	}
	common(report, c.Places, c.Speed, c.Interval)
}

func labCommand() *cobra.Command {
	config := labConfig{
		Sensors: 4, Places: 2, Interval: time.Second, Window: 10 * time.Second, Speed: 1, Seed: 1,
		Listen: pipeline.Listen{MQTT: "127.0.0.1:11883", Kafka: "127.0.0.1:19092", Mongo: "127.0.0.1:37017", Metrics: "127.0.0.1:19464"},
	}
	return configured(&cobra.Command{
		Use:   "lab",
		Short: "the whole system in this process, to see it work",
		Long: `lab starts an MQTT broker, a Kafka broker and a MongoDB server in this process, runs ingest
and emulated sensors against them over real sockets, and shows what becomes of every reading.
The servers ask for no password: leave them on the loopback.`,
		Example: `  telltale-simulator lab
  telltale-simulator lab --sensors 8 --speed 60
  telltale-simulator lab --for 20s --verify`,
	}, &config, func(c *cobra.Command) error {
		return runLab(c.Context(), &config, c.OutOrStdout())
	})
}

func runLab(ctx context.Context, config *labConfig, out io.Writer) (err error) {
	started := time.Now()
	dir, remove, err := stateDir(config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	logFile, err := os.Create(filepath.Join(dir, "lab.log"))
	if err != nil {
		return err
	}
	defer logFile.Close()

	source, err := replay(config.Replay, config.Speed, config.Seed)
	if err != nil {
		return err
	}
	options := pipeline.Options{
		Listen: config.Listen, Dir: dir, Window: config.Window,
		Fleet: simulator.Options{
			Devices: config.Sensors, Places: config.Places, Prefix: "office", Interval: config.Interval,
			Seed: config.Seed, Source: source,
		},
		Version: command.Version(), Logger: slog.New(slog.NewTextHandler(logFile, nil)),
	}
	var journal *verify.Journal
	if config.Verify {
		journal = verify.NewJournal(nil)
		options.Fleet.Observe = journal.Record
	}
	options.Fleet.Version, options.Fleet.Logger = options.Version, options.Logger.With("program", "agent")
	p, err := pipeline.New(options)
	if err != nil {
		return hint(err)
	}
	defer func() { err = errors.Join(err, p.Close()) }()

	run, stop := context.WithCancel(ctx)
	defer stop()
	group, run := errgroup.WithContext(run)
	group.Go(func() error { return p.Run(run) })
	group.Go(func() error { return newScreen(out, p, dir, config.Keep, started).run(run) })
	group.Go(func() error {
		defer stop()
		if err := drive(run, p.Fleet, config.For, func(simulator.Stats) {}); err != nil || !config.Verify || run.Err() != nil {
			return err
		}
		sources := verify.Sources{Brokers: []string{p.KafkaAddr()}, MongoURI: p.MongoURI(), Database: pipeline.Database}
		return runVerify(run, out, journal, sources, config.Window, time.Minute)
	})
	return group.Wait()
}

// stateDir makes the folder of all state, and says how to remove it.
func stateDir(config *labConfig) (dir string, remove func() error, err error) {
	if config.Dir == "" {
		dir, err = os.MkdirTemp("", "telltale-lab-")
	} else {
		dir = config.Dir
		if err = os.MkdirAll(dir, 0o700); err == nil {
			var entries []fs.DirEntry
			if entries, err = os.ReadDir(dir); err == nil && len(entries) > 0 {
				err = fmt.Errorf("--dir: %s is not empty", dir)
			}
		}
	}
	if err != nil {
		return "", nil, err
	}
	remove = func() error { return os.RemoveAll(dir) }
	if config.Keep {
		remove = func() error { return nil }
	}
	return dir, remove, nil
}

// hint names the flag that changes an address which is taken.
func hint(err error) error {
	var listen *pipeline.ListenError
	if !errors.As(err, &listen) || !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	flag := "--" + strings.ReplaceAll(listen.Setting, ".", "-")
	return fmt.Errorf("%s is taken by another program: choose another address with %s HOST:PORT (port 0 takes a free one)", listen.Addr, flag)
}
