// Package nack reads chips that do not acknowledge a read until their result is
// there.
package nack

import (
	"context"
	"errors"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"

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

// Read waits for longest, which is what the chip takes at most, and fills b with
// what dev answers then. As long as the chip does not acknowledge it waits for
// Interval and reads again, up to Reads times in all. It waits through sleep.
//
// The error wraps that of the bus or of sleep. If the chip never acknowledged it
// is a drivers.ErrNotReady as well: whether the chip is late or gone, nothing
// tells.
func Read(
	ctx context.Context, dev *i2c.Dev, b []byte, longest time.Duration,
	sleep func(context.Context, time.Duration) error,
) error {
	var err error
	wait := longest
	for range Reads {
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		wait = Interval
		if err = dev.Tx(nil, b); !Is(err) {
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
