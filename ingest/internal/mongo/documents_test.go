package mongo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/telltale-iot/telltale/ingest/internal/sink"
	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

const testStart = 1_700_000_000_000

// frame is the n-th reading of a sensor.
func frame(id string, n int) sink.Frame {
	f := sink.Frame{Device: id, Frame: telemetry.Frame{
		ID: id, Name: "Greenhouse 7", PlaceID: "house-2", Timestamp: testStart + int64(n)*1000 + 123,
		Sequenced: true, Epoch: telemetry.MaxSeq, Seq: uint64(n),
	}}
	f.Payload.Set(telemetry.Temperature, telemetry.Micro(21_370_000+n))
	f.Payload.Set(telemetry.Pressure, 1013_250_000)
	f.Faults[telemetry.Humidity] = "nack"
	return f
}

// calibratedFrame is a reading whose values are not all what the chip measured.
func calibratedFrame() sink.Frame {
	f := sink.Frame{Device: "pi", Frame: telemetry.Frame{ID: "pi", Timestamp: testStart + 1, Sequenced: true, Seq: 1}}
	f.Payload.Set(telemetry.Temperature, 21_020_000)
	f.Raw.Set(telemetry.Temperature, 21_370_000)
	f.Raw.Set(telemetry.Humidity, 44_200_000)
	f.Faults[telemetry.Humidity] = "stuck"
	return f
}

// unsyncedFrame is a reading whose time an unsynchronised clock told.
func unsyncedFrame() sink.Frame {
	f := sink.Frame{Device: "pi", Frame: telemetry.Frame{ID: "pi", Timestamp: testStart, Sequenced: true, Clock: telemetry.ClockUnsynced}}
	f.Payload.Set(telemetry.Humidity, 44_200_000)
	return f
}

func seedFrame() sink.Frame {
	f := sink.Frame{Frame: telemetry.Frame{ID: "12434345", Name: "s", PlaceID: "32347983", Timestamp: testStart}}
	f.Payload.Set(telemetry.Luminosity, 0)
	return f
}

func read(t *testing.T, c *Client, collection string) []string {
	t.Helper()
	cursor, err := databaseOf(t, c).Collection(collection).Find(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	var found []bson.D
	if err := cursor.All(t.Context(), &found); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, d := range found {
		line, err := bson.MarshalExtJSON(d, true, false)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(line))
	}
	return lines
}

func TestPutFrames(t *testing.T) {
	c, sent := connect(t)
	frames := []sink.Frame{frame("greenhouse-7", 0), seedFrame(), unsyncedFrame(), calibratedFrame()}
	answers, err := c.PutFrames(t.Context(), frames)
	if err != nil || errors.Join(answers...) != nil {
		t.Fatalf("answers %v, %v", answers, err)
	}
	sent.golden(t, "put_frames")

	// Again, with a new one between: those that are there stay as they are.
	frames[0].Name = "another"
	answers, err = c.PutFrames(t.Context(), []sink.Frame{frames[0], frame("greenhouse-7", 1), frames[1]})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]error{sink.ErrDuplicate, nil, sink.ErrDuplicate}, answers, cmp.Comparer(func(a, b error) bool { return a == b })); diff != "" {
		t.Errorf("answers: -want +got:\n%s", diff)
	}
	want := []string{
		`{"_id":"greenhouse-7/9007199254740991/0","id":"greenhouse-7","name":"Greenhouse 7","place_id":"house-2","date":{"$date":{"$numberLong":"1700000000123"}},"timestamp":{"$numberLong":"1700000000123"},"epoch":{"$numberLong":"9007199254740991"},"seq":{"$numberLong":"0"},"payload":{"temperature":{"$numberDouble":"21.37"},"pressure":{"$numberDouble":"1013.25"}},"faults":{"humidity":"nack"},"device":"greenhouse-7"}`,
		`{"_id":"12434345/1700000000000","id":"12434345","name":"s","place_id":"32347983","date":{"$date":{"$numberLong":"1700000000000"}},"timestamp":{"$numberLong":"1700000000000"},"payload":{"luminosity":{"$numberDouble":"0.0"}}}`,
		`{"_id":"pi/0/0","id":"pi","name":"","place_id":"","date":{"$date":{"$numberLong":"1700000000000"}},"timestamp":{"$numberLong":"1700000000000"},"epoch":{"$numberLong":"0"},"seq":{"$numberLong":"0"},"payload":{"humidity":{"$numberDouble":"44.2"}},"clock":"unsynced","device":"pi"}`,
		`{"_id":"pi/0/1","id":"pi","name":"","place_id":"","date":{"$date":{"$numberLong":"1700000000001"}},"timestamp":{"$numberLong":"1700000000001"},"epoch":{"$numberLong":"0"},"seq":{"$numberLong":"1"},"payload":{"temperature":{"$numberDouble":"21.02"}},"raw":{"temperature":{"$numberDouble":"21.37"},"humidity":{"$numberDouble":"44.2"}},"faults":{"humidity":"stuck"},"device":"pi"}`,
		`{"_id":"greenhouse-7/9007199254740991/1","id":"greenhouse-7","name":"Greenhouse 7","place_id":"house-2","date":{"$date":{"$numberLong":"1700000001123"}},"timestamp":{"$numberLong":"1700000001123"},"epoch":{"$numberLong":"9007199254740991"},"seq":{"$numberLong":"1"},"payload":{"temperature":{"$numberDouble":"21.370001"},"pressure":{"$numberDouble":"1013.25"}},"faults":{"humidity":"nack"},"device":"greenhouse-7"}`,
	}
	if diff := cmp.Diff(want, read(t, c, "iot_frames")); diff != "" {
		t.Errorf("documents: -want +got:\n%s", diff)
	}
}

