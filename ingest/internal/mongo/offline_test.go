package mongo

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/telltale-iot/telltale/ingest/internal/migrate"
	"github.com/telltale-iot/telltale/ingest/internal/missing"
	"github.com/telltale-iot/telltale/ingest/internal/sink"
	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// TestSeedDocument: what is stored in any form becomes the JSON that a client
// would have sent, or something that is none.
func TestSeedDocument(t *testing.T) {
	decimal, err := bson.ParseDecimal128("21.5")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		value any
		want  string
	}{
		{"Küche \"7\"\n", `"Küche \"7\"\n"`},
		{int32(-5), `-5`},
		{int64(1700000000123), `1700000000123`},
		{1700000000123.0, `1700000000123`},
		{21.37, `21.37`},
		{0.30000000000000004, `0.30000000000000004`},
		{1e300, `1` + fmt.Sprintf("%0300d", 0)},
		{true, `true`},
		{nil, `null`},
		{time.UnixMilli(1700000000123), `"2023-11-14T22:13:20.123Z"`},
		{bson.D{{Key: "$numberLong", Value: "17"}, {Key: "b", Value: bson.A{int32(1), "x", bson.D{}}}}, `{"$numberLong":"17","b":[1,"x",{}]}`},
		{math.NaN(), `{"$numberDouble":"NaN"}`},
		{math.Inf(-1), `{"$numberDouble":"-Infinity"}`},
		{decimal, `{"$numberDecimal":"21.5"}`},
		{bson.MinKey{}, `{"$minKey":1}`},
		{bson.Binary{Data: []byte{1}}, `{"$binary":{"base64":"AQ==","subType":"00"}}`},
		{"\xff\"\x01a", "\"\xffa\""},
	}
	for _, tt := range tests {
		raw, err := bson.Marshal(bson.D{{Key: "a", Value: int32(0)}, {Key: "_id", Value: bson.ObjectID{1}}, {Key: "v", Value: tt.value}})
		if err != nil {
			t.Fatal(err)
		}
		want := migrate.Document{ID: "ObjectId('010000000000000000000000')", JSON: []byte(`{"a":0,"v":` + tt.want + `}`)}
		if diff := cmp.Diff(want, seedDocument(raw)); diff != "" {
			t.Errorf("%v: -want +got:\n%s", tt.value, diff)
		}
	}
}

