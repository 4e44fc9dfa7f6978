package verify

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Rules are the settings of ingest that its windows depend on.
type Rules struct {
	Window    time.Duration // the length of one
	Retention time.Duration // a frame received later than this after its timestamp is in no window; 0: none is too late
}

// Document is a document's fields by name, or a nested one's. A value is nil, a
// string, an int64, a float64, a time.Time in UTC, a Document or an []any.
type Document map[string]any

// Loss is the declaration that readings of a sensor will not come.
type Loss struct {
	ID          string
	Epoch       uint64
	First, Last uint64 // both included
	Reason      string
}

// lossOf returns the declaration that f is.
func lossOf(f *telemetry.Frame) Loss {
	return Loss{ID: f.ID, Epoch: f.Epoch, First: f.Lost.Seqs.First, Last: f.Lost.Seqs.Last, Reason: f.Lost.Reason}
}

func (l Loss) String() string {
	return fmt.Sprintf("%s/%d/%d-%d/%s", l.ID, l.Epoch, l.First, l.Last, l.Reason)
}

func (l Loss) covers(seq uint64) bool { return l.First <= seq && seq <= l.Last }

// owned is whose window it is, and when it starts in Unix milliseconds.
type owned struct {
	owner string
	start int64
}

// Expect returns the documents of the windows of distinct frames, by _id, the
// plain way: every window by itself, from all of its frames at once. They have
// all fields but those that depend on how often a window was stored: revision,
// and in a place's window sensors, of which the ids are given as strings.
func Expect(frames []telemetry.Frame, losses []Loss, window time.Duration) (sensors, places map[string]Document) {
	declared := make(map[string][]Loss)
	for _, l := range losses {
		declared[l.ID] = append(declared[l.ID], l)
	}
	size := window.Milliseconds()
	bySensor := make(map[owned][]telemetry.Frame)
	byPlace := make(map[owned][]telemetry.Frame)
	for i := range frames {
		f := &frames[i]
		at := owned{f.ID, startOf(f, size)}
		bySensor[at] = append(bySensor[at], *f)
		if f.PlaceID != "" {
			at.owner = f.PlaceID
			byPlace[at] = append(byPlace[at], *f)
		}
	}
	sensors = make(map[string]Document, len(bySensor))
	for at, frames := range bySensor {
		d := newDocument(at, size, "sensor_id", frames)
		d["sensor_name"] = latestName(frames)
		d.completeness(frames, declared[at.owner])
		d["epochs"], d["coverage"] = coverage(frames)
		d["parts"] = parts(frames)
		sensors[d["_id"].(string)] = d
	}
	places = make(map[string]Document, len(byPlace))
	for at, frames := range byPlace {
		d := newDocument(at, size, "place_id", frames)
		ids := make(map[string]bool)
		for _, f := range frames {
			ids[f.ID] = true
		}
		d["count_sensors"] = int64(len(ids))
		var missing, lost int64
		unknown := false
		var names []any
		for _, id := range slices.Sorted(maps.Keys(ids)) {
			names = append(names, id)
			sensor := sensors[windowID(owned{id, at.start}, size)]
			lost += sensor["lost"].(int64)
			if n, ok := sensor["missing"].(int64); ok {
				missing += n
			} else {
				unknown = true
			}
		}
		d["sensors"] = names
		d["lost"] = lost
		switch {
		case unknown:
			d["state"], d["missing"] = "unknown", nil
		case missing+lost > 0:
			d["state"], d["missing"] = "gaps", missing
		default:
			d["state"], d["missing"] = "complete", missing
		}
		places[d["_id"].(string)] = d
	}
	return sensors, places
}

// startOf returns when the window of a frame starts.
func startOf(f *telemetry.Frame, size int64) int64 {
	return f.Timestamp - (f.Timestamp%size+size)%size
}

func windowID(at owned, size int64) string {
	return fmt.Sprintf("%s/%d-%d", at.owner, at.start, at.start+size)
}