// TestManyAtOnce: more than one command takes, all of which exist the second time.
func TestManyAtOnce(t *testing.T) {
	c, sent := connect(t)
	var frames []sink.Frame
	for n := range 2*maxInserts + 1 {
		frames = append(frames, frame("a", n))
	}
	for _, want := range []error{nil, sink.ErrDuplicate} {
		answers, err := c.PutFrames(t.Context(), frames)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(sent.take()); n != 3 {
			t.Errorf("%d commands for %d frames, want 3 of at most %d", n, len(frames), maxInserts)
		}
		for i, answer := range answers {
			if !errors.Is(answer, want) {
				t.Fatalf("frame %d: %v, want %v", i, answer, want)
			}
		}
	}
	documents := make([]*window.Document, 2*maxReplacements+1)
	for revision := range int64(2) {
		for i := range documents {
			documents[i] = document(t, counted(t, fmt.Sprintf("s%d", i), 0, 1), revision+1)
		}
		answers, err := c.PutSensors(t.Context(), documents)
		if err != nil {
			t.Fatal(err)
		}
		for i, answer := range answers {
			if answer != nil {
				t.Fatalf("revision %d, window %d: %v", revision+1, i, answer)
			}
		}
		if n, want := len(sent.take()), int(1+2*revision); n != want {
			t.Errorf("revision %d: %d commands, want %d", revision+1, n, want)
		}
	}
}

