package mongo

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// How much one query asks for.
const (
	maxAlternatives = 100
	maxIDs          = 1000
)

// PutSensors stores each window of a sensor if the database has the revision
// before it, or none if it is the first. The answers are in the order of the
// documents: nil, window.ErrConflict, or why this document can never be stored.
// The error is of the whole, and passing: some may be stored.
func (c *Client) PutSensors(ctx context.Context, documents []*window.Document) ([]error, error) {
	return c.putWindows(ctx, sensors, documents)
}

// PutPlaces is like PutSensors, for places.
func (c *Client) PutPlaces(ctx context.Context, documents []*window.Document) ([]error, error) {
	return c.putWindows(ctx, places, documents)
}

func (c *Client) putWindows(ctx context.Context, collection string, documents []*window.Document) ([]error, error) {
	answers := make([]error, len(documents))
	order := make([]int, len(documents))
	for i := range order {
		order[i] = i
	}
	// The first revisions go together, and so do the others.
	slices.SortStableFunc(order, func(i, j int) int {
		return cmp.Compare(min(documents[i].Revision, 2), min(documents[j].Revision, 2))
	})
	writes, index := make([]write, 0, len(documents)), make([]int, 0, len(documents))
	for _, i := range order {
		d := documents[i]
		fields := d.Stored()
		document := make(bson.D, 0, len(fields)+1)
		document = append(document, bson.E{Key: "_id", Value: d.ID})
		for _, f := range fields {
			document = append(document, bson.E{Key: f.Name, Value: f.Value})
		}
		below := d.Revision
		if below == 1 {
			below = 0 // there is no earlier one to replace
		}
		w, err := newWrite(d.ID, below, document)
		if err != nil {
			answers[i] = err
			continue
		}
		writes, index = append(writes, w), append(index, i)
	}
	return answers, c.put(ctx, collection, writes, index, answers, window.ErrConflict)
}

// Sensors returns those of the named windows of sensors that are stored.
func (c *Client) Sensors(ctx context.Context, ids []string) ([]window.State, error) {
	return byID[window.State](ctx, c, sensors, ids)
}

// Places returns those of the named windows of places that are stored.
func (c *Client) Places(ctx context.Context, ids []string) ([]window.PlaceState, error) {
	return byID[window.PlaceState](ctx, c, places, ids)
}

// SensorsAt returns the stored windows of the sensors that were at the place in
// the interval.
func (c *Client) SensorsAt(ctx context.Context, place string, i window.Interval) ([]window.State, error) {
	return find[window.State](ctx, c, sensors, bson.D{
		{Key: "parts.place_id", Value: place}, {Key: "start_agg_tm", Value: i.Start}, {Key: "end_agg_tm", Value: i.End},
	})
}

var errThere = errors.New("mongo: declared before")

// PutLosses keeps declarations. One of a range that is there already is not
// changed: an agent declares a range once, with one reason.
func (c *Client) PutLosses(ctx context.Context, declared []window.Declared) error {
	writes, index := make([]write, 0, len(declared)), make([]int, 0, len(declared))
	answers := make([]error, len(declared))
	for i, d := range declared {
		id := lossID(d)
		w, err := newWrite(id, 0, bson.D{
			{Key: "_id", Value: id}, {Key: "id", Value: d.Sensor}, {Key: "epoch", Value: int64(d.Epoch)},
			{Key: "first", Value: int64(d.Seqs.First)}, {Key: "last", Value: int64(d.Seqs.Last)}, {Key: "reason", Value: d.Reason},
		})
		if err != nil {
			return err
		}
		writes, index = append(writes, w), append(index, i)
	}
	if err := c.put(ctx, losses, writes, index, answers, errThere); err != nil {
		return err
	}
	for i, answer := range answers {
		switch {
		case errors.Is(answer, errThere):
			answers[i] = nil
		case answer == nil && c.options.Lost != nil:
			c.options.Lost(declared[i].Reason, declared[i].Seqs.Len())
		}
	}
	// All declarations have one small form: what refuses one is a mistake in
	// the database, to be tried again until it is mended, not a poison document.
	return errors.Join(answers...)
}

// lossID returns a declaration's _id. The reason is part of it: what explains a
// gap must not depend on which of two declarations of one range came first.
func lossID(d window.Declared) string {
	return telemetry.FrameID(&telemetry.Frame{ID: d.Sensor, Epoch: d.Epoch, Lost: d.Loss}) + "/" + d.Reason
}

