package telemetry

// Decoder decodes frames. The zero Decoder is ready to use. It keeps the
// strings that it has met (ids, names, places, reasons) and uses them again, so
// that the frames of known sensors are decoded without allocation. It is not
// for concurrent use.
type Decoder struct {
	// Unknown tells, after Decode and within the function given to Each,
	// whether the frame had fields that this version does not know.
	// [AppendFrame] keeps them out.
	Unknown bool

	// Spaced tells in the same way whether the frame had white space between
	// its tokens.
	Spaced bool

	scanner scanner
	texts   interned
	frame   Frame
	seen    fields // of the frame at hand, for duplicates
	got     fields // those that had a good value
}

// Decode decodes data, which is exactly one frame, into f. The error is a
// *[DecodeError]; f then holds nothing but what is known of the frame's
// identity: ID, and Epoch and Seq if Sequenced.
func (d *Decoder) Decode(data []byte, f *Frame) error {
	s := &d.scanner
	s.reset(data)
	s.space()
	err := d.element(f)
	if s.end(); s.syntax != nil {
		*f = Frame{}
		return s.syntax
	}
	return err
}

// Each calls fn for each frame in data, which is one frame or a JSON array of
// frames. raw is the frame's own bytes within data; f is good until fn returns.
// A frame that is refused comes with its *[DecodeError] and what is known of
// its identity, as from Decode, and does not stop the others.
//
// Each returns a *DecodeError if data is not JSON, after the frames before the
// error have been given to fn, or if it is neither object nor array.
func (d *Decoder) Each(data []byte, fn func(raw []byte, f *Frame, err error)) error {
	s := &d.scanner
	s.reset(data)
	switch s.space() {
	case '{':
		start := s.pos
		err := d.element(&d.frame)
		raw := data[start:s.pos]
		if s.end(); s.syntax == nil {
			fn(raw, &d.frame, err)
		}
	case '[':
		for more := s.open(']'); more; more = s.next(']') {
			start := s.pos
			err := d.element(&d.frame)
			if s.syntax != nil {
				break
			}
			fn(data[start:s.pos], &d.frame, err)
		}
		s.end()
	default:
		err := d.element(&d.frame)
		if s.end(); s.syntax == nil {
			return err
		}
	}
	if s.syntax != nil {
		return s.syntax
	}
	return nil
}

// element decodes the value at the cursor into f.
func (d *Decoder) element(f *Frame) error {
	s := &d.scanner
	s.rejected, s.field, s.spaced = nil, fieldUnknown, false
	d.Unknown, d.seen, d.got = false, 0, 0
	*f = Frame{}
	if s.peek() == '{' {
		d.object(f)
		d.check(f)
	} else {
		s.wrongType("a frame")
	}
	d.Spaced = s.spaced
	if s.syntax != nil {
		*f = Frame{}
		return s.syntax
	}
	if s.rejected != nil {
		*f = Frame{ID: f.ID, Sequenced: f.Sequenced, Epoch: f.Epoch, Seq: f.Seq}
		return s.rejected
	}
	return nil
}

// object decodes the members of a frame.
func (d *Decoder) object(f *Frame) {
	s := &d.scanner
	for more := s.open('}'); more; more = s.next('}') {
		var ok bool
		switch d.member(frameField) {
		case fieldUnknown:
			continue
		case fieldID:
			f.ID, ok = d.id()
		case fieldName:
			f.Name, ok = d.text()
		case fieldPlaceID:
			f.PlaceID, ok = d.text()
		case fieldDate:
			// The seed's second form of its timestamp.
			_, ok = s.text()
		case fieldTimestamp:
			f.Timestamp, ok = s.integer()
		case fieldEpoch:
			f.Epoch, ok = s.counter()
		case fieldSeq:
			f.Seq, ok = s.counter()
		case fieldPayload:
			ok = d.payload(&f.Payload)
		case fieldFaults:
			ok = d.faults(&f.Faults)
		case fieldLost:
			ok = d.lost(&f.Lost)
		}
		if ok {
			d.got.add(s.field)
		}
	}
	s.field = fieldUnknown
}

// member passes over a key and returns its field. The values of unknown fields
// and of duplicates are passed over too, and fieldUnknown is returned.
func (d *Decoder) member(fieldOf func(key []byte) field) field {
	s := &d.scanner
	at := s.pos
	f := fieldOf(s.key())
	s.field = f
	switch {
	case f == fieldUnknown:
		d.Unknown = true
	case d.seen.has(f):
		// Which of the two is meant cannot be known.
		s.reject(ReasonDuplicateKey, at, "want it once")
		d.got.remove(f)
	default:
		d.seen.add(f)
		return f
	}
	s.skip()
	return fieldUnknown
}

