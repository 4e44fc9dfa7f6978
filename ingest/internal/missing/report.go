package missing

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/telltale-iot/telltale/ingest/internal/window"
)

// State says what became of readings.
type State string

// The states.
const (
	Present   State = "present"   // stored, and in a window of the interval
	Elsewhere State = "elsewhere" // in a window of another time, as their clock had it
	Lost      State = "lost"      // declared, with a reason
	Missing   State = "missing"   // sampled and not there, for no known reason
	NoWindow  State = "no_window" // stored, and in no window
	NoFrame   State = "no_frame"  // in a window, and not stored
	NotYet    State = "not_yet"   // missing or in no window, and so young that they may be on their way
)

// Range is readings of one sensor of which the same is to be said.
type Range struct {
	Epoch  uint64 `json:"epoch"`
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	Count  uint64 `json:"count"`
	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"` // of Lost

	// When they were sampled, as far as that is known: not before After and not
	// after Before, Unix milliseconds. 0 is unknown.
	After  int64 `json:"after,omitempty"`
	Before int64 `json:"before,omitempty"`
}

// Unsequenced counts readings of clients that send no seq, of which nobody can
// say what is missing.
type Unsequenced struct {
	Present  int `json:"present"`
	NoWindow int `json:"no_window"`
	NoFrame  int `json:"no_frame"`
	NotYet   int `json:"not_yet"`
}

// The verdicts on a sensor, from the worst.
const (
	VerdictMissing  = "missing"  // readings are missing, in no window or not stored
	VerdictLost     = "lost"     // readings are lost, each with a reason
	VerdictNotYet   = "not_yet"  // readings may be on their way
	VerdictUnknown  = "unknown"  // some have no seq; nothing else is wrong
	VerdictComplete = "complete" // every reading is there
	VerdictSilent   = "silent"   // there is none, and nothing says that there was
)

// Report says what became of the readings of one sensor in [From, To), Unix
// milliseconds.
type Report struct {
	Sensor  string `json:"sensor_id"`
	From    int64  `json:"from"`
	To      int64  `json:"to"`
	Verdict string `json:"verdict"`

	Count       map[State]uint64  `json:"count"`  // readings with seq, by state
	Reasons     map[string]uint64 `json:"lost"`   // those that are lost, by reason
	Ranges      []Range           `json:"ranges"` // by epoch, ascending
	Unsequenced Unsequenced       `json:"unsequenced"`
}

func (r *Report) add(epoch uint64, state State, runs set) {
	for _, s := range runs {
		r.Ranges = append(r.Ranges, Range{
			Epoch: epoch, First: s.First, Last: s.Last, Count: s.Len(), State: state, After: s.least, Before: s.greatest,
		})
	}
}

// addGap adds a part of one of the gaps.
func (r *Report) addGap(g window.Gap, state State, gaps set) {
	at := gaps[gaps.from(g.Seqs.First)]
	r.Ranges = append(r.Ranges, Range{
		Epoch: g.Epoch, First: g.Seqs.First, Last: g.Seqs.Last, Count: g.Seqs.Len(), State: state, Reason: g.Reason, After: at.least, Before: at.greatest,
	})
}

func (r *Report) finish() {
	slices.SortFunc(r.Ranges, compareRanges)
	r.Count, r.Reasons = make(map[State]uint64), make(map[string]uint64)
	for _, s := range r.Ranges {
		r.Count[s.State] += s.Count
		if s.State == Lost {
			r.Reasons[s.Reason] += s.Count
		}
	}
	u := r.Unsequenced
	switch {
	case !r.Accounted():
		r.Verdict = VerdictMissing
	case r.Count[Lost] > 0:
		r.Verdict = VerdictLost
	case r.Count[NotYet] > 0 || u.NotYet > 0:
		r.Verdict = VerdictNotYet
	case u.Present > 0:
		r.Verdict = VerdictUnknown
	case r.Count[Present]+r.Count[Elsewhere] > 0:
		r.Verdict = VerdictComplete
	default:
		r.Verdict = VerdictSilent
	}
}

// Accounted reports whether every reading is there, lost for a reason, or
// perhaps on its way.
func (r *Report) Accounted() bool {
	return r.Unaccounted() == 0
}

// Unaccounted returns how many readings are missing, in no window or not stored.
func (r *Report) Unaccounted() uint64 {
	return r.Count[Missing] + r.Count[NoWindow] + r.Count[NoFrame] + uint64(r.Unsequenced.NoWindow) + uint64(r.Unsequenced.NoFrame)
}

// WriteJSON writes the report as a line of JSON.
func (r *Report) WriteJSON(out io.Writer) error {
	return json.NewEncoder(out).Encode(r)
}

// WriteText writes the report for people: a line with the verdict, and a table
// of the ranges.
func (r *Report) WriteText(out io.Writer) error {
	if _, err := fmt.Fprintf(out, "%s: %s\n", r.Sensor, r.summary()); err != nil {
		return err
	}
	if len(r.Ranges) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "  EPOCH\tSEQ\tREADINGS\tSTATE\tREASON\tAFTER\tBEFORE") // Flush tells
	for _, s := range r.Ranges {
		seqs := fmt.Sprint(s.First)
		if s.Last > s.First {
			seqs += fmt.Sprintf("-%d", s.Last)
		}
		reason := s.Reason
		if reason == "" {
			reason = "-"
		}
		_, _ = fmt.Fprintf(w, "  %d\t%s\t%d\t%s\t%s\t%s\t%s\n", s.Epoch, seqs, s.Count, s.State, reason, date(s.After), date(s.Before))
	}
	return w.Flush()
}

func date(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// summary returns the verdict with what it is made of.
func (r *Report) summary() string {
	var parts []string
	say := func(n uint64, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	u := r.Unsequenced
	say(r.Count[Missing], "missing")
	say(r.Count[NoWindow]+uint64(u.NoWindow), "in no window")
	say(r.Count[NoFrame]+uint64(u.NoFrame), "in a window and not stored")
	if n := r.Count[Lost]; n > 0 {
		var reasons []string
		for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
			reasons = append(reasons, fmt.Sprintf("%s: %d", reason, r.Reasons[reason]))
		}
		say(n, "lost ("+strings.Join(reasons, ", ")+")")
	}
	say(r.Count[NotYet]+uint64(u.NotYet), "not yet")
	say(r.Count[Present], "present")
	say(r.Count[Elsewhere], "elsewhere")
	say(uint64(u.Present), "without seq")
	if len(parts) == 0 {
		return r.Verdict
	}
	return r.Verdict + ": " + strings.Join(parts, ", ")
}
