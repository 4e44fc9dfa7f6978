package buffer

import (
	"context"
	"fmt"
	"strings"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// A RawRecord is one as it is on the medium, or a stretch of damage between two.
type RawRecord struct {
	Segment  string
	Position Position
	Type     string // as in README.md; "damage"
	Length   int64  // of the whole record
	Content  string // of its payload, in words; "" of damage
}

var recordTypes = [...]string{
	typeSensor: "sensor", typeFrame: "frame", typeLoss: "loss", typeMark: "mark",
	typeCommit: "commit", typeBoot: "boot", typeClose: "close", typeClock: "clock",
}

// Records calls fn for every record on the medium, freed or not. Its error ends the
// call.
func (i *Inspection) Records(ctx context.Context, fn func(*RawRecord) error) error {
	var raw RawRecord
	return i.walk(ctx, visitor{
		segment: func(s *segment) error {
			raw.Segment = segmentName(s.base)
			return nil
		},
		record: func(rec *record) error {
			raw.Position, raw.Length = rec.pos, int64(rec.end()-rec.pos)
			raw.Type, raw.Content = fmt.Sprintf("type %d", rec.typ), fmt.Sprintf("%x", rec.payload)
			if int(rec.typ) < len(recordTypes) {
				raw.Type = recordTypes[rec.typ]
				if content, ok := describe(rec); ok {
					raw.Content = content
				}
			}
			return fn(&raw)
		},
		damage: func(d Damage) error {
			return fn(&RawRecord{d.Segment, d.Position, "damage", d.Bytes, d.What})
		},
	})
}

// describe says what a record's payload says.
func describe(rec *record) (content string, ok bool) {
	switch rec.typ {
	case typeSensor:
		var d sensorRecord
		d, ok = decodeSensor(rec.payload)
		content = fmt.Sprintf("index=%d next=%d mark=%d floor=%d epoch=%d id=%q name=%q place_id=%q",
			d.index, d.next, d.mark, d.floor, d.epoch, d.id, d.name, d.placeID)
	case typeFrame:
		return describeFrame(rec.payload)
	case typeLoss:
		var l lossRecord
		if l, ok = decodeLoss(rec.payload); ok {
			content = fmt.Sprintf("index=%d reason=%s first=%d last=%d", l.index, l.reason.recorded(), l.seqs.First, l.seqs.Last)
		}
	case typeMark:
		var m markRecord
		if m, ok = decodeMark(rec.payload); ok {
			content = fmt.Sprintf("index=%d reason=%s mark=%d", m.index, m.reason.recorded(), m.mark)
		}
	case typeCommit:
		var freed, durable Position
		freed, durable, ok = decodeCommit(rec.payload)
		content = fmt.Sprintf("freed=%d durable=%d", freed, durable)
	case typeBoot:
		var boot uint64
		var id string
		boot, id, ok = decodeBoot(rec.payload)
		content = fmt.Sprintf("boot=%d id=%q", boot, id)
	case typeClose:
		ok = decodeClose(rec.payload, func(index, next uint64) {
			content += fmt.Sprintf("index=%d next=%d ", index, next)
		})
	case typeClock:
		var c clockRecord
		if c, ok = decodeClock(rec.payload); ok {
			content = fmt.Sprintf("boot=%d state=%s last=%d offset=%d", c.boot, clockStates[c.state], c.last, c.offset)
		}
	}
	return strings.TrimSpace(content), ok
}

func describeFrame(payload []byte) (string, bool) {
	var f telemetry.Frame
	h, ok := decodeFrame(payload, &f, func(p []byte) string { return string(p) })
	if !ok {
		return "", false
	}
	var content strings.Builder
	fmt.Fprintf(&content, "index=%d seq=%d", h.index, h.seq)
	if h.boot != 0 {
		fmt.Fprintf(&content, " boot=%d boottime=%d", h.boot, h.timestamp)
	} else {
		fmt.Fprintf(&content, " timestamp=%d", h.timestamp)
	}
	if h.unsynced {
		content.WriteString(" unsynced")
	}
	for m := range telemetry.Measure(telemetry.Measures) {
		if v, ok := f.Payload.Get(m); ok {
			fmt.Fprintf(&content, " %s=%s", m, v)
		}
		if f.Faults[m] != "" {
			fmt.Fprintf(&content, " %s=%q", m, f.Faults[m])
		}
	}
	return content.String(), true
}

// recorded is what a record's reason means, in a word.
func (r reason) recorded() string {
	switch r {
	case reasonNone:
		return "none"
	case reasonReceived:
		return "received"
	}
	return r.String()
}
