package agent

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/telltale-iot/telltale/agent/internal/buffer"
)

// BufferContents is what is in a buffer.
type BufferContents struct {
	Dir string `json:"dir"`
	buffer.Contents
}

// WriteJSON writes the contents as an object. Times are Unix milliseconds.
func (c *BufferContents) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(c)
}

// WriteText writes the sums, and below them a table of the sensors.
func (c *BufferContents) WriteText(w io.Writer) error {
	t := newTable(w)
	t.row("buffer\t%s", c.Dir)
	t.row("identity\tepoch %d, format %d%s", c.Epoch, c.Format, c.identity())
	t.row("readings\t%s", c.readings())
	t.row("lost\t%s", byReason(c.Lost, "none declared"))
	c.damage(t)
	t.row("files\t%s, %s", several(uint64(c.Segments), "segment"), roughly(c.Bytes))
	t.row("positions\t%d to %d, cursor at %d", c.First, c.End, c.Cursor)
	t.row("boot\t%d, id %q", c.Boot, c.BootID)
	for _, clock := range c.Clocks {
		t.row("clock\tboot %d: %s, %s", clock.Boot, known(clock), several(clock.Readings, "reading"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(c.Sensors) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	t = newTable(w)
	t.row("SENSOR\tREADINGS\tNUMBERS\tOLDEST\tNEWEST\tWAITING\tLOST\tNEXT\tMARK")
	for i := range c.Sensors {
		c.sensor(t, &c.Sensors[i])
	}
	return t.Flush()
}

func (c *BufferContents) identity() string {
	if c.Restored {
		return "; its file is damaged, this is from a segment"
	}
	return ""
}

func (c *BufferContents) readings() string {
	s := fmt.Sprintf("%d not freed", c.Readings)
	if c.Readings > c.Waiting {
		s += fmt.Sprintf(", from %s to %s", utc(c.Oldest), utc(c.Newest))
	}
	if c.Waiting > 0 {
		s += fmt.Sprintf("; %d of them wait until their time is known", c.Waiting)
	}
	return s
}

func (c *BufferContents) damage(t table) {
	if len(c.Damage) == 0 {
		t.row("damage\tnone")
	}
	for _, d := range c.Damage {
		t.row("damage\t%s from %d: %d %s", d.Segment, d.Position, d.Bytes, d.What)
	}
	if c.Unended > 0 {
		t.row("unended\t%d bytes behind the last record are being written, or were cut by a crash", c.Unended)
	}
}

func (c *BufferContents) sensor(t table, s *buffer.SensorContents) {
	id := s.ID
	if s.Memory != 0 {
		id += fmt.Sprintf(" (from memory, epoch %d)", s.Memory)
	}
	numbers, oldest, newest := "-", "-", "-"
	if s.Readings > 0 {
		numbers = fmt.Sprintf("%d to %d", s.First, s.Last)
	}
	if s.Readings > s.Waiting {
		oldest, newest = utc(s.Oldest), utc(s.Newest)
	}
	t.row("%s\t%d\t%s\t%s\t%s\t%d\t%s\t%d\t%d", id, s.Readings, numbers, oldest, newest, s.Waiting, byReason(s.Lost, "-"), s.Next, s.Mark)
}

// known is what is known of a boot's clock.
func known(c buffer.BootClock) string {
	switch c.State {
	case "waiting":
		return "not known yet"
	case "estimated":
		return "began at about " + utc(c.Started) + ", estimated"
	}
	return "began at " + utc(c.Started)
}

// byReason writes how many numbers are lost, by reason.
func byReason(lost map[string]uint64, none string) string {
	if len(lost) == 0 {
		return none
	}
	var all []string
	for _, reason := range slices.Sorted(maps.Keys(lost)) {
		all = append(all, fmt.Sprintf("%d %s", lost[reason], reason))
	}
	return strings.Join(all, ", ")
}

// utc writes Unix milliseconds as RFC 3339 says.
func utc(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z07:00") }
