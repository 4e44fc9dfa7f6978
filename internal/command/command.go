package command

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/telltale-iot/telltale/internal/settings"
)

// The exit codes.
const (
	ok      = 0
	failure = 1
	usage   = 2
)

// Execute runs the command that the arguments name and returns the program's
// exit code. An error is printed to stderr once, after the program's name;
// [settings.Problems] are printed one a line without it, so that an editor
// finds the place. That ctx ended is no error. The root gets --version if it
// has none; cobra adds help and shell completion.
func Execute(ctx context.Context, root *cobra.Command, stderr io.Writer) int {
	root.SilenceErrors = true
	root.SilenceUsage = true
	if root.Version == "" {
		root.Version = Version()
	}
	root.SetErr(stderr)
	markRuns(root)

	cmd, err := root.ExecuteContextC(ctx)
	if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return ok
	}
	var problems settings.Problems
	if errors.As(err, &problems) {
		// There is nowhere to report that stderr cannot be written.
		_, _ = fmt.Fprintln(stderr, problems)
		return usage
	}
	_, _ = fmt.Fprintf(stderr, "%s: %v\n", root.Name(), err)
	var run runError
	if errors.As(err, &run) {
		return failure
	}
	_, _ = fmt.Fprintf(stderr, "Try '%s --help'.\n", cmd.CommandPath())
	return usage
}

// runError is an error of a command that was understood and run; every other
// error is cobra's about the arguments.
type runError struct{ error }

func (e runError) Unwrap() error { return e.error }

func markRuns(c *cobra.Command) {
	for _, run := range []*func(*cobra.Command, []string) error{
		&c.PersistentPreRunE, &c.PreRunE, &c.RunE, &c.PostRunE, &c.PersistentPostRunE,
	} {
		if original := *run; original != nil {
			*run = func(cmd *cobra.Command, args []string) error {
				if err := original(cmd, args); err != nil {
					return runError{err}
				}
				return nil
			}
		}
	}
	for _, sub := range c.Commands() {
		markRuns(sub)
	}
}
