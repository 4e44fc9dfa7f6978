// Package label bounds the values that a label of a metric takes from the
// network.
package label

import "sync"

// Other stands for the values beyond a Set's bound.
const Other = "other"

// Set admits the first values that it is shown, up to a bound. The zero value
// admits none. It is safe for concurrent use.
type Set struct {
	Max int // values, beside Other

	mu    sync.Mutex
	known map[string]bool
}

// Of returns value if it is admitted, and Other if it is not.
func (s *Set) Of(value string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[value] {
		return value
	}
	if len(s.known) >= s.Max {
		return Other
	}
	if s.known == nil {
		s.known = make(map[string]bool)
	}
	s.known[value] = true
	return value
}
