package migrate

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/ingest/internal/window/windowtest"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	size = 10 * time.Second
	base = 1_700_000_000_000 // Unix ms, the start of a window
)

var now = time.UnixMilli(base + 86_400_000)

func options(from *source, to *twin, apply bool) Options {
	return Options{
		Source: from, Target: to, Apply: apply, Window: size, FramesTTL: 48 * time.Hour, MaxFuture: time.Minute,
		Examples: 2, Now: func() time.Time { return now },
	}
}

// seed is a document as the replaced system wrote it.
func seed(n int, id, place string, timestamp int64, temperature int) Document {
	date := time.UnixMilli(timestamp).UTC().Format("2006-01-02T15:04:05.000Z")
	return Document{ID: fmt.Sprintf("ObjectId('%024x')", n), JSON: fmt.Appendf(nil,
		`{"id":%q,"name":"Sensor %s","place_id":%q,"date":%q,"timestamp":%d,"payload":{"temperature":%d,"humidity":40,"pressure":1013,"luminosity":64999}}`,
		id, id, place, date, timestamp, temperature)}
}

// TestRefusals: every document that is not one of the replaced system's is
// refused, with what was found and what was expected, and stops no other.
func TestRefusals(t *testing.T) {
	tests := []struct{ reason, json, want string }{
		{"missing_id", `{"schema":{"type":"string"},"payload":{}}`, `ObjectId('01'): id: want the sensor's id`},
		{"wrong_type", `{"id":"a","timestamp":{"$numberLong":"1700000000000"}}`, `ObjectId('01'): timestamp: {"$numberLong":"1700000000000"}: want an integer`},
		{"wrong_type", `{"id":"a","timestamp":1700000000000.5}`, `ObjectId('01'): timestamp: 1700000000000.5: want an integer without fraction and exponent`},
		{"wrong_type", `{"id":"a","timestamp":"2020-01-01"}`, `ObjectId('01'): timestamp: "2020-01-01": want an integer`},
		{"wrong_type", `{"id":7,"timestamp":1700000000000}`, `ObjectId('01'): id: 7: want a string`},
		{"wrong_type", `{"id":"a","timestamp":1700000000000,"payload":{"humidity":{"$numberDouble":"NaN"}}}`, `ObjectId('01'): payload.humidity: {"$numberDouble":"NaN"}: want a number`},
		{"bad_id", `{"id":"a/b","timestamp":1700000000000}`, `ObjectId('01'): id: "a/b": want 1 to 128 bytes without slash and control characters`},
		{"missing_timestamp", `{"id":"a","date":"2020-01-01T00:00:00.000Z"}`, `ObjectId('01'): timestamp: want the moment of sampling`},
		{"duplicate_key", `{"id":"a","id":"b","timestamp":1700000000000}`, ``},
		{"out_of_range", `{"id":"a","timestamp":1700000000000,"payload":{"pressure":1000000001}}`, `ObjectId('01'): payload.pressure: 1000000001: want at most 1e9 units`},
		{"before_2000", `{"id":"a","timestamp":1577836800}`, `ObjectId('01'): timestamp: 1577836800: want Unix milliseconds, from the year 2000 on`},
		{"in_future", `{"id":"a","timestamp":1700086460001}`, `ObjectId('01'): timestamp: 1700086460001: want at most 1700086460000, 1m0s from now`},
		{"sequenced", `{"id":"a","timestamp":1700000000000,"epoch":7,"seq":1}`, `ObjectId('01'): epoch: 7: want a reading without epoch and seq, as the replaced system has them`},
		{"sequenced", `{"id":"a","epoch":7,"lost":{"seq":[1,2],"reason":"corrupt"}}`, `ObjectId('01'): epoch: 7: want a reading without epoch and seq, as the replaced system has them`},
		{"not_json", ``, ``},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			to := newTwin()
			from := &source{documents: []Document{{ID: "ObjectId('01')", JSON: []byte(tt.json)}, seed(2, "a", "p", base, 21)}}
			report, err := Run(t.Context(), options(from, to, true))
			if err != nil {
				t.Fatal(err)
			}
			refused := report.Refused[tt.reason]
			if refused == nil || refused.Count != 1 || len(report.Refused) != 1 || report.FramesNew != 1 || len(to.sensors) != 1 {
				t.Fatalf("%+v", report)
			}
			if got := refused.Examples[0].String(); tt.want != "" && got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestReport: what a dry run and a run say of the same documents, and that the
// dry run writes nothing.
func TestReport(t *testing.T) {
	to := newTwin()
	from := &source{
		strangers: []string{`"665f1c"`},
		documents: []Document{
			seed(1, "12434345", "32347983", base-49*3_600_000, 3), // older than frames are kept
			seed(2, "12434345", "32347983", base, 21),
			seed(4, "12434345", "32347983", base, 21), // delivered again
			seed(3, "12434345", "32347983", base+1000, -5),
			seed(5, "12434345", "32347983", base+10_000, 34),
			seed(6, "43245253", "42343243", base+1000, 0),
			{ID: "ObjectId('07')", JSON: []byte(`{"id":"43245253","timestamp":1700000002000,"payload":{"temperature":1},"colour":"red"}`)},
			{ID: "ObjectId('08')", JSON: []byte(`{"id":"43245253","timestamp":"x"}`)},
			{ID: "ObjectId('09')", JSON: []byte(`{"id":"43245253","timestamp":"y"}`)},
			{ID: "ObjectId('0a')", JSON: []byte(`{"id":"43245253","timestamp":"z"}`)},
		},
	}
	var out bytes.Buffer
	for _, run := range []struct {
		name  string
		apply bool
	}{{"dry run", false}, {"apply", true}, {"apply again", true}} {
		before := encode([]any{to.frames, to.sensors, to.places})
		report, err := Run(t.Context(), options(from, to, run.apply))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "== %s ==\n", run.name)
		if err := report.Write(&out); err != nil {
			t.Fatal(err)
		}
		if changed := encode([]any{to.frames, to.sensors, to.places}) != before; changed != (run.name == "apply") {
			t.Errorf("%s: changed is %v", run.name, changed)
		}
		if sum := report.RefusedDocuments() + report.Duplicates + report.FramesNew + report.FramesThere + report.Expired; sum != report.Documents {
			t.Errorf("%s: %d documents, %d accounted for", run.name, report.Documents, sum)
		}
	}
	golden(t, "report.txt", out.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -golden +got:\n%s", name, diff)
	}
}

// TestContradiction: of two documents with one identity the one that was
// written first stays, in whatever order they are read.
func TestContradiction(t *testing.T) {
	first, second := seed(1, "a", "p", base, 1), seed(2, "a", "p", base, 2)
	var results []string
	for _, documents := range [][]Document{{first, second}, {second, first}} {
		to := newTwin()
		report, err := Run(t.Context(), options(&source{documents: documents}, to, true))
		if err != nil || report.Duplicates != 1 || report.Contradicting != 1 {
			t.Fatalf("%+v, %v", report, err)
		}
		if !strings.Contains(to.frames["a/1700000000000"], `"temperature":1,`) {
			t.Errorf("stored %v", to.frames)
		}
		results = append(results, encode([]any{to.frames, to.sensors, to.places}))
	}
	if results[0] != results[1] {
		t.Errorf("the order of reading shows:\n%s\n%s", results[0], results[1])
	}
}

// TestStoreRefuses: a frame that the store will never take is refused, and is
// in no window.
func TestStoreRefuses(t *testing.T) {
	to := newTwin()
	there := &source{documents: []Document{seed(2, "a", "p", base, 1)}}
	if _, err := Run(t.Context(), options(there, to, true)); err != nil {
		t.Fatal(err)
	}
	bad := Document{ID: "ObjectId('01')", JSON: []byte(`{"id":"b","name":"too large","timestamp":1700000000000}`)}
	report, err := Run(t.Context(), options(&source{documents: append(there.documents, bad)}, to, true))
	if err != nil || report.FramesThere != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	want := &Refusals{1, []Refusal{{ID: bad.ID, Detail: errTooLarge.Error()}}}
	if diff := gocmp.Diff(want, report.Refused[ReasonRejected]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if ids := slices.Sorted(maps.Keys(to.sensors)); !slices.Equal(ids, []string{"a/1700000000000-1700000010000"}) {
		t.Errorf("windows %v", ids)
	}
}

// TestInvalidWindow: what is stored of a window and not readable stays.
func TestInvalidWindow(t *testing.T) {
	to := newTwin()
	const id = "a/1700000000000-1700000010000"
	to.sensors[id] = `{"sensor_id":"a","start_agg_tm":1700000000000,"end_agg_tm":1700000010000,"revision":3,"parts":[]}`
	before := to.sensors[id]
	report, err := Run(t.Context(), options(&source{documents: []Document{seed(1, "a", "p", base, 1)}}, to, true))
	if err != nil || report.Refused[ReasonWindowInvalid].Count != 1 || to.sensors[id] != before {
		t.Fatalf("%+v, %v\n%v", report, err, to.sensors)
	}
}

// TestTwoPlaces: a sensor that moved within a window has parts at both places,
// and a frame at one of them revises both, also if the run before was killed
// between the windows of the sensors and those of the places.
func TestTwoPlaces(t *testing.T) {
	for _, killed := range []bool{false, true} {
		to := newTwin()
		ingest := &live{to: to, frames: []telemetry.Frame{{ID: "a", PlaceID: "there", Timestamp: base + 5000, Sequenced: true}}}
		ingest.step()
		ingest.step()
		from := &source{documents: []Document{seed(1, "a", "here", base, 1)}}
		if killed {
			to.before = func(operation string) (bool, error) {
				if operation == "PlaceIntervals" {
					return false, errAway
				}
				return true, nil
			}
			if _, err := Run(t.Context(), options(from, to, true)); !errors.Is(err, errAway) {
				t.Fatal(err)
			}
			to.before = nil
		}
		if _, err := Run(t.Context(), options(from, to, true)); err != nil {
			t.Fatal(err)
		}
		const there = "there/1700000000000-1700000010000"
		if state := decode[window.PlaceState](to.places[there]); !slices.Equal(state.Sensors, []window.SensorRevision{{Sensor: "a", Revision: 2}}) {
			t.Errorf("killed: %v, %s", killed, to.places[there])
		}
	}
}

// TestOthersStay: windows of places that no migrated frame is in are not folded,
// nor those of another size.
func TestOthersStay(t *testing.T) {
	to := newTwin()
	for _, w := range []*window.Window{
		window.New("live", window.Interval{Start: base + 10_000, End: base + 20_000}),
		window.New("a", window.Interval{Start: base, End: base + 20_000}),
	} {
		if _, err := w.Count(&telemetry.Frame{ID: w.Sensor, PlaceID: "p", Timestamp: base + 15_000}); err != nil {
			t.Fatal(err)
		}
		d, _ := w.Document(1, nil, nil)
		to.sensors[d.ID] = document(d)
	}
	from := &source{documents: []Document{seed(1, "a", "p", base, 1), seed(2, "a", "p", base+20_000, 1)}}
	if _, err := Run(t.Context(), options(from, to, true)); err != nil {
		t.Fatal(err)
	}
	if ids := slices.Sorted(maps.Keys(to.places)); !slices.Equal(ids, []string{"p/1700000000000-1700000010000", "p/1700000020000-1700000030000"}) {
		t.Errorf("windows of places %v", ids)
	}
}

// TestBatches: a window of more frames than are gathered is stored in parts.
func TestBatches(t *testing.T) {
	from, to := &source{}, newTwin()
	for n := range maxBatch + 10 {
		from.documents = append(from.documents, seed(n, "a", "p", base+int64(n)*10, n%7))
	}
	o := options(from, to, true)
	o.Window = time.Hour
	report, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(to.frames) != maxBatch+10 || report.FramesNew != maxBatch+10 || report.SensorWindows != (Windows{New: 1, Revised: 1}) || report.PlaceWindows != (Windows{New: 1}) {
		t.Errorf("%d frames stored, %+v", len(to.frames), report)
	}
	for id, text := range to.places {
		if !strings.Contains(text, `"count_measures":50010,`) {
			t.Errorf("%s: %s", id, text)
		}
	}
}

// live is ingest at work at the same time: it stores windows of sensors, and
// folds what they tell the places into windows that it holds, one step at a time.
type live struct {
	to     *twin
	frames []telemetry.Frame
	parts  []window.Part // stored, not yet folded
	places map[string]*window.Place
}

// fold folds in a part, as aggregate.Places does: it reads what is stored only
// after a conflict.
func (l *live) fold(ctx context.Context, part window.Part) {
	id := part.Interval().ID(part.Place)
	if l.places == nil {
		l.places = map[string]*window.Place{}
	}
	if l.places[id] == nil {
		l.places[id] = window.NewPlace(part.Place, part.Interval())
	}
	p := l.places[id]
	if _, err := p.Apply(&part); err != nil {
		panic(err)
	}
	for p.Changed() {
		if answers, _ := l.to.PutPlaces(ctx, []*window.Document{p.Document(p.Revision + 1)}); answers[0] == nil {
			p.Stored(p.Revision + 1)
			return
		}
		states, _ := l.to.Places(ctx, []string{id})
		for _, s := range l.to.at(part.Place, part.Start, part.Start+1) {
			for _, other := range s.PlaceParts() {
				if other.Place == part.Place && other.Interval() == part.Interval() {
					if _, err := p.Apply(&other); err != nil {
						panic(err)
					}
				}
			}
		}
		if p.Revision = states[0].Revision; p.Same(&states[0]) {
			p.Stored(p.Revision)
		}
	}
}

func (l *live) step() {
	before := l.to.before
	defer func() { l.to.before = before }()
	l.to.before = nil
	ctx := context.Background()
	if len(l.parts) > 0 {
		part := l.parts[0]
		l.parts = l.parts[1:]
		l.fold(ctx, part)
		return
	}
	if len(l.frames) == 0 {
		return
	}
	f := l.frames[0]
	l.frames = l.frames[1:]
	if id := telemetry.FrameID(&f); l.to.frames[id] == "" {
		l.to.frames[id] = string(telemetry.AppendFrame(nil, &f))
	}
	w := window.New(f.ID, window.IntervalOf(f.Timestamp, size))
	if states, _ := l.to.Sensors(ctx, []string{w.ID(f.ID)}); len(states) > 0 {
		var err error
		if w, err = window.Restore(&states[0]); err != nil {
			panic(err)
		}
	}
	if counted, err := w.Count(&f); err != nil || !counted {
		return
	}
	d, parts := w.Document(w.Revision+1, w.Gaps(), nil)
	if answers, _ := l.to.PutSensors(ctx, []*window.Document{d}); answers[0] != nil {
		panic(answers[0])
	}
	l.parts = append(l.parts, parts...)
}

// TestOracle: whatever fails, in doubt or not, wherever the migration is killed,
// and with an ingest that works on the same sensors at the same time, frames and
// windows are in the end those of the set of distinct readings, and another run
// changes nothing.
func TestOracle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Hidden behind testing.TB, the test's deadline, which has no meaning
		// in a bubble, is not asked for.
		rapid.Check(struct{ testing.TB }{t}, checkOracle)
	})
}

