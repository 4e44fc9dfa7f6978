package ledger

import (
	"maps"
	"slices"
	"strings"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Account counts what became of readings. The zero Account is empty; it is not
// safe for concurrent use.
type Account struct {
	streams map[stream]*progress
	latest  map[string]telemetry.Frame
	windows map[string]uint64 // frames by the key of their window
	kafka   uint64
	again   uint64
}

// stream is one sensor's readings in one epoch; epoch 0 has those without
// sequence numbers, told apart by their timestamps.
type stream struct {
	id    string
	epoch uint64
}

type progress struct {
	begun   bool
	highest uint64
	absent  []telemetry.SeqRange // below highest, ascending
	times   map[int64]struct{}
}

// Frame takes a frame of Kafka in.
func (a *Account) Frame(f *telemetry.Frame) {
	if a.streams == nil {
		a.streams = make(map[stream]*progress)
		a.latest = make(map[string]telemetry.Frame)
	}
	if f.IsLoss() {
		return // what was declared lost is absent, and counted as such, until it comes
	}
	at := stream{f.ID, f.Epoch}
	p := a.streams[at]
	if p == nil {
		p = &progress{times: make(map[int64]struct{})}
		a.streams[at] = p
	}
	if !p.add(f) {
		a.again++
		return
	}
	a.kafka++
	if newest, ok := a.latest[f.ID]; !ok || f.Timestamp >= newest.Timestamp {
		a.latest[f.ID] = *f
	}
}

// add reports whether the frame is new.
func (p *progress) add(f *telemetry.Frame) bool {
	if !f.Sequenced {
		_, known := p.times[f.Timestamp]
		p.times[f.Timestamp] = struct{}{}
		return !known
	}
	if p.begun && f.Seq <= p.highest {
		return p.fill(f.Seq)
	}
	next := uint64(0)
	if p.begun {
		next = p.highest + 1
	}
	if next < f.Seq {
		p.absent = append(p.absent, telemetry.SeqRange{First: next, Last: f.Seq - 1})
	}
	p.begun, p.highest = true, f.Seq
	return true
}

// fill takes seq out of the absent ranges and reports whether it was in one.
func (p *progress) fill(seq uint64) bool {
	for i, r := range p.absent {
		if seq < r.First || r.Last < seq {
			continue
		}
		var rest []telemetry.SeqRange
		if r.First < seq {
			rest = append(rest, telemetry.SeqRange{First: r.First, Last: seq - 1})
		}
		if seq < r.Last {
			rest = append(rest, telemetry.SeqRange{First: seq + 1, Last: r.Last})
		}
		p.absent = slices.Replace(p.absent, i, i+1, rest...)
		return true
	}
	return false
}

// Window takes a record of the sensors' windows in: the newest says how many
// frames the window counts.
func (a *Account) Window(key string, frames uint64) {
	if a.windows == nil {
		a.windows = make(map[string]uint64)
	}
	a.windows[key] = frames
}

// Totals sums an Account up.
type Totals struct {
	Kafka      uint64 // distinct readings in Kafka
	Duplicates uint64 // deliveries of a reading that Kafka had already
	Missing    uint64 // sequence numbers below a sensor's newest that have not come
	Windowed   uint64 // readings counted in closed windows
	Windows    int    // closed windows
}

// Totals returns the sums.
func (a *Account) Totals() Totals {
	t := Totals{Kafka: a.kafka, Duplicates: a.again, Windows: len(a.windows)}
	for _, p := range a.streams {
		for _, r := range p.absent {
			t.Missing += r.Len()
		}
	}
	for _, frames := range a.windows {
		t.Windowed += frames
	}
	return t
}

// Latest returns the newest frame of each sensor, in the order of their ids as
// a person counts: a-2 before a-10.
func (a *Account) Latest() []telemetry.Frame {
	return slices.SortedFunc(maps.Values(a.latest), func(x, y telemetry.Frame) int {
		if len(x.ID) != len(y.ID) && strings.TrimRight(x.ID, "0123456789") == strings.TrimRight(y.ID, "0123456789") {
			return len(x.ID) - len(y.ID)
		}
		return strings.Compare(x.ID, y.ID)
	})
}
