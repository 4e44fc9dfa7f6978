package mongo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// The collections.
const (
	frames  = "iot_frames"
	losses  = "iot_losses"
	sensors = "iot_aggregate_metrics_sensor"
	places  = "iot_aggregate_metrics_place"
)

// operationTimeout bounds one call; the callers try again.
const operationTimeout = 30 * time.Second

// Options says how to reach a database.
type Options struct {
	URI       string // mongodb:// or mongodb+srv://
	Database  string
	FramesTTL time.Duration         // age at which frames are deleted; 0 is never
	Monitor   *event.CommandMonitor // nil, or told of every command
	Logger    *slog.Logger          // nil discards
}

// Client stores frames, losses and windows. It is safe for concurrent use.
type Client struct {
	client   *driver.Client
	database *driver.Database
	ttl      time.Duration
	log      *slog.Logger
}

// New validates o and returns a Client. Nothing is waited for: the driver
// connects in the background, and operations fail as long as it has not.
//
// Writes are acknowledged by a majority and reads see only what a majority
// has, so that a window's revision never goes back when a primary is replaced.
func New(o Options) (*Client, error) {
	if o.URI == "" || o.Database == "" {
		return nil, errors.New("mongo: want a connection string and a database")
	}
	if o.FramesTTL < 0 {
		return nil, fmt.Errorf("mongo: frames are to be deleted after %s: want no negative time", o.FramesTTL)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	client, err := driver.Connect(options.Client().ApplyURI(o.URI).SetAppName("telltale-ingest").SetTimeout(operationTimeout).
		SetWriteConcern(writeconcern.Majority()).SetReadConcern(readconcern.Majority()).SetMonitor(o.Monitor))
	if err != nil {
		return nil, fmt.Errorf("mongo: %w", err)
	}
	return &Client{client: client, database: client.Database(o.Database), ttl: o.FramesTTL, log: o.Logger}, nil
}

// Close closes all connections.
func (c *Client) Close(ctx context.Context) error { return c.client.Disconnect(ctx) }

// Ping returns an error if the database cannot be reached at present.
func (c *Client) Ping(ctx context.Context) error {
	if err := c.client.Ping(ctx, nil); err != nil {
		return fmt.Errorf("mongo: %w", err)
	}
	return nil
}

// The server's answers that are told apart (MongoDB, error_codes.yml).
const (
	codeNamespaceNotFound     = 26
	codeIndexNotFound         = 27
	codeIndexOptionsConflict  = 85
	codeIndexKeySpecsConflict = 86
)

const ttlIndex = "telltale_ttl"

// EnsureIndexes makes those of the indexes that are absent, and sets the age at
// which frames are deleted. Its errors are passing ones; that a server makes no
// such index is said in the log and is none.
func (c *Client) EnsureIndexes(ctx context.Context) error {
	for _, collection := range []struct {
		name string
		keys []bson.D
	}{
		{frames, []bson.D{{{Key: "id", Value: 1}, {Key: "timestamp", Value: 1}}, {{Key: "place_id", Value: 1}, {Key: "timestamp", Value: 1}}}},
		{losses, []bson.D{{{Key: "id", Value: 1}, {Key: "epoch", Value: 1}, {Key: "last", Value: 1}}}},
		{sensors, []bson.D{
			{{Key: "sensor_id", Value: 1}, {Key: "start_agg", Value: 1}},
			{{Key: "parts.place_id", Value: 1}, {Key: "start_agg_tm", Value: 1}},
			{{Key: "sensor_id", Value: 1}, {Key: "epochs.epoch", Value: 1}, {Key: "epochs.last", Value: 1}},
		}},
		{places, []bson.D{{{Key: "place_id", Value: 1}, {Key: "start_agg", Value: 1}}}},
	} {
		// One command each: FerretDB v1 panics on several of which some are there.
		for _, keys := range collection.keys {
			_, err := c.database.Collection(collection.name).Indexes().CreateOne(ctx, driver.IndexModel{Keys: keys})
			if err != nil && !c.unsupported(err, collection.name) {
				return fmt.Errorf("mongo: indexes of %s: %w", collection.name, err)
			}
		}
	}
	return c.ensureTTL(ctx)
}

// ensureTTL makes, changes or removes the index by which the server deletes old
// frames.
func (c *Client) ensureTTL(ctx context.Context) error {
	indexes := c.database.Collection(frames).Indexes()
	var answer driver.CommandError
	if c.ttl == 0 {
		err := indexes.DropOne(ctx, ttlIndex)
		if errors.As(err, &answer) && (answer.Code == codeIndexNotFound || answer.Code == codeNamespaceNotFound) {
			return nil
		}
		if err != nil && !c.unsupported(err, frames) {
			return fmt.Errorf("mongo: age at which frames are deleted: %w", err)
		}
		return nil
	}
	seconds := int32(c.ttl.Seconds())
	_, err := indexes.CreateOne(ctx, driver.IndexModel{
		Keys: bson.D{{Key: "date", Value: 1}}, Options: options.Index().SetName(ttlIndex).SetExpireAfterSeconds(seconds),
	})
	if errors.As(err, &answer) && (answer.Code == codeIndexOptionsConflict || answer.Code == codeIndexKeySpecsConflict) {
		err = c.database.RunCommand(ctx, bson.D{
			{Key: "collMod", Value: frames},
			{Key: "index", Value: bson.D{{Key: "name", Value: ttlIndex}, {Key: "expireAfterSeconds", Value: seconds}}},
		}).Err()
	}
	if err != nil && !c.unsupported(err, frames) {
		return fmt.Errorf("mongo: age at which frames are deleted: %w", err)
	}
	return nil
}

// unsupported reports whether the server answered that it will not make an
// index, which is no reason to keep the frames waiting.
func (c *Client) unsupported(err error, collection string) bool {
	var answer driver.CommandError
	if !errors.As(err, &answer) || driver.IsNetworkError(err) || driver.IsTimeout(err) || passing(answer.Code) || len(answer.Labels) > 0 {
		return false
	}
	c.log.Warn("the database makes no such index; going on without", "collection", collection, "error", answer)
	return true
}

// passing reports whether a server that answers with this code may answer
// otherwise before long: it shuts down, it is not or no longer the primary, or
// the client has yet to be given its rights.
func passing(code int32) bool {
	switch code {
	case 6, 7, 13, 18, 89, 91, 112, 189, 262, 9001, 10058, 10107, 11600, 11602, 13435, 13436:
		return true
	}
	return false
}
