package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/telltale-iot/telltale/agent"
	"github.com/telltale-iot/telltale/internal/settings"
)

func bufferCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "buffer",
		Short: "look into the buffer, and change nothing in it",
		Long: `Looks into the buffer of an agent, whether that runs or not, or into a copy of it, as
from the card of a device that does not start any more. The files are opened for reading
only, no lock is taken, and nothing is written.

Exit code 2 says that there is no buffer in the folder, that it cannot be read, or that a
newer version of this program made it.`,
		Args: cobra.NoArgs,
	}
	c.AddCommand(bufferStatCommand(), bufferDumpCommand(), bufferVerifyCommand())
	return c
}

func bufferStatCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "stat",
		Short: "say how much is in the buffer, of which sensors and from when to when",
		Long: `Prints how many readings and declared losses the buffer has that are not freed yet,
from when to when, what of it is damaged, and a line for each sensor. NEXT is the number
of the sensor's next reading, MARK the number that none has reached for certain. Times
are in UTC; with --format json they are Unix milliseconds.`,
		Example: `  telltale-agent buffer stat
  telltale-agent buffer stat --dir /mnt/card/var/lib/telltale-agent/buffer --format json`,
		Args: cobra.NoArgs,
	}
	inspect := inspecting(c)
	write := formatted(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return inspect(func(b *agent.BufferInspection) error {
			contents, err := b.Contents(c.Context())
			if err != nil {
				return err
			}
			return asOutput(write(contents))
		})
	}
	return c
}

func bufferDumpCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dump",
		Short: "print every reading and declared loss in the buffer",
		Long: `Prints each reading and each declared loss that is not freed, oldest first, as a line
of the JSON that the agent sends.

Readings that were taken before the machine knew the time wait in the buffer, and have no
timestamp yet. They are left out, and standard error says how many. With --waiting each
of them is a line {"waiting":{"boot":B,"boottime":T},"frame":{...}}: taken T milliseconds
after boot B of the machine, with the timestamp 0 in the frame.`,
		Example: `  telltale-agent buffer dump > frames.json
  telltale-agent buffer dump --dir ./copy --all
  telltale-agent buffer dump --records`,
		Args: cobra.NoArgs,
	}
	inspect := inspecting(c)
	var o agent.DumpOptions
	c.Flags().BoolVar(&o.All, "all", false, "also what is freed and still on the medium")
	c.Flags().BoolVar(&o.Waiting, "waiting", false, "also readings whose time is not known yet")
	c.Flags().BoolVar(&o.Records, "records", false, "for developers: every record on the medium with segment, position, type, length and content")
	c.MarkFlagsMutuallyExclusive("records", "all")
	c.MarkFlagsMutuallyExclusive("records", "waiting")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return inspect(func(b *agent.BufferInspection) error {
			left, err := b.Dump(c.Context(), outputOf(c), o)
			if err != nil || left == 0 {
				return err
			}
			_, err = fmt.Fprintf(c.ErrOrStderr(), "%d readings left out: they were taken before the machine knew the time, and wait until it does; see --waiting\n", left)
			return asOutput(err)
		})
	}
	return c
}

func bufferVerifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify",
		Short: "check every byte of the buffer, and say what damage means for readings",
		Long: `Checks every record, and that no sensor's numbers have a gap that is not declared.
Prints a line for each finding, with the segment's file, the position in the log, and what
it means for readings: "damage" is what does not verify, "lost" are readings that the
agent will declare lost because of it, and a "note" is no fault.

The exit code is 0 if the buffer is sound, 1 if there is damage, and 2 if there is no
buffer, it cannot be read, or a newer version of this program made it.`,
		Example: `  telltale-agent buffer verify
  telltale-agent buffer verify --config /etc/telltale/agent.yaml`,
		Args: cobra.NoArgs,
	}
	inspect := inspecting(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return inspect(func(b *agent.BufferInspection) error {
			findings, err := b.Verify(c.Context(), outputOf(c))
			if err != nil || findings == 0 {
				return err
			}
			return damagedError(findings)
		})
	}
	return c
}

// damagedError says how much is wrong with the buffer.
type damagedError uint64

func (n damagedError) Error() string {
	if n == 1 {
		return "the buffer is damaged: 1 finding"
	}
	return fmt.Sprintf("the buffer is damaged: %d findings", uint64(n))
}

// outputError is one of writing the result, not of reading the buffer.
type outputError struct{ error }

func (e outputError) Unwrap() error { return e.error }

func asOutput(err error) error {
	if err == nil {
		return nil
	}
	return outputError{err}
}

// outputOf is the command's standard output, of which errors are outputErrors.
func outputOf(c *cobra.Command) io.Writer { return outputWriter{c.OutOrStdout()} }

type outputWriter struct{ io.Writer }

func (w outputWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	return n, asOutput(err)
}

// inspecting gives c the flags that name a buffer, and returns what has fn look into it.
func inspecting(c *cobra.Command) (inspect func(fn func(*agent.BufferInspection) error) error) {
	dir := c.Flags().String("dir", "", "folder of the buffer (default "+agent.DefaultConfig().Buffer.Dir+")")
	file := c.Flags().StringP("config", "c", "", "YAML file of the agent, whose buffer.dir is the folder")
	c.MarkFlagsMutuallyExclusive("dir", "config")
	return func(fn func(*agent.BufferInspection) error) error {
		place := settings.Problem{Source: "--dir", Path: "dir", Value: *dir}
		if *dir == "" {
			config := agent.DefaultConfig()
			place.Source, place.Path = "", "buffer.dir"
			if *file != "" {
				place.Source = *file
				if err := settings.New(&config).Load(*file, os.LookupEnv); err != nil {
					return err
				}
			}
			place.Value = config.Buffer.Dir
		}
		b, err := agent.InspectBuffer(place.Value)
		if err == nil {
			err = fn(b)
		}
		return unreadable(place, err)
	}
}

// unreadable makes a problem of an error of reading the buffer.
func unreadable(place settings.Problem, err error) error {
	var found damagedError
	var out outputError
	switch {
	case err == nil, errors.As(err, &found), errors.As(err, &out), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, agent.ErrNewerFormat):
		place.Want = "a buffer that this version knows: " + err.Error()
	case errors.Is(err, agent.ErrNoBuffer), errors.Is(err, fs.ErrNotExist):
		place.Want = "a folder with a buffer"
	default:
		place.Want = "a buffer that can be read: " + err.Error()
	}
	return settings.Problems{place}
}
