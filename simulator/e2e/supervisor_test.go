//go:build integration

package e2e

import (
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/capture"
)

// restartDelay is systemd's RestartSec= where nothing else is said
// (systemd.service(5)).
const restartDelay = 100 * time.Millisecond

// supervisor keeps a program running as systemd does with Restart=always:
// however it ends, it is started again.
type supervisor struct {
	t      testing.TB
	path   string
	args   []string
	output *capture.Output
	ended  chan struct{} // closed when no process is left

	mu      sync.Mutex
	cmd     *exec.Cmd
	starts  int
	stopped bool
}

// supervise starts the program, whose output is shown if the test fails, and
// stops it in the end.
func supervise(t testing.TB, path string, args ...string) *supervisor {
	t.Helper()
	s := &supervisor{t: t, path: path, args: args, output: &capture.Output{}, ended: make(chan struct{})}
	if !s.spawn() {
		t.FailNow()
	}
	go s.run()
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", path, s.output)
		}
	})
	return s
}

// spawn starts a process, unless the supervisor is stopped.
func (s *supervisor) spawn() (started bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	cmd := exec.Command(s.path, s.args...)
	cmd.Stdout, cmd.Stderr = s.output, s.output
	if err := cmd.Start(); err != nil {
		s.t.Error(err)
		return false
	}
	s.cmd = cmd
	s.starts++
	return true
}

func (s *supervisor) run() {
	defer close(s.ended)
	for started := true; started; started = s.spawn() {
		_ = s.cmd.Wait() // how it ended is in its output
		<-time.After(restartDelay)
	}
}

// pid returns the process of now, or the latest.
func (s *supervisor) pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.Process.Pid
}

// signal sends a signal to the process of now.
func (s *supervisor) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.cmd.Process.Signal(sig) // it may have ended already
}

// started returns how often the program was started.
func (s *supervisor) started() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.starts
}

// stop ends the program for good. It may be called again.
func (s *supervisor) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.signal(syscall.SIGTERM)
	for {
		select {
		case <-s.ended:
			return
		case <-time.After(10 * time.Second):
			s.signal(syscall.SIGKILL)
		}
	}
}
