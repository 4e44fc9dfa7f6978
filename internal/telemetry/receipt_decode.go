package telemetry

// DecodeReceipt decodes data into r, which is emptied first. The error is a
// *[DecodeError]; r is then empty. Unknown fields are passed over, so that an
// agent in the field understands a later ingest; all else must be as
// [AppendReceipt] has it. Ranges are sorted and joined.
func DecodeReceipt(data []byte, r *Receipt) error {
	r.Reset()
	d := receiptDecoder{receipt: r}
	s := &d.scanner
	s.reset(data)
	if s.space() == '{' {
		d.object()
	} else {
		s.wrongType("a receipt")
	}
	s.end()
	err := s.syntax
	if err == nil {
		err = s.rejected
	}
	if err != nil {
		r.Reset()
		return err
	}
	return nil
}

type receiptDecoder struct {
	scanner scanner
	receipt *Receipt
	ranges  []SeqRange
}

func (d *receiptDecoder) object() {
	s := &d.scanner
	var seen fields
	for more := s.open('}'); more; more = s.next('}') {
		if s.member(&seen, &receiptLayout) == fieldUnknown {
			continue
		}
		if s.peek() != '[' {
			s.wrongType("an array")
			continue
		}
		for more := s.open(']'); more; more = s.next(']') {
			s.field = fieldUnknown
			if s.peek() == '{' {
				d.sensor()
			} else {
				s.wrongType("an object")
			}
		}
	}
	s.field = fieldUnknown
}

// sensor decodes what is receipted of one sensor.
func (d *receiptDecoder) sensor() {
	s := &d.scanner
	var (
		seen, got fields
		id        string
		epoch     uint64
	)
	d.ranges = d.ranges[:0]
	for more := s.open('}'); more; more = s.next('}') {
		var ok bool
		switch s.member(&seen, &sensorReceiptLayout) {
		case fieldUnknown:
			continue
		case fieldReceiptID:
			id, ok = d.id()
		case fieldReceiptEpoch:
			epoch, ok = s.counter()
		case fieldReceiptSeq:
			ok = d.seqs()
		}
		if ok {
			got.add(s.field)
		}
	}
	d.require(got, fieldReceiptID, ReasonMissingID)
	d.require(got, fieldReceiptEpoch, ReasonMissingEpoch)
	d.require(got, fieldReceiptSeq, ReasonMissingSeq)
	for _, seqs := range d.ranges {
		d.receipt.Add(id, epoch, seqs)
	}
}

func (d *receiptDecoder) require(got fields, f field, reason string) {
	if !got.has(f) {
		d.scanner.field = f
		d.scanner.reject(reason, d.scanner.pos, "want id, epoch and seq")
	}
}

func (d *receiptDecoder) id() (id string, ok bool) {
	at := d.scanner.pos
	b, ok := d.scanner.text()
	if id = string(b); ok && !ValidID(id) {
		d.scanner.reject(ReasonBadID, at, wantID)
		return "", false
	}
	return id, ok
}

// seqs decodes an array of ranges.
func (d *receiptDecoder) seqs() bool {
	s := &d.scanner
	if s.peek() != '[' {
		s.wrongType("an array of ranges")
		return false
	}
	for more := s.open(']'); more; more = s.next(']') {
		at := s.pos
		r, ok := s.seqRange()
		if !ok {
			s.reject(ReasonWrongType, at, "want a pair of integers")
			continue
		}
		d.ranges = append(d.ranges, r)
	}
	return true
}