// newDocument returns what the windows of sensors and of places have in common.
func newDocument(at owned, size int64, owner string, frames []telemetry.Frame) Document {
	end := at.start + size
	d := Document{
		"_id": windowID(at, size), owner: at.owner,
		"start_agg": time.UnixMilli(at.start).UTC(), "end_agg": time.UnixMilli(end).UTC(),
		"start_agg_tm": at.start, "end_agg_tm": end,
		"count_measures": int64(len(frames)),
	}
	d["first_tm"], d["last_tm"] = span(frames)
	for m := range telemetry.Measure(telemetry.Measures) {
		values := valuesOf(frames, m)
		if len(values) == 0 {
			continue
		}
		n := big.NewInt(int64(len(values)))
		sum := sumOf(values)
		// The variance in integers: the mean of (x − Σx/n)² is Σ(nx − Σx)² / n³.
		deviations, x := new(big.Int), new(big.Int)
		for _, v := range values {
			x.Mul(n, big.NewInt(int64(v)))
			x.Sub(x, sum)
			deviations.Add(deviations, x.Mul(x, x))
		}
		cube := new(big.Int).Exp(n, big.NewInt(3), nil)
		million := big.NewInt(1e6)
		name := "_" + m.String()
		d["count"+name] = n.Int64()
		d["sum"+name] = quotient(sum, million)
		d["avg"+name] = quotient(sum, x.Mul(n, million))
		d["min"+name] = slices.Min(values).Float()
		d["max"+name] = slices.Max(values).Float()
		d["stddev"+name] = math.Sqrt(quotient(deviations, cube.Mul(cube, big.NewInt(1e12))))
	}
	return d
}

// quotient returns the double nearest to a/b.
func quotient(a, b *big.Int) float64 {
	v, _ := new(big.Rat).SetFrac(a, b).Float64()
	return v
}

func valuesOf(frames []telemetry.Frame, m telemetry.Measure) []telemetry.Micro {
	var values []telemetry.Micro
	for i := range frames {
		if v, ok := frames[i].Payload.Get(m); ok {
			values = append(values, v)
		}
	}
	return values
}

func sumOf(values []telemetry.Micro) *big.Int {
	sum := new(big.Int)
	for _, v := range values {
		sum.Add(sum, big.NewInt(int64(v)))
	}
	return sum
}

// span returns the first and the last timestamp.
func span(frames []telemetry.Frame) (first, last int64) {
	byTime := func(a, b telemetry.Frame) int { return cmp.Compare(a.Timestamp, b.Timestamp) }
	return slices.MinFunc(frames, byTime).Timestamp, slices.MaxFunc(frames, byTime).Timestamp
}

// latestName returns the name in the latest frame, and of several with one
// timestamp the greatest.
func latestName(frames []telemetry.Frame) string {
	return slices.MaxFunc(frames, func(a, b telemetry.Frame) int {
		return cmp.Or(cmp.Compare(a.Timestamp, b.Timestamp), cmp.Compare(a.Name, b.Name))
	}).Name
}

// completeness adds what is not there of one sensor's window.
func (d Document) completeness(frames []telemetry.Frame, losses []Loss) {
	missing, lost := []any{}, []any{}
	var missingCount, lostCount int64
	for epoch, seqs := range sequences(frames) {
		for i := 1; i < len(seqs); i++ {
			for _, g := range explain(epoch, seqs[i-1]+1, seqs[i], losses) {
				n := g["last"].(int64) - g["first"].(int64) + 1
				if g["reason"] == nil {
					missing, missingCount = append(missing, g), missingCount+n
				} else {
					lost, lostCount = append(lost, g), lostCount+n
				}
			}
		}
	}
	for _, gaps := range [][]any{missing, lost} {
		slices.SortFunc(gaps, func(a, b any) int {
			x, y := a.(Document), b.(Document)
			return cmp.Or(cmp.Compare(x["epoch"].(int64), y["epoch"].(int64)), cmp.Compare(x["first"].(int64), y["first"].(int64)))
		})
	}
	d["missing_ranges"], d["lost_ranges"], d["lost"] = missing, lost, lostCount
	switch {
	case slices.ContainsFunc(frames, func(f telemetry.Frame) bool { return !f.Sequenced }):
		d["state"], d["expected"], d["missing"] = "unknown", nil, nil
		return
	case missingCount+lostCount > 0:
		d["state"] = "gaps"
	default:
		d["state"] = "complete"
	}
	d["expected"], d["missing"] = int64(len(frames))+missingCount+lostCount, missingCount
}