// counted returns the window of a sensor with these readings counted in.
func counted(t *testing.T, id string, ns ...int) *window.Window {
	t.Helper()
	w := window.New(id, window.IntervalOf(testStart, 10*time.Second))
	for _, n := range ns {
		f := frame(id, n)
		if _, err := w.Count(&f.Frame); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func document(t *testing.T, w *window.Window, revision int64) *window.Document {
	t.Helper()
	missing, lost := window.Explain(w.Gaps(), nil)
	d, _ := w.Document(revision, missing, lost)
	return d
}

// TestWindowsAreComparedAndSet: a revision is stored over the one before it, and
// over no other.
func TestWindowsAreComparedAndSet(t *testing.T) {
	c, sent := connect(t)
	ctx := t.Context()
	put := func(want error, w *window.Window, revision int64) {
		t.Helper()
		answers, err := c.PutSensors(ctx, []*window.Document{document(t, w, revision)})
		if err != nil {
			t.Fatal(err)
		}
		if answers[0] != want {
			t.Fatalf("revision %d: answer %v, want %v", revision, answers[0], want)
		}
	}
	put(nil, counted(t, "a", 0, 1), 1)
	sent.golden(t, "put_first_revision")
	put(window.ErrConflict, counted(t, "a", 0, 1, 2), 1)
	sent.take()
	put(nil, counted(t, "a", 0, 1, 3), 2)
	sent.golden(t, "put_second_revision")
	put(window.ErrConflict, counted(t, "a", 9), 2)

	// One of several that is refused does not keep the others.
	several := []*window.Document{
		document(t, counted(t, "a", 0, 1, 3), 3), document(t, counted(t, "b", 0), 1),
		document(t, counted(t, "c", 0), 2), document(t, counted(t, "a", 9), 2), document(t, counted(t, "d", 0), 2),
	}
	answers, err := c.PutSensors(ctx, several)
	if err != nil || answers[1] != nil || answers[3] != window.ErrConflict || answers[4] != nil {
		t.Fatalf("answers %v, %v", answers, err)
	}
	// FerretDB does not tell which it was; those before it then meet themselves.
	for _, i := range []int{0, 2} {
		if answers[i] != nil && (!tellsOneByOne || answers[i] != window.ErrConflict) {
			t.Errorf("answers[%d]: %v", i, answers[i])
		}
	}
	for i, want := range map[int]int64{0: 3, 1: 1, 2: 2, 4: 2} {
		if stored, err := c.Sensors(ctx, []string{several[i].ID}); err != nil || len(stored) != 1 || stored[0].Revision != want {
			t.Errorf("%s: stored %+v, %v; want revision %d", several[i].ID, stored, err, want)
		}
	}
	sent.take()
	states, err := c.Sensors(ctx, []string{"a/1700000000000-1700000010000", "none/0-1"})
	if err != nil || len(states) != 1 {
		t.Fatalf("%d states, %v", len(states), err)
	}
	sent.golden(t, "sensors")
	w, err := window.Restore(&states[0])
	if err != nil {
		t.Fatal(err)
	}
	if w.Revision != 3 {
		t.Errorf("revision %d, want 3", w.Revision)
	}
	want, got := document(t, counted(t, "a", 0, 1, 3), 3), document(t, w, 3)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("restored: -stored +restored:\n%s", diff)
	}
}

func TestPlaces(t *testing.T) {
	c, sent := connect(t)
	ctx := t.Context()
	w := counted(t, "a", 0, 1)
	d, parts := w.Document(1, nil, nil)
	if _, err := c.PutSensors(ctx, []*window.Document{d, document(t, counted(t, "b", 0), 1)}); err != nil {
		t.Fatal(err)
	}
	p := window.NewPlace("house-2", w.Interval)
	if _, err := p.Apply(&parts[0]); err != nil {
		t.Fatal(err)
	}
	put := func(want error, revision int64) {
		t.Helper()
		sent.take()
		if answers, err := c.PutPlaces(ctx, []*window.Document{p.Document(revision)}); err != nil || answers[0] != want {
			t.Fatalf("revision %d: answers %v, %v; want %v", revision, answers, err, want)
		}
	}
	put(nil, 1)
	sent.golden(t, "put_place")
	put(window.ErrConflict, 1)
	put(nil, 2)
	sent.golden(t, "put_place_again")
	put(window.ErrConflict, 2)
	sent.take()

	states, err := c.Places(ctx, []string{"house-2/1700000000000-1700000010000"})
	if err != nil || len(states) != 1 || !p.Same(&states[0]) || states[0].Revision != 2 {
		t.Fatalf("places %+v, %v", states, err)
	}
	sent.golden(t, "places")
	sensors, err := c.SensorsAt(ctx, "house-2", w.Interval)
	if err != nil || len(sensors) != 2 {
		t.Fatalf("%d sensors at the place, %v", len(sensors), err)
	}
	sent.golden(t, "sensors_at")
	for _, other := range []struct {
		place string
		i     window.Interval
	}{{"house-3", w.Interval}, {"house-2", window.Interval{Start: w.Start, End: w.End + 1}}} {
		if found, err := c.SensorsAt(ctx, other.place, other.i); err != nil || len(found) != 0 {
			t.Errorf("%v: %d sensors, %v", other, len(found), err)
		}
	}
}

func lossOf(id string, epoch, first, last uint64) window.Declared {
	return window.Declared{Sensor: id, Epoch: epoch, Loss: telemetry.Loss{
		Seqs: telemetry.SeqRange{First: first, Last: last}, Reason: "buffer_full",
	}}
}

func TestLosses(t *testing.T) {
	c, sent := connect(t)
	lost := map[string]uint64{}
	c.options.Lost = func(reason string, readings uint64) { lost[reason] += readings }
	ctx := t.Context()
	stored := []window.Declared{lossOf("a", 1, 3, 5), lossOf("a", 1, 9, 9), lossOf("a", 2, 3, 5), lossOf("b", 1, 3, 5)}
	for range 2 { // twice is once
		if err := c.PutLosses(ctx, stored); err != nil {
			t.Fatal(err)
		}
		sent.golden(t, "put_losses")
	}
	if want := map[string]uint64{"buffer_full": 10}; !maps.Equal(lost, want) {
		t.Errorf("told of %v, want each reading once: %v", lost, want)
	}
	if err := c.PutLosses(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if sent := sent.take(); len(sent) > 0 {
		t.Errorf("sent %v for no loss", sent)
	}
	if got := read(t, c, "iot_losses"); len(got) != 4 || got[0] !=
		`{"_id":"a/1/3-5/buffer_full","id":"a","epoch":{"$numberLong":"1"},"first":{"$numberLong":"3"},"last":{"$numberLong":"5"},"reason":"buffer_full"}` {
		t.Errorf("documents %v", got)
	}
	for _, row := range []struct {
		first, last uint64
		want        []window.Declared
	}{
		{5, 9, stored[:2]}, {0, 3, stored[:1]}, {6, 8, nil}, {10, 20, nil}, {4, 4, stored[:1]},
	} {
		got, err := c.Losses(ctx, []window.Declared{lossOf("a", 1, row.first, row.last)})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%d to %d: %v, want %v", row.first, row.last, got, row.want)
		}
	}
	sent.take()
	if got, err := c.Losses(ctx, []window.Declared{lossOf("a", 1, 4, 9), lossOf("a", 1, 5, 6), lossOf("b", 1, 0, 9)}); err != nil || len(got) != 3 {
		t.Errorf("of three spans: %v, %v", got, err)
	}
	sent.golden(t, "losses")
}

func TestSensorsSpanning(t *testing.T) {
	c, sent := connect(t)
	ctx := t.Context()
	w := counted(t, "a", 2, 7) // of epoch MaxSeq
	if _, err := c.PutSensors(ctx, []*window.Document{document(t, w, 1)}); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		epoch, first, last uint64
		want               int
	}{
		{telemetry.MaxSeq, 3, 4, 1}, {telemetry.MaxSeq, 0, 2, 0}, {telemetry.MaxSeq, 0, 3, 1}, {telemetry.MaxSeq, 7, 9, 0}, {1, 3, 4, 0},
	} {
		got, err := c.SensorsSpanning(ctx, []window.Declared{lossOf("a", row.epoch, row.first, row.last)})
		if err != nil || len(got) != row.want {
			t.Errorf("epoch %d, %d to %d: %d windows, %v; want %d", row.epoch, row.first, row.last, len(got), err, row.want)
		}
	}
	sent.take()
	if got, err := c.SensorsSpanning(ctx, []window.Declared{lossOf("a", telemetry.MaxSeq, 3, 4), lossOf("b", 1, 3, 4)}); err != nil || len(got) != 1 {
		t.Errorf("%d windows, %v", len(got), err)
	}
	sent.golden(t, "sensors_spanning")
}

