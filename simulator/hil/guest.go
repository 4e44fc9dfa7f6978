package hil

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/telltale-iot/telltale/simulator/hil/internal/control"
)

// call has the guest do something. An error of the guest unwraps to its errno,
// which is fs.ErrNotExist and the like.
func call[R any](ctx context.Context, vm *VM, method string, arg any) (R, error) {
	var reply control.Reply[R]
	done := vm.guest.Go(control.Service+"."+method, arg, &reply, nil)
	select {
	case <-done.Done:
		if done.Error != nil {
			return reply.Value, fmt.Errorf("guest: %s: %w", method, done.Error)
		}
		if reply.Err != nil {
			return reply.Value, fmt.Errorf("guest: %s: %w", method, reply.Err)
		}
		return reply.Value, nil
	case <-ctx.Done():
		var none R
		return none, fmt.Errorf("guest: %s: %w", method, ctx.Err())
	}
}

// do is call without a value.
func do(ctx context.Context, vm *VM, method string, arg any) error {
	_, err := call[control.None](ctx, vm, method, arg)
	return err
}

// Command is a program to be run in the guest.
type Command struct {
	Args           []string // the program's file and its arguments
	Env            []string
	Stdout, Stderr io.Writer // nil discards
}

// Process is a process in the guest.
type Process struct {
	PID int

	vm      *VM
	outputs []*stream
}

// Exit is how a process ended.
type Exit = control.Exit

// Start starts a process.
func (vm *VM) Start(ctx context.Context, c Command) (*Process, error) {
	p := &Process{vm: vm}
	request := control.Process{Args: c.Args, Env: c.Env}
	var numbers []uint64
	for _, output := range []struct {
		to     io.Writer
		number *uint64
	}{{c.Stdout, &request.Stdout}, {c.Stderr, &request.Stderr}} {
		if output.to == nil {
			continue
		}
		n, made := vm.stream.expect(output.to)
		*output.number = n
		numbers = append(numbers, n)
		p.outputs = append(p.outputs, made)
	}
	pid, err := call[int](ctx, vm, "Start", request)
	if err != nil {
		for _, n := range numbers {
			vm.stream.forget(n)
		}
		return nil, fmt.Errorf("%s: %w", strings.Join(c.Args, " "), err)
	}
	p.PID = pid
	return p, nil
}

// Signal sends the process a signal.
func (p *Process) Signal(ctx context.Context, signal syscall.Signal) error {
	return do(ctx, p.vm, "Signal", control.Signal{PID: p.PID, Signal: signal})
}

// Wait waits for the end of the process and of its output. It may be called
// once.
func (p *Process) Wait(ctx context.Context) (Exit, error) {
	exit, err := call[Exit](ctx, p.vm, "Wait", p.PID)
	if err != nil {
		return exit, err
	}
	for _, output := range p.outputs {
		select {
		case <-output.done:
		case <-ctx.Done():
			return exit, ctx.Err()
		}
	}
	return exit, nil
}

// Run runs a process to its end. What it writes is copied to the command's
// writers.
func (vm *VM) Run(ctx context.Context, c Command) (Exit, error) {
	p, err := vm.Start(ctx, c)
	if err != nil {
		return Exit{}, err
	}
	return p.Wait(ctx)
}

// ReadFile returns the content of a file of the guest.
func (vm *VM) ReadFile(ctx context.Context, name string) ([]byte, error) {
	return call[[]byte](ctx, vm, "ReadFile", name)
}

// WriteFile makes a file in the guest, and the folders it is in, or writes to a
// file of sysfs.
func (vm *VM) WriteFile(ctx context.Context, name string, data []byte, mode fs.FileMode) error {
	return do(ctx, vm, "WriteFile", control.File{Path: name, Data: data, Mode: uint32(mode.Perm())})
}

// Glob returns the files of the guest that match a pattern of filepath.Match.
func (vm *VM) Glob(ctx context.Context, pattern string) ([]string, error) {
	return call[[]string](ctx, vm, "Glob", pattern)
}

// Remove removes a file of the guest, or a folder and all in it.
func (vm *VM) Remove(ctx context.Context, name string) error { return do(ctx, vm, "Remove", name) }

// Mount mounts a file system in the guest, on a folder that it makes.
func (vm *VM) Mount(ctx context.Context, source, target, kind, data string) error {
	return do(ctx, vm, "Mount", control.Mount{Source: source, Target: target, Type: kind, Data: data})
}

// Unmount unmounts it.
func (vm *VM) Unmount(ctx context.Context, target string) error {
	return do(ctx, vm, "Unmount", target)
}

// LoadModule loads one of Options.Modules, and those that it depends on.
func (vm *VM) LoadModule(ctx context.Context, name string) error {
	return do(ctx, vm, "LoadModule", name)
}

// clockError is how far SetClock may be off.
const clockError = 10 * time.Millisecond

// SetClock sets the guest's wall clock to the host's. Its kernel does not believe
// it until TrustClock.
func (vm *VM) SetClock(ctx context.Context) error {
	for {
		began := time.Now()
		if err := do(ctx, vm, "SetClock", began); err != nil {
			return err
		}
		if time.Since(began) <= clockError {
			return nil
		}
	}
}

// TrustClock has the guest's kernel believe its wall clock, as if a time daemon
// had synchronised it.
func (vm *VM) TrustClock(ctx context.Context) error {
	return do(ctx, vm, "TrustClock", control.None{})
}

// Clock returns the guest's wall clock and the time since its start.
func (vm *VM) Clock(ctx context.Context) (wall time.Time, boottime time.Duration, err error) {
	c, err := call[control.Clock](ctx, vm, "Clock", control.None{})
	return c.Wall, c.Boottime, err
}

// Adapter waits until the guest has the bus's adapter, and returns the name of
// its device, such as i2c-0, and the adapter's own, by which the agent finds it.
func (vm *VM) Adapter(ctx context.Context) (device, name string, err error) {
	for {
		names, err := vm.Glob(ctx, "/sys/class/i2c-dev/i2c-*/name")
		if err != nil {
			return "", "", err
		}
		for _, file := range names {
			data, err := vm.ReadFile(ctx, file)
			if errors.Is(err, fs.ErrNotExist) {
				continue // it has just gone away
			}
			if err != nil {
				return "", "", err
			}
			if name := strings.TrimSpace(string(data)); strings.HasPrefix(name, "i2c-tiny-usb ") {
				return path.Base(path.Dir(file)), name, nil
			}
		}
		select {
		case <-ctx.Done():
			return "", "", fmt.Errorf("guest: no I2C adapter: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
