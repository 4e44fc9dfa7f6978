package drivers

import (
	"errors"
	"fmt"
)

// The kinds of error of a driver, for errors.Is. An error of the bus has none
// of them: it is wrapped as it came, so that a caller finds its errno.
var (
	// ErrOptions is returned by a driver's New only.
	ErrOptions = errors.New("invalid options")
	// ErrNotReady means that the chip had no result when the bound of the
	// wait was reached.
	ErrNotReady = errors.New("no result in time")
	// ErrWrongChip means that something else answers at the address.
	ErrWrongChip = errors.New("wrong chip")
	// ErrBadCalibration means that no result can be computed from what the
	// chip's calibration memory was read as.
	ErrBadCalibration = errors.New("bad calibration")
	// ErrReset means that the chip has lost its configuration, as after a
	// brown-out, and lost it again after it was configured anew.
	ErrReset = errors.New("chip was reset")
	// ErrOutOfRange means that the result is not one that the chip is
	// specified for. See [RangeError].
	ErrOutOfRange = errors.New("out of range")
	// ErrSaturated means that the converter is at its limit: the quantity may
	// be anything from there up. It is an [ErrOutOfRange].
	ErrSaturated = fmt.Errorf("saturated: %w", ErrOutOfRange)
	// ErrLowSupply means that the chip warns of its supply voltage.
	ErrLowSupply = errors.New("supply voltage too low")
	// ErrCRC means that a checksum that the chip sent is not that of its data.
	ErrCRC = errors.New("wrong checksum")
)

// RangeError says which quantity is out of range, and by how much. It is an
// [ErrOutOfRange].
type RangeError struct {
	Quantity        string // "temperature", "pressure"
	Value, Min, Max fmt.Stringer
}

// Error implements error.
func (e *RangeError) Error() string {
	return fmt.Sprintf("%s %v %v: want %v to %v", e.Quantity, e.Value, ErrOutOfRange, e.Min, e.Max)
}

// Unwrap returns [ErrOutOfRange].
func (e *RangeError) Unwrap() error { return ErrOutOfRange }
