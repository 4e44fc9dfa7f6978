package mongo

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/telltale-iot/telltale/ingest/internal/missing"
	"github.com/telltale-iot/telltale/ingest/internal/window"
)

// maxWindow is the longest that a window can be, see window.Options.
const maxWindow = 24 * time.Hour

// ours tells this program's documents from those that the replaced system left
// in the same collections.
var ours = bson.E{Key: "_id", Value: bson.D{{Key: "$type", Value: "string"}}}

// named is a document of which nothing but the _id matters.
type named struct {
	ID string `bson:"_id"`
}

// FramesStored returns which of the named frames are stored.
func (c *Client) FramesStored(ctx context.Context, ids []string) (map[string]bool, error) {
	stored := make(map[string]bool, len(ids))
	for len(ids) > 0 {
		n := min(len(ids), maxIDs)
		found, err := find[named](ctx, c, frames, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids[:n]}}}},
			options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}))
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			stored[d.ID] = true
		}
		ids = ids[n:]
	}
	return stored, nil
}

// PlaceIntervals calls fn for each stored window of a sensor that was at the
// place and begins in [from, to), Unix milliseconds, in the order of their
// beginnings. fn's error ends the reading and is returned.
func (c *Client) PlaceIntervals(ctx context.Context, place string, from, to int64, fn func(sensor string, i window.Interval) error) error {
	filter := bson.D{{Key: "parts.place_id", Value: place}, {Key: "start_agg_tm", Value: between(from, to)}}
	find := options.Find().SetSort(bson.D{{Key: "start_agg_tm", Value: 1}}).SetAllowDiskUse(true).
		SetProjection(bson.D{{Key: "sensor_id", Value: 1}, {Key: "start_agg_tm", Value: 1}, {Key: "end_agg_tm", Value: 1}})
	return c.stream(ctx, sensors, filter, find, func(raw bson.Raw) error {
		var s window.State
		if err := bson.Unmarshal(raw, &s); err != nil {
			return fmt.Errorf("mongo: %s: %w", sensors, err)
		}
		return fn(s.Sensor, window.Interval{Start: s.Start, End: s.End})
	})
}

// SensorsBetween returns the stored windows of the sensors that were at the
// place, which begin in [from, to), Unix milliseconds.
func (c *Client) SensorsBetween(ctx context.Context, place string, from, to int64) ([]window.State, error) {
	return find[window.State](ctx, c, sensors, bson.D{{Key: "parts.place_id", Value: place}, {Key: "start_agg_tm", Value: between(from, to)}})
}

func between(from, to any) bson.D {
	return bson.D{{Key: "$gte", Value: from}, {Key: "$lt", Value: to}}
}

// FramesTTL returns the age at which the server deletes frames; 0 is never.
func (c *Client) FramesTTL(ctx context.Context) (time.Duration, error) {
	collection, err := c.collection(frames)
	if err != nil {
		return 0, err
	}
	specifications, err := collection.Indexes().ListSpecifications(ctx)
	var answer driver.CommandError
	if errors.As(err, &answer) && answer.Code == codeNamespaceNotFound {
		return 0, nil
	}
	if err != nil {
		return 0, c.failed("indexes of "+frames, err)
	}
	for _, s := range specifications {
		if isOnDate(s.KeysDocument) && s.ExpireAfterSeconds != nil {
			return time.Duration(*s.ExpireAfterSeconds) * time.Second, nil
		}
	}
	return 0, nil
}

// NextSensor returns the least id after the given one of a sensor that has a
// window, a frame or a declared loss; "" if there is none.
func (c *Client) NextSensor(ctx context.Context, after string) (string, error) {
	next := ""
	for _, in := range []struct{ collection, field string }{{sensors, "sensor_id"}, {frames, "id"}, {losses, "id"}} {
		filter := bson.D{{Key: in.field, Value: bson.D{{Key: "$gt", Value: after}}}, ours}
		// The first of the index's order: it is found without reading others.
		found, err := find[bson.Raw](ctx, c, in.collection, filter,
			options.Find().SetSort(bson.D{{Key: in.field, Value: 1}}).SetLimit(1).SetProjection(bson.D{{Key: in.field, Value: 1}}))
		if err != nil {
			return "", err
		}
		for _, raw := range found {
			if id, ok := raw.Lookup(in.field).StringValueOK(); ok && (next == "" || id < next) {
				next = id
			}
		}
	}
	return next, nil
}

// windowFields are what a missing.Window is made of.
var windowFields = bson.D{
	{Key: "start_agg_tm", Value: 1}, {Key: "end_agg_tm", Value: 1}, {Key: "first_tm", Value: 1}, {Key: "last_tm", Value: 1},
	{Key: "coverage", Value: 1}, {Key: "parts.place_id", Value: 1},
}

// Windows yields the stored windows of a sensor that overlap [from, to), Unix
// milliseconds, in the order of their beginnings.
func (c *Client) Windows(ctx context.Context, sensor string, from, to int64) iter.Seq2[missing.Window, error] {
	filter := bson.D{
		{Key: "sensor_id", Value: sensor},
		// The first two are the index's; no window is longer.
		{Key: "start_agg", Value: between(time.UnixMilli(from).Add(-maxWindow), time.UnixMilli(to))},
		{Key: "end_agg", Value: bson.D{{Key: "$gt", Value: time.UnixMilli(from)}}}, ours,
	}
	return each[missing.Window](ctx, c, sensors, filter, options.Find().SetSort(bson.D{{Key: "start_agg", Value: 1}}).SetProjection(windowFields))
}

