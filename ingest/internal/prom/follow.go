package prom

import (
	"context"
	"fmt"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// CommitEvery bounds how often a partition's offset is committed: a restart
// that reads a few seconds again shows nothing else.
const CommitEvery = 5 * time.Second

// Partition is a partition of the frames that this process shows.
type Partition interface {
	// Values returns the values of the next records, none if none came in a
	// while. They are good until the next call.
	Values(ctx context.Context) ([][]byte, error)
	// Commit notes that all records returned so far need not be read again.
	Commit(ctx context.Context) error
}

// Follow observes the frames of p until ctx ends or p fails, and returns why.
// A record that is no frame is passed over: the bridge writes none, and the
// sink accounts for those of others.
func (l *Latest) Follow(ctx context.Context, p Partition) error {
	var decoder telemetry.Decoder
	committed := l.options.Now()
	dirty := false
	for {
		values, err := p.Values(ctx)
		if err != nil {
			return fmt.Errorf("prom: %w", err)
		}
		for _, value := range values {
			var f telemetry.Frame
			if decoder.Decode(value, &f) == nil {
				l.Observe(&f)
			}
		}
		dirty = dirty || len(values) > 0
		if now := l.options.Now(); dirty && now.Sub(committed) >= CommitEvery {
			if err := p.Commit(ctx); err != nil {
				return fmt.Errorf("prom: %w", err)
			}
			committed, dirty = now, false
		}
	}
}
