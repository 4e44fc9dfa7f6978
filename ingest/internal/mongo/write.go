package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const (
	// maxReplacements bounds the replacements in one command: FerretDB v1 waits
	// for ever on 100 or more that match existing documents, and reads the whole
	// collection for each.
	maxReplacements = 20

	// maxInserts bounds the inserts in one command.
	maxInserts = 1000

	// maxDocument is what MongoDB stores in one document at most, less room for
	// what the command has beside it.
	maxDocument = 16<<20 - 16<<10

	// maxBatch bounds the documents' bytes in one command.
	maxBatch = 8 << 20
)

// errTooLarge says that a document is larger than the database takes.
var errTooLarge = errors.New("mongo: document too large")

// write is one document on its way. It is stored if the collection has none
// with its id, or, if below is not 0, one with a lower revision.
type write struct {
	id       string
	below    int64
	document bson.Raw
}

// newWrite encodes a document. The error says why it can never be stored.
func newWrite(id string, below int64, document bson.D) (write, error) {
	raw, err := bson.Marshal(document)
	if err != nil {
		return write{}, fmt.Errorf("mongo: document %q: %w", id, err)
	}
	if len(raw) > maxDocument {
		return write{}, fmt.Errorf("%w: %q has %d bytes", errTooLarge, id, len(raw))
	}
	return write{id: id, below: below, document: raw}, nil
}

func (w *write) model() driver.WriteModel {
	if w.below == 0 {
		return driver.NewInsertOneModel().SetDocument(w.document)
	}
	// Where a newer revision is, the filter does not match it, and the insert
	// that upsert then tries meets its id.
	filter := bson.D{{Key: "_id", Value: w.id}, {Key: "revision", Value: bson.D{{Key: "$lt", Value: w.below}}}}
	return driver.NewReplaceOneModel().SetFilter(filter).SetReplacement(w.document).SetUpsert(true)
}

// put does the writes, in any order, and sets the answers: nil; there, where
// the document's id was met; or why the database will never take the document.
// writes[i] answers to answers[index[i]].
func (c *Client) put(ctx context.Context, collection string, writes []write, index []int, answers []error, there error) error {
	for len(writes) > 0 {
		n := chunk(writes)
		if err := c.putChunk(ctx, collection, writes[:n], index[:n], answers, there); err != nil {
			return err
		}
		writes, index = writes[n:], index[n:]
	}
	return nil
}

// chunk returns how many of writes go in one command, all of one kind.
func chunk(writes []write) int {
	most, size := maxInserts, 0
	if writes[0].below > 0 {
		most = maxReplacements
	}
	for i := range writes {
		size += len(writes[i].document)
		if i > 0 && (i == most || size > maxBatch || (writes[i].below > 0) != (writes[0].below > 0)) {
			return i
		}
	}
	return len(writes)
}

func (c *Client) putChunk(ctx context.Context, collection string, writes []write, index []int, answers []error, there error) error {
	models := make([]driver.WriteModel, len(writes))
	for i := range writes {
		models[i] = writes[i].model()
	}
	to, err := c.collection(collection)
	if err != nil {
		return err
	}
	done, err := to.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	var failed driver.BulkWriteException
	switch {
	case err == nil:
		c.served(collection)
		return nil
	case !errors.As(err, &failed) || failed.WriteConcernError != nil:
		return c.failed(collection, err)
	case len(writes) > 1 && writes[0].below > 0 && done.MatchedCount+done.UpsertedCount+int64(len(failed.WriteErrors)) < int64(len(writes)):
		// FerretDB v1 neither says which replacement failed nor does those
		// after it. Alone, each has an answer of its own; one that was done
		// before meets itself, which its sender takes for the conflict that it
		// can tell from the stored document.
		for i := range writes {
			if err := c.putChunk(ctx, collection, writes[i:i+1], index[i:i+1], answers, there); err != nil {
				return err
			}
		}
		return nil
	}
	for _, e := range failed.WriteErrors {
		switch {
		case e.Code == codeDuplicateKey:
			answers[index[e.Index]] = there
		case refusesDocument(e.Code):
			answers[index[e.Index]] = fmt.Errorf("mongo: %s: %q: %w", collection, writes[e.Index].id, e)
		default:
			return c.failed(collection, err)
		}
	}
	return nil
}

const codeDuplicateKey = 11000

// refusesDocument reports whether the answer is about the document itself: it is not
// valid, or too large (MongoDB, error_codes.yml).
func refusesDocument(code int) bool {
	switch code {
	case 2, 9, 14, 15, 22, 52, 53, 55, 56, 57, 121, 10334, 17419, 17420:
		return true
	}
	return false
}