// Frames yields the identities of the stored frames of a sensor with timestamps
// in [from, to), in the order of these.
func (c *Client) Frames(ctx context.Context, sensor string, from, to int64) iter.Seq2[missing.Frame, error] {
	filter := bson.D{{Key: "id", Value: sensor}, {Key: "timestamp", Value: between(from, to)}, ours}
	return each[missing.Frame](ctx, c, frames, filter, options.Find().SetSort(bson.D{{Key: "timestamp", Value: 1}}).
		SetProjection(bson.D{{Key: "timestamp", Value: 1}, {Key: "epoch", Value: 1}, {Key: "seq", Value: 1}}))
}

// WindowBefore returns the last stored window of a sensor that ends at or
// before t, and has frames of the epoch unless that is nil; nil if there is none.
func (c *Client) WindowBefore(ctx context.Context, sensor string, epoch *uint64, t int64) (*missing.Window, error) {
	filter := bson.D{
		{Key: "sensor_id", Value: sensor},
		{Key: "start_agg", Value: bson.D{{Key: "$lt", Value: time.UnixMilli(t)}}},
		{Key: "end_agg", Value: bson.D{{Key: "$lte", Value: time.UnixMilli(t)}}}, ours,
	}
	return c.neighbour(ctx, filter, epoch, -1)
}

// WindowAfter returns the first stored window of a sensor that begins at or
// after t, and has frames of the epoch unless that is nil; nil if there is none.
func (c *Client) WindowAfter(ctx context.Context, sensor string, epoch *uint64, t int64) (*missing.Window, error) {
	filter := bson.D{{Key: "sensor_id", Value: sensor}, {Key: "start_agg", Value: bson.D{{Key: "$gte", Value: time.UnixMilli(t)}}}, ours}
	return c.neighbour(ctx, filter, epoch, 1)
}

func (c *Client) neighbour(ctx context.Context, filter bson.D, epoch *uint64, order int) (*missing.Window, error) {
	if epoch != nil {
		filter = append(filter, bson.E{Key: "epochs.epoch", Value: int64(*epoch)})
	}
	found, err := find[missing.Window](ctx, c, sensors, filter,
		options.Find().SetSort(bson.D{{Key: "start_agg", Value: order}}).SetLimit(1).SetProjection(windowFields))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

// LossEpochs returns the epochs of a sensor in which losses are declared.
func (c *Client) LossEpochs(ctx context.Context, sensor string) ([]uint64, error) {
	var epochs []uint64
	for after := int64(-1); ; {
		// One at a time, by the index: an epoch may have any number of losses.
		found, err := find[lossDocument](ctx, c, losses, bson.D{{Key: "id", Value: sensor}, {Key: "epoch", Value: bson.D{{Key: "$gt", Value: after}}}},
			options.Find().SetSort(bson.D{{Key: "epoch", Value: 1}}).SetLimit(1))
		if err != nil || len(found) == 0 {
			return epochs, err
		}
		after = found[0].Epoch
		epochs = append(epochs, uint64(after))
	}
}

// AtPlace reports whether a sensor was at the place in a stored window that
// overlaps [from, to).
func (c *Client) AtPlace(ctx context.Context, sensor, place string, from, to int64) (bool, error) {
	found, err := find[named](ctx, c, sensors, bson.D{
		{Key: "sensor_id", Value: sensor},
		{Key: "start_agg", Value: between(time.UnixMilli(from).Add(-maxWindow), time.UnixMilli(to))},
		{Key: "end_agg", Value: bson.D{{Key: "$gt", Value: time.UnixMilli(from)}}},
		{Key: "parts.place_id", Value: place},
	}, options.Find().SetLimit(1).SetProjection(bson.D{{Key: "_id", Value: 1}}))
	return len(found) > 0, err
}

// WindowsTouching returns the stored windows that have frames of a sensor's
// epoch on or around any of the given spans; it may find too many.
func (c *Client) WindowsTouching(ctx context.Context, spans []window.Declared) ([]missing.Window, error) {
	var all []missing.Window
	for len(spans) > 0 {
		n := min(len(spans), maxAlternatives)
		alternatives := make(bson.A, 0, n)
		for _, s := range spans[:n] {
			alternatives = append(alternatives, bson.D{
				{Key: "sensor_id", Value: s.Sensor}, {Key: "epochs.epoch", Value: int64(s.Epoch)},
				{Key: "epochs.first", Value: bson.D{{Key: "$lte", Value: int64(s.Seqs.Last)}}},
				{Key: "epochs.last", Value: bson.D{{Key: "$gte", Value: int64(s.Seqs.First)}}},
			})
		}
		found, err := find[missing.Window](ctx, c, sensors, bson.D{{Key: "$or", Value: alternatives}}, options.Find().SetProjection(windowFields))
		if err != nil {
			return nil, err
		}
		all, spans = append(all, found...), spans[n:]
	}
	return all, nil
}

// each yields the documents found, decoded, until one cannot be had.
func each[T any](ctx context.Context, c *Client, collection string, filter bson.D, find *options.FindOptionsBuilder) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		stopped := errors.New("stopped")
		err := c.stream(ctx, collection, filter, find, func(raw bson.Raw) error {
			var v T
			if err := bson.Unmarshal(raw, &v); err != nil {
				return fmt.Errorf("mongo: %s: %s: %w", collection, idText(raw.Lookup("_id")), err)
			}
			if !yield(v, nil) {
				return stopped
			}
			return nil
		})
		if err != nil && !errors.Is(err, stopped) {
			var none T
			yield(none, err)
		}
	}
}

const codeNamespaceNotFound = 26 // MongoDB, error_codes.yml
