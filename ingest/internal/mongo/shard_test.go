package mongo

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/ingest/internal/sink"
	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// ofSensor is the range of _id that README.md tells to bound a query by, so that
// it goes to the sensor's shards only: '0' follows '/' in ASCII.
func ofSensor(id string) (from, to string) { return id + "/", id + "0" }

// sensorIDs draws the ids that the wire contract allows: any text without a
// slash or control characters. Those before and after the slash in the order of
// bytes are drawn most.
var sensorIDs = rapid.OneOf(
	rapid.StringMatching(`[a-b0 .!\-~_]{1,4}`),
	rapid.StringMatching(`[^/[:cntrl:]\x{80}-\x{9f}]{1,8}`),
)

// TestIDsOfASensorAreOneRange: whatever other sensors there are, a sensor's ids
// in each collection are those of one range, and there are no others in it. The
// range is the shard key's, _id, which a server compares byte by byte.
func TestIDsOfASensorAreOneRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.Uint64Range(0, telemetry.MaxSeq)
		of := make(map[string]string) // by id, the sensor
		sensors := rapid.SliceOfN(sensorIDs, 1, 6).Draw(t, "sensors")
		for _, sensor := range sensors {
			f := telemetry.Frame{ID: sensor, Sequenced: true, Epoch: numbers.Draw(t, "epoch"), Seq: numbers.Draw(t, "seq")}
			of[telemetry.FrameID(&f)] = sensor
			of[telemetry.FrameID(&telemetry.Frame{ID: sensor, Timestamp: rapid.Int64().Draw(t, "timestamp")})] = sensor
			of[lossID(window.Declared{Sensor: sensor, Epoch: f.Epoch, Loss: telemetry.Loss{
				Seqs: telemetry.SeqRange{First: f.Seq, Last: f.Seq}, Reason: "buffer_full",
			}})] = sensor
			start := rapid.Int64Range(-1e15, 1e15).Draw(t, "start")
			of[window.Interval{Start: start, End: start + 1}.ID(sensor)] = sensor
		}
		for _, sensor := range sensors {
			from, to := ofSensor(sensor)
			for id, owner := range of {
				if in := from <= id && id < to; in != (owner == sensor) {
					t.Fatalf("%q of %q: in the range of %q: %t", id, owner, sensor, in)
				}
			}
		}
	})
}

// TestRangeOfASensor asks the server for such a range.
func TestRangeOfASensor(t *testing.T) {
	c, _ := connect(t)
	var stored []sink.Frame
	for _, id := range []string{"a", "a-b", "a.b", "a b", "a0", "a1", "ab", "A", "a!", "a~", "ä"} {
		for _, n := range []int{0, 9, 10, 100} {
			stored = append(stored, frame(id, n))
		}
	}
	if _, err := c.PutFrames(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	from, to := ofSensor("a")
	cursor, err := databaseOf(t, c).Collection(frames).Find(t.Context(), bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: from}, {Key: "$lt", Value: to}}}})
	if err != nil {
		t.Fatal(err)
	}
	var found []struct {
		ID string `bson:"_id"`
	}
	if err := cursor.All(t.Context(), &found); err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, f := range found {
		got = append(got, f.ID)
	}
	for _, n := range []int{0, 9, 10, 100} {
		want = append(want, fmt.Sprintf("a/%d/%d", uint64(telemetry.MaxSeq), n))
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +found:\n%s", diff)
	}
}

// TestTargeted mutates commands, to see that the check behind every golden
// would notice a write that a router has to send to every shard.
func TestTargeted(t *testing.T) {
	id, revision := bson.E{Key: "_id", Value: "a/0/1"}, bson.E{Key: "revision", Value: bson.D{{Key: "$lt", Value: 2}}}
	update := func(q bson.D) bson.D {
		return bson.D{{Key: "update", Value: "c"}, {Key: "updates", Value: bson.A{bson.D{{Key: "q", Value: q}, {Key: "u", Value: bson.D{id}}}}}}
	}
	insert := func(d bson.D) bson.D {
		return bson.D{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{bson.D{id}, d}}}
	}
	for _, good := range []bson.D{insert(bson.D{id, revision}), update(bson.D{id, revision}), update(bson.D{id})} {
		if err := targeted(good); err != nil {
			t.Error(err)
		}
	}
	in := bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: bson.A{"a/0/1"}}}}}
	for _, bad := range []bson.D{insert(bson.D{revision}), update(bson.D{revision}), update(in)} {
		if err := targeted(bad); err == nil || !strings.Contains(err.Error(), "want an _id") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
