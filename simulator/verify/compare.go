package verify

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Stored is what Kafka and MongoDB hold.
type Stored struct {
	Kafka       map[Key]telemetry.Frame // the distinct frames of iot-frames
	Received    map[Key]int64           // when the first record of each was received, Unix ms
	Redelivered int                     // records of iot-frames beyond the first of a frame: no fault
	Declared    map[Loss]bool           // the distinct declarations of iot-frames
	Undecodable [][]byte                // records of iot-frames that are no frames: no reading of an agent

	Frames  []telemetry.Frame // the documents of iot_frames
	Losses  []Loss            // the documents of iot_losses
	Sensors []Document        // the documents of iot_aggregate_metrics_sensor
	Places  []Document        // the documents of iot_aggregate_metrics_place

	SensorRecords map[string]Document // the last record of each key of iot-aggregate-metrics-sensor
	PlaceRecords  map[string]Document // the last record of each key of iot-aggregate-metrics-place
}

// Finding is one thing that is not as it should be.
type Finding struct {
	Kind string // missing, duplicate or different
	ID   string // of the frame or the window
	What string
}

func (f Finding) String() string { return fmt.Sprintf("%s %s: %s", f.Kind, f.ID, f.What) }

// Report is the result of [Compare].
type Report struct {
	Sampled, Kafka, Mongo, Windowed int
	Late                            int // received too late for any window
	Missing, Duplicate, Different   int
	Findings                        []Finding
}

// String returns the report's one line.
func (r *Report) String() string {
	return fmt.Sprintf("verify sampled=%d kafka=%d mongo=%d windowed=%d missing=%d duplicate=%d different=%d",
		r.Sampled, r.Kafka, r.Mongo, r.Windowed, r.Missing, r.Duplicate, r.Different)
}

// OK reports whether every reading is where it belongs.
func (r *Report) OK() bool { return len(r.Findings) == 0 }

func (r *Report) find(count *int, kind, id, format string, args ...any) {
	*count++
	r.Findings = append(r.Findings, Finding{Kind: kind, ID: id, What: fmt.Sprintf(format, args...)})
}

