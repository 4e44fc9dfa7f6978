//go:build !linux

package clock

import (
	"errors"
	"time"
)

// Host returns the machine's clocks. Only Linux says whether it is synchronised;
// elsewhere the wall clock is believed, and stands for CLOCK_BOOTTIME.
func Host() Source {
	start := time.Now()
	return Source{
		Boottime: func() time.Duration { return time.Since(start) },
		Wall:     time.Now,
		Believed: func() bool { return true },
	}
}

// KernelSynced fails with errors.ErrUnsupported.
func KernelSynced() (bool, error) { return false, errors.ErrUnsupported }
