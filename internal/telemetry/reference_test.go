package telemetry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// reference is the contract written a second time, on encoding/json and for
// plainness: the frame, and every reason there is to refuse it. Where there is
// one the frame holds what is known of its identity.
func reference(data []byte) (f Frame, reasons map[string]bool) {
	r := referee{reasons: map[string]bool{}}
	if !json.Valid(data) {
		r.refuse(ReasonNotJSON)
		return f, r.reasons
	}
	if !utf8.Valid(data) || hasLoneSurrogate(data) {
		r.refuse(ReasonInvalidUTF8)
	}
	if depthOf(data) > MaxDepth {
		r.refuse(ReasonTooDeep)
	}
	if frame, ok := r.object(data, "id", "name", "place_id", "date", "timestamp", "epoch", "seq", "payload", "raw", "faults", "clock", "lost"); ok {
		f = r.frame(frame)
	}
	if len(r.reasons) > 0 {
		refused := Frame{ID: f.ID}
		if f.Sequenced {
			refused.Sequenced, refused.Epoch, refused.Seq = true, f.Epoch, f.Seq
		}
		f = refused
	}
	return f, r.reasons
}

// referee collects the reasons.
type referee struct{ reasons map[string]bool }

func (r *referee) refuse(reason string) { r.reasons[reason] = true }

// object returns the known members of an object but for nulls, the first of
// duplicates. twice under a key means that there was another.
func (r *referee) object(data []byte, known ...string) (members map[string]json.RawMessage, ok bool) {
	d := json.NewDecoder(bytes.NewReader(data))
	if start, _ := d.Token(); start != json.Delim('{') {
		r.refuse(ReasonWrongType)
		return nil, false
	}
	members = map[string]json.RawMessage{}
	met := map[string]bool{}
	for d.More() {
		key, _ := d.Token()
		var value json.RawMessage
		if d.Decode(&value) != nil {
			panic("valid JSON does not decode")
		}
		for _, k := range known {
			switch {
			case key != k:
			case met[k]:
				r.refuse(ReasonDuplicateKey)
				members["twice "+k] = nil
			default:
				met[k] = true
				if string(value) != "null" {
					members[k] = value
				}
			}
		}
	}
	return members, true
}

func (r *referee) frame(members map[string]json.RawMessage) (f Frame) {
	got := map[string]bool{}
	for key, value := range members {
		ok := false
		switch key {
		case "id":
			if f.ID, ok = r.text(value); ok && !goodID(f.ID) {
				r.refuse(ReasonBadID)
				ok = false
			}
		case "name", "place_id":
			var s string
			if s, ok = r.text(value); ok && len(s) > 256 {
				r.refuse(ReasonTooLong)
			}
			if key == "name" {
				f.Name = s
			} else {
				f.PlaceID = s
			}
		case "date":
			_, ok = r.text(value)
		case "timestamp":
			f.Timestamp, ok = r.integer(value)
		case "epoch":
			f.Epoch, ok = r.counter(value)
		case "seq":
			f.Seq, ok = r.counter(value)
		case "payload":
			ok = r.payload(value, &f.Payload)
		case "raw":
			ok = r.payload(value, &f.Raw)
		case "faults":
			ok = r.faults(value, &f.Faults)
		case "clock":
			var s string
			s, ok = r.reason(value)
			f.Clock = Clock(s)
		case "lost":
			ok = r.lost(value, &f.Lost)
		}
		_, twice := members["twice "+key]
		got[key] = ok && !twice
	}
	if members["id"] == nil {
		r.refuse(ReasonMissingID)
	}
	if members["lost"] != nil {
		if members["epoch"] == nil {
			r.refuse(ReasonMissingEpoch)
		}
		if got["timestamp"] || got["seq"] || got["payload"] || got["raw"] || got["faults"] || got["clock"] {
			r.refuse(ReasonBadLoss)
		}
	} else {
		if members["timestamp"] == nil {
			r.refuse(ReasonMissingTimestamp)
		}
		if members["epoch"] == nil && members["seq"] != nil {
			r.refuse(ReasonMissingEpoch)
		}
		if members["epoch"] != nil && members["seq"] == nil {
			r.refuse(ReasonMissingSeq)
		}
	}
	if !got["id"] {
		f.ID = ""
	}
	f.Sequenced = got["epoch"] && got["seq"]
	return f
}

func (r *referee) payload(data []byte, p *Payload) bool {
	members, ok := r.object(data, measureNames[:]...)
	for m, name := range measureNames {
		value := members[name]
		if value == nil {
			continue
		}
		if !isNumber(value) {
			r.refuse(ReasonWrongType)
			continue
		}
		v, reason := exactMicro(string(value))
		if reason != "" {
			r.refuse(reason)
		}
		p.Set(Measure(m), v)
	}
	return ok
}