// lossDocument is a document of iot_losses.
type lossDocument struct {
	DocumentID string `bson:"_id"`
	ID         string `bson:"id"`
	Epoch      int64  `bson:"epoch"`
	First      int64  `bson:"first"`
	Last       int64  `bson:"last"`
	Reason     string `bson:"reason"`
}

// Losses returns the declarations that touch the span of any of the given
// ones, of the same sensor and epoch.
func (c *Client) Losses(ctx context.Context, spans []window.Declared) ([]window.Declared, error) {
	alternatives := make(bson.A, 0, len(spans))
	for _, s := range spans {
		alternatives = append(alternatives, bson.D{
			{Key: "id", Value: s.Sensor}, {Key: "epoch", Value: int64(s.Epoch)},
			{Key: "first", Value: bson.D{{Key: "$lte", Value: int64(s.Seqs.Last)}}},
			{Key: "last", Value: bson.D{{Key: "$gte", Value: int64(s.Seqs.First)}}},
		})
	}
	found, err := anyOf[lossDocument](ctx, c, losses, alternatives)
	if err != nil {
		return nil, err
	}
	declared := make([]window.Declared, 0, len(found))
	seen := make(map[string]bool, len(found))
	for _, f := range found {
		if seen[f.DocumentID] {
			continue // found by two queries
		}
		seen[f.DocumentID] = true
		d := window.Declared{Sensor: f.ID, Epoch: uint64(f.Epoch)}
		d.Seqs.First, d.Seqs.Last, d.Reason = uint64(f.First), uint64(f.Last), f.Reason
		declared = append(declared, d)
	}
	return declared, nil
}

// SensorsSpanning returns the stored windows that have frames of the sensor's
// epoch both before the end and after the start of any of the losses.
func (c *Client) SensorsSpanning(ctx context.Context, declared []window.Declared) ([]window.State, error) {
	alternatives := make(bson.A, 0, len(declared))
	for _, d := range declared {
		// Not $elemMatch, which FerretDB v1 has not: where a window has several
		// epochs this finds too many.
		alternatives = append(alternatives, bson.D{
			{Key: "sensor_id", Value: d.Sensor},
			{Key: "epochs.epoch", Value: int64(d.Epoch)},
			{Key: "epochs.first", Value: bson.D{{Key: "$lt", Value: int64(d.Seqs.Last)}}},
			{Key: "epochs.last", Value: bson.D{{Key: "$gt", Value: int64(d.Seqs.First)}}},
		})
	}
	found, err := anyOf[window.State](ctx, c, sensors, alternatives)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(s window.State) bool {
		return !slices.ContainsFunc(declared, func(d window.Declared) bool { return spans(&s, d) })
	}), nil
}

// spans reports whether a window has frames on both sides of some of the loss.
func spans(s *window.State, d window.Declared) bool {
	return s.Sensor == d.Sensor && slices.ContainsFunc(s.Epochs, func(e window.EpochState) bool {
		return uint64(e.Epoch) == d.Epoch && uint64(e.First) < d.Seqs.Last && d.Seqs.First < uint64(e.Last)
	})
}

func byID[T any](ctx context.Context, c *Client, collection string, ids []string) ([]T, error) {
	var all []T
	for len(ids) > 0 {
		n := min(len(ids), maxIDs)
		found, err := find[T](ctx, c, collection, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids[:n]}}}})
		if err != nil {
			return nil, err
		}
		all, ids = append(all, found...), ids[n:]
	}
	return all, nil
}

// anyOf returns the documents that match any of the alternatives, perhaps more
// than once.
func anyOf[T any](ctx context.Context, c *Client, collection string, alternatives bson.A) ([]T, error) {
	var all []T
	for len(alternatives) > 0 {
		n := min(len(alternatives), maxAlternatives)
		found, err := find[T](ctx, c, collection, bson.D{{Key: "$or", Value: alternatives[:n]}})
		if err != nil {
			return nil, err
		}
		all, alternatives = append(all, found...), alternatives[n:]
	}
	return all, nil
}

func find[T any](ctx context.Context, c *Client, collection string, filter bson.D, how ...options.Lister[options.FindOptions]) ([]T, error) {
	in, err := c.collection(collection)
	if err != nil {
		return nil, err
	}
	cursor, err := in.Find(ctx, filter, how...)
	if err != nil {
		return nil, c.failed(collection, err)
	}
	var found []T
	if err := cursor.All(ctx, &found); err != nil {
		return nil, c.failed(collection, err)
	}
	c.served(collection)
	return found, nil
}