// seeds stores documents as the replaced system did, beside ours.
func seeds(t *testing.T, c *Client) {
	t.Helper()
	document := func(n byte, id any, timestamp any, name string) bson.D {
		return bson.D{
			{Key: "_id", Value: bson.ObjectID{11: n}}, {Key: "id", Value: id}, {Key: "name", Value: name}, {Key: "place_id", Value: "32347983"},
			{Key: "date", Value: "2023-11-14T22:13:20.000Z"}, {Key: "timestamp", Value: timestamp},
			{Key: "payload", Value: bson.D{{Key: "temperature", Value: int32(21)}}},
		}
	}
	_, err := databaseOf(t, c).Collection(frames).InsertMany(t.Context(), []any{
		document(1, "b", int64(testStart), "b"), document(2, "a", int64(testStart+1000), "later"), document(3, "a", float64(testStart), "double"),
		document(4, "a", int64(testStart), "again"), document(5, int32(7), "x", "poison"),
		bson.D{{Key: "_id", Value: "665f1c"}}, bson.D{{Key: "_id", Value: int32(9)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutFrames(t.Context(), []sink.Frame{seedFrame(), frame("greenhouse-7", 0)}); err != nil {
		t.Fatal(err)
	}
	if _, err := databaseOf(t, c).Collection(sensors).InsertOne(t.Context(), bson.D{
		{Key: "_id", Value: bson.ObjectID{1}}, {Key: "sensor_id", Value: "0"}, {Key: "start_agg", Value: "2023-11-14T22:13:20.000Z"}, {Key: "start_agg_tm", Value: int64(testStart)},
	}); err != nil {
		t.Fatal(err)
	}
}

// TestSeeds: the replaced system's documents come by sensor and time, and no
// other does; what is neither system's is named.
func TestSeeds(t *testing.T) {
	c, sent := connect(t)
	seeds(t, c)
	sent.take()
	var got []string
	if err := c.SeedFrames(t.Context(), func(d migrate.Document) error {
		got = append(got, d.ID+" "+string(d.JSON))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	json := func(n int, id string, timestamp any, name string) string {
		return fmt.Sprintf(`ObjectId('%024x') {"id":%s,"name":%q,"place_id":"32347983","date":"2023-11-14T22:13:20.000Z","timestamp":%v,"payload":{"temperature":21}}`,
			n, id, name, timestamp)
	}
	want := []string{
		json(5, "7", `"x"`, "poison"), json(3, `"a"`, testStart, "double"), json(4, `"a"`, testStart, "again"),
		json(2, `"a"`, testStart+1000, "later"), json(1, `"b"`, testStart, "b"),
	}
	slices.Sort(got[1:3]) // of one identity
	slices.Sort(want[1:3])
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	sent.golden(t, "offline_seed_frames")

	got = nil
	if err := c.SeedStrangers(t.Context(), func(id string) error {
		got = append(got, id)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{`"665f1c"`, `{"$numberInt":"9"}`}, got); diff != "" {
		t.Errorf("strangers: -want +got:\n%s", diff)
	}
	sent.golden(t, "offline_seed_strangers")

	enough := errors.New("enough")
	if err := c.SeedFrames(t.Context(), func(migrate.Document) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("%v", err)
	}
}

func TestFramesStored(t *testing.T) {
	c, sent := connect(t)
	seeds(t, c)
	sent.take()
	stored, err := c.FramesStored(t.Context(), []string{"12434345/1700000000000", "12434345/1", "greenhouse-7/9007199254740991/0"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{"12434345/1700000000000": true, "greenhouse-7/9007199254740991/0": true}, stored); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	sent.golden(t, "offline_frames_stored")
}

// TestFramesTTL: the age is the one that EnsureIndexes gave to the server.
// FerretDB v1 deletes nothing, and then the age is 0.
func TestFramesTTL(t *testing.T) {
	c, _ := connect(t)
	c.options.FramesTTL = time.Hour
	if ttl, err := c.FramesTTL(t.Context()); err != nil || ttl != 0 {
		t.Fatalf("without a collection: %v, %v", ttl, err)
	}
	if err := c.EnsureIndexes(t.Context()); err != nil {
		t.Fatal(err)
	}
	ttl, err := c.FramesTTL(t.Context())
	if err != nil || ttl != 0 && ttl != time.Hour {
		t.Fatalf("%v, %v", ttl, err)
	}
}

func collect[T any](t *testing.T, all iter.Seq2[T, error]) []T {
	t.Helper()
	var found []T
	for v, err := range all {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, v)
	}
	return found
}

// TestOffline: what the commands read that work on MongoDB alone, with documents
// of the replaced system beside ours.
func TestOffline(t *testing.T) {
	c, sent := connect(t)
	seeds(t, c)
	ctx := t.Context()
	at := func(id string, start int64, ns ...int) *window.Document {
		w := window.New(id, window.IntervalOf(testStart+start*10_000, 10*time.Second))
		for _, n := range ns {
			f := frame(id, n)
			f.Timestamp = w.Start + int64(n)
			if _, err := w.Count(&f.Frame); err != nil {
				t.Fatal(err)
			}
		}
		return document(t, w, 1)
	}
	if _, err := c.PutSensors(ctx, []*window.Document{at("a", 0, 1, 2), at("a", 1, 3, 5), at("a", 4, 6), at("other", 1, 1)}); err != nil {
		t.Fatal(err)
	}
	loss := func(id string, epoch, first, last uint64) window.Declared {
		return window.Declared{Sensor: id, Epoch: epoch, Loss: telemetry.Loss{Seqs: telemetry.SeqRange{First: first, Last: last}, Reason: "corrupt"}}
	}
	if err := c.PutLosses(ctx, []window.Declared{loss("z", 2, 0, 1), loss("z", 1, 0, 1), loss("z", 2, 3, 3)}); err != nil {
		t.Fatal(err)
	}
	const second, third, end = testStart + 10_000, testStart + 20_000, testStart + 50_000
	starts := func(windows ...missing.Window) []int64 {
		starts := []int64{}
		for _, w := range windows {
			starts = append(starts, (w.Start-testStart)/10_000)
		}
		return starts
	}
	equal := func(what string, want, got any, err error) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v, -want +got:\n%s", what, err, diff)
		}
		sent.golden(t, "offline_"+what)
	}
	sent.take()

	windows := collect(t, c.Windows(ctx, "a", second-1, end-10_000))
	equal("windows", []int64{0, 1}, starts(windows...), nil)
	epoch := int64(telemetry.MaxSeq)
	want := missing.Window{Start: second, End: third, First: second + 3, Last: second + 5, Coverage: []window.CoverageState{
		{Epoch: &epoch, Seqs: []window.SeqState{{First: 3, Last: 3}, {First: 5, Last: 5}}},
	}}
	want.Parts = append(want.Parts, struct {
		Place string `bson:"place_id"`
	}{"house-2"})
	if diff := cmp.Diff(want, windows[1]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	number, none := uint64(epoch), uint64(1)
	w, err := c.WindowBefore(ctx, "a", nil, end-10_000)
	equal("window_before", []int64{1}, starts(*w), err)
	w, err = c.WindowAfter(ctx, "a", &number, third)
	equal("window_after", []int64{4}, starts(*w), err)
	if w, err := c.WindowAfter(ctx, "a", &none, testStart); w != nil || err != nil {
		t.Errorf("%v, %v", w, err)
	}
	if w, err := c.WindowBefore(ctx, "a", nil, testStart+9_999); w != nil || err != nil {
		t.Errorf("%v, %v", w, err)
	}
	sent.take()
	windows, err = c.WindowsTouching(ctx, []window.Declared{loss("a", number, 4, 4), loss("a", number, 6, 9), loss("a", 1, 0, 99)})
	equal("windows_touching", []int64{1, 4}, starts(windows...), err)

	stored := collect(t, c.Frames(ctx, "greenhouse-7", testStart, third))
	seq := int64(0)
	equal("frames", []missing.Frame{{Timestamp: testStart + 123, Epoch: &epoch, Seq: &seq}}, stored, nil)
	equal("frames_of_the_replaced", []missing.Frame(nil), collect(t, c.Frames(ctx, "b", testStart, third)), nil)

	var ids []string
	for id, err := c.NextSensor(ctx, ""); id != ""; id, err = c.NextSensor(ctx, id) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if diff := cmp.Diff([]string{"12434345", "a", "greenhouse-7", "other", "z"}, ids); diff != "" {
		t.Errorf("sensors: -want +got:\n%s", diff)
	}
	sent.take()
	next, err := c.NextSensor(ctx, "a")
	equal("next_sensor", "greenhouse-7", next, err)
	epochs, err := c.LossEpochs(ctx, "z")
	equal("loss_epochs", []uint64{1, 2}, epochs, err)
	there, err := c.AtPlace(ctx, "a", "house-2", second, third)
	equal("at_place", true, there, err)
	for _, other := range []struct {
		place    string
		from, to int64
	}{{"house-3", second, third}, {"house-2", third, third + 10_000}} {
		if there, err := c.AtPlace(ctx, "a", other.place, other.from, other.to); there || err != nil {
			t.Errorf("%+v: %v, %v", other, there, err)
		}
	}
	sent.take()

	var intervals []string
	err = c.PlaceIntervals(ctx, "house-2", testStart, end-10_000, func(sensor string, i window.Interval) error {
		intervals = append(intervals, i.ID(sensor))
		return nil
	})
	slices.Sort(intervals[1:])
	equal("place_intervals", []string{"a/1700000000000-1700000010000", "a/1700000010000-1700000020000", "other/1700000010000-1700000020000"}, intervals, err)
	states, err := c.SensorsBetween(ctx, "house-2", second, third)
	intervals = nil
	for i := range states {
		intervals = append(intervals, states[i].ID())
	}
	slices.Sort(intervals)
	equal("sensors_between", []string{"a/1700000010000-1700000020000", "other/1700000010000-1700000020000"}, intervals, err)
}
