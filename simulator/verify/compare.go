package verify

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Stored is what Kafka and MongoDB hold.
type Stored struct {
	Kafka       map[Key]telemetry.Frame // the distinct frames of iot-frames
	Redelivered int                     // records of iot-frames beyond the first of a frame: no fault
	Frames      []telemetry.Frame       // the documents of iot_frames
	Losses      []telemetry.Frame       // the documents of iot_losses
	Sensors     []Window                // the documents of iot_aggregate_metrics_sensor
	Places      []Window                // the documents of iot_aggregate_metrics_place
}

// Window is one stored aggregate.
type Window struct {
	ID       string // the document's
	Owner    string // the sensor or the place
	Start    int64  // Unix milliseconds
	Count    uint64
	Measures [telemetry.Measures]Aggregate
	Coverage []Key // each frame that a sensor's window counts; empty for a place
}

// Aggregate is what a window says of one measure, in the measure's unit.
type Aggregate struct {
	Count              uint64
	Sum, Avg, Min, Max float64
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

// Compare holds stored, whose windows are of the given size, against the
// journal. Frames of sensors that the journal does not know, such as those
// that a person publishes, must agree between Kafka, MongoDB and the windows.
func Compare(journal *Journal, stored *Stored, window time.Duration) *Report {
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
	counted := make(map[Key][]*Window)
	for i := range stored.Sensors {
		for _, key := range stored.Sensors[i].Coverage {
			counted[key] = append(counted[key], &stored.Sensors[i])
		}
	}
	for key := range counted {
		if _, ok := sampled[key]; !ok {
			r.find(&r.Different, "different", key.String(), "is in a window and was never sampled")
		}
	}

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
		start := want.Timestamp - mod(want.Timestamp, window.Milliseconds())
		switch windows := counted[key]; {
		case len(windows) == 0:
			missing = true
			r.Findings = append(r.Findings, Finding{"missing", key.String(), "is in no window"})
		case len(windows) > 1:
			r.find(&r.Duplicate, "duplicate", key.String(), "is in %d windows", len(windows))
		case windows[0].Owner != want.ID || windows[0].Start != start:
			r.find(&r.Different, "different", key.String(), "is in window %s, its time is in the one from %d", windows[0].ID, start)
		default:
			r.Windowed++
		}
		if missing {
			r.Missing++
		}
	}
	r.windows("sensor", stored.Sensors, naive(sampled, window, func(f *telemetry.Frame) string { return f.ID }))
	r.windows("place", stored.Places, naive(sampled, window, func(f *telemetry.Frame) string { return f.PlaceID }))
	slices.SortFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID), cmp.Compare(a.What, b.What))
	})
	return r
}

func text(f *telemetry.Frame) []byte { return telemetry.AppendFrame(nil, f) }

// declared says whether a reading that is missing was declared lost.
func declared(losses []telemetry.Frame, key Key) string {
	for i := range losses {
		l := &losses[i]
		if l.ID == key.ID && l.Epoch == key.Epoch && l.Lost.Seqs.First <= key.Seq && key.Seq <= l.Lost.Seqs.Last {
			return ", declared lost: " + l.Lost.Reason
		}
	}
	return ""
}

func mod(a, b int64) int64 { return ((a % b) + b) % b }

type owned struct {
	owner string
	start int64
}

type sums struct {
	count    uint64
	measures [telemetry.Measures]struct {
		count         uint64
		sum, min, max telemetry.Micro
	}
}

// naive computes the windows of the distinct frames in one batch.
func naive(frames map[Key]telemetry.Frame, window time.Duration, owner func(*telemetry.Frame) string) map[owned]*sums {
	windows := make(map[owned]*sums)
	for _, f := range frames {
		at := owned{owner(&f), f.Timestamp - mod(f.Timestamp, window.Milliseconds())}
		if at.owner == "" {
			continue // a frame without a place is in its sensor's window only
		}
		w := windows[at]
		if w == nil {
			w = &sums{}
			windows[at] = w
		}
		w.count++
		for m := range telemetry.Measure(telemetry.Measures) {
			v, ok := f.Payload.Get(m)
			if !ok {
				continue
			}
			a := &w.measures[m]
			if a.count == 0 || v < a.min {
				a.min = v
			}
			if a.count == 0 || v > a.max {
				a.max = v
			}
			a.count++
			a.sum += v
		}
	}
	return windows
}

// windows holds stored aggregates against the naive ones.
func (r *Report) windows(kind string, stored []Window, want map[owned]*sums) {
	seen := make(map[owned]bool)
	for i := range stored {
		w := &stored[i]
		at := owned{w.Owner, w.Start}
		if seen[at] {
			r.find(&r.Duplicate, "duplicate", w.ID, "is a second %s window of its time", kind)
		}
		seen[at] = true
		expected := want[at]
		if expected == nil {
			r.find(&r.Different, "different", w.ID, "is a %s window without frames", kind)
			continue
		}
		if w.Count != expected.count {
			r.find(&r.Different, "different", w.ID, "counts %d frames, there are %d", w.Count, expected.count)
		}
		for m := range telemetry.Measure(telemetry.Measures) {
			e := &expected.measures[m]
			wanted := Aggregate{Count: e.count}
			if e.count > 0 {
				wanted.Sum, wanted.Min, wanted.Max = e.sum.Float(), e.min.Float(), e.max.Float()
				wanted.Avg = wanted.Sum / float64(e.count)
			}
			if !w.Measures[m].near(wanted) {
				r.find(&r.Different, "different", w.ID, "has %s %+v, want %+v", m, w.Measures[m], wanted)
			}
		}
	}
	for at := range want {
		if !seen[at] {
			r.find(&r.Different, "different", fmt.Sprintf("%s/%d", at.owner, at.start), "has no %s window", kind)
		}
	}
}

// near compares but for the last bits of a double, which two right ways of
// dividing may round differently.
func (a Aggregate) near(b Aggregate) bool {
	equal := func(x, y float64) bool { return math.Abs(x-y) <= 1e-12*max(math.Abs(x), math.Abs(y)) }
	return a.Count == b.Count && equal(a.Sum, b.Sum) && equal(a.Avg, b.Avg) && a.Min == b.Min && a.Max == b.Max
}