// check makes sure that the frame's fields go together.
func (d *Decoder) check(f *Frame) {
	at := d.scanner.pos - 1
	require := func(want field, reason, detail string) {
		if !d.got.has(want) {
			d.scanner.field = want
			d.scanner.reject(reason, at, detail)
		}
	}
	require(fieldID, ReasonMissingID, "want the sensor's id")
	if d.got.has(fieldLost) {
		require(fieldEpoch, ReasonMissingEpoch, "want the epoch of what is lost")
		if d.got&readingFields != 0 {
			d.scanner.field = fieldLost
			d.scanner.reject(ReasonBadLoss, at, "want no timestamp, seq, payload or faults in a loss")
		}
	} else {
		require(fieldTimestamp, ReasonMissingTimestamp, "want the moment of sampling")
		if d.got.has(fieldSeq) {
			require(fieldEpoch, ReasonMissingEpoch, "want the epoch that seq counts in")
		}
		if d.got.has(fieldEpoch) {
			require(fieldSeq, ReasonMissingSeq, "want the reading's number in the epoch")
		}
		f.Sequenced = d.got.has(fieldEpoch) && d.got.has(fieldSeq)
	}
	if !d.got.has(fieldID) {
		f.ID = ""
	}
	if !f.Sequenced && !d.got.has(fieldLost) {
		f.Epoch, f.Seq = 0, 0
	}
}

// payload decodes the values of a reading.
func (d *Decoder) payload(p *Payload) bool {
	s := &d.scanner
	if s.peek() != '{' {
		s.wrongType("an object of numbers")
		return false
	}
	for more := s.open('}'); more; more = s.next('}') {
		if f := d.member(payloadField); f != fieldUnknown {
			if v, ok := s.micro(); ok {
				p.Set(Measure(f-fieldPayloadMeasures), v)
			}
		}
	}
	s.field = fieldPayload
	return true
}

// faults decodes the reasons of the measures that could not be read.
func (d *Decoder) faults(faults *Faults) bool {
	s := &d.scanner
	if s.peek() != '{' {
		s.wrongType("an object of strings")
		return false
	}
	for more := s.open('}'); more; more = s.next('}') {
		if f := d.member(faultsField); f != fieldUnknown {
			faults[f-fieldFaultsMeasures], _ = d.reason()
		}
	}
	s.field = fieldFaults
	return true
}

// lost decodes the declaration of a loss.
func (d *Decoder) lost(l *Loss) bool {
	s := &d.scanner
	at := s.pos
	if s.peek() != '{' {
		s.wrongType("an object")
		return false
	}
	var haveSeqs, haveReason bool
	for more := s.open('}'); more; more = s.next('}') {
		switch d.member(lostField) {
		case fieldLostSeq:
			l.Seqs, haveSeqs = s.seqRange()
		case fieldLostReason:
			l.Reason, haveReason = d.reason()
		}
	}
	s.field = fieldLost
	if !haveSeqs || !haveReason {
		s.reject(ReasonBadLoss, at, "want seq and reason")
		return false
	}
	return true
}

// id decodes a sensor's id.
func (d *Decoder) id() (string, bool) {
	at := d.scanner.pos
	b, ok := d.scanner.text()
	if !ok {
		return "", false
	}
	if len(b) <= MaxID {
		if id := d.texts.intern(b); ValidID(id) {
			return id, true
		}
	}
	d.scanner.reject(ReasonBadID, at, "want 1 to 128 bytes without slash and control characters")
	return "", false
}

// text decodes a string of bounded length.
func (d *Decoder) text() (string, bool) {
	at := d.scanner.pos
	b, ok := d.scanner.text()
	if len(b) > MaxText {
		d.scanner.reject(ReasonTooLong, at, "want at most 256 bytes")
		return "", false
	}
	return d.texts.intern(b), ok
}

// reason decodes the reason of a fault or a loss.
func (d *Decoder) reason() (string, bool) {
	at := d.scanner.pos
	b, ok := d.scanner.text()
	if !ok {
		return "", false
	}
	if len(b) <= MaxReason {
		if reason := d.texts.intern(b); ValidReason(reason) {
			return reason, true
		}
	}
	d.scanner.reject(ReasonBadReason, at, "want 1 to 32 of a-z, 0-9 and _")
	return "", false
}

// maxInterned bounds how many strings a Decoder keeps: the id, name and place
// of some ten thousand sensors.
const maxInterned = 1 << 15

// interned keeps one string of each value that it is asked for.
type interned map[string]string

// intern returns b as a string. A full table is emptied: that costs the known
// sensors one allocation each, however many unknown ones there are.
func (t *interned) intern(b []byte) string {
	if s, ok := (*t)[string(b)]; ok {
		return s
	}
	if *t == nil {
		*t = make(interned)
	}
	if len(*t) >= maxInterned {
		clear(*t)
	}
	s := string(b)
	(*t)[s] = s
	return s
}
