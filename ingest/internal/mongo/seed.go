package mongo

import (
	"context"
	"encoding/json"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/telltale-iot/telltale/ingest/internal/migrate"
)

// sortTimeout bounds the first answer of a sorted read of a whole collection,
// for which the server may have to sort on its disk.
const sortTimeout = 24 * time.Hour

// SeedFrames calls fn for each document of iot_frames that has an ObjectId for
// its _id, by id, then timestamp. The document is good until fn returns, whose
// error ends the reading and is returned.
func (c *Client) SeedFrames(ctx context.Context, fn func(migrate.Document) error) error {
	filter := bson.D{{Key: "_id", Value: bson.D{{Key: "$type", Value: "objectId"}}}}
	return c.stream(ctx, frames, filter, options.Find().SetSort(bson.D{{Key: "id", Value: 1}, {Key: "timestamp", Value: 1}}).SetAllowDiskUse(true),
		func(raw bson.Raw) error { return fn(seedDocument(raw)) })
}

// SeedStrangers calls fn with the _id of each document of iot_frames that is
// neither an ObjectId nor of the form of this program's, as text.
func (c *Client) SeedStrangers(ctx context.Context, fn func(id string) error) error {
	filter := bson.D{{Key: "$nor", Value: bson.A{
		bson.D{{Key: "_id", Value: bson.D{{Key: "$type", Value: "objectId"}}}},
		bson.D{{Key: "_id", Value: bson.D{{Key: "$regex", Value: "/"}}}},
	}}}
	return c.stream(ctx, frames, filter, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}),
		func(raw bson.Raw) error { return fn(idText(raw.Lookup("_id"))) })
}

// stream calls fn for each document found, as long as it returns nil.
func (c *Client) stream(ctx context.Context, name string, filter bson.D, find *options.FindOptionsBuilder, fn func(bson.Raw) error) error {
	// A deadline takes the place of the client's time-out, for the first answer
	// and, in the server, for all of them together.
	first, cancel := context.WithTimeout(ctx, sortTimeout)
	defer cancel()
	collection, err := c.collection(name)
	if err != nil {
		return err
	}
	cursor, err := collection.Find(first, filter, find)
	if err != nil {
		return c.failed(name, err)
	}
	defer func() { _ = cursor.Close(context.WithoutCancel(ctx)) }()
	for cursor.Next(ctx) {
		if err := fn(cursor.Current); err != nil {
			return err
		}
	}
	if err := cursor.Err(); err != nil {
		return c.failed(name, err)
	}
	c.served(name)
	return nil
}

// seedDocument returns a document as the JSON message that it was.
func seedDocument(raw bson.Raw) migrate.Document {
	d := migrate.Document{ID: idText(raw.Lookup("_id"))}
	elements, err := raw.Elements()
	if err != nil { // no server sends it
		return d
	}
	d.JSON = append(d.JSON, '{')
	for _, e := range elements {
		if e.Key() != "_id" {
			d.JSON = appendMember(d.JSON, e)
		}
	}
	d.JSON = append(d.JSON, '}')
	return d
}

func appendMember(dst []byte, e bson.RawElement) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = appendText(dst, e.Key())
	return appendJSON(append(dst, ':'), e.Value())
}

// appendJSON appends a value as a client would have sent it. What JSON has no
// value for becomes extended JSON, an object, which is none that a frame has.
func appendJSON(dst []byte, v bson.RawValue) []byte {
	switch v.Type {
	case bson.TypeString:
		return appendText(dst, v.StringValue())
	case bson.TypeInt32:
		return strconv.AppendInt(dst, int64(v.Int32()), 10)
	case bson.TypeInt64:
		return strconv.AppendInt(dst, v.Int64(), 10)
	case bson.TypeDouble:
		if f := v.Double(); !math.IsNaN(f) && !math.IsInf(f, 0) {
			// The shortest decimal of the double is the one that was sent.
			return strconv.AppendFloat(dst, f, 'f', -1, 64)
		}
	case bson.TypeBoolean:
		return strconv.AppendBool(dst, v.Boolean())
	case bson.TypeNull:
		return append(dst, "null"...)
	case bson.TypeDateTime:
		return appendText(dst, v.Time().UTC().Format("2006-01-02T15:04:05.000Z"))
	case bson.TypeEmbeddedDocument:
		elements, _ := v.Document().Elements() // as in seedDocument
		dst = append(dst, '{')
		for _, e := range elements {
			dst = appendMember(dst, e)
		}
		return append(dst, '}')
	case bson.TypeArray:
		values, _ := v.Array().Values()
		dst = append(dst, '[')
		for i, element := range values {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSON(dst, element)
		}
		return append(dst, ']')
	}
	if text := v.String(); json.Valid([]byte(text)) {
		return append(dst, text...)
	}
	return append(dst, `{}`...)
}

// appendText appends a JSON string. Bytes that are not UTF-8 stay as they are,
// for the decoder to refuse.
func appendText(dst []byte, s string) []byte {
	if utf8.ValidString(s) {
		if text, err := json.Marshal(s); err == nil {
			return append(dst, text...)
		}
	}
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] >= ' ' && s[i] != '"' && s[i] != '\\' {
			dst = append(dst, s[i])
		}
	}
	return append(dst, '"')
}

// idText returns an _id in the form in which mongosh takes it.
func idText(v bson.RawValue) string {
	if id, ok := v.ObjectIDOK(); ok {
		return "ObjectId('" + id.Hex() + "')"
	}
	return v.String()
}