// sequences returns the sequence numbers of the frames by epoch, ascending.
func sequences(frames []telemetry.Frame) map[uint64][]uint64 {
	epochs := make(map[uint64][]uint64)
	for _, f := range frames {
		if f.Sequenced {
			epochs[f.Epoch] = append(epochs[f.Epoch], f.Seq)
		}
	}
	for _, seqs := range epochs {
		slices.Sort(seqs)
	}
	return epochs
}

// explain returns the ranges that the absent sequence numbers from first until
// before end form: those that are declared lost, each with its reason, and the
// others.
func explain(epoch, first, end uint64, losses []Loss) []Document {
	// Between two cuts every number has the same declarations.
	cuts := []uint64{first, end}
	for _, l := range losses {
		if l.Epoch == epoch {
			cuts = append(cuts, l.First, l.Last+1)
		}
	}
	cuts = slices.DeleteFunc(cuts, func(cut uint64) bool { return cut < first || cut > end })
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	var ranges []Document
	for i, cut := range cuts[:len(cuts)-1] {
		next := cuts[i+1]
		reason := reasonOf(epoch, cut, losses)
		if n := len(ranges); n > 0 && ranges[n-1]["reason"] == reason {
			ranges[n-1]["last"] = int64(next - 1)
			continue
		}
		d := Document{"epoch": int64(epoch), "first": int64(cut), "last": int64(next - 1)}
		if reason != nil {
			d["reason"] = reason
		}
		ranges = append(ranges, d)
	}
	return ranges
}

// reasonOf returns the reason of the shortest declaration that covers a number,
// of equally long ones the first by range and reason; nil if none does.
func reasonOf(epoch, seq uint64, losses []Loss) any {
	var best *Loss
	for i := range losses {
		l := &losses[i]
		if l.Epoch == epoch && l.covers(seq) && (best == nil ||
			cmp.Or(cmp.Compare(l.Last-l.First, best.Last-best.First), cmp.Compare(l.First, best.First), cmp.Compare(l.Reason, best.Reason)) < 0) {
			best = l
		}
	}
	if best == nil {
		return nil
	}
	return best.Reason
}

// coverage returns which frames a window has, and the bounds of its epochs.
func coverage(frames []telemetry.Frame) (epochs, covered []any) {
	epochs, covered = []any{}, []any{}
	numbers := sequences(frames)
	for _, epoch := range slices.Sorted(maps.Keys(numbers)) {
		seqs := numbers[epoch]
		epochs = append(epochs, Document{"epoch": int64(epoch), "first": int64(seqs[0]), "last": int64(seqs[len(seqs)-1])})
		var ranges []any
		for i, seq := range seqs {
			if i > 0 && seq == seqs[i-1]+1 {
				ranges[len(ranges)-1].(Document)["last"] = int64(seq)
			} else {
				ranges = append(ranges, Document{"first": int64(seq), "last": int64(seq)})
			}
		}
		covered = append(covered, Document{"epoch": int64(epoch), "seq": ranges})
	}
	var times []int64
	for _, f := range frames {
		if !f.Sequenced {
			times = append(times, f.Timestamp)
		}
	}
	if len(times) > 0 {
		slices.Sort(times)
		list := make([]any, len(times))
		for i, t := range times {
			list[i] = t
		}
		covered = append(covered, Document{"timestamps": list})
	}
	return epochs, covered
}

// parts returns what a sensor's window has of each place.
func parts(frames []telemetry.Frame) []any {
	byPlace := make(map[string][]telemetry.Frame)
	for _, f := range frames {
		byPlace[f.PlaceID] = append(byPlace[f.PlaceID], f)
	}
	list := make([]any, 0, len(byPlace))
	for _, place := range slices.Sorted(maps.Keys(byPlace)) {
		frames := byPlace[place]
		d := Document{"place_id": place, "sensor_name": latestName(frames), "count_measures": int64(len(frames))}
		d["first_tm"], d["last_tm"] = span(frames)
		for m := range telemetry.Measure(telemetry.Measures) {
			values := valuesOf(frames, m)
			if len(values) == 0 {
				continue
			}
			squares := new(big.Int)
			for _, v := range values {
				b := big.NewInt(int64(v))
				squares.Add(squares, b.Mul(b, b))
			}
			d[m.String()] = Document{
				"count": int64(len(values)), "sum": sumOf(values).String(), "squares": squares.String(),
				"min": int64(slices.Min(values)), "max": int64(slices.Max(values)),
			}
		}
		list = append(list, d)
	}
	return list
}
