package ingest

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/telltale-iot/telltale/ingest/internal/config"
	"github.com/telltale-iot/telltale/ingest/internal/migrate"
	"github.com/telltale-iot/telltale/ingest/internal/missing"
	"github.com/telltale-iot/telltale/ingest/internal/mongo"
	"github.com/telltale-iot/telltale/internal/settings"
)

// Source is the database of the replaced system. What is empty is as of the
// target.
type Source struct {
	URI      settings.Secret `yaml:"uri" secret:"url" help:"MongoDB connection string of the replaced system (empty: mongo.uri)"`
	Database string          `yaml:"database" help:"name of its database (empty: mongo.database)"`
}

// Validate implements [settings.Validator].
func (s Source) Validate(report func(path, value, want string)) {
	s.mongo(config.Default().Mongo).Validate(report)
}

// mongo returns the source, completed from the target.
func (s Source) mongo(target config.Mongo) config.Mongo {
	source := config.Mongo{URI: s.URI, Database: s.Database}
	if s.URI.IsZero() {
		source.URI = target.URI
	}
	if s.Database == "" {
		source.Database = target.Database
	}
	return source
}

// MigrateOptions configures [Migrate].
type MigrateOptions struct {
	Config   Config // as ingest's: the target is its Mongo
	Source   Source
	Apply    bool // write; else only say what would be written
	Examples int  // of refused documents, for each reason
	Logger   *slog.Logger
}

// Migration is what became of the replaced system's documents.
type Migration = migrate.Report

// patience is how long a failing operation of a command is tried again.
const patience = 2 * time.Minute

// Migrate reads the frames that the replaced system left and stores them, and
// their windows, as ingest would have. With an error it returns what it did
// until then; a second run goes on.
func Migrate(ctx context.Context, o MigrateOptions) (*Migration, error) {
	there, err := framesTTL(ctx, o.Config, o.Logger)
	if err != nil {
		return nil, err
	}
	// With the age that the server has: to change it is not for a command that
	// may have been given another configuration than ingest.
	target, err := openMongo(o.Config.Mongo, there, o.Logger)
	if err != nil {
		return nil, err
	}
	defer func() { _ = target.Close(context.WithoutCancel(ctx)) }()
	from := o.Source.mongo(o.Config.Mongo)
	source, err := openMongo(from, 0, o.Logger)
	if err != nil {
		return nil, err
	}
	defer func() { _ = source.Close(context.WithoutCancel(ctx)) }()
	if o.Apply {
		// Without them each window would be looked for in all others.
		if err := target.EnsureIndexes(ctx); err != nil {
			return nil, err
		}
	}
	return migrate.Run(ctx, migrate.Options{
		Source: source, Target: target, Apply: o.Apply, Examples: o.Examples, Patience: patience, Logger: o.Logger,
		Window: o.Config.Aggregate.Window, FramesTTL: cmp.Or(there, o.Config.Mongo.FramesTTL), MaxFuture: o.Config.Bridge.MaxFuture,
	})
}

func openMongo(c config.Mongo, ttl time.Duration, logger *slog.Logger) (*mongo.Client, error) {
	return mongo.New(mongo.Options{URI: c.URI.Reveal(), Database: c.Database, FramesTTL: ttl, Logger: logger})
}

// framesTTL returns the age at which the server deletes frames; 0 is never, or
// not yet because ingest has never run.
func framesTTL(ctx context.Context, c Config, logger *slog.Logger) (time.Duration, error) {
	client, err := openMongo(c.Mongo, 0, logger)
	if err != nil {
		return 0, err
	}
	defer func() { _ = client.Close(context.WithoutCancel(ctx)) }()
	return client.FramesTTL(ctx)
}

// MissingOptions configures [FindMissing].
type MissingOptions struct {
	Config   Config // as ingest's
	From, To time.Time
	Sensors  []string // nil is all
	Place    string   // "" is any
	Frames   bool     // hold the windows against the stored frames, too
	Logger   *slog.Logger
}

// Readings is what became of the readings of one sensor.
type Readings = missing.Report

// slack is how far the parts of ingest may be behind each other, and are so
// soon enough that nobody need look for what is on its way.
const slack = time.Minute

// FindMissing calls fn with what became of the readings of each sensor, by id.
func FindMissing(ctx context.Context, o MissingOptions, fn func(*Readings) error) error {
	c := o.Config
	store, err := openMongo(c.Mongo, 0, o.Logger)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close(context.WithoutCancel(ctx)) }()
	ttl, err := store.FramesTTL(ctx)
	if err != nil {
		return err
	}
	return missing.Run(ctx, missing.Options{
		Store: store, From: o.From, To: o.To, Sensors: o.Sensors, Place: o.Place, Frames: o.Frames,
		Window: c.Aggregate.Window, Settle: c.Aggregate.Reorder + c.Aggregate.Idle + slack, FramesTTL: cmp.Or(ttl, c.Mongo.FramesTTL),
	}, fn)
}