// Compare holds stored against the journal: frames, losses and every field of
// every window, and the last record of each window against its document. Frames
// of sensors that the journal does not know, such as those that a person
// publishes, must agree between Kafka, MongoDB and the windows.
func Compare(journal *Journal, stored *Stored, rules Rules) *Report {
	journal.mu.Lock()
	defer journal.mu.Unlock()
	r := &Report{}
	sampled := make(map[Key]telemetry.Frame, len(journal.frames))
	ours := make(map[string]bool)
	for key, f := range journal.frames {
		sampled[key] = f
		ours[f.ID] = true
	}
	for key := range journal.cut {
		if f, ok := stored.Kafka[key]; ok {
			sampled[key] = f
		}
	}
	for key, f := range stored.Kafka {
		if !ours[f.ID] {
			sampled[key] = f
		} else if _, ok := sampled[key]; !ok {
			r.find(&r.Different, "different", key.String(), "is in Kafka and was never sampled")
		}
	}

	mongo := make(map[Key]telemetry.Frame, len(stored.Frames))
	for i := range stored.Frames {
		f := &stored.Frames[i]
		key := KeyOf(f)
		if _, ok := mongo[key]; ok {
			r.find(&r.Duplicate, "duplicate", key.String(), "has two documents in MongoDB")
		}
		mongo[key] = *f
		if _, ok := sampled[key]; !ok {
			r.find(&r.Different, "different", key.String(), "is in MongoDB and was never sampled")
		}
	}
	counted := make(map[Key][]Document)
	for _, w := range stored.Sensors {
		for _, key := range covered(w) {
			counted[key] = append(counted[key], w)
		}
	}
	for key := range counted {
		if _, ok := sampled[key]; !ok {
			r.find(&r.Different, "different", key.String(), "is in a window and was never sampled")
		}
	}

	var due []telemetry.Frame // what is to be in windows
	size := rules.Window.Milliseconds()
	for key, want := range sampled {
		r.Sampled++
		missing := false
		inKafka, ok := stored.Kafka[key]
		switch {
		case !ok:
			missing = true
			r.Findings = append(r.Findings, Finding{"missing", key.String(), "is not in Kafka" + declared(stored.Losses, key)})
		default:
			r.Kafka++
			if inKafka != want {
				r.find(&r.Different, "different", key.String(), "in Kafka is %s, sampled was %s", text(&inKafka), text(&want))
			}
		}
		inMongo, ok := mongo[key]
		switch {
		case !ok:
			missing = true
			r.Findings = append(r.Findings, Finding{"missing", key.String(), "is not in MongoDB" + declared(stored.Losses, key)})
		default:
			r.Mongo++
			if inMongo != want {
				r.find(&r.Different, "different", key.String(), "in MongoDB is %s, sampled was %s", text(&inMongo), text(&want))
			}
		}
		late := rules.Retention > 0 && want.Timestamp < stored.Received[key]-rules.Retention.Milliseconds()
		if !late {
			due = append(due, want)
		}
		windows := counted[key]
		switch {
		case late && len(windows) > 0:
			r.find(&r.Different, "different", key.String(), "is in window %s, and was received too late for any", windows[0]["_id"])
		case late:
			r.Late++
		case len(windows) == 0:
			missing = true
			r.Findings = append(r.Findings, Finding{"missing", key.String(), "is in no window"})
		case len(windows) > 1:
			r.find(&r.Duplicate, "duplicate", key.String(), "is in %d windows", len(windows))
		case windows[0]["_id"] != windowID(owned{want.ID, startOf(&want, size)}, size):
			r.find(&r.Different, "different", key.String(), "is in window %s, its time is in the one from %d", windows[0]["_id"], startOf(&want, size))
		default:
			r.Windowed++
		}
		if missing {
			r.Missing++
		}
	}
	r.losses(stored)
	sensors, places := Expect(due, slices.Collect(maps.Keys(stored.Declared)), rules.Window)
	revisions := r.windows("sensor", stored.Sensors, sensors, stored.SensorRecords)
	for _, place := range places {
		names, start := place["sensors"].([]any), place["start_agg_tm"].(int64)
		for i, name := range names {
			id := windowID(owned{name.(string), start}, size)
			names[i] = Document{"sensor_id": name, "revision": revisions[id]}
		}
	}
	r.windows("place", stored.Places, places, stored.PlaceRecords)
	slices.SortFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID), cmp.Compare(a.What, b.What))
	})
	return r
}

func text(f *telemetry.Frame) []byte { return telemetry.AppendFrame(nil, f) }

// declared says whether a reading that is missing was declared lost.
func declared(losses []Loss, key Key) string {
	for _, l := range losses {
		if l.ID == key.ID && l.Epoch == key.Epoch && l.covers(key.Seq) {
			return ", declared lost: " + l.Reason
		}
	}
	return ""
}

// losses holds the stored declarations against those in Kafka.
func (r *Report) losses(stored *Stored) {
	seen := make(map[Loss]bool)
	for _, l := range stored.Losses {
		if seen[l] {
			r.find(&r.Duplicate, "duplicate", l.String(), "has two documents in MongoDB")
		}
		seen[l] = true
		if !stored.Declared[l] {
			r.find(&r.Different, "different", l.String(), "is in MongoDB and was never declared")
		}
	}
	for l := range stored.Declared {
		if !seen[l] {
			r.find(&r.Different, "different", l.String(), "is not in MongoDB")
		}
	}
}

