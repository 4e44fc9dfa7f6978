//go:build hil

package hil_test

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/verify"
)

// promises is what an agent has let be known, each at a position of its disk's
// history; a cut at that position or later must not make it untrue.
//
//   - A reading is published when the broker has it. Its number must never name
//     another.
//   - A reading is committed when the agent's metrics say that a commit has
//     succeeded that began after it was in the buffer. It must be there until it
//     is receipted.
type promises struct {
	position func() uint64

	mu        sync.Mutex
	epoch     uint64
	published map[number]published
	receipts  map[number]uint64 // where the agent may have known of them
	committed []committed
	broken    []string
}

type published struct {
	frame telemetry.Frame
	at    uint64
}

// committed says that so many readings from first on are on the medium.
type committed struct {
	sensor       string
	first, count uint64
	at           uint64
}

func newPromises(position func() uint64) *promises {
	return &promises{position: position, published: make(map[number]published), receipts: make(map[number]uint64)}
}

func (p *promises) breach(format string, args ...any) {
	p.broken = append(p.broken, fmt.Sprintf(format, args...))
}

// publish takes in a message of frames.
func (p *promises) publish(payload []byte) {
	at := p.position()
	p.mu.Lock()
	defer p.mu.Unlock()
	var decoder telemetry.Decoder
	if err := decoder.Each(payload, func(raw []byte, f *telemetry.Frame, err error) {
		n := number{f.ID, f.Seq}
		before, again := p.published[n]
		switch {
		case err != nil:
			p.breach("published %s: %v", raw, err)
		case f.IsLoss():
		case p.epoch != 0 && f.Epoch != p.epoch:
			p.breach("%s is not of epoch %d, as the readings before: their buffer is gone", telemetry.FrameID(f), p.epoch)
		case again && before.frame != *f:
			p.breach("%s names two readings", telemetry.FrameID(f))
		case !again:
			p.epoch = f.Epoch
			p.published[n] = published{*f, at}
		}
	}); err != nil {
		p.breach("published %s: %v", payload, err)
	}
}

// receipt takes in a receipt that the agent has had at that position at the
// earliest.
func (p *promises) receipt(r *telemetry.Receipt, at uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, of := range r.Frames {
		for _, seqs := range of.Seqs {
			for seq := seqs.First; seq <= seqs.Last; seq++ {
				n := number{of.ID, seq}
				if before, again := p.receipts[n]; !again || at < before {
					p.receipts[n] = at
				}
			}
		}
	}
}

// check holds what is on a disk after a cut at that position against the
// promises, and returns those that are broken.
func (p *promises) check(c *contents, at uint64) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	broken := slices.Clone(p.broken)
	breach := func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) }
	for _, promise := range p.latest(at) {
		missing := 0
		for seq := promise.first; seq < promise.first+promise.count; seq++ {
			n := number{promise.sensor, seq}
			receipt, receipted := p.receipts[n]
			_, sent := p.published[n] // else it was a declared loss that was receipted
			if _, there := c.readings[n]; !there && (!sent || !receipted || receipt > at) {
				missing++
			}
		}
		if missing > 0 {
			breach("%s: of readings %d to %d, which were committed, %d are missing", promise.sensor, promise.first, promise.first+promise.count-1, missing)
		}
	}
	highest := make(map[string]uint64)
	for n, f := range p.published {
		if f.at > at {
			continue
		}
		highest[n.sensor] = max(highest[n.sensor], n.seq)
		if there, ok := c.readings[n]; ok && there != f.frame {
			breach("%s: reading %d was published, and is another now", n.sensor, n.seq)
		}
	}
	for sensor, seq := range highest {
		if c.next[sensor] <= seq {
			breach("%s: number %d was published, and the next one would be %d", sensor, seq, c.next[sensor])
		}
	}
	if len(p.published) > 0 && c.epoch != 0 && c.epoch != p.epoch {
		breach("the epoch %d has become %d", p.epoch, c.epoch)
	}
	return broken
}

