// Package nack reads chips that do not acknowledge a read until their result is
// there.
package nack

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/telltale-iot/telltale/drivers"
)

// The bound of the wait for a chip that is late.
const (
	Interval = 2 * time.Millisecond // between two reads
	Reads    = 10
)

// Is reports whether err is what a bus says when an address is not acknowledged.
func Is(err error) bool {
	for _, errno := range errnos {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// Chip is what [Read] reads.
type Chip interface {
	Tx(w, r []byte) error
	Sleep(ctx context.Context, d time.Duration) error // returns the error of ctx
}

// Read waits for longest, which is what the chip takes at most, and fills b with
// what it answers then. As long as the chip does not acknowledge it waits for
// Interval and reads again, up to Reads times in all.
//
// The error wraps that of the bus or of Sleep. If the chip never acknowledged it
// is a drivers.ErrNotReady as well: whether the chip is late or gone, nothing
// tells.
func Read(ctx context.Context, chip Chip, b []byte, longest time.Duration) error {
	var err error
	wait := longest
	for range Reads {
		if err := chip.Sleep(ctx, wait); err != nil {
			return err
		}
		wait = Interval
		if err = chip.Tx(nil, b); !Is(err) {
			break
		}
	}
	switch {
	case Is(err):
		return fmt.Errorf("read result: %w: %w", drivers.ErrNotReady, err)
	case err != nil:
		return fmt.Errorf("read result: %w", err)
	}
	return nil
}
