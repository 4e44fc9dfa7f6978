package drivers

import (
	"context"
	"time"
)

// Sleep waits for d, or until ctx ends, whose error it then returns. It is
// what a driver waits with if its Options say nothing else.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
