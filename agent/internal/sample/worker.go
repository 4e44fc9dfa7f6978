package sample

import (
	"context"
	"time"
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

// request asks for a reading by the deadline.
type request struct {
	tick     uint64
	deadline time.Time
}

type result struct {
	index   int
	tick    uint64
	reading Reading
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
			results <- w.sense(ctx, req)
		}
	}
}

func (w *worker) sense(ctx context.Context, req request) result {
	ctx, cancel := context.WithDeadline(ctx, req.deadline)
	defer cancel()
	r := result{index: w.index, tick: req.tick}
	r.err = w.chip.Sense(ctx, &r.reading)
	return r
}
