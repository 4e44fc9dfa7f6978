package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/telltale-iot/telltale/simulator/scenario"
)

// These say that what has been printed is the error.
var (
	errScenario = errors.New("scenario: not every reading is as expected")
	errCheck    = errors.New("scenario: not all is well with the files")
)

func scenarioCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "scenario",
		Short: "the agent's sampling on chips that fail by script, each reading held against the truth",
		Long: `A scenario is a YAML file: emulated chips, what surrounds them, what goes wrong and when, the
agent's sensors, and how many of their readings must be ok or have which reason. Some come with
the program; a file of your own is named by its path, which ends in .yaml or .yml.`,
	}
	c.AddCommand(listCommand(), showCommand(), checkCommand(), runCommand())
	return c
}

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "the scenarios that come with the program",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, name := range scenario.Shipped() {
				s, err := readScenario(name)
				if err != nil {
					return err
				}
				_, _ = fmt.Fprintf(t, "%s\t%s\n", name, s.Description) // Flush returns the error
			}
			return t.Flush()
		},
	}
}

func showCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "the file of a scenario that comes with the program",
		Example: "  telltale-simulator scenario show loose-wire > mine.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			data, err := shipped(args[0])
			if err != nil {
				return err
			}
			_, err = io.Copy(c.OutOrStdout(), bytes.NewReader(data))
			return err
		},
	}
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check SCENARIO...",
		Short: "what is wrong with scenarios, without running them",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			wrong := false
			for _, name := range args {
				s, err := readScenario(name)
				if err == nil {
					_, err = s.World(time.Now())
				}
				if err == nil {
					continue
				}
				wrong = true
				if _, err := fmt.Fprintln(c.OutOrStdout(), err); err != nil {
					return err
				}
			}
			if wrong {
				return errCheck
			}
			return nil
		},
	}
}

func runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run SCENARIO",
		Short: "run a scenario by the clock",
		Long: `run samples as an agent does, with its own code, on the scenario's chips, for as long as the
scenario says, and prints what came of it. The exit code is 1 if a reading is not as the scenario
expects. Ctrl-C ends it early; what came until then is printed.

Virtual time, in which a day takes seconds, is for tests: make scenario FILE=mine.yaml`,
		Example: "  telltale-simulator scenario run first-minute",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := readScenario(args[0])
			if err != nil {
				return err
			}
			return runScenario(c.Context(), c.OutOrStdout(), s)
		},
	}
}

// runScenario runs s and prints what came of it.
func runScenario(ctx context.Context, out io.Writer, s *scenario.Scenario) error {
	if _, err := fmt.Fprintf(out, "%s: %s\nIt takes %v.\n", s.Name, s.Description, s.Duration); err != nil {
		return err
	}
	report, err := s.Run(ctx)
	if report == nil {
		return err
	}
	if err := report.WriteText(out); err != nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	differences := s.Differences(report)
	for _, line := range differences {
		if _, err := fmt.Fprintln(out, "differs: "+line); err != nil {
			return err
		}
	}
	if differences != nil {
		return errScenario
	}
	return nil
}

// readScenario reads a scenario by its file or, without a suffix, its name.
func readScenario(name string) (*scenario.Scenario, error) {
	if !strings.HasSuffix(name, ".yaml") && !strings.HasSuffix(name, ".yml") {
		data, err := shipped(name)
		if err != nil {
			return nil, err
		}
		return scenario.Parse(name+".yaml", data)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return scenario.Parse(name, data)
}

func shipped(name string) ([]byte, error) {
	data, err := scenario.Read(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil, fmt.Errorf("scenario %s: want one of %s, or a file that ends in .yaml", name, strings.Join(scenario.Shipped(), ", "))
	}
	return data, err
}
