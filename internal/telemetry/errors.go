package telemetry

import "fmt"

// The reasons of a [DecodeError]. They are labels of metrics and headers of
// dead letters, so they are as stable as the wire contract itself.
const (
	ReasonNotJSON          = "not_json"          // not JSON as RFC 8259 has it
	ReasonInvalidUTF8      = "invalid_utf8"      // a string that has no UTF-8 form
	ReasonDuplicateKey     = "duplicate_key"     // a known field twice in one object
	ReasonWrongType        = "wrong_type"        // a known field of another JSON type, or an integer with a fraction or exponent
	ReasonOutOfRange       = "out_of_range"      // a number beyond the bounds of its field
	ReasonMissingID        = "missing_id"        // no id
	ReasonMissingTimestamp = "missing_timestamp" // no timestamp, and no loss declared
	ReasonMissingEpoch     = "missing_epoch"     // a seq or a loss without its epoch
	ReasonMissingSeq       = "missing_seq"       // an epoch without its seq
	ReasonBadID            = "bad_id"            // an id that [ValidID] refuses
	ReasonBadReason        = "bad_reason"        // a reason or a clock that [ValidReason] refuses
	ReasonBadLoss          = "bad_loss"          // a loss without range or reason, or with the fields of a reading
	ReasonTooDeep          = "too_deep"          // nested deeper than [MaxDepth]
	ReasonTooLong          = "too_long"          // a string longer than [MaxText]
)

// DecodeError says why a message was refused.
type DecodeError struct {
	Reason string // one of the Reason constants
	Offset int    // in the message, in bytes
	Field  string // the known field concerned, such as "payload.humidity"; "" if none
	Detail string // for people
}

// Error returns the reason with all that is known of the place.
func (e *DecodeError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("telemetry: %s at byte %d: %s", e.Reason, e.Offset, e.Detail)
	}
	return fmt.Sprintf("telemetry: %s: %s at byte %d: %s", e.Field, e.Reason, e.Offset, e.Detail)
}
