package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/telltale-iot/telltale/ingest"
	"github.com/telltale-iot/telltale/internal/command"
	"github.com/telltale-iot/telltale/internal/settings"
)

// offline gives c the flag --config, and of ingest's settings those that a
// command needs which works on the database alone. What it returns reads them.
func offline(c *cobra.Command, names ...string) func() (*ingest.Config, *slog.Logger, error) {
	config := ingest.DefaultConfig()
	s := settings.New(&config)
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	s.Flags(all)
	all.VisitAll(func(f *pflag.Flag) {
		if slices.Contains(names, f.Name) {
			c.Flags().AddFlag(f)
		}
	})
	file := c.Flags().String("config", "", "YAML file of ingest's settings")
	return func() (*ingest.Config, *slog.Logger, error) {
		if err := s.Load(*file, os.LookupEnv); err != nil {
			return nil, nil, err
		}
		logger, err := command.Logger(config.Log.Level, config.Log.Format, c.ErrOrStderr())
		return &config, logger, err
	}
}

func migrateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "migrate",
		Short: "take over the frames that the replaced system left in MongoDB",
		Long: `Reads the documents of iot_frames that the replaced system's connectors wrote, told by
their ObjectId, and stores them as ingest would have: as frames, and in windows of
sensors and of places, which are computed anew. Its aggregates are not taken over.

Without --apply nothing is written, and the result says what would be. It may be
interrupted and run again, and run while ingest does: what is there already stays. Give
it ingest's own configuration, whose database is the target. The source is the same
database unless --source-... says otherwise.

Nothing in the source is changed, and no topic of Kafka is written.

The exit code is 0, or 1 if a document was refused or something failed, and 2 if the
arguments or the configuration are wrong.`,
		Example: `  telltale-ingest migrate --config /etc/telltale/ingest.yaml
  telltale-ingest migrate --config /etc/telltale/ingest.yaml --apply
  telltale-ingest migrate --source-uri-file /run/secrets/old-mongodb --source-database iot --mongo-database telltale`,
		Args: cobra.NoArgs,
	}
	load := offline(c, "mongo-uri", "mongo-uri-file", "mongo-database", "mongo-frames-ttl", "aggregate-window", "bridge-max-future", "log-level", "log-format")
	var from struct {
		Source ingest.Source `yaml:"source"`
	}
	source := settings.New(&from)
	source.Flags(c.Flags())
	apply := c.Flags().Bool("apply", false, "write; else only say what would be written")
	examples := c.Flags().Uint("examples", 3, "refused documents to show, for each reason")
	c.RunE = func(c *cobra.Command, _ []string) error {
		config, logger, err := load()
		if err != nil {
			return err
		}
		if err := source.Load("", os.LookupEnv); err != nil {
			return err
		}
		m, err := ingest.Migrate(c.Context(), ingest.MigrateOptions{
			Config: *config, Source: from.Source, Apply: *apply, Examples: int(*examples), Logger: logger,
		})
		if m != nil {
			if err := m.Write(c.OutOrStdout()); err != nil {
				return err
			}
		}
		switch {
		case err != nil && c.Context().Err() != nil:
			return errors.New("interrupted; run it again to go on")
		case err != nil:
			return fmt.Errorf("%w; run it again to go on", err)
		case m.RefusedDocuments() > 0:
			return fmt.Errorf("%d of %d documents refused", m.RefusedDocuments(), m.Documents)
		case !*apply:
			_, err := fmt.Fprintln(c.ErrOrStderr(), "nothing was written; --apply does it")
			return err
		}
		return nil
	}
	return c
}

func missingCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "missing",
		Short: "say which readings are missing, and why",
		Long: `Says for each sensor which readings MongoDB has between two times, by epoch and range of
seq, and what became of the others: lost, with the reason that was declared, or missing.
A gap between two windows is found like one in a window, and the interval's neighbours
are looked at, so that nothing hides at its ends. The interval is widened to whole
windows.

The windows are held against the frames in iot_frames, too: no_window is stored and in no
window, no_frame is in a window and not stored; there should be none of either. That reads
every frame of the interval, and --windows-only leaves it out. What is so young that it
may be on its way is not_yet.

The exit code is 0 if every reading is accounted for, 1 if one is missing without a
reason or something failed, and 2 if the arguments or the configuration are wrong.`,
		Example: `  telltale-ingest missing --config /etc/telltale/ingest.yaml --last 24h
  telltale-ingest missing --sensor greenhouse-7 --from 2025-11-23T00:00:00Z --to 2025-11-24T00:00:00Z
  telltale-ingest missing --place house-2 --last 168h --format json`,
		Args: cobra.NoArgs,
	}
	load := offline(c, "mongo-uri", "mongo-uri-file", "mongo-database", "mongo-frames-ttl", "aggregate-window", "aggregate-reorder", "aggregate-idle", "log-level", "log-format")
	flags := c.Flags()
	from := flags.String("from", "", "begin of the interval, RFC 3339")
	to := flags.String("to", "", "its end, RFC 3339 (default now)")
	last := flags.Duration("last", 0, "instead of --from: so long before the end, such as 24h")
	sensors := flags.StringArray("sensor", nil, "id of a sensor, may be given again (default all)")
	place := flags.String("place", "", "only sensors that were at this place_id")
	windowsOnly := flags.Bool("windows-only", false, "do not hold the windows against the frames")
	format := flags.String("format", "text", "form of the result: text, json (an object a line for each sensor)")
	c.MarkFlagsMutuallyExclusive("from", "last")
	c.MarkFlagsOneRequired("from", "last")
	c.RunE = func(c *cobra.Command, _ []string) error {
		o := ingest.MissingOptions{Sensors: *sensors, Place: *place, Frames: !*windowsOnly}
		var err error
		if o.From, o.To, err = interval(*from, *to, *last, time.Now()); err != nil {
			return err
		}
		write := (*ingest.Readings).WriteText
		switch *format {
		case "text":
		case "json":
			write = (*ingest.Readings).WriteJSON
		default:
			return settings.Problems{{Source: "--format", Path: "format", Value: *format, Want: "text or json"}}
		}
		config, logger, err := load()
		if err != nil {
			return err
		}
		o.Config, o.Logger = *config, logger
		var unaccounted uint64
		var of int
		if err := ingest.FindMissing(c.Context(), o, func(r *ingest.Readings) error {
			if n := r.Unaccounted(); n > 0 {
				unaccounted, of = unaccounted+n, of+1
			}
			return write(r, c.OutOrStdout())
		}); err != nil {
			return err
		}
		if unaccounted > 0 {
			return fmt.Errorf("%d readings of %d sensors are not accounted for", unaccounted, of)
		}
		return nil
	}
	return c
}

// interval returns the times that the flags name.
func interval(from, to string, last time.Duration, now time.Time) (begin, end time.Time, err error) {
	var problems settings.Problems
	parse := func(flag, text string) time.Time {
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			problems = append(problems, settings.Problem{Source: "--" + flag, Path: flag, Value: text, Want: "a time such as 2025-11-23T04:00:00Z"})
		}
		return t
	}
	if from != "" {
		begin = parse("from", from)
	}
	end = now
	if to != "" {
		end = parse("to", to)
	}
	if from == "" {
		begin = end.Add(-last)
	}
	if problems == nil && !begin.Before(end) {
		problem := settings.Problem{Source: "--from", Path: "from", Value: from, Want: "a time before " + end.UTC().Format(time.RFC3339)}
		if from == "" {
			problem = settings.Problem{Source: "--last", Path: "last", Value: last.String(), Want: "a duration of more than 0s"}
		}
		problems = append(problems, problem)
	}
	if problems != nil {
		return begin, end, problems
	}
	return begin, end, nil
}