// exactMicro rounds a JSON number in big rationals.
func exactMicro(number string) (v Micro, reason string) {
	// An exponent that outweighs all digits counts for any greater one.
	if i := strings.IndexAny(number, "eE"); i >= 0 {
		bound := int64(len(number) + 30)
		exponent, _ := strconv.ParseInt(number[i+1:], 10, 64) // at an overflow the nearest
		number = fmt.Sprintf("%se%d", number[:i], min(max(exponent, -bound), bound))
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		panic(number + " is no number")
	}
	half := big.NewRat(1, 2)
	r.Mul(r, big.NewRat(1e6, 1))
	if r.Sign() < 0 {
		half.Neg(half)
	}
	r.Add(r, half)
	rounded := new(big.Int).Quo(r.Num(), r.Denom()) // towards zero
	if !rounded.IsInt64() || Micro(rounded.Int64()) > MaxMicro || Micro(rounded.Int64()) < -MaxMicro {
		return 0, ReasonOutOfRange
	}
	return Micro(rounded.Int64()), ""
}

func (r *referee) faults(data []byte, faults *Faults) bool {
	members, ok := r.object(data, measureNames[:]...)
	for m, name := range measureNames {
		if value := members[name]; value != nil {
			faults[m], _ = r.reason(value)
		}
	}
	return ok
}

func (r *referee) lost(data []byte, l *Loss) bool {
	members, ok := r.object(data, "seq", "reason")
	if !ok {
		return false
	}
	seqs, reason := members["seq"], members["reason"]
	if seqs == nil || reason == nil {
		r.refuse(ReasonBadLoss)
	}
	if seqs != nil {
		ok = r.seqRange(seqs, &l.Seqs) && ok
	}
	if reason != nil {
		var good bool
		l.Reason, good = r.reason(reason)
		ok = ok && good
	}
	return ok && seqs != nil && reason != nil
}

func (r *referee) seqRange(data []byte, seqs *SeqRange) bool {
	var pair []json.RawMessage
	if json.Unmarshal(data, &pair) != nil || len(pair) != 2 {
		r.refuse(ReasonWrongType)
		for _, v := range pair[:min(len(pair), 2)] {
			r.counter(v)
		}
		return false
	}
	var ok, ok2 bool
	seqs.First, ok = r.counter(pair[0])
	seqs.Last, ok2 = r.counter(pair[1])
	if ok && ok2 && seqs.First > seqs.Last {
		r.refuse(ReasonOutOfRange)
		return false
	}
	return ok && ok2
}

func (r *referee) text(data []byte) (s string, ok bool) {
	if data[0] != '"' || json.Unmarshal(data, &s) != nil {
		r.refuse(ReasonWrongType)
		return "", false
	}
	return s, utf8.Valid(data) && !hasLoneSurrogate(data)
}

func (r *referee) reason(data []byte) (s string, ok bool) {
	if s, ok = r.text(data); !ok {
		return "", false
	}
	good := len(s) >= 1 && len(s) <= 32
	for _, c := range s {
		good = good && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_')
	}
	if !good {
		r.refuse(ReasonBadReason)
		return "", false
	}
	return s, true
}

func (r *referee) integer(data []byte) (int64, bool) {
	if !isNumber(data) || bytes.ContainsAny(data, ".eE") {
		r.refuse(ReasonWrongType)
		return 0, false
	}
	v, err := strconv.ParseInt(string(data), 10, 64)
	if err != nil {
		r.refuse(ReasonOutOfRange)
		return 0, false
	}
	return v, true
}

func (r *referee) counter(data []byte) (uint64, bool) {
	v, ok := r.integer(data)
	if ok && (v < 0 || v >= 1<<53) {
		r.refuse(ReasonOutOfRange)
		return 0, false
	}
	return uint64(v), ok
}

func isNumber(data []byte) bool { return data[0] == '-' || '0' <= data[0] && data[0] <= '9' }

func goodID(id string) bool {
	for _, c := range id {
		if c == '/' || unicode.IsControl(c) {
			return false
		}
	}
	return len(id) >= 1 && len(id) <= 128
}

// hasLoneSurrogate reports whether valid JSON escapes half a surrogate pair.
func hasLoneSurrogate(data []byte) bool {
	unit := func(i int) rune {
		if i+6 > len(data) || data[i] != '\\' || data[i+1] != 'u' {
			return 0
		}
		u, _ := strconv.ParseUint(string(data[i+2:i+6]), 16, 16)
		return rune(u)
	}
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		if u := unit(i); utf16.IsSurrogate(u) {
			if utf16.DecodeRune(u, unit(i+6)) == utf8.RuneError {
				return true
			}
			i += 6
		}
		i++
	}
	return false
}

// depthOf returns how deep valid JSON is nested.
func depthOf(data []byte) int {
	depth, deepest, quoted := 0, 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
			deepest = max(deepest, depth)
		case c == ']' || c == '}':
			depth--
		}
	}
	return deepest
}
