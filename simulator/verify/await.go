package verify

import (
	"context"
	"time"
)

// Await reads and compares until the report is without findings, or timeout is
// over: readings may be under way and windows open. It returns the last
// report; an error only if there is none.
func Await(ctx context.Context, journal *Journal, sources Sources, rules Rules, timeout time.Duration) (*Report, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	var last *Report
	for {
		// A reading that the timeout cuts short is no finding of its own.
		stored, err := Read(limited, sources)
		if err == nil {
			last = Compare(journal, stored, rules)
			if last.OK() {
				return last, nil
			}
		}
		select {
		case <-limited.Done():
			if last != nil && ctx.Err() == nil {
				return last, nil
			}
			if err == nil {
				err = limited.Err()
			}
			return nil, err
		case <-tick.C:
		}
	}
}
