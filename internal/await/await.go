// Package await lets a test wait for a condition that another goroutine or
// process brings about, with a deadline in the place of a sleep.
package await

import (
	"testing"
	"time"
)

// interval is how often a condition is looked at.
const interval = 20 * time.Millisecond

// True waits until condition is true. If it is not within limit the test fails
// at once, and says what was waited for.
func True(t testing.TB, limit time.Duration, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			t.Fatalf("not within %s: %s", limit, what)
		case <-tick.C:
		}
	}
}
