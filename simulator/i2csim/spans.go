package i2csim

import "time"

// Spans are spans of time: the one from From up to To, or, with Every, the
// first For of each Every in it. A zero To is never. The zero Spans are for
// ever.
type Spans struct {
	From, To   time.Time
	Every, For time.Duration
}

// Contain reports whether t is in one of the spans. Their ends are not.
func (s Spans) Contain(t time.Time) bool {
	if t.Before(s.From) || !s.To.IsZero() && !t.Before(s.To) {
		return false
	}
	return s.Every == 0 || t.Sub(s.From)%s.Every < s.For
}

// Within returns how much of the time up to t is in the spans. From must be
// set.
func (s Spans) Within(t time.Time) time.Duration {
	if !s.To.IsZero() && t.After(s.To) {
		t = s.To
	}
	passed := max(0, t.Sub(s.From))
	if s.Every == 0 {
		return passed
	}
	whole := int64(passed / s.Every)
	return time.Duration(whole*int64(s.For)) + min(passed%s.Every, s.For)
}

// begun returns when the last span that began up to t did so, the zero time if
// none did.
func (s Spans) begun(t time.Time) time.Time {
	if !s.To.IsZero() && !t.Before(s.To) {
		t = s.To.Add(-1)
	}
	if t.Before(s.From) {
		return time.Time{}
	}
	if s.Every == 0 {
		return s.From
	}
	return s.From.Add(t.Sub(s.From).Truncate(s.Every))
}

// ended returns when the last span that ended up to t did so, the zero time if
// none did.
func (s Spans) ended(t time.Time) time.Time {
	if s.Every == 0 {
		if s.To.IsZero() || t.Before(s.To) {
			return time.Time{}
		}
		return s.To
	}
	begun := s.begun(t)
	if begun.IsZero() {
		return begun
	}
	end := begun.Add(s.For)
	if !s.To.IsZero() && end.After(s.To) {
		end = s.To
	}
	switch {
	case !end.After(t):
		return end
	case begun.Equal(s.From):
		return time.Time{}
	}
	return begun.Add(s.For - s.Every) // of the one before
}
