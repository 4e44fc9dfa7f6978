package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Document is one of the source's.
type Document struct {
	ID   string // its _id, in the form in which mongosh takes it
	JSON []byte // the others of its fields, as the client sent them
}

// The reasons of a refusal, beside those of package telemetry.
const (
	ReasonForeignID     = "foreign_id"            // an _id that neither system made
	ReasonSequenced     = "sequenced"             // epoch and seq, or a loss, which the replaced system has not
	ReasonBefore2000    = "before_2000"           // a timestamp from before the first sensible one
	ReasonInFuture      = "in_future"             // a timestamp beyond the clock and Options.MaxFuture
	ReasonWindowFull    = "window_full"           // its window is at one of its bounds
	ReasonWindowInvalid = "stored_window_invalid" // what is stored of its window is not readable
	ReasonRejected      = "rejected_by_store"     // the database answered that it will never take the document
)

// Refusal says why one document was refused.
type Refusal struct {
	ID     string // the document's _id
	Field  string // "" if none is concerned
	Value  string // the field's, as JSON; "" if it has none
	Detail string // what was expected, for people
}

// String returns all that is known of it.
func (r Refusal) String() string {
	text := r.ID + ": "
	if r.Field != "" {
		text += r.Field + ": "
	}
	if r.Value != "" {
		text += r.Value + ": "
	}
	return text + r.Detail
}

// decode returns the frame of a document, by the rules of the wire contract and
// of the bridge; "" is no reason to refuse it.
func (m *migration) decode(d *Document) (f telemetry.Frame, reason string, why Refusal) {
	if err := m.decoder.Decode(d.JSON, &f); err != nil {
		why = Refusal{ID: d.ID, Detail: err.Error()}
		var bad *telemetry.DecodeError
		if !errors.As(err, &bad) {
			return f, telemetry.ReasonNotJSON, why
		}
		why.Field, why.Value, why.Detail = bad.Field, valueAt(d.JSON, bad.Offset), bad.Detail
		return f, bad.Reason, why
	}
	stamp := Refusal{ID: d.ID, Field: "timestamp", Value: fmt.Sprint(f.Timestamp)}
	latest := m.Now().Add(m.MaxFuture)
	switch {
	case f.IsLoss() || f.Sequenced:
		return f, ReasonSequenced, Refusal{ID: d.ID, Field: "epoch", Value: fmt.Sprint(f.Epoch), Detail: "want a reading without epoch and seq, as the replaced system has them"}
	case f.Timestamp < telemetry.MinTimestamp:
		stamp.Detail = "want Unix milliseconds, from the year 2000 on"
		return f, ReasonBefore2000, stamp
	case f.Timestamp > latest.UnixMilli():
		stamp.Detail = fmt.Sprintf("want at most %d, %s from now", latest.UnixMilli(), m.MaxFuture)
		return f, ReasonInFuture, stamp
	}
	if m.decoder.Unknown {
		m.report.Unknown++
	}
	return f, "", why
}

// maxValue is how many bytes of a refused value are shown.
const maxValue = 80

// valueAt returns the JSON value that begins at an offset, "" if none does.
func valueAt(data []byte, offset int) string {
	if offset < 0 || offset >= len(data) {
		return ""
	}
	var raw json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(data[offset:])).Decode(&raw); err != nil {
		return ""
	}
	if len(raw) > maxValue {
		return string(bytes.ToValidUTF8(raw[:maxValue], nil)) + "..."
	}
	return string(raw)
}

// same reports whether two frames of one identity say the same.
func same(a, b *telemetry.Frame) bool {
	return bytes.Equal(telemetry.AppendFrame(nil, a), telemetry.AppendFrame(nil, b))
}

func date(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
