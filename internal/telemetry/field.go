package telemetry

// field is a known field at a known place of a frame or a receipt.
type field uint8

const (
	fieldUnknown field = iota
	fieldID
	fieldName
	fieldPlaceID
	fieldDate
	fieldTimestamp
	fieldEpoch
	fieldSeq
	fieldPayload
	fieldFaults
	fieldLost
	fieldLostSeq
	fieldLostReason
	fieldFrames // of a receipt

	// From here on one for each measure, in their order.
	fieldPayloadMeasures
	fieldFaultsMeasures = fieldPayloadMeasures + Measures
)

var fieldNames = [...]string{
	"", "id", "name", "place_id", "date", "timestamp", "epoch", "seq", "payload", "faults",
	"lost", "lost.seq", "lost.reason", "frames",
	"payload.temperature", "payload.humidity", "payload.pressure", "payload.luminosity",
	"faults.temperature", "faults.humidity", "faults.pressure", "faults.luminosity",
}

// String returns the field's path in the message; "" is unknown.
func (f field) String() string { return fieldNames[f] }

// fields is a set of fields.
type fields uint32

// readingFields are those that a declared loss must not have.
const readingFields = fields(1<<fieldTimestamp | 1<<fieldSeq | 1<<fieldPayload | 1<<fieldFaults)

func (s *fields) add(f field)     { *s |= 1 << f }
func (s *fields) remove(f field)  { *s &^= 1 << f }
func (s fields) has(f field) bool { return s&(1<<f) != 0 }

// frameField returns the field of a key in a frame.
func frameField(key []byte) field {
	switch string(key) {
	case "id":
		return fieldID
	case "name":
		return fieldName
	case "place_id":
		return fieldPlaceID
	case "date":
		return fieldDate
	case "timestamp":
		return fieldTimestamp
	case "epoch":
		return fieldEpoch
	case "seq":
		return fieldSeq
	case "payload":
		return fieldPayload
	case "faults":
		return fieldFaults
	case "lost":
		return fieldLost
	}
	return fieldUnknown
}

// payloadField returns the field of a key in a payload.
func payloadField(key []byte) field { return measureField(fieldPayloadMeasures, key) }

// faultsField returns the field of a key in faults.
func faultsField(key []byte) field { return measureField(fieldFaultsMeasures, key) }

func measureField(first field, key []byte) field {
	for m, name := range measureNames {
		if string(key) == name {
			return first + field(m)
		}
	}
	return fieldUnknown
}

// lostField returns the field of a key in a declared loss.
func lostField(key []byte) field {
	switch string(key) {
	case "seq":
		return fieldLostSeq
	case "reason":
		return fieldLostReason
	}
	return fieldUnknown
}