// TestQueriesAreBounded: more than one query asks for. All is found, and none
// twice.
func TestQueriesAreBounded(t *testing.T) {
	c, sent := connect(t)
	ctx := t.Context()
	var losses []window.Declared
	for n := range uint64(maxAlternatives + 1) {
		losses = append(losses, lossOf("a", 1, 2*n, 2*n))
	}
	if err := c.PutLosses(ctx, losses); err != nil {
		t.Fatal(err)
	}
	sent.take()
	if got, err := c.Losses(ctx, append(losses, lossOf("a", 1, 0, 1000))); err != nil || len(got) != len(losses) {
		t.Errorf("%d losses, %v; want %d", len(got), err, len(losses))
	}
	if n := finds(sent.take()); n != 2 {
		t.Errorf("%d queries for losses, want 2", n)
	}
	ids := []string{"a/1700000000000-1700000010000"}
	for n := range maxIDs {
		ids = append(ids, fmt.Sprintf("none/%d-%d", n, n+1))
	}
	if _, err := c.PutSensors(ctx, []*window.Document{document(t, counted(t, "a", 0), 1)}); err != nil {
		t.Fatal(err)
	}
	sent.take()
	slices.Reverse(ids)
	if got, err := c.Sensors(ctx, ids); err != nil || len(got) != 1 {
		t.Errorf("%d windows, %v", len(got), err)
	}
	if n := finds(sent.take()); n != 2 {
		t.Errorf("%d queries for windows, want 2", n)
	}
}

// finds returns how many queries there are among the commands.
func finds(sent []bson.D) (n int) {
	for _, command := range sent {
		if command[0].Key == "find" {
			n++
		}
	}
	return n
}

// TestAway: nobody listens. Nothing hangs, and nothing is taken for done.
func TestAway(t *testing.T) {
	c, err := New(Options{URI: "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=50", Database: "iot"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	for name, op := range map[string]func(context.Context) error{
		"Ping":          c.Ping,
		"EnsureIndexes": c.EnsureIndexes,
		"PutFrames":     func(ctx context.Context) error { _, err := c.PutFrames(ctx, []sink.Frame{frame("a", 0)}); return err },
		"PutSensors": func(ctx context.Context) error {
			_, err := c.PutSensors(ctx, []*window.Document{document(t, counted(t, "a", 0), 1)})
			return err
		},
		"Sensors": func(ctx context.Context) error { _, err := c.Sensors(ctx, []string{"a"}); return err },
	} {
		if err := op(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
