package mongo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
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
	FramesTTL time.Duration         // age at which frames are deleted, from 1s to 2^31-1 s; 0 is never
	Monitor   *event.CommandMonitor // nil, or told of every command

	// Lost, if not nil, is called for each declaration of lost readings that
	// was not there before, with how many readings it is of. It may be called
	// from several goroutines at once. A command that fails halfway may leave
	// declarations untold.
	Lost func(reason string, readings uint64)

	// Failed, if not nil, is called with a stable label for each operation that
	// failed. It may be called from several goroutines at once.
	Failed func(reason string)

	// Logger is told once of each refusal, whoever of the client's users meets
	// it: see package refusal. Nil discards.
	Logger *slog.Logger
}

// Client stores frames, losses and windows. It is safe for concurrent use.
type Client struct {
	options  Options
	log      *slog.Logger
	troubles *troubles

	mu     sync.Mutex
	client *driver.Client // nil while the hosts of a mongodb+srv string are not known
}

// New validates o and returns a Client. Nothing is waited for: the driver
// connects in the background, and operations fail as long as it has not. The
// hosts of a mongodb+srv string are asked for once here, and by each operation
// until DNS tells them.
//
// Whatever the connection string says, writes are acknowledged by a majority,
// and reads are the primary's and see only what a majority has, so that a
// window's revision never goes back when a primary is replaced.
func New(o Options) (*Client, error) {
	if o.URI == "" || o.Database == "" {
		return nil, errors.New("mongo: want a connection string and a database")
	}
	if o.FramesTTL != 0 && (o.FramesTTL < time.Second || o.FramesTTL > math.MaxInt32*time.Second) {
		return nil, fmt.Errorf("mongo: frames are to be deleted after %s: want 0, or 1s to %d s", o.FramesTTL, math.MaxInt32)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Failed == nil {
		o.Failed = func(string) {}
	}
	c := &Client{options: o, log: o.Logger, troubles: newTroubles(&o)}
	if _, err := c.database(); err != nil && !isAway(err) {
		return nil, err
	}
	return c, nil
}

// database returns what the driver needs to do an operation. It may wait for
// DNS. It returns an error while a refused connection is not to be tried again.
func (c *Client) database() (*driver.Database, error) {
	if err := c.troubles.admit(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == nil {
		o, err := clientOptions(&c.options)
		if err != nil {
			return nil, err
		}
		c.troubles.login = loginOf(o)
		o.SetPoolMonitor(&event.PoolMonitor{Event: c.troubles.poolEvent})
		o.SetServerMonitor(&event.ServerMonitor{ServerHeartbeatFailed: c.troubles.heartbeatFailed, ServerHeartbeatSucceeded: c.troubles.heartbeatSucceeded})
		if c.client, err = driver.Connect(o); err != nil {
			return nil, fmt.Errorf("mongo: %w", err)
		}
	}
	return c.client.Database(c.options.Database), nil
}

func (c *Client) collection(name string) (*driver.Collection, error) {
	database, err := c.database()
	if err != nil {
		return nil, err
	}
	return database.Collection(name), nil
}

// Close closes all connections.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == nil {
		return nil
	}
	return c.client.Disconnect(ctx)
}

// Ping returns an error if the database cannot be reached at present.
func (c *Client) Ping(ctx context.Context) error {
	database, err := c.database()
	if err != nil {
		return err
	}
	if err := database.Client().Ping(ctx, nil); err != nil {
		return c.failed("", err)
	}
	c.served("")
	return nil
}

// Ready returns an error if the database cannot be reached at present, or has
// within the last minute refused to read or write one of the collections, and not
// done it since.
func (c *Client) Ready(ctx context.Context) error {
	if err := c.Ping(ctx); err != nil {
		return err
	}
	return c.troubles.ready()
}
