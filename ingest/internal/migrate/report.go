package migrate

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// Report says what became of the documents. Each is a frame of its own, a
// duplicate, or refused.
type Report struct {
	Apply     bool          // what is below was written; else it would be
	FramesTTL time.Duration // of the target

	Documents     int // read
	Duplicates    int // of an identity that another document has
	Contradicting int // of these, those that say something else than the first
	Unknown       int // with fields that no frame has, which are not kept
	Refused       map[string]*Refusals

	FramesNew   int // stored
	FramesThere int // stored before
	Expired     int // older than FramesTTL: in windows only

	Sensors, Places int
	First, Last     int64 // least and greatest timestamp; 0 without frames

	SensorWindows Windows
	PlaceWindows  Windows // folded only if Apply
}

// Refusals are the documents that were refused for one reason.
type Refusals struct {
	Count    int
	Examples []Refusal
}

// Windows says what became of windows.
type Windows struct {
	New, Revised, Unchanged int
	Refused                 int // by the store, or not to be folded
}

func (w *Windows) put(revision int64) {
	if revision == 1 {
		w.New++
	} else {
		w.Revised++
	}
}

func (r *Report) refuse(reason string, why Refusal, examples int) {
	if r.Refused == nil {
		r.Refused = make(map[string]*Refusals)
	}
	if r.Refused[reason] == nil {
		r.Refused[reason] = &Refusals{}
	}
	all := r.Refused[reason]
	if all.Count++; len(all.Examples) < examples {
		all.Examples = append(all.Examples, why)
	}
}

func (r *Report) frame(t int64) {
	if r.First == 0 || t < r.First {
		r.First = t
	}
	r.Last = max(r.Last, t)
}

// RefusedDocuments returns how many documents were refused.
func (r *Report) RefusedDocuments() int {
	n := 0
	for _, all := range r.Refused {
		n += all.Count
	}
	return n
}

// Write writes the report for people.
func (r *Report) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name string, n any, note string) {
		if note != "" {
			note = "\t" + note
		}
		_, _ = fmt.Fprintf(w, "%s\t%v%s\n", name, n, note) // Flush tells
	}
	stored, revised := "to be stored", "to be revised"
	if r.Apply {
		stored, revised = "stored", "revised"
	}
	line("documents", r.Documents, "")
	line("refused", r.RefusedDocuments(), "")
	for _, reason := range slices.Sorted(maps.Keys(r.Refused)) {
		line("  "+reason, r.Refused[reason].Count, "")
	}
	line("duplicates", r.Duplicates, fmt.Sprintf("%d say something else than the first, which stays", r.Contradicting))
	line("frames "+stored, r.FramesNew, "")
	line("frames stored before", r.FramesThere, "")
	line("frames in windows only", r.Expired, fmt.Sprintf("older than mongo.frames_ttl, %s", r.FramesTTL))
	line("documents with fields that are not kept", r.Unknown, "")
	line("sensors", r.Sensors, "")
	line("places", r.Places, "")
	if r.First != 0 {
		line("first timestamp", date(r.First), "")
		line("last timestamp", date(r.Last), "")
	}
	windows := func(name string, all *Windows) {
		line(name+" "+stored, all.New, "")
		line(name+" "+revised, all.Revised, "")
		line(name+" stored before", all.Unchanged, "")
		if all.Refused > 0 {
			line(name+" refused", all.Refused, "see the log")
		}
	}
	windows("windows of sensors", &r.SensorWindows)
	if r.Apply {
		windows("windows of places", &r.PlaceWindows)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, reason := range slices.Sorted(maps.Keys(r.Refused)) {
		for i, why := range r.Refused[reason].Examples {
			if i == 0 {
				if _, err := fmt.Fprintf(out, "\nrefused, %s:\n", reason); err != nil {
					return err
				}
			}
			if _, err := fmt.Fprintf(out, "  %s\n", why); err != nil {
				return err
			}
		}
	}
	return nil
}
