package mongo

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	wire "go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/auth"
)

// ttlIndex is the name of the index by which the server deletes old frames.
const ttlIndex = "telltale_ttl"

// EnsureIndexes makes those of the indexes that are absent, and sets the age at
// which frames are deleted. One that the server will never make is said in the
// log and is no error; errors are passing, and keep none of the other indexes.
func (c *Client) EnsureIndexes(ctx context.Context) error {
	database, err := c.database()
	if err != nil {
		return err
	}
	var errs []error
	for _, index := range []struct {
		collection string
		keys       bson.D
	}{
		{frames, ascending("id", "timestamp")},
		{frames, ascending("place_id", "timestamp")},
		{losses, ascending("id", "epoch", "last")},
		{sensors, ascending("sensor_id", "start_agg")},
		{sensors, ascending("parts.place_id", "start_agg_tm")},
		{sensors, ascending("sensor_id", "epochs.epoch", "epochs.last")},
		{places, ascending("place_id", "start_agg")},
	} {
		// One command each: FerretDB v1 panics on several of which some are there.
		_, err := database.Collection(index.collection).Indexes().CreateOne(ctx, driver.IndexModel{Keys: index.keys})
		if err = c.unlessRefused(err, index.collection); err != nil && !isAnswer(err) {
			return err // the server cannot be asked for the others either
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, c.unlessRefused(c.ensureTTL(ctx, database), frames))...)
}

func ascending(fields ...string) bson.D {
	keys := make(bson.D, 0, len(fields))
	for _, field := range fields {
		keys = append(keys, bson.E{Key: field, Value: 1})
	}
	return keys
}

// ensureTTL makes, changes or removes the index by which the server deletes old
// frames. Such an index of another name, or another index of that name, is
// somebody else's and stays.
func (c *Client) ensureTTL(ctx context.Context, database *driver.Database) error {
	indexes := database.Collection(frames).Indexes()
	present, err := indexes.ListSpecifications(ctx)
	if err != nil {
		return err
	}
	seconds := int32(c.options.FramesTTL / time.Second)
	for _, index := range present {
		onDate := isOnDate(index.KeysDocument)
		switch {
		case index.Name == ttlIndex && onDate:
			return c.changeTTL(ctx, database, index.ExpireAfterSeconds, seconds)
		case index.Name == ttlIndex && seconds > 0:
			c.log.Error("an index of other keys has the name of ours; frames are not deleted", "collection", frames, "index", index.Name,
				"keys", index.KeysDocument.String())
			return nil
		case onDate && (seconds > 0 || index.ExpireAfterSeconds != nil):
			c.log.Warn("an index that is not ours decides when frames are deleted, not mongo.frames_ttl", "collection", frames,
				"index", index.Name, "deletes", index.ExpireAfterSeconds != nil)
			return nil
		}
	}
	if seconds == 0 {
		return nil
	}
	_, err = indexes.CreateOne(ctx, driver.IndexModel{
		Keys: ascending("date"), Options: options.Index().SetName(ttlIndex).SetExpireAfterSeconds(seconds),
	})
	return err
}

func isOnDate(keys bson.Raw) bool {
	elements, err := keys.Elements()
	return err == nil && len(elements) == 1 && elements[0].Key() == "date"
}

// changeTTL makes our index, which deletes after is seconds, or not at all,
// delete after want; 0 removes it.
func (c *Client) changeTTL(ctx context.Context, database *driver.Database, is *int32, want int32) error {
	switch {
	case want == 0:
		err := database.Collection(frames).Indexes().DropOne(ctx, ttlIndex)
		if answer := (driver.CommandError{}); errors.As(err, &answer) && answer.Code == codeIndexNotFound {
			return nil // another process was faster
		}
		return err
	case is != nil && *is == want:
		return nil
	}
	// The driver gives commands that it does not know no write concern.
	return database.RunCommand(ctx, bson.D{
		{Key: "collMod", Value: frames},
		{Key: "index", Value: bson.D{{Key: "name", Value: ttlIndex}, {Key: "expireAfterSeconds", Value: want}}},
		{Key: "writeConcern", Value: bson.D{{Key: "w", Value: "majority"}}},
	}).Err()
}

const codeIndexNotFound = 27 // MongoDB, error_codes.yml

// unlessRefused returns the error, unless it says that this server will never
// make such an index, which is then logged.
func (c *Client) unlessRefused(err error, collection string) error {
	scope := "indexes of " + collection
	if err == nil {
		c.served(scope)
		return nil
	}
	var answer driver.CommandError
	if errors.As(err, &answer) && refusesIndex(answer.Code) {
		c.log.Warn("the database does not make or change an index; going on without", "collection", collection, "error", answer)
		return nil
	}
	return c.failed(scope, err)
}

// isAnswer reports whether the server has answered to the very operation, and
// not to the user's authentication before it.
func isAnswer(err error) bool {
	var answer wire.Error
	var login *auth.Error
	return errors.As(err, &answer) && !errors.As(err, &login)
}

// refusesIndex reports whether the answer will be the same next time: the
// server has no such command or kind of index, or has the index in another form
// (MongoDB, error_codes.yml).
func refusesIndex(code int32) bool {
	switch code {
	case 2, 9, 59, 67, 72, 85, 86, 115, 197, 238:
		return true
	}
	return false
}
