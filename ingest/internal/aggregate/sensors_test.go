package aggregate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/telltale-iot/telltale/ingest/internal/deadletter"
	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/ingest/internal/window/windowtest"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// frameAt is the seq-th reading of a sensor, one a second.
func frameAt(sensor string, seq int) telemetry.Frame {
	f := telemetry.Frame{
		ID: sensor, Name: "Name", PlaceID: "p", Timestamp: epoch + int64(seq)*1000,
		Sequenced: true, Epoch: 1, Seq: uint64(seq),
	}
	f.Payload.Set(telemetry.Temperature, telemetry.Micro(20_000_000+seq))
	return f
}

func lossOf(sensor string, first, last uint64) telemetry.Frame {
	return telemetry.Frame{ID: sensor, Epoch: 1, Lost: telemetry.Loss{
		Seqs: telemetry.SeqRange{First: first, Last: last}, Reason: "buffer_full",
	}}
}

func messages(frames ...telemetry.Frame) []kafka.Message {
	var all []kafka.Message
	for i := range frames {
		all = append(all, message(i, &frames[i]))
	}
	return all
}

// numbers reads count, missing, lost and revision of each stored window.
func numbers(stored map[string][]byte) map[string]string {
	all := map[string]string{}
	for id, data := range stored {
		d := decode[map[string]any](data)
		all[id] = fmt.Sprintf("count %v missing %v lost %v revision %v %v", d["count_measures"], d["missing"], d["lost"], d["revision"], d["state"])
	}
	return all
}

const window0, window1 = "/1700000000000-1700000010000", "/1700000010000-1700000020000"

