//go:build integration

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
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

// startServers starts the named servers with no state, and stops them in the end.
func startServers(t testing.TB, names ...string) *servers {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(root, ".cache", "e2e"))
	if err != nil {
		t.Fatal(err)
	}
	s := &servers{t: t, env: append(os.Environ(), "TELLTALE_LOCAL="+dir, "TELLTALE_SCRAPE="+metricsAddr)}
	s.run(append([]string{"stop"}, names...)...)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.run(append([]string{"stop"}, names...)...)
		if t.Failed() {
			t.Logf("the servers' logs are in %s", dir)
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

// program is one of ours, as a process of its own.
type program struct {
	t      testing.TB
	name   string
	args   []string
	cmd    *exec.Cmd
	output *output
	exited chan struct{}
	err    error
}

// start starts bin/name, whose output is shown if the test fails.
func start(t testing.TB, name string, args ...string) *program {
	t.Helper()
	p := &program{t: t, name: name, args: args, output: &output{}}
	t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		<-p.exited
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.output)
		}
	})
	p.spawn()
	return p
}

func (p *program) spawn() {
	p.t.Helper()
	p.cmd = exec.Command(filepath.Join(root, "bin", p.name), p.args...)
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
	select {
	case <-p.exited:
		p.t.Fatalf("%s ended by itself: %v\n%s", p.name, p.err, p.output)
	default:
	}
	p.signal(syscall.SIGKILL)
	<-p.exited
	p.spawn()
}

// wait waits for the program's own end.
func (p *program) wait(within time.Duration) error {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.err
	case <-time.After(within):
		p.t.Fatalf("%s has not ended after %s", p.name, within)
		return nil
	}
}

// usage is what the kernel accounts a process with.
type usage struct {
	cpu  time.Duration
	peak int64 // resident bytes at most
	rss  int64 // resident bytes now
}

// usage reads /proc (proc(5)); a tick is 10 ms on every Linux that Go runs on.
func (p *program) usage() usage {
	p.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
	var ticks int64
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		ticks += n
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	kilobytes := func(name string) int64 {
		for line := range strings.Lines(string(status)) {
			if value, ok := strings.CutPrefix(line, name+":"); ok {
				var n int64
				if _, err := fmt.Sscan(value, &n); err != nil {
					p.t.Fatal(err)
				}
				return n << 10
			}
		}
		p.t.Fatalf("/proc has no %s", name)
		return 0
	}
	return usage{cpu: time.Duration(ticks) * 10 * time.Millisecond, peak: kilobytes("VmHWM"), rss: kilobytes("VmRSS")}
}

// output collects what a program prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
