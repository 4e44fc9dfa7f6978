package diagnose

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// Level is how a check went.
type Level string

// The levels.
const (
	OK   Level = "ok"
	Warn Level = "warn" // the agent works, but perhaps not as it is meant to
	Fail Level = "fail" // the agent cannot do all of its work
)

// Finding is the result of one check.
type Finding struct {
	Level Level  `json:"level"`
	Check string `json:"check"`          // what was checked
	Seen  string `json:"seen"`           // what was found
	Hint  string `json:"hint,omitempty"` // what to do about it
}

// Report is the results of all checks.
type Report []Finding

// Failed returns how many checks failed.
func (r Report) Failed() (n int) {
	for _, f := range r {
		if f.Level == Fail {
			n++
		}
	}
	return n
}

// WriteText writes a line for each check.
func (r Report) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range r {
		seen := f.Seen
		if f.Hint != "" {
			seen += " -> " + f.Hint
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\n", f.Level, f.Check, seen) // Flush returns the error
	}
	return t.Flush()
}

// WriteJSON writes an array of the findings.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
