//go:build integration

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/telltale-iot/telltale/internal/capture"
)

// servers are the real servers, on ports and in a folder of their own.
type servers struct {
	t   testing.TB
	env []string
}

const (
	mqttAddr       = "127.0.0.1:21883"
	kafkaAddr      = "127.0.0.1:29092"
	prometheusAddr = "127.0.0.1:29090"
	metricsAddr    = "127.0.0.1:29464"
)

// mongoURI is the MongoDB wire server that servers starts, or the MongoDB that
// the environment names.
func mongoURI() string {
	if uri := os.Getenv("TELLTALE_TEST_MONGODB_URI"); uri != "" {
		return uri
	}
	return "mongodb://127.0.0.1:27117"
}

// isPython reports whether the MongoDB server is the one that deploy/local
// installs where there is no Rust compiler. It is slow: a test of many documents
// makes a fifth of them.
func isPython(t testing.TB) bool {
	t.Helper()
	if os.Getenv("TELLTALE_TEST_MONGODB_URI") != "" {
		return false
	}
	const rust = `. deploy/local/versions.env && test -x "${TELLTALE_CACHE:-$HOME/.cache/telltale}/secantus-$SECANTUS_VERSION/bin/secantusd-rs"`
	command := exec.Command("sh", "-c", rust)
	command.Dir = root
	if command.Run() == nil {
		return false
	}
	t.Log("the server is secantusd-py, which is slow: a fifth of the documents")
	return true
}

// startServers starts the named servers with no state, and kills them in the
// end. If the test failed, their state is kept.
func startServers(t testing.TB, names ...string) *servers {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(root, ".cache", "e2e"))
	if err != nil {
		t.Fatal(err)
	}
	s := &servers{t: t, env: append(os.Environ(), "TELLTALE_LOCAL="+dir, "TELLTALE_SCRAPE="+metricsAddr)}
	s.run(append([]string{"kill"}, names...)...)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.run(append([]string{"kill"}, names...)...)
		if t.Failed() {
			kept := dir + "-" + strings.ReplaceAll(t.Name(), "/", "-")
			if err := errors.Join(os.RemoveAll(kept), os.Rename(dir, kept)); err != nil {
				t.Error(err)
			}
			t.Logf("the servers' logs are in %s", kept)
		}
	})
	s.run(append([]string{"start"}, names...)...)
	return s
}

func (s *servers) run(args ...string) {
	s.t.Helper()
	command := exec.Command(filepath.Join(root, "deploy/local/servers"), args...)
	command.Env = s.env
	if out, err := command.CombinedOutput(); err != nil {
		s.t.Fatalf("servers %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// restart stops a server in the ordinary way and starts it again.
func (s *servers) restart(name string) {
	s.t.Helper()
	s.run("stop", name)
	s.run("start", name)
}

// program is a process of its own.
type program struct {
	t      testing.TB
	path   string
	args   []string
	cmd    *exec.Cmd
	output *capture.Output
	exited chan struct{}
	err    error
}

// start starts bin/name, whose output is shown if the test fails.
func start(t testing.TB, name string, args ...string) *program {
	t.Helper()
	return launch(t, filepath.Join(root, "bin", name), args...)
}

// launch is start for any program.
func launch(t testing.TB, path string, args ...string) *program {
	t.Helper()
	p := &program{t: t, path: path, args: args, output: &capture.Output{}}
	t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		<-p.exited
		if t.Failed() {
			t.Logf("%s said:\n%s", path, p.output)
		}
	})
	p.spawn()
	return p
}

func (p *program) spawn() {
	p.t.Helper()
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	exited := make(chan struct{})
	p.exited = exited
	go func(cmd *exec.Cmd) {
		p.err = cmd.Wait()
		close(exited)
	}(p.cmd)
}

func (p *program) signal(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s) // it may have ended already
}

// crash kills the program with SIGKILL and starts it again.
func (p *program) crash() {
	p.t.Helper()
	p.kill()
	p.spawn()
}

// kill kills the program with SIGKILL.
func (p *program) kill() {
	p.t.Helper()
	select {
	case <-p.exited:
		p.t.Fatalf("%s ended by itself: %v\n%s", p.path, p.err, p.output)
	default:
	}
	p.signal(syscall.SIGKILL)
	<-p.exited
}

// wait waits for the program's own end.
func (p *program) wait(within time.Duration) error {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.err
	case <-time.After(within):
		p.t.Fatalf("%s has not ended after %s", p.path, within)
		return nil
	}
}

// usage is what the kernel accounts a process with.
type usage struct {
	cpu     time.Duration
	peak    int64 // resident bytes at most
	rss     int64 // resident bytes now
	wakeups int64 // times that its threads of now had waited for something
}

func (p *program) usage() usage {
	p.t.Helper()
	return usageOf(p.t, p.cmd.Process.Pid)
}

// usageOf asks the process's CPU clock, which counts utime and stime in
// nanoseconds (clock_getcpuclockid(3)), and reads /proc (proc(5)).
func usageOf(t testing.TB, pid int) usage {
	t.Helper()
	const cpuClock = 2 // CPUCLOCK_SCHED, of all threads
	var cpu unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|cpuClock, &cpu); err != nil {
		t.Fatalf("the CPU clock of process %d: %v", pid, err)
	}
	proc := fmt.Sprintf("/proc/%d", pid)
	u := usage{cpu: time.Duration(cpu.Nano()), peak: statusField(t, proc, "VmHWM") << 10, rss: statusField(t, proc, "VmRSS") << 10}
	threads, err := filepath.Glob(proc + "/task/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		u.wakeups += statusField(t, thread, "voluntary_ctxt_switches")
	}
	return u
}

// statusField returns a number of a process's or thread's status.
func statusField(t testing.TB, proc, name string) (n int64) {
	t.Helper()
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			if _, err := fmt.Sscan(value, &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("%s has no %s", proc, name)
	return 0
}
