// Package windowtest computes windows the plain way, as an oracle for tests: one
// pass over the set of distinct frames, with arithmetic on big numbers, one
// sequence number at a time. It shares no code with package window.
package windowtest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/big"
	"regexp"
	"slices"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Windows returns the documents of all windows of the given size, by id, in
// the JSON of their stored form, with every revision 0. Frames that declare a
// loss are declarations; of several frames with one identity the first counts.
func Windows(frames []telemetry.Frame, size time.Duration) (sensors, places map[string]string) {
	windows := make(map[key]*sensor)
	losses := make(map[string][]telemetry.Frame)
	seen := make(map[string]bool)
	for _, f := range frames {
		if f.IsLoss() {
			losses[f.ID] = append(losses[f.ID], f)
			continue
		}
		if id := telemetry.FrameID(&f); seen[id] {
			continue
		} else {
			seen[id] = true
		}
		k := key{f.ID, int64(math.Floor(float64(f.Timestamp)/float64(size.Milliseconds()))) * size.Milliseconds()}
		if windows[k] == nil {
			windows[k] = &sensor{key: k, end: k.start + size.Milliseconds()}
		}
		windows[k].frames = append(windows[k].frames, f)
	}
	sensors, places = make(map[string]string), make(map[string]string)
	members := make(map[key][]*sensor)
	for k, w := range windows {
		w.explain(losses[k.owner])
		sensors[id(k.owner, w.start, w.end)] = w.document().json()
		for place := range w.parts() {
			if place == "" {
				continue
			}
			at := key{place, k.start}
			members[at] = append(members[at], w)
		}
	}
	for k, at := range members {
		slices.SortFunc(at, func(a, b *sensor) int { return cmp.Compare(a.owner, b.owner) })
		places[id(k.owner, k.start, at[0].end)] = placeDocument(k, at).json()
	}
	return sensors, places
}

var revision = regexp.MustCompile(`"revision":\d+`)

// Plain returns a stored document's JSON with every revision 0.
func Plain(document []byte) string {
	return revision.ReplaceAllString(string(document), `"revision":0`)
}

var state = regexp.MustCompile(`,"(coverage|sensors)":\[.*\]}$`)

// Record returns the record that is published of a stored document.
func Record(document []byte) string { return state.ReplaceAllString(string(document), "}") }

func id(owner string, start, end int64) string { return fmt.Sprintf("%s/%d-%d", owner, start, end) }

type key struct {
	owner string
	start int64
}

type sensor struct {
	key
	end           int64
	frames        []telemetry.Frame
	missing, lost []run
}

// run is consecutive sequence numbers of one epoch with one reason.
type run struct {
	Epoch  uint64 `json:"epoch"`
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	Reason string `json:"reason,omitempty"`
}

// epochs returns the covered sequence numbers.
func (w *sensor) epochs() map[uint64]map[uint64]bool {
	epochs := make(map[uint64]map[uint64]bool)
	for _, f := range w.frames {
		if f.Sequenced {
			if epochs[f.Epoch] == nil {
				epochs[f.Epoch] = make(map[uint64]bool)
			}
			epochs[f.Epoch][f.Seq] = true
		}
	}
	return epochs
}

func (w *sensor) unsequenced() []int64 {
	var times []int64
	for _, f := range w.frames {
		if !f.Sequenced {
			times = append(times, f.Timestamp)
		}
	}
	slices.Sort(times)
	return times
}

// explain looks at each sequence number between the window's own.
func (w *sensor) explain(losses []telemetry.Frame) {
	epochs := w.epochs()
	w.missing, w.lost = []run{}, []run{}
	for _, epoch := range slices.Sorted(maps.Keys(epochs)) {
		covered := slices.Sorted(maps.Keys(epochs[epoch]))
		for seq := covered[0]; seq < covered[len(covered)-1]; seq++ {
			if epochs[epoch][seq] {
				continue
			}
			var why *telemetry.Loss
			for i := range losses {
				l := &losses[i].Lost
				if losses[i].Epoch == epoch && l.Seqs.First <= seq && seq <= l.Seqs.Last && (why == nil || shorter(l, why)) {
					why = l
				}
			}
			if why == nil {
				w.missing = extend(w.missing, run{epoch, seq, seq, ""})
			} else {
				w.lost = extend(w.lost, run{epoch, seq, seq, why.Reason})
			}
		}
	}
}

