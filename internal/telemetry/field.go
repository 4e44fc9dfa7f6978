package telemetry

// field is a known field at a known place of a frame or a receipt.
type field uint8

const (
	fieldUnknown field = iota
	fieldID
	fieldName
	fieldPlaceID
	fieldTimestamp
	fieldEpoch
	fieldSeq
	fieldPayload
	fieldRaw
	fieldFaults
	fieldClock
	fieldLost
	fieldDate
	fieldLostSeq
	fieldLostReason
	fieldFrames // of a receipt
	fieldReceiptID
	fieldReceiptEpoch
	fieldReceiptSeq

	// From here on one for each measure, in their order.
	fieldPayloadMeasures
	fieldRawMeasures    = fieldPayloadMeasures + Measures
	fieldFaultsMeasures = fieldRawMeasures + Measures
)

var fieldNames = [...]string{
	"", "id", "name", "place_id", "timestamp", "epoch", "seq", "payload", "raw", "faults", "clock", "lost", "date",
	"lost.seq", "lost.reason", "frames", "id", "epoch", "seq",
	"payload.temperature", "payload.humidity", "payload.pressure", "payload.luminosity",
	"raw.temperature", "raw.humidity", "raw.pressure", "raw.luminosity",
	"faults.temperature", "faults.humidity", "faults.pressure", "faults.luminosity",
}

// String returns the field's path in the message; "" is unknown.
func (f field) String() string { return fieldNames[f] }

// fields is a set of fields.
type fields uint32

// readingFields are those that a declared loss must not have.
const readingFields = fields(1<<fieldTimestamp | 1<<fieldSeq | 1<<fieldPayload | 1<<fieldRaw | 1<<fieldFaults | 1<<fieldClock)

func (s *fields) add(f field)     { *s |= 1 << f }
func (s fields) has(f field) bool { return s&(1<<f) != 0 }

// layout is one kind of object: its known fields are first and those after it,
// with these keys. The order is that of the canonical form.
type layout struct {
	first field
	keys  []string
}

var (
	frameLayout         = layout{fieldID, fieldNames[fieldID : fieldDate+1]}
	payloadLayout       = layout{fieldPayloadMeasures, measureNames[:]}
	rawLayout           = layout{fieldRawMeasures, measureNames[:]}
	faultsLayout        = layout{fieldFaultsMeasures, measureNames[:]}
	lostLayout          = layout{fieldLostSeq, []string{"seq", "reason"}}
	receiptLayout       = layout{fieldFrames, []string{"frames"}}
	sensorReceiptLayout = layout{fieldReceiptID, []string{"id", "epoch", "seq"}}
)

// fieldOf returns the field of a key, fieldUnknown if it has none.
func (l *layout) fieldOf(key []byte) field {
	for i, k := range l.keys {
		if string(key) == k {
			return l.first + field(i)
		}
	}
	return fieldUnknown
}

// after returns the field that follows f in canonical order, and its key.
func (l *layout) after(f field) (next field, key string) {
	if i := int(f) + 1 - int(l.first); 0 <= i && i < len(l.keys) {
		return f + 1, l.keys[i]
	}
	return fieldUnknown, ""
}
