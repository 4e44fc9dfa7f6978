package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/telltale-iot/telltale/simulator/verify"
)

// errVerify says that the findings, which have been printed, are the error.
var errVerify = errors.New("verify: not every reading is where it belongs")

var errNothing = errors.New("verify: nothing was sampled, so nothing is proved")

const mostFindings = 50

type verifyConfig struct {
	Journal  string        `yaml:"journal" help:"file that 'fleet --journal' wrote"`
	Kafka    []string      `yaml:"kafka" help:"host:port of Kafka's brokers"`
	Mongo    string        `yaml:"mongo" help:"connection string of MongoDB"`
	Database string        `yaml:"database" help:"database in MongoDB"`
	Window   time.Duration `yaml:"window" help:"size of ingest's windows"`
	Timeout  time.Duration `yaml:"timeout" help:"how long to wait for readings under way and for windows to close"`
}

// Validate implements [settings.Validator].
func (c verifyConfig) Validate(report func(path, value, want string)) {
	if c.Journal == "" {
		report("journal", "", "a file that 'fleet --journal' wrote")
	}
	if len(c.Kafka) == 0 {
		report("kafka", "", "at least one host:port")
	}
	if c.Window < time.Second {
		report("window", "", "1s or more")
	}
}

func verifyCommand() *cobra.Command {
	config := verifyConfig{
		Kafka: []string{"127.0.0.1:9092"}, Mongo: "mongodb://127.0.0.1:27017", Database: "iot",
		Window: 5 * time.Minute, Timeout: time.Minute,
	}
	return configured(&cobra.Command{
		Use:   "verify",
		Short: "hold a fleet's record of what it sampled against Kafka, MongoDB and the windows",
		Long: `verify waits until everything that the journal has is in Kafka, in MongoDB and in closed
windows, or the timeout is over. It prints one line of counts and exits 0 if nothing is missing,
double or different; else it prints what is, and exits 1.`,
		Example: "  telltale-simulator verify --journal /tmp/fleet/journal --kafka 127.0.0.1:9092 --window 10s",
	}, &config, func(c *cobra.Command) error {
		file, err := os.Open(config.Journal)
		if err != nil {
			return err
		}
		defer file.Close()
		journal, err := verify.ReadJournal(config.Journal, file)
		if err != nil {
			return err
		}
		sources := verify.Sources{Brokers: config.Kafka, MongoURI: config.Mongo, Database: config.Database}
		return runVerify(c.Context(), c.OutOrStdout(), journal, sources, config.Window, config.Timeout)
	})
}

// runVerify compares until all is well or the timeout is over, and prints the
// last report.
func runVerify(ctx context.Context, out io.Writer, journal *verify.Journal, sources verify.Sources, window, timeout time.Duration) error {
	report, err := verify.Await(ctx, journal, sources, verify.Rules{Window: window}, timeout)
	if err != nil {
		return err
	}
	for i, finding := range report.Findings {
		if i == mostFindings {
			_, _ = fmt.Fprintf(out, "... and %d more\n", len(report.Findings)-i)
			break
		}
		_, _ = fmt.Fprintln(out, finding)
	}
	if _, err := fmt.Fprintln(out, report); err != nil {
		return err
	}
	switch {
	case report.Sampled == 0:
		return errNothing
	case !report.OK():
		return errVerify
	}
	return nil
}
