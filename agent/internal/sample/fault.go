package sample

import (
	"context"
	"errors"
	"os"
	"slices"
	"syscall"
)

// The reasons why a measure could not be read, as they stand in a frame's
// faults and in metrics.
const (
	NACK        = "nack"            // the chip did not answer its address
	Timeout     = "timeout"         // the chip or its bus did not finish in time, or is still busy with an earlier tick
	NotReady    = "not_ready"       // the chip had no new value
	CRC         = "crc"             // the value's checksum was wrong
	LowSupply   = "low_supply"      // the chip warns of its supply voltage
	OutOfRange  = "out_of_range"    // the value cannot be one
	Saturated   = "saturated"       // the value is beyond what the chip can measure
	Stuck       = "stuck"           // the chip's converter gives the same word for too long
	WrongChip   = "wrong_chip"      // another chip answers at the address
	Calibration = "bad_calibration" // the calibration that the chip holds cannot be one
	Reset       = "reset"           // the chip keeps losing its configuration
	Bus         = "bus"             // the bus cannot be opened
	IO          = "io"              // any other error of the bus
)

// FaultError is an error of a chip that knows its reason.
type FaultError struct {
	Reason string
	Err    error
}

func (f *FaultError) Error() string { return f.Err.Error() }

func (f *FaultError) Unwrap() error { return f.Err }

// Reason classifies an error of a chip: by its [FaultError], else by the errno that
// it wraps. Linux adapters differ in what a missing acknowledge is; see
// Documentation/i2c/fault-codes.rst of the kernel.
func Reason(err error) string {
	var fault *FaultError
	var errno syscall.Errno
	switch {
	case errors.As(err, &fault):
		return fault.Reason
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return Timeout
	case !errors.As(err, &errno):
		return IO
	case slices.Contains(nackErrnos, errno):
		return NACK
	case errno == syscall.ETIMEDOUT:
		return Timeout
	}
	return IO
}
