package detect

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"
)

// Bus is what was found on a bus.
type Bus struct {
	Adapter
	Found []Finding
	Err   error  // why it could not be scanned
	Hint  string // what to do about that
}

// Chips returns how many of the findings are chips that can be configured.
func (b *Bus) Chips() (n int) {
	for _, f := range b.Found {
		if f.Match != No {
			n++
		}
	}
	return n
}

// WriteFindings writes for people what is on the buses.
func WriteFindings(w io.Writer, buses []Bus) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, b := range buses {
		title := "bus " + b.Name
		if b.Label != "" {
			title += ", " + b.Label
		}
		_, _ = fmt.Fprintln(t, title) // Flush returns the error
		switch {
		case b.Err != nil && b.Hint != "":
			_, _ = fmt.Fprintf(t, "  %v\n  -> %s\n", b.Err, b.Hint)
		case b.Err != nil:
			_, _ = fmt.Fprintf(t, "  %v\n", b.Err)
		case len(b.Found) == 0:
			_, _ = fmt.Fprintln(t, "  nothing answers")
		}
		for _, f := range b.Found {
			name, evidence := f.describe()
			_, _ = fmt.Fprintf(t, "  %#02x\t%s\t%s\n", f.Address, name, evidence)
		}
	}
	return t.Flush()
}

// describe says what the chip is, and how one knows.
func (f *Finding) describe() (name, evidence string) {
	switch {
	case f.Kernel != "":
		return f.Kernel, "not looked at, as a driver of the kernel has it"
	case f.Match == Certain:
		return f.Driver, f.Evidence
	case f.Match == Probable:
		return "probably " + f.Driver, f.Evidence
	}
	return "unknown", cmp.Or(f.Evidence, "no chip that an agent can read has this address")
}
