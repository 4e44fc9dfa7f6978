package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator"
	"github.com/telltale-iot/telltale/simulator/ledger"
	"github.com/telltale-iot/telltale/simulator/pipeline"
)

// Terminal control sequences (ECMA-48): they redraw in place, which leaves
// nothing of an earlier, longer line and does not flicker.
const (
	cursorHome   = "\x1b[H"
	eraseLine    = "\x1b[K"
	eraseBelow   = "\x1b[J"
	eraseDisplay = "\x1b[2J"
)

// measureUnits are how the screen writes the measures.
var measureUnits = [telemetry.Measures]struct{ title, format string }{
	telemetry.Temperature: {"temperature", "%.2f °C"},
	telemetry.Humidity:    {"humidity", "%.1f %%"},
	telemetry.Pressure:    {"pressure", "%.2f hPa"},
	telemetry.Luminosity:  {"light", "%.1f lx"},
}

// screen shows a pipeline: on a terminal a table that is redrawn, elsewhere a
// line now and then.
type screen struct {
	out      io.Writer
	terminal bool
	pipeline *pipeline.Pipeline
	dir      string
	keep     bool
	started  time.Time
	firsts   [2]bool // reading in MongoDB, closed window
}

func newScreen(out io.Writer, p *pipeline.Pipeline, dir string, keep bool, started time.Time) *screen {
	s := &screen{out: out, pipeline: p, dir: dir, keep: keep, started: started}
	if file, ok := out.(*os.File); ok {
		s.terminal = term.IsTerminal(int(file.Fd()))
	}
	return s
}

// run draws until ctx ends, and once more then.
func (s *screen) run(ctx context.Context) error {
	every := 5 * time.Second
	if s.terminal {
		every = 500 * time.Millisecond
		s.write(eraseDisplay)
	} else {
		s.write(s.addresses())
	}
	// The first reading and the first window are waited for more closely.
	poll := time.NewTicker(250 * time.Millisecond)
	defer poll.Stop()
	next := s.started.Add(every)
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-poll.C:
			account, err := s.account(ctx)
			if err != nil {
				continue // MongoDB is not up yet, or no longer
			}
			s.milestones(&account)
			if now.Before(next) {
				continue
			}
			next = now.Add(every - 100*time.Millisecond)
			if s.terminal {
				s.draw(&account)
			} else {
				s.write(account.line() + "\n")
			}
		}
	}
}

// account is what one look at the pipeline shows.
type account struct {
	simulator.Stats
	ledger.Totals
	mongo int64
	rows  []ledger.Row
}

func (s *screen) account(ctx context.Context) (a account, err error) {
	limited, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	a.mongo, a.rows, err = s.pipeline.Ledger.Stored(limited)
	a.Stats = s.pipeline.Fleet.Stats()
	a.Totals = s.pipeline.Ledger.Totals()
	return a, err
}

func (a *account) line() string {
	return fmt.Sprintf("sampled=%d buffered=%d kafka=%d mongo=%d windowed=%d windows=%d missing=%d duplicate=%d",
		a.Sampled, a.Buffered, a.Kafka, a.mongo, a.Windowed, a.Windows, a.Missing, a.Duplicates)
}

// milestones says, off the terminal, when the first reading and the first
// window are there.
func (s *screen) milestones(a *account) {
	for i, m := range []struct {
		reached bool
		what    string
	}{{a.mongo > 0, "reading in MongoDB"}, {a.Windows > 0, "closed window"}} {
		if m.reached && !s.firsts[i] {
			s.firsts[i] = true
			if !s.terminal {
				s.write(fmt.Sprintf("first %s after %.1f s\n", m.what, time.Since(s.started).Seconds()))
			}
		}
	}
}

func (s *screen) draw(a *account) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "telltale lab, running %s. Ctrl-C stops it.\n\n", time.Since(s.started).Round(time.Second))
	b.WriteString(sensorTable(a.rows, time.Now()))
	fmt.Fprintf(&b, "\n\nsampled %d · buffered %d · in Kafka %d · in MongoDB %d · in windows %d (%d closed) · missing %d · duplicate %d\n\n",
		a.Sampled, a.Buffered, a.Kafka, a.mongo, a.Windowed, a.Windows, a.Missing, a.Duplicates)
	b.WriteString(s.addresses())
	s.write(cursorHome + strings.ReplaceAll(b.String(), "\n", eraseLine+"\n") + eraseBelow)
}

func sensorTable(rows []ledger.Row, now time.Time) string {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	header := table.Row{"sensor", "place"}
	columns := []table.ColumnConfig{}
	for i, m := range measureUnits {
		header = append(header, m.title)
		columns = append(columns, table.ColumnConfig{Number: i + 3, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.AppendHeader(append(header, "age"))
	t.SetColumnConfigs(append(columns, table.ColumnConfig{Number: len(header) + 1, Align: text.AlignRight}))
	for _, r := range rows {
		row := table.Row{r.ID, r.PlaceID}
		for m, unit := range measureUnits {
			switch {
			case r.Values[m] != nil:
				row = append(row, fmt.Sprintf(unit.format, *r.Values[m]))
			default:
				row = append(row, "-")
			}
		}
		age := "-"
		if !r.Date.IsZero() {
			age = fmt.Sprintf("%.1f s", now.Sub(r.Date).Seconds())
		}
		t.AppendRow(append(row, age))
	}
	if len(rows) == 0 {
		t.AppendRow(table.Row{"(none yet)"})
	}
	return t.Render()
}

// addresses names the servers and gives lines to copy.
func (s *screen) addresses() string {
	p := s.pipeline
	host, port, _ := strings.Cut(p.MQTTAddr(), ":")
	removed := "removed in the end; --keep keeps it"
	if s.keep {
		removed = "kept"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "MQTT %s · Kafka %s · MongoDB %s · metrics http://%s/metrics\n", p.MQTTAddr(), p.KafkaAddr(), p.MongoURI(), p.MetricsAddr())
	fmt.Fprintf(&b, "state %s (%s)\n\n", s.dir, removed)
	b.WriteString("Add a sensor of your own, ask the database, read the metrics:\n")
	fmt.Fprintf(&b, "  mosquitto_pub -h %s -p %s -q 1 -t iot-frames -m '{\"id\":\"mine\",\"place_id\":\"room-1\",\"timestamp\":'$(date +%%s%%3N)',\"payload\":{\"temperature\":21.5}}'\n", host, port)
	fmt.Fprintf(&b, "  mongosh %s%s --eval 'db.iot_aggregate_metrics_place.find({}, {place_id: 1, start_agg: 1, avg_temperature: 1})'\n", p.MongoURI(), pipeline.Database)
	fmt.Fprintf(&b, "  curl -s http://%s/metrics | grep telltale_temperature\n", p.MetricsAddr())
	return b.String()
}

// write ignores that the terminal may be gone: the system goes on.
func (s *screen) write(text string) { _, _ = io.WriteString(s.out, text) }