// latest returns the last promise up to a position of each sensor and boot.
func (p *promises) latest(at uint64) []committed {
	type run struct {
		sensor string
		first  uint64
	}
	last := make(map[run]committed)
	for _, c := range p.committed {
		if c.at <= at {
			last[run{c.sensor, c.first}] = c
		}
	}
	return slices.Collect(maps.Values(last))
}

// totals returns how many readings were committed, published and receipted.
func (p *promises) totals() (committed, published, receipted int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.latest(math.MaxUint64) {
		committed += int(c.count)
	}
	return committed, len(p.published), len(p.receipts)
}

// journal is one of what was published.
func (p *promises) journal() *verify.Journal {
	p.mu.Lock()
	defer p.mu.Unlock()
	j := verify.NewJournal(nil)
	for _, f := range p.published {
		j.Record(&f.frame)
	}
	return j
}

// witness makes promises of the metrics that an agent serves in one boot. It is
// a Writer of their text, a form feed behind each answer.
//
// A sync that was counted up to one answer may have begun before the readings
// of the answer before it; of the next two syncs the second has begun after them,
// as commits take turns. When that is counted, those readings are committed.
type witness struct {
	promises *promises
	first    map[string]uint64 // the sensors' first numbers in this boot

	rest    []byte
	claims  []claim
	last    metrics
	answers int
}

type claim struct {
	readings map[string]uint64
	syncs    uint64 // counted by then, once known
	known    bool
}

type metrics struct {
	readings       map[string]uint64
	syncs, failing uint64
	frames         uint64 // not freed
}

func parseMetrics(text string) (metrics, error) {
	m := metrics{readings: make(map[string]uint64)}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		base, label, _ := strings.Cut(name, "{")
		var to *uint64
		switch base {
		case "telltale_agent_readings_total":
			to = new(uint64)
		case "telltale_agent_buffer_syncs_total":
			to = &m.syncs
		case "telltale_agent_buffer_frames":
			to = &m.frames
		case "telltale_agent_buffer_commit_errors_total", "telltale_agent_buffer_failovers_total":
			to = new(uint64)
		default:
			continue
		}
		n, err := strconv.ParseUint(value, 10, 64)
		if !ok || err != nil {
			return m, fmt.Errorf("metric %q", line)
		}
		*to = n
		switch base {
		case "telltale_agent_readings_total":
			m.readings[strings.TrimSuffix(strings.TrimPrefix(label, `sensor="`), `"}`)] = n
		case "telltale_agent_buffer_commit_errors_total", "telltale_agent_buffer_failovers_total":
			m.failing += n
		}
	}
	return m, nil
}

// Write takes text of the metrics in.
func (w *witness) Write(b []byte) (int, error) {
	at := w.promises.position()
	w.promises.mu.Lock()
	defer w.promises.mu.Unlock()
	w.rest = append(w.rest, b...)
	for {
		text, rest, ok := bytes.Cut(w.rest, []byte{'\f'})
		if !ok {
			return len(b), nil
		}
		w.rest = rest
		m, err := parseMetrics(string(text))
		if err != nil {
			w.promises.breach("%v", err)
			continue
		}
		w.take(m, at)
	}
}

func (w *witness) take(m metrics, at uint64) {
	w.answers++
	w.last = m
	if m.failing > 0 {
		return // of a disk that fails nothing is promised
	}
	for len(w.claims) > 0 && w.claims[0].known && m.syncs >= w.claims[0].syncs+2 {
		for sensor, count := range w.claims[0].readings {
			w.promises.committed = append(w.promises.committed, committed{sensor, w.first[sensor], count, at})
		}
		w.claims = w.claims[1:]
	}
	for i := range w.claims {
		if !w.claims[i].known {
			w.claims[i].syncs, w.claims[i].known = m.syncs, true
		}
	}
	w.claims = append(w.claims, claim{readings: m.readings})
}

// state returns the latest metrics and how many answers there were.
func (w *witness) state() (metrics, int) {
	w.promises.mu.Lock()
	defer w.promises.mu.Unlock()
	return w.last, w.answers
}