func shorter(a, b *telemetry.Loss) bool {
	return cmp.Or(cmp.Compare(a.Seqs.Last-a.Seqs.First, b.Seqs.Last-b.Seqs.First), cmp.Compare(a.Seqs.First, b.Seqs.First), cmp.Compare(a.Reason, b.Reason)) < 0
}

func extend(runs []run, r run) []run {
	if n := len(runs); n > 0 && runs[n-1].Epoch == r.Epoch && runs[n-1].Reason == r.Reason && runs[n-1].Last+1 == r.First {
		runs[n-1].Last = r.Last
		return runs
	}
	return append(runs, r)
}

func count(runs []run) uint64 {
	var n uint64
	for _, r := range runs {
		n += r.Last - r.First + 1
	}
	return n
}

// parts returns the frames by place.
func (w *sensor) parts() map[string][]telemetry.Frame {
	parts := make(map[string][]telemetry.Frame)
	for _, f := range w.frames {
		parts[f.PlaceID] = append(parts[f.PlaceID], f)
	}
	return parts
}

// name is that of the latest frame, and of several the greatest.
func name(frames []telemetry.Frame) string {
	return slices.MaxFunc(frames, func(a, b telemetry.Frame) int {
		return cmp.Or(cmp.Compare(a.Timestamp, b.Timestamp), cmp.Compare(a.Name, b.Name))
	}).Name
}

func (w *sensor) document() *object {
	o := &object{}
	o.add("sensor_id", w.owner)
	o.add("sensor_name", name(w.frames))
	o.interval(w.start, w.end)
	o.statistics(w.frames)
	times := w.unsequenced()
	switch {
	case len(times) > 0:
		o.add("state", "unknown")
		o.add("expected", nil)
		o.add("missing", nil)
	case len(w.missing)+len(w.lost) > 0:
		o.add("state", "gaps")
	default:
		o.add("state", "complete")
	}
	if len(times) == 0 {
		o.add("expected", uint64(len(w.frames))+count(w.missing)+count(w.lost))
		o.add("missing", count(w.missing))
	}
	o.add("lost", count(w.lost))
	o.add("missing_ranges", w.missing)
	o.add("lost_ranges", w.lost)
	type seqs struct {
		First uint64 `json:"first"`
		Last  uint64 `json:"last"`
	}
	type coverage struct {
		Epoch      *uint64 `json:"epoch,omitempty"`
		Seqs       []seqs  `json:"seq,omitempty"`
		Timestamps []int64 `json:"timestamps,omitempty"`
	}
	epochs := w.epochs()
	bounds, covered := []run{}, []coverage{}
	for _, epoch := range slices.Sorted(maps.Keys(epochs)) {
		c := coverage{Epoch: &epoch}
		sorted := slices.Sorted(maps.Keys(epochs[epoch]))
		for _, seq := range sorted {
			if n := len(c.Seqs); n > 0 && c.Seqs[n-1].Last+1 == seq {
				c.Seqs[n-1].Last = seq
			} else {
				c.Seqs = append(c.Seqs, seqs{seq, seq})
			}
		}
		covered = append(covered, c)
		bounds = append(bounds, run{epoch, sorted[0], sorted[len(sorted)-1], ""})
	}
	if len(times) > 0 {
		covered = append(covered, coverage{Timestamps: times})
	}
	o.add("epochs", bounds)
	o.add("revision", 0)
	o.add("coverage", covered)
	parts := w.parts()
	var states []json.RawMessage
	for _, place := range slices.Sorted(maps.Keys(parts)) {
		frames := parts[place]
		p := &object{}
		p.add("place_id", place)
		p.add("sensor_name", name(frames))
		p.span(frames)
		for m := range telemetry.Measure(telemetry.Measures) {
			v := values(frames, m)
			if len(v) == 0 {
				continue
			}
			moments := &object{}
			moments.add("count", len(v))
			moments.add("sum", sum(v).String())
			moments.add("squares", squares(v).String())
			moments.add("min", slices.Min(v))
			moments.add("max", slices.Max(v))
			p.add(m.String(), moments)
		}
		states = append(states, json.RawMessage(p.json()))
	}
	o.add("parts", states)
	return o
}