// covered returns the identities that a sensor's window says it counts.
func covered(w Document) []Key {
	owner, _ := w["sensor_id"].(string)
	var keys []Key
	epochs, _ := w["coverage"].([]any)
	for _, c := range epochs {
		c, _ := c.(Document)
		times, _ := c["timestamps"].([]any)
		for _, t := range times {
			at, _ := t.(int64)
			keys = append(keys, Key{ID: owner, Timestamp: at})
		}
		epoch, _ := c["epoch"].(int64)
		ranges, _ := c["seq"].([]any)
		for _, seqs := range ranges {
			seqs, _ := seqs.(Document)
			first, _ := seqs["first"].(int64)
			last, _ := seqs["last"].(int64)
			for seq := first; seq <= last; seq++ {
				keys = append(keys, Key{ID: owner, Epoch: uint64(epoch), Seq: uint64(seq)})
			}
		}
	}
	return keys
}

// windows holds stored windows against the expected ones, field by field, and
// the last record of each against it. It returns the stored revisions by _id.
func (r *Report) windows(kind string, stored []Document, want, records map[string]Document) map[string]any {
	revisions := make(map[string]any, len(stored))
	for _, w := range stored {
		id, _ := w["_id"].(string)
		if revisions[id] != nil {
			r.find(&r.Duplicate, "duplicate", id, "is a second %s window of its time", kind)
		}
		revisions[id] = w["revision"]
		if n, ok := w["revision"].(int64); !ok || n < 1 {
			r.find(&r.Different, "different", id, "has revision %v", w["revision"])
		}
		if expected := want[id]; expected == nil {
			r.find(&r.Different, "different", id, "is a %s window without frames", kind)
		} else {
			for _, name := range fields(w, expected) {
				got, there := w[name]
				wanted, should := expected[name]
				if name != "revision" && (there != should || !reflect.DeepEqual(got, wanted)) {
					r.find(&r.Different, "different", id, "has %s %v, want %v", name, got, wanted)
				}
			}
		}
		if record := records[id]; record == nil {
			r.find(&r.Different, "different", id, "has no record of its %s window", kind)
		} else {
			r.record(id, published(w), record)
		}
	}
	for id := range want {
		if revisions[id] == nil {
			r.find(&r.Different, "different", id, "has no %s window", kind)
		}
	}
	for id := range records {
		if revisions[id] == nil {
			r.find(&r.Different, "different", id, "has a record and no %s window", kind)
		}
	}
	return revisions
}

// fields returns the names of all fields that any of the documents has.
func fields(documents ...Document) []string {
	var names []string
	for _, d := range documents {
		names = slices.AppendSeq(names, maps.Keys(d))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// published returns the fields of a window's document that its record has, too:
// all but its key and what is for ingest alone.
func published(w Document) Document {
	p := maps.Clone(w)
	for _, name := range []string{"_id", "coverage", "parts", "sensors"} {
		delete(p, name)
	}
	return p
}

// record holds the last record of a window against its document.
func (r *Report) record(id string, want, record Document) {
	for _, name := range fields(want, record) {
		w, there := want[name]
		got, ok := record[name]
		if there != ok || !same(w, got) {
			r.find(&r.Different, "different", id, "has %s %v in its last record, and %v in its document", name, got, w)
		}
	}
}

// same reports whether a value of a document and one of a record are the same.
func same(stored, written any) bool {
	switch stored := stored.(type) {
	case time.Time:
		text, _ := written.(string)
		t, err := time.Parse(time.RFC3339Nano, text)
		return err == nil && t.Equal(stored)
	case int64:
		number, _ := written.(json.Number)
		n, err := number.Int64()
		return err == nil && n == stored
	case float64:
		number, _ := written.(json.Number)
		f, err := number.Float64()
		return err == nil && f == stored
	case []any:
		list, ok := written.([]any)
		return ok && slices.EqualFunc(stored, list, same)
	case Document:
		nested, ok := written.(map[string]any)
		return ok && maps.EqualFunc(stored, nested, same)
	}
	return stored == written
}