func checkOracle(t *rapid.T) {
	from, to := &source{}, newTwin()
	distinct := map[string]telemetry.Frame{}
	var decoder telemetry.Decoder
	for n := range rapid.IntRange(0, 60).Draw(t, "documents") {
		sensor := rapid.IntRange(0, 2).Draw(t, "sensor")
		at := rapid.IntRange(0, 29).Draw(t, "at")
		// All follows from the identity.
		d := seed(n, fmt.Sprintf("s%d", sensor), fmt.Sprintf("p%d", (sensor+at/20)%2), base+int64(at)*1500, at-9)
		if rapid.IntRange(0, 9).Draw(t, "poison") == 0 {
			d.JSON = []byte(`{"id":"s0","timestamp":"yesterday"}`)
		} else {
			var f telemetry.Frame
			if err := decoder.Decode(d.JSON, &f); err != nil {
				t.Fatal(err)
			}
			distinct[telemetry.FrameID(&f)] = f
		}
		from.documents = append(from.documents, d)
	}
	if rapid.Bool().Draw(t, "sorted") {
		slices.SortFunc(from.documents, func(a, b Document) int { return bytes.Compare(a.JSON, b.JSON) })
	}
	ingest := &live{to: to}
	for range rapid.IntRange(0, 20).Draw(t, "live frames") {
		at := rapid.IntRange(0, 29).Draw(t, "at")
		f := telemetry.Frame{ID: fmt.Sprintf("s%d", rapid.IntRange(0, 3).Draw(t, "live sensor")), Name: "live", PlaceID: fmt.Sprintf("p%d", at/20), Timestamp: base + int64(at)*1500 + 1}
		if at%3 > 0 {
			f.Sequenced, f.Epoch, f.Seq = true, 1, uint64(at)
		}
		f.Payload.Set(telemetry.Temperature, telemetry.Micro(at))
		ingest.frames = append(ingest.frames, f)
		distinct[telemetry.FrameID(&f)] = f
	}
	for range rapid.IntRange(0, 3).Draw(t, "before") {
		ingest.step()
	}
	for range rapid.IntRange(0, 4).Draw(t, "kills") {
		ctx, kill := context.WithCancel(context.Background())
		left := rapid.IntRange(1, 12).Draw(t, "operations")
		to.before = func(string) (bool, error) {
			if left--; left <= 0 {
				kill()
				return rapid.Bool().Draw(t, "done"), errAway
			}
			for range rapid.IntRange(0, 3).Draw(t, "live") {
				ingest.step()
			}
			return true, nil
		}
		_, err := Run(ctx, options(from, to, true))
		if err != nil && !errors.Is(err, errAway) && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		kill()
	}
	to.before = func(string) (bool, error) {
		for range rapid.IntRange(0, 3).Draw(t, "live") {
			ingest.step()
		}
		return true, nil
	}
	if _, err := Run(context.Background(), options(from, to, true)); err != nil {
		t.Fatal(err)
	}
	for len(ingest.frames)+len(ingest.parts) > 0 {
		ingest.step()
	}

	frames := map[string]string{}
	for id, f := range distinct {
		frames[id] = string(telemetry.AppendFrame(nil, &f))
	}
	sensors, places := windowtest.Windows(slices.Collect(maps.Values(distinct)), size)
	for _, c := range []struct {
		name      string
		want, got map[string]string
	}{{"frames", frames, to.frames}, {"sensors", sensors, to.sensors}, {"places", places, to.places}} {
		got := map[string]string{}
		for id, text := range c.got {
			got[id] = windowtest.Plain([]byte(text))
		}
		if diff := gocmp.Diff(c.want, got); diff != "" {
			t.Fatalf("%s: -naive +stored:\n%s", c.name, diff)
		}
	}
	to.before = nil
	before := encode([]any{to.frames, to.sensors, to.places})
	report, err := Run(context.Background(), options(from, to, true))
	if err != nil {
		t.Fatal(err)
	}
	if after := encode([]any{to.frames, to.sensors, to.places}); after != before {
		t.Fatalf("another run changes\n%s\nto\n%s", before, after)
	}
	if report.FramesNew+report.SensorWindows.New+report.SensorWindows.Revised+report.PlaceWindows.New+report.PlaceWindows.Revised > 0 {
		t.Fatalf("another run says %+v", report)
	}
}