func TestSensorWindows(t *testing.T) {
	for name, c := range map[string]struct {
		lives [][]telemetry.Frame // each read to its end, then until idle
		want  map[string]string
	}{
		"the last window closes": {
			[][]telemetry.Frame{{frameAt("a", 0), frameAt("a", 1)}},
			map[string]string{"a" + window0: "count 2 missing 0 lost 0 revision 1 complete"},
		},
		"a gap is missing": {
			[][]telemetry.Frame{{frameAt("a", 0), frameAt("a", 3)}},
			map[string]string{"a" + window0: "count 2 missing 2 lost 0 revision 1 gaps"},
		},
		"a gap that was declared is lost": {
			[][]telemetry.Frame{{lossOf("a", 1, 1), frameAt("a", 0), frameAt("a", 3)}},
			map[string]string{"a" + window0: "count 2 missing 1 lost 1 revision 1 gaps"},
		},
		"a loss declared after the window is stored revises it": {
			[][]telemetry.Frame{{frameAt("a", 0), frameAt("a", 3)}, {lossOf("a", 0, 8)}},
			map[string]string{"a" + window0: "count 2 missing 0 lost 2 revision 2 gaps"},
		},
		"a frame that was declared lost wins": {
			[][]telemetry.Frame{{frameAt("a", 0), lossOf("a", 1, 1), frameAt("a", 2)}, {frameAt("a", 1)}},
			map[string]string{"a" + window0: "count 3 missing 0 lost 0 revision 2 complete"},
		},
		"late frames revise their window and no other": {
			[][]telemetry.Frame{{frameAt("a", 0), frameAt("a", 12), frameAt("b", 0)}, {frameAt("a", 1), frameAt("a", 2)}},
			map[string]string{
				"a" + window0: "count 3 missing 0 lost 0 revision 2 complete",
				"a" + window1: "count 1 missing 0 lost 0 revision 1 complete",
				"b" + window0: "count 1 missing 0 lost 0 revision 1 complete",
			},
		},
		"duplicates of a stored window change nothing": {
			[][]telemetry.Frame{{frameAt("a", 0), frameAt("a", 1)}, {frameAt("a", 1), frameAt("a", 0)}},
			map[string]string{"a" + window0: "count 2 missing 0 lost 0 revision 1 complete"},
		},
		"a resend that overlaps is counted once": {
			[][]telemetry.Frame{{frameAt("a", 0), frameAt("a", 1), frameAt("a", 2)}, {frameAt("a", 2), frameAt("a", 3)}},
			map[string]string{"a" + window0: "count 4 missing 0 lost 0 revision 2 complete"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			store, producer := newTwin(), newTopics()
			c0 := &clock{now: time.UnixMilli(epoch)}
			source := &partition{batch: 3}
			for _, frames := range c.lives {
				source = source.reassigned()
				for i := range frames {
					source.messages = append(source.messages, message(len(source.messages), &frames[i]))
				}
				if err := run(t.Context(), c0, source, newAggregate(t, store, producer, c0, 100).Sensors); err != nil {
					t.Fatal(err)
				}
				if last := source.commits[len(source.commits)-1]; last != int64(len(source.messages)) {
					t.Errorf("committed %d of %d", last, len(source.messages))
				}
			}
			if diff := cmp.Diff(c.want, numbers(store.sensors)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(records(store.sensors), producer.last(SensorsTopic)); diff != "" {
				t.Errorf("-stored +on Kafka:\n%s", diff)
			}
		})
	}
}

// TestMissingReadingsAreCountedOnce: of a window that is revised, only what a
// revision changes.
func TestMissingReadingsAreCountedOnce(t *testing.T) {
	store, producer := newTwin(), newTopics()
	c := &clock{now: time.UnixMilli(epoch)}
	source := &partition{batch: 3}
	a := newAggregate(t, store, producer, c, 100)
	for _, life := range []struct {
		frames                                   []telemetry.Frame
		missing, resolved, incomplete, completed float64
	}{
		{[]telemetry.Frame{frameAt("a", 0), frameAt("a", 5), frameAt("b", 0)}, 4, 0, 1, 0},
		{[]telemetry.Frame{frameAt("a", 6)}, 4, 0, 1, 0},                  // another revision, missing the same
		{[]telemetry.Frame{frameAt("a", 1)}, 4, 1, 1, 0},                  // one comes after all
		{[]telemetry.Frame{lossOf("a", 2, 3)}, 4, 3, 1, 0},                // two are explained
		{[]telemetry.Frame{frameAt("a", 4), frameAt("a", 4)}, 4, 4, 1, 1}, // nothing is missing
		{[]telemetry.Frame{frameAt("a", 9)}, 6, 4, 2, 1},                  // until the window grows
		{[]telemetry.Frame{frameAt("a", 7), frameAt("a", 8)}, 6, 6, 2, 2},
	} {
		source = source.reassigned()
		for i := range life.frames {
			source.messages = append(source.messages, message(len(source.messages), &life.frames[i]))
		}
		if err := run(t.Context(), c, source, a.Sensors); err != nil {
			t.Fatal(err)
		}
		m := a.metrics
		got := [4]float64{testutil.ToFloat64(m.missing), testutil.ToFloat64(m.resolved), testutil.ToFloat64(m.incomplete), testutil.ToFloat64(m.completed)}
		if want := [4]float64{life.missing, life.resolved, life.incomplete, life.completed}; got != want {
			t.Errorf("after %d records: missing, resolved, incomplete, completed are %v, want %v", len(source.messages), got, want)
		}
	}
	var shown dto.Metric
	if err := a.metrics.delay.Write(&shown); err != nil || shown.Histogram.GetSampleCount() != 2 {
		t.Errorf("the delay of %d windows is observed, want that of 2 when they were first stored: %v", shown.Histogram.GetSampleCount(), err)
	}
}

// TestOneDeviceChangesNothingForOthers: of devices a year ahead, a year behind,
// silent for a week in mid-stream, and sending three days of backlog, each has
// all its windows, and those of another are to the byte what they are without.
func TestOneDeviceChangesNothingForOthers(t *testing.T) {
	const day = 24 * 3600 * 1000
	work := func(devices ...func(seq int) telemetry.Frame) (*twin, *Aggregate) {
		var frames []telemetry.Frame
		for seq := range 40 {
			frames = append(frames, frameAt("right", seq))
			for _, device := range devices {
				frames = append(frames, device(seq))
			}
		}
		store, c := newTwin(), &clock{now: time.UnixMilli(epoch)}
		a := newAggregate(t, store, newTopics(), c, 100)
		a.options.Retention = 2 * 365 * 24 * time.Hour
		if err := run(t.Context(), c, &partition{batch: 7, messages: messages(frames...)}, a.Sensors); err != nil {
			t.Fatal(err)
		}
		return store, a
	}
	shifted := func(sensor string, by func(seq int) int64) func(int) telemetry.Frame {
		return func(seq int) telemetry.Frame {
			f := frameAt(sensor, seq)
			f.Timestamp += by(seq)
			return f
		}
	}
	alone, _ := work()
	together, a := work(
		shifted("ahead", func(int) int64 { return 365 * day }),
		shifted("behind", func(int) int64 { return -365 * day }),
		shifted("silent", func(seq int) int64 { return int64(seq/20) * 7 * day }),
		shifted("backlog", func(seq int) int64 { return int64(seq-40) * 3 * day / 40 }),
	)
	counted := map[string]int{}
	for id, data := range together.sensors {
		sensor, _, _ := strings.Cut(id, "/")
		if sensor == "right" && string(data) != string(alone.sensors[id]) {
			t.Errorf("%s: -alone +together:\n%s", id, cmp.Diff(string(alone.sensors[id]), string(data)))
		}
		counted[sensor] += int(decode[map[string]any](data)["count_measures"].(float64))
	}
	if want := map[string]int{"right": 40, "ahead": 40, "behind": 40, "silent": 40, "backlog": 40}; !maps.Equal(counted, want) {
		t.Errorf("frames in windows: %v, want %v", counted, want)
	}
	if got := testutil.ToFloat64(a.metrics.late); got != 0 {
		t.Errorf("%v frames late", got)
	}
}

// TestThreeDaysLate: a backlog of three days, sent after newer frames, revises
// the windows that it belongs to by one, and touches no other.
func TestThreeDaysLate(t *testing.T) {
	const hour = 3600
	at := func(sensor string, n, second int) telemetry.Frame { // the n-th hour's window, of which 0 is live
		f := frameAt(sensor, n*hour+second)
		f.Seq = uint64(n*10 + second)
		return f
	}
	store, producer, c := newTwin(), newTopics(), &clock{now: time.UnixMilli(epoch)}
	source := &partition{batch: 50}
	live := func(frames []telemetry.Frame) {
		source = source.reassigned()
		for i := range frames {
			source.messages = append(source.messages, message(len(source.messages), &frames[i]))
		}
		a := newAggregate(t, store, producer, c, 100)
		a.options.Retention = 30 * 24 * time.Hour
		if err := run(t.Context(), c, source, a.Sensors); err != nil {
			t.Fatal(err)
		}
	}
	var first, backlog []telemetry.Frame
	for n := range 3 * 24 {
		for second := range 10 {
			first = append(first, at("other", n, second))
			if n%2 == 0 && second%2 == 0 || n == 3*24-1 {
				first = append(first, at("late", n, second)) // half of every second window, and the newest
			} else {
				backlog = append(backlog, at("late", n, second))
			}
		}
	}
	live(first)
	before := maps.Clone(store.sensors)
	live(backlog)
	want, _ := windowtest.Windows(append(first, backlog...), size)
	if diff := cmp.Diff(want, plainAll(store.sensors)); diff != "" {
		t.Fatalf("-naive +stored:\n%s", diff)
	}
	for id, data := range store.sensors {
		sensor, _, _ := strings.Cut(id, "/")
		revision := decode[window.State](data).Revision
		switch old, there := before[id]; {
		case sensor == "other" || string(data) == string(old):
			if string(data) != string(old) || revision != 1 {
				t.Errorf("%s was touched: -before +after:\n%s", id, cmp.Diff(string(old), string(data)))
			}
		case there && revision != 2, !there && revision != 1:
			t.Errorf("%s has revision %d", id, revision)
		}
	}
	if diff := cmp.Diff(records(store.sensors), producer.last(SensorsTopic)); diff != "" {
		t.Errorf("-stored +last on Kafka:\n%s", diff)
	}
}

// TestRejectedWindow: a window that the store will never take, and one whose
// stored form is damaged, are dead letters, and the loop goes on.
func TestRejectedWindow(t *testing.T) {
	refusal := errors.New("it has a bad field")
	for name, c := range map[string]struct {
		store  func(*twin) Store
		reason string
	}{
		"rejected by the store": {
			func(s *twin) Store { return &refusing{s, refusal} },
			"rejected_by_store: it has a bad field",
		},
		"stored form damaged": {
			func(s *twin) Store {
				s.sensors["a"+window0] = []byte(`{"sensor_id":"a","start_agg_tm":1700000000000,"end_agg_tm":1700000010000,"revision":7}`)
				return s
			},
			"stored_window_invalid: what is stored of it is not readable",
		},
	} {
		t.Run(name, func(t *testing.T) {
			twin, producer, c0 := newTwin(), newTopics(), &clock{now: time.UnixMilli(epoch)}
			frames := []telemetry.Frame{frameAt("a", 0), frameAt("b", 0), frameAt("a", 1)}
			if err := run(t.Context(), c0, &partition{batch: 10, messages: messages(frames...)}, newAggregate(t, c.store(twin), producer, c0, 10).Sensors); err != nil {
				t.Fatal(err)
			}
			letters := producer.records[deadletter.Topic]
			if len(letters) != 1 {
				t.Fatalf("%d dead letters, want 1", len(letters))
			}
			m := kafka.Message{Record: letters[0]}
			if got := fmt.Sprintf("%s: %s", m.Header("reason"), m.Header("detail")); got != c.reason || string(m.Key) != "a"+window0 {
				t.Errorf("dead letter of %s: %s; want %s", m.Key, got, c.reason)
			}
			if got := decode[map[string]any](m.Value)["count_measures"]; got != 2.0 {
				t.Errorf("it counts %v frames, want 2", got)
			}
			if got := numbers(twin.sensors)["b"+window0]; got != "count 1 missing 0 lost 0 revision 1 complete" {
				t.Errorf("the other's window: %s", got)
			}
			if _, there := producer.last(SensorsTopic)["a"+window0]; there {
				t.Error("it was published")
			}
		})
	}
}

// TestLargestRecordFits: a window with the most gaps, all declared, is published.
func TestLargestRecordFits(t *testing.T) {
	i := window.IntervalOf(epoch, 24*time.Hour)
	w := window.New(strings.Repeat("s", telemetry.MaxID), i)
	f := telemetry.Frame{ID: w.Sensor, PlaceID: "p", Timestamp: epoch, Sequenced: true, Epoch: telemetry.MaxSeq}
	for range window.MaxRanges {
		f.Seq += 1 << 37
		if _, err := w.Count(&f); err != nil {
			t.Fatal(err)
		}
	}
	loss := window.Declared{Sensor: w.Sensor, Epoch: f.Epoch, Loss: telemetry.Loss{Seqs: telemetry.SeqRange{Last: f.Seq}, Reason: strings.Repeat("r", telemetry.MaxReason)}}
	missing, lost := window.Explain(w.Gaps(), []window.Declared{loss})
	d, _ := w.Document(1, missing, lost)
	if n := len(mustJSON(d)); len(lost) != window.MaxRanges-1 || n > MaxSensorRecord {
		t.Errorf("%d losses in a record of %d bytes; want %d in at most %d", len(lost), n, window.MaxRanges-1, MaxSensorRecord)
	}
}

// refusing is a store that takes no window of sensor a.
type refusing struct {
	*twin
	refusal error
}

func (r *refusing) PutSensors(ctx context.Context, documents []*window.Document) ([]error, error) {
	answers := make([]error, len(documents))
	for i, d := range documents {
		if strings.HasPrefix(d.ID, "a/") {
			answers[i] = r.refusal
			continue
		}
		one, err := r.twin.PutSensors(ctx, documents[i:i+1])
		if err != nil {
			return nil, err
		}
		answers[i] = one[0]
	}
	return answers, nil
}

func TestDeadLetters(t *testing.T) {
	late, early := frameAt("a", 0), frameAt("a", 0)
	late.Timestamp = epoch - 25*3_600_000
	early.Timestamp = maxTimestamp + 1
	all := messages(frameAt("a", 0), late, early, frameAt("a", 1))
	all = slices.Insert(all, 1, kafka.Message{Record: kafka.Record{Key: []byte("k"), Value: []byte(`{"id":1}`), Headers: []kafka.Header{{Key: "device", Value: []byte("d")}}}})
	for i := range all {
		all[i].Offset = int64(i)
	}
	store, producer, c := newTwin(), newTopics(), &clock{now: time.UnixMilli(epoch)}
	registry := prometheus.NewRegistry()
	a, err := New(Options{
		Window: window.Options{Size: size, Reorder: time.Second, Idle: time.Second, MaxOpen: 10}, Retention: 24 * time.Hour,
		Store: store, Producer: producer, Now: func() time.Time { return c.now }, Registry: registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), c, &partition{batch: 10, messages: all}, a.Sensors); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range producer.records[deadletter.Topic] {
		got = append(got, fmt.Sprintf("%s %s %s", (&kafka.Message{Record: r}).Header("reason"), (&kafka.Message{Record: r}).Header("device"), r.Value))
	}
	want := []string{
		`wrong_type d {"id":1}`,
		"too_late  " + string(telemetry.AppendFrame(nil, &late)),
		"too_early  " + string(telemetry.AppendFrame(nil, &early)),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dead letters: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"a" + window0: "count 2 missing 0 lost 0 revision 1 complete"}, numbers(store.sensors)); diff != "" {
		t.Errorf("the others: -want +got:\n%s", diff)
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP telltale_aggregate_dead_letters_total Records that could not be processed, by reason.
# TYPE telltale_aggregate_dead_letters_total counter
telltale_aggregate_dead_letters_total{reason="too_early"} 1
telltale_aggregate_dead_letters_total{reason="too_late"} 1
telltale_aggregate_dead_letters_total{reason="wrong_type"} 1
# HELP telltale_aggregate_frames_total Frames read, by what became of them.
# TYPE telltale_aggregate_frames_total counter
telltale_aggregate_frames_total{outcome="counted"} 2
telltale_aggregate_frames_total{outcome="duplicate"} 0
telltale_aggregate_frames_total{outcome="too_early"} 1
telltale_aggregate_frames_total{outcome="too_late"} 1
telltale_aggregate_frames_total{outcome="undecodable"} 1
`), "telltale_aggregate_dead_letters_total", "telltale_aggregate_frames_total"); err != nil {
		t.Error(err)
	}
}

// TestZombie: an owner is stopped after a store, another takes over, revises
// the window and produces it; then the first wakes up and produces its own.
func TestZombie(t *testing.T) {
	store, producer, c := newTwin(), newTopics(), &clock{now: time.UnixMilli(epoch)}
	first := &partition{batch: 10, messages: messages(frameAt("a", 0), frameAt("a", 1))}
	first.fault = func() error { return kafka.ErrNotOwner }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	woken := false
	producer.fault = func(string) (bool, error) {
		if woken {
			return true, nil
		}
		woken = true
		cancel() // the group has noticed
		// Meanwhile the other reads all, and a frame more.
		second := first.reassigned()
		second.messages = messages(frameAt("a", 0), frameAt("a", 1), frameAt("a", 2))
		if err := run(t.Context(), c, second, newAggregate(t, store, producer, c, 100).Sensors); err != nil {
			t.Error(err)
		}
		return true, nil
	}
	if err := run(ctx, c, first, newAggregate(t, store, producer, c, 100).Sensors); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a" + window0: "count 3 missing 0 lost 0 revision 2 complete"}, numbers(store.sensors)); diff != "" {
		t.Errorf("-want +stored:\n%s", diff)
	}
	if diff := cmp.Diff(records(store.sensors), producer.last(SensorsTopic)); diff != "" {
		t.Errorf("the zombie's record hides the later revision: -stored +on Kafka:\n%s", diff)
	}
	if n := len(producer.records[SensorsTopic]); n != 3 {
		t.Errorf("%d records; want the other's, the zombie's, and its repair", n)
	}
}

// TestStoreAway: while the store is away nothing more is read, and nothing is
// lost when it is back.
func TestStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, c := newTwin(), &clock{now: time.UnixMilli(epoch)}
		var frames []telemetry.Frame
		for seq := range 100 {
			frames = append(frames, frameAt("a", seq))
		}
		source := &partition{batch: 1, messages: messages(frames...)}
		away, failures, stuckAt := true, 0, int64(-1)
		store.fault = func(string) (bool, error) {
			if !away {
				return true, nil
			}
			if stuckAt < 0 {
				stuckAt = source.next
			}
			if source.next != stuckAt {
				t.Errorf("read on to %d while the store is away", source.next)
			}
			failures++
			away = failures < 50
			return false, errAway
		}
		a := newAggregate(t, store, newTopics(), c, 100)
		if err := run(t.Context(), c, source, a.Sensors); err != nil {
			t.Fatal(err)
		}
		if got := testutil.ToFloat64(a.metrics.retries.WithLabelValues("store windows of sensors")); got != 50 {
			t.Errorf("%v retries, want 50", got)
		}
		for id, n := range numbers(store.sensors) {
			if n != "count 10 missing 0 lost 0 revision 1 complete" {
				t.Errorf("%s: %s", id, n)
			}
		}
		if len(store.sensors) != 10 {
			t.Errorf("%d windows, want 10", len(store.sensors))
		}
	})
}

// TestLargePlace: the cost of a place is linear in its sensors.
func TestLargePlace(t *testing.T) {
	const sensors = 2000
	var frames []telemetry.Frame
	for i := range sensors {
		frames = append(frames, frameAt(fmt.Sprintf("s%04d", i), 0))
	}
	store, producer, c := newTwin(), newTopics(), &clock{now: time.UnixMilli(epoch)}
	if err := run(t.Context(), c, &partition{batch: 300, messages: messages(frames...)}, newAggregate(t, store, producer, c, 10_000).Sensors); err != nil {
		t.Fatal(err)
	}
	queries := 0
	store.fault = func(operation string) (bool, error) {
		if operation == "SensorsAt" {
			queries++
		}
		return true, nil
	}
	parts := &partition{batch: 300}
	for range 2 { // the second owner finds the window stored
		parts = parts.reassigned()
		parts.messages = nil
		for i, r := range producer.records[PartsTopic] {
			parts.messages = append(parts.messages, kafka.Message{Offset: int64(i), Record: r})
		}
		if err := run(t.Context(), c, parts, newAggregate(t, store, producer, c, 10_000).Places); err != nil {
			t.Fatal(err)
		}
		late := frameAt("s0000", 1) // one part more
		last := &partition{batch: 1, messages: messages(late)}
		if err := run(t.Context(), c, last, newAggregate(t, store, producer, c, 10_000).Sensors); err != nil {
			t.Fatal(err)
		}
	}
	place := decode[map[string]any](store.places["p"+window0])
	if place["count_sensors"] != float64(sensors) || place["count_measures"] != float64(sensors+1) {
		t.Errorf("place: %v sensors, %v frames", place["count_sensors"], place["count_measures"])
	}
	if queries > 1 {
		t.Errorf("%d queries for the parts of one place", queries)
	}
}
