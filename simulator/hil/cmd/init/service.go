//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/telltale-iot/telltale/simulator/hil/internal/control"
)

// Service is what the host may call. An error of the guest is in the reply, so
// that its errno survives.
type Service struct {
	host    string
	modules control.Modules

	mu        sync.Mutex
	processes map[int]*process // by PID, until they were waited for
}

type process struct {
	cmd     *exec.Cmd
	streams []io.Closer
}

// Start starts a process and replies with its PID.
func (s *Service) Start(p control.Process, reply *control.Reply[int]) error {
	pid, err := s.start(p)
	reply.Value, reply.Err = pid, control.NewError(err)
	return nil
}

func (s *Service) start(p control.Process) (int, error) {
	if len(p.Args) == 0 {
		return 0, errors.New("a process without arguments")
	}
	started := &process{cmd: exec.Command(p.Args[0], p.Args[1:]...)} //nolint:noctx // ended by a signal
	started.cmd.Env = p.Env
	for _, stream := range []struct {
		number uint64
		to     *io.Writer
	}{{p.Stdout, &started.cmd.Stdout}, {p.Stderr, &started.cmd.Stderr}} {
		if stream.number == 0 {
			continue
		}
		conn, err := dial(s.host, fmt.Sprintf(control.HelloOutput, stream.number))
		if err != nil {
			return 0, errors.Join(err, started.close())
		}
		*stream.to = conn
		started.streams = append(started.streams, conn)
	}
	if err := started.cmd.Start(); err != nil {
		return 0, errors.Join(err, started.close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.processes[started.cmd.Process.Pid] = started
	return started.cmd.Process.Pid, nil
}

func (p *process) close() error {
	var errs []error
	for _, stream := range p.streams {
		errs = append(errs, stream.Close())
	}
	return errors.Join(errs...)
}

func (s *Service) find(pid int) (*process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.processes[pid]
	if p == nil {
		return nil, fmt.Errorf("no process %d: %w", pid, syscall.ESRCH)
	}
	return p, nil
}

// Signal sends a process a signal.
func (s *Service) Signal(signal control.Signal, reply *control.Reply[control.None]) error {
	p, err := s.find(signal.PID)
	if err == nil {
		err = p.cmd.Process.Signal(signal.Signal)
	}
	reply.Err = control.NewError(err)
	return nil
}

// Wait waits for the end of a process. It is called once for each.
func (s *Service) Wait(pid int, reply *control.Reply[control.Exit]) error {
	p, err := s.find(pid)
	if err != nil {
		reply.Err = control.NewError(err)
		return nil
	}
	if err := p.cmd.Wait(); !errors.As(err, new(*exec.ExitError)) {
		reply.Err = control.NewError(err)
	}
	if err := p.close(); err != nil && reply.Err == nil {
		reply.Err = control.NewError(err)
	}
	s.mu.Lock()
	delete(s.processes, pid)
	s.mu.Unlock()
	reply.Value.Code = p.cmd.ProcessState.ExitCode()
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		reply.Value.Signal = status.Signal()
	}
	return nil
}

// ReadFile replies with a file's content.
func (s *Service) ReadFile(path string, reply *control.Reply[[]byte]) error {
	data, err := os.ReadFile(path)
	reply.Value, reply.Err = data, control.NewError(err)
	return nil
}

// WriteFile writes a file in one call to write(2), as sysfs wants it, and makes
// its folders.
func (s *Service) WriteFile(f control.File, reply *control.Reply[control.None]) error {
	reply.Err = control.NewError(writeFile(f))
	return nil
}

func writeFile(f control.File) error {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, os.FileMode(f.Mode))
	if err != nil {
		return err
	}
	_, err = file.Write(f.Data)
	return errors.Join(err, file.Close())
}

// Glob replies with the files that match a pattern.
func (s *Service) Glob(pattern string, reply *control.Reply[[]string]) error {
	names, err := filepath.Glob(pattern)
	reply.Value, reply.Err = names, control.NewError(err)
	return nil
}

// Remove removes a file or a folder and all in it.
func (s *Service) Remove(path string, reply *control.Reply[control.None]) error {
	reply.Err = control.NewError(os.RemoveAll(path))
	return nil
}

// Mount mounts a file system, on a folder that it makes.
func (s *Service) Mount(m control.Mount, reply *control.Reply[control.None]) error {
	reply.Err = control.NewError(mount(m))
	return nil
}

// Unmount unmounts a file system.
func (s *Service) Unmount(target string, reply *control.Reply[control.None]) error {
	reply.Err = control.NewError(os.NewSyscallError("umount", unix.Unmount(target, 0)))
	return nil
}

// LoadModule loads a kernel module and what it depends on.
func (s *Service) LoadModule(name string, reply *control.Reply[control.None]) error {
	files, ok := s.modules.Files[name]
	if !ok {
		reply.Err = control.NewError(fmt.Errorf("module %s: %w", name, syscall.ENOENT))
		return nil
	}
	reply.Err = control.NewError(load(files))
	return nil
}

// SetClock sets the wall clock, which makes the kernel say that it is not
// synchronised.
func (s *Service) SetClock(t time.Time, reply *control.Reply[control.None]) error {
	tv := unix.NsecToTimeval(t.UnixNano())
	reply.Err = control.NewError(os.NewSyscallError("settimeofday", unix.Settimeofday(&tv)))
	return nil
}

// TrustClock has the kernel say that the wall clock is synchronised, as a time
// daemon does: without STA_UNSYNC, and with an error below the 16 s at which it
// would be set again.
func (s *Service) TrustClock(_ control.None, reply *control.Reply[control.None]) error {
	_, err := unix.Adjtimex(&unix.Timex{Modes: unix.ADJ_STATUS | unix.ADJ_MAXERROR | unix.ADJ_ESTERROR, Maxerror: 1000, Esterror: 1000})
	reply.Err = control.NewError(os.NewSyscallError("adjtimex", err))
	return nil
}

// Clock replies with the time.
func (s *Service) Clock(_ control.None, reply *control.Reply[control.Clock]) error {
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		reply.Err = control.NewError(err)
	}
	reply.Value = control.Clock{Wall: time.Now(), Boottime: time.Duration(boot.Nano())}
	return nil
}

// PowerOff flushes the disks and switches the machine off. It has no reply if it
// succeeds.
func (s *Service) PowerOff(_ control.None, reply *control.Reply[control.None]) error {
	unix.Sync()
	reply.Err = control.NewError(unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
	return nil
}
