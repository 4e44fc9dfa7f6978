package sample

import (
	"context"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// worker runs the transactions of one chip, one at a time. busy and tick
// belong to the sensor's goroutine: from a request until its result is taken
// the worker is busy with that tick.
type worker struct {
	index    int
	chip     Chip
	requests chan request // cap 1, so that asking an idle worker never blocks
	busy     bool
	tick     uint64
}

type request struct {
	ctx  context.Context
	tick uint64
}

type result struct {
	index   int
	tick    uint64
	payload telemetry.Payload
	err     error
}

// run serves requests until ctx ends. results has room for one result of every
// worker, so that one that comes too late waits there for the next tick.
func (w *worker) run(ctx context.Context, results chan<- result) {
	for {
		select {
		case <-ctx.Done():
			return
		case req := <-w.requests:
			r := result{index: w.index, tick: req.tick}
			r.err = w.chip.Sense(req.ctx, &r.payload)
			results <- r
		}
	}
}
