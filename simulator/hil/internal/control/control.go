// Package control is what a virtual machine's host and the init program in it
// say to each other.
//
// The guest connects to the host and says in a line what the connection is for:
// "control" for calls (net/rpc, served by the guest), or "output N" for what a
// process writes to the stream of that number.
package control

import (
	"errors"
	"syscall"
	"time"
)

// HostArgument is the kernel's argument that has the host's address.
const HostArgument = "telltale.host"

// Where init finds what the host put into the initial file system.
const (
	ModulesFolder = "/lib/modules"
	ModulesFile   = "/lib/modules/order.json"
)

// The first line of a connection.
const (
	HelloControl = "control"
	HelloOutput  = "output %d"
)

// Service is the name that the calls are registered under.
const Service = "Init"

// Modules says which files to load for which module, in this order.
type Modules struct {
	Boot  []string            // at once
	Files map[string][]string // by the module's name, those that it depends on first
}

// Error is an error of the guest, with its errno if it has one.
type Error struct {
	Text  string
	Errno syscall.Errno
}

// NewError returns err as one that can be sent, nil for none.
func NewError(err error) *Error {
	if err == nil {
		return nil
	}
	var errno syscall.Errno
	errors.As(err, &errno)
	return &Error{Text: err.Error(), Errno: errno}
}

func (e *Error) Error() string { return e.Text }

// Unwrap returns the errno, nil if there is none.
func (e *Error) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// Reply is the answer to a call.
type Reply[T any] struct {
	Value T
	Err   *Error
}

// None is the value of a reply without one.
type None struct{ Nothing bool } // gob wants a field

// Process is a program to be started.
type Process struct {
	Args           []string
	Env            []string
	Stdout, Stderr uint64 // numbers of streams, 0 for none
}

// Signal is a signal for a process.
type Signal struct {
	PID    int
	Signal syscall.Signal
}

// Exit is how a process ended.
type Exit struct {
	Code   int            // -1 if by a signal
	Signal syscall.Signal // 0 if not by one
}

// File is a file to be written.
type File struct {
	Path string
	Data []byte
	Mode uint32
}

// Mount is the arguments of mount(2), without flags.
type Mount struct{ Source, Target, Type, Data string }

// Clock is the guest's clocks at one moment.
type Clock struct {
	Wall     time.Time
	Boottime time.Duration
}
