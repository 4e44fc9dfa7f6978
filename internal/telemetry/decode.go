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
	ids     interned
	texts   interned // names and places
	reasons interned
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
// frames. raw is the frame's own bytes within data; f is good until fn returns,
// and fn must not decode with d. A frame that is refused comes with its
// *[DecodeError] and what is known of its identity, as from Decode, and does
// not stop the others.
//
// Each returns a *DecodeError if data is not JSON, after the frames of an array
// that come before the error have been given to fn, or if it is neither object
// nor array.
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
		s.maxDepth++ // the array is not part of any frame
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
	s.begin()
	d.seen, d.got = 0, 0
	*f = Frame{}
	if s.peek() == '{' {
		d.object(f)
		d.check(f)
	} else {
		s.wrongType("a frame")
	}
	d.Unknown, d.Spaced = s.unknown, s.spaced
	if s.syntax != nil {
		*f = Frame{}
		return s.syntax
	}
	if s.rejected != nil {
		refused := Frame{ID: f.ID}
		if f.Sequenced {
			refused.Sequenced, refused.Epoch, refused.Seq = true, f.Epoch, f.Seq
		}
		*f = refused
		return s.rejected
	}
	return nil
}

// object decodes the members of a frame.
func (d *Decoder) object(f *Frame) {
	s := &d.scanner
	for more := s.open('}'); more; more = s.next('}') {
		var ok bool
		switch s.member(&d.seen, &frameLayout) {
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
			ok = d.values(fieldPayload, &payloadLayout, &f.Payload)
		case fieldRaw:
			ok = d.values(fieldRaw, &rawLayout, &f.Raw)
		case fieldFaults:
			ok = d.faults(&f.Faults)
		case fieldClock:
			var word string
			word, ok = d.reason()
			f.Clock = Clock(word)
		case fieldLost:
			ok = d.lost(&f.Lost)
		}
		if ok {
			d.got.add(s.field)
		}
	}
	s.field = fieldUnknown
}

// check makes sure that the frame's fields go together.
func (d *Decoder) check(f *Frame) {
	d.got &^= d.scanner.twice // which of the two is meant cannot be known
	d.require(fieldID, ReasonMissingID, "want the sensor's id")
	if d.got.has(fieldLost) {
		d.require(fieldEpoch, ReasonMissingEpoch, "want the epoch of what is lost")
		if d.got&readingFields != 0 {
			d.refuse(fieldLost, ReasonBadLoss, "want no timestamp, seq, payload, raw, faults or clock with it")
		}
	} else {
		d.require(fieldTimestamp, ReasonMissingTimestamp, "want the moment of sampling")
		if d.got.has(fieldSeq) {
			d.require(fieldEpoch, ReasonMissingEpoch, "want it with seq")
		}
		if d.got.has(fieldEpoch) {
			d.require(fieldSeq, ReasonMissingSeq, "want it with epoch")
		}
	}
	if !d.got.has(fieldID) {
		f.ID = ""
	}
	f.Sequenced = d.got.has(fieldEpoch) && d.got.has(fieldSeq)
}

// require rejects the frame if it does not have the field.
func (d *Decoder) require(f field, reason, detail string) {
	if !d.got.has(f) {
		d.refuse(f, reason, detail)
	}
}

// refuse rejects the frame, at its end, for the sake of a field.
func (d *Decoder) refuse(f field, reason, detail string) {
	d.scanner.field = f
	d.scanner.reject(reason, d.scanner.pos, detail)
}

// values decodes the field that holds values of a reading: payload or raw.
func (d *Decoder) values(of field, l *layout, p *Payload) bool {
	s := &d.scanner
	if s.peek() != '{' {
		s.wrongType("an object of numbers")
		return false
	}
	for more := s.open('}'); more; more = s.next('}') {
		if f := s.member(&d.seen, l); f != fieldUnknown {
			if v, ok := s.micro(); ok {
				p.Set(Measure(f-l.first), v)
			}
		}
	}
	s.field = of
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
		if f := s.member(&d.seen, &faultsLayout); f != fieldUnknown {
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
		switch s.member(&d.seen, &lostLayout) {
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

func (d *Decoder) id() (string, bool) {
	return d.word(&d.ids, ValidID, ReasonBadID, wantID)
}

func (d *Decoder) text() (string, bool) {
	return d.word(&d.texts, validText, ReasonTooLong, "want at most 256 bytes")
}

func (d *Decoder) reason() (string, bool) {
	return d.word(&d.reasons, ValidReason, ReasonBadReason, "want 1 to 32 of a-z, 0-9 and _")
}

func validText(s string) bool { return len(s) <= MaxText }

// word decodes a string that is valid and keeps it.
func (d *Decoder) word(known *interned, valid func(string) bool, reason, detail string) (string, bool) {
	at := d.scanner.pos
	b, ok := d.scanner.text()
	if !ok {
		return "", false
	}
	if word, ok := (*known)[string(b)]; ok {
		return word, true
	}
	word := string(b)
	if !valid(word) {
		d.scanner.reject(reason, at, detail)
		return "", false
	}
	known.keep(word)
	return word, true
}

// interned holds strings that have been found valid, so that their next
// occurrence needs neither a look nor a copy.
type interned map[string]string

// maxInterned bounds a table: some ten thousand sensors have room in it.
const maxInterned = 1 << 15

// keep adds s. A full table is emptied: that costs the known strings one
// allocation each, however many unknown ones came between.
func (t *interned) keep(s string) {
	if *t == nil {
		*t = make(interned)
	}
	if len(*t) >= maxInterned {
		clear(*t)
	}
	(*t)[s] = s
}