func placeDocument(k key, members []*sensor) *object {
	o := &object{}
	o.add("place_id", k.owner)
	o.interval(k.start, members[0].end)
	o.add("count_sensors", len(members))
	var frames []telemetry.Frame
	var missing, lost uint64
	unknown := false
	type revision struct {
		Sensor   string `json:"sensor_id"`
		Revision int    `json:"revision"`
	}
	var sensors []revision
	for _, w := range members {
		frames = append(frames, w.parts()[k.owner]...)
		lost += count(w.lost)
		if len(w.unsequenced()) > 0 {
			unknown = true
		} else {
			missing += count(w.missing)
		}
		sensors = append(sensors, revision{w.owner, 0})
	}
	o.statistics(frames)
	switch {
	case unknown:
		o.add("state", "unknown")
		o.add("missing", nil)
	case missing+lost > 0:
		o.add("state", "gaps")
		o.add("missing", missing)
	default:
		o.add("state", "complete")
		o.add("missing", missing)
	}
	o.add("lost", lost)
	o.add("revision", 0)
	o.add("sensors", sensors)
	return o
}

func values(frames []telemetry.Frame, m telemetry.Measure) []int64 {
	var values []int64
	for _, f := range frames {
		if v, ok := f.Payload.Get(m); ok {
			values = append(values, int64(v))
		}
	}
	return values
}

func sum(values []int64) *big.Int {
	s := new(big.Int)
	for _, v := range values {
		s.Add(s, big.NewInt(v))
	}
	return s
}

func squares(values []int64) *big.Int {
	s := new(big.Int)
	for _, v := range values {
		b := big.NewInt(v)
		s.Add(s, b.Mul(b, b))
	}
	return s
}

// object is a JSON object whose fields keep their order.
type object struct{ bytes.Buffer }

func (o *object) add(name string, value any) {
	separator := ","
	if o.Len() == 0 {
		separator = "{"
	}
	if v, ok := value.(*object); ok {
		value = json.RawMessage(v.json())
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(&o.Buffer, "%s%q:%s", separator, name, encoded)
}

func (o *object) json() string { return o.String() + "}" }

func (o *object) interval(start, end int64) {
	o.add("start_agg", time.UnixMilli(start).UTC())
	o.add("end_agg", time.UnixMilli(end).UTC())
	o.add("start_agg_tm", start)
	o.add("end_agg_tm", end)
}

// span adds how many frames there are, and the first and last timestamp.
func (o *object) span(frames []telemetry.Frame) {
	var times []int64
	for _, f := range frames {
		times = append(times, f.Timestamp)
	}
	o.add("count_measures", len(frames))
	o.add("first_tm", slices.Min(times))
	o.add("last_tm", slices.Max(times))
}

func (o *object) statistics(frames []telemetry.Frame) {
	o.span(frames)
	for m := range telemetry.Measure(telemetry.Measures) {
		v := values(frames, m)
		if len(v) == 0 {
			continue
		}
		n := big.NewRat(int64(len(v)), 1)
		unit := big.NewRat(1, 1_000_000)
		total := new(big.Rat).Mul(new(big.Rat).SetInt(sum(v)), unit)
		mean := new(big.Rat).Quo(total, n)
		variance := new(big.Rat)
		for _, x := range v {
			d := new(big.Rat).Mul(new(big.Rat).SetInt64(x), unit)
			d.Sub(d, mean)
			variance.Add(variance, d.Mul(d, d))
		}
		variance.Quo(variance, n)
		o.add("count_"+m.String(), len(v))
		o.add("sum_"+m.String(), double(total))
		o.add("avg_"+m.String(), double(mean))
		o.add("min_"+m.String(), double(new(big.Rat).Mul(new(big.Rat).SetInt64(slices.Min(v)), unit)))
		o.add("max_"+m.String(), double(new(big.Rat).Mul(new(big.Rat).SetInt64(slices.Max(v)), unit)))
		o.add("stddev_"+m.String(), math.Sqrt(double(variance)))
	}
}

func double(r *big.Rat) float64 {
	f, _ := r.Float64()
	return f
}
