package systemd

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// service is a Service that says what it is told.
type service struct {
	ready chan struct{}

	mu               sync.Mutex
	stalled, summary string
	trial            bool
}

func newService() *service { return &service{ready: make(chan struct{}), summary: "all is well"} }

func (s *service) Ready() <-chan struct{} { return s.ready }

func (s *service) Stalled() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stalled
}

func (s *service) OnTrial() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trial
}

func (s *service) Summary() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.summary
}

func (s *service) set(stalled, summary string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled, s.summary = stalled, summary
}

// messages are what was notified, each line with the second that it came in.
type messages struct {
	start time.Time
	mu    sync.Mutex
	lines []string
}

func (m *messages) notify(state string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	state = monotonic.ReplaceAllString(strings.ReplaceAll(state, "\n", " "), "MONOTONIC_USEC=N")
	m.lines = append(m.lines, fmt.Sprintf("%v %s", time.Since(m.start), state))
	return nil
}

var monotonic = regexp.MustCompile(`MONOTONIC_USEC=[1-9][0-9]*`)

// run runs a Notifier in a bubble, with script as the time goes by, and returns
// its messages and its log.
func run(t *testing.T, s *service, watchdog time.Duration, script func(*Notifier)) (lines []string, log string) {
	t.Helper()
	m := &messages{start: time.Now()}
	var out bytes.Buffer
	n, err := New(Options{Service: s, Notify: m.notify, Watchdog: watchdog, Logger: logger(&out)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- n.Run(ctx) }()
	script(n)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	return m.lines, out.String()
}

func logger(out *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func TestFromStartToStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		lines, log := run(t, s, 0, func(n *Notifier) {
			n.Reload(func() {}) // systemd does not know yet that there is something to reload
			<-time.After(3 * time.Second)
			close(s.ready)
			<-time.After(12 * time.Second)
			s.set("", "one fault")
			<-time.After(14 * time.Second)
			n.Reload(func() {
				s.set("", "no fault\nagain")
				<-time.After(2 * time.Second)
			})
			<-time.After(2 * time.Hour)
		})
		want := []string{
			"3s READY=1 STATUS=all is well",
			"20s STATUS=one fault",
			"29s RELOADING=1 MONOTONIC_USEC=N",
			"30s STATUS=no fault again",
			"31s READY=1 STATUS=no fault again",
			"2h0m31s STOPPING=1",
		}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if log != "" {
			t.Errorf("log %q, want none", log)
		}
	})
}

func TestStartsAfterAMinuteOfFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		lines, _ := run(t, s, 0, func(*Notifier) {
			<-time.After(61 * time.Second)
			close(s.ready) // is not told a second time
			<-time.After(time.Second)
		})
		want := []string{"10s STATUS=all is well", "1m0s READY=1 STATUS=all is well", "1m2s STOPPING=1"}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// TestOnTrialOnlyReadinessCounts holds what a start that systemd ends by its
// TimeoutStartSec= rests on.
func TestOnTrialOnlyReadinessCounts(t *testing.T) {
	for _, c := range []struct {
		name  string
		ready time.Duration // 0: never
		want  []string
	}{
		{"never", 0, []string{"10s STATUS=all is well", "1h0m0s STOPPING=1"}},
		{"late", 4 * time.Minute, []string{"10s STATUS=all is well", "4m0s READY=1 STATUS=all is well", "1h0m0s STOPPING=1"}},
		{"soon", 3 * time.Second, []string{"3s READY=1 STATUS=all is well", "1h0m0s STOPPING=1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				s.trial = true
				lines, _ := run(t, s, 0, func(*Notifier) {
					if c.ready > 0 {
						<-time.After(c.ready)
						close(s.ready)
					}
					<-time.After(time.Hour - c.ready)
				})
				if diff := cmp.Diff(c.want, lines); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		})
	}
}

func TestSignsOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		close(s.ready)
		lines, log := run(t, s, 20*time.Second, func(*Notifier) {
			<-time.After(25 * time.Second)
			s.set("the disk", "all is well")
			<-time.After(10500 * time.Millisecond) // a stall that ends is no hang
			s.set("", "all is well")
			<-time.After(20 * time.Second)
			s.set("the disk", "all is well")
			<-time.After(time.Hour)
		})
		var signs []string
		for _, line := range lines {
			if strings.HasSuffix(line, "WATCHDOG=1") {
				signs = append(signs, strings.Fields(line)[0])
			}
		}
		if diff := cmp.Diff([]string{"0s", "10s", "20s", "36s", "46s"}, signs); diff != "" {
			t.Errorf("signs of life (-want +got):\n%s", diff)
		}
		const want = `level=ERROR msg="no progress" stalled="the disk" watchdog=20s
level=INFO msg="progress resumed" stalled="the disk"
level=ERROR msg="no progress" stalled="the disk" watchdog=20s
`
		if diff := cmp.Diff(want, log); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

func TestWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "1000")
	notify, watchdog, err := FromEnvironment()
	if notify != nil || watchdog != 0 || err != nil {
		t.Errorf("FromEnvironment: %v, %v, want nothing", watchdog, err)
	}
	n, err := New(Options{Service: newService(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	reloaded := false
	n.Reload(func() { reloaded = true })
	if err := n.Run(t.Context()); err != nil || !reloaded {
		t.Errorf("Run: %v, reloaded %v", err, reloaded)
	}
}

func TestRealSocket(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", name)
	t.Setenv("WATCHDOG_USEC", "3600000000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	notify, watchdog, err := FromEnvironment()
	if err != nil || watchdog != time.Hour {
		t.Fatalf("FromEnvironment: %v, %v, want an hour", watchdog, err)
	}
	s := newService()
	var log bytes.Buffer
	n, err := New(Options{Service: s, Notify: notify, Watchdog: watchdog, Logger: logger(&log)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	expect := func(want string) {
		t.Helper()
		_ = socket.SetReadDeadline(time.Now().Add(20 * time.Second))
		buf := make([]byte, 4096)
		size, err := socket.Read(buf)
		if err != nil {
			t.Fatalf("waiting for %q: %v", want, err)
		}
		if got := monotonic.ReplaceAllString(string(buf[:size]), "MONOTONIC_USEC=N"); got != want {
			t.Errorf("message %q, want %q", got, want)
		}
	}
	expect("WATCHDOG=1")
	close(s.ready)
	expect("READY=1\nSTATUS=all is well")
	n.Reload(func() {})
	expect("RELOADING=1\nMONOTONIC_USEC=N")
	expect("READY=1\nSTATUS=all is well")
	cancel()
	expect("STOPPING=1")
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if log.Len() > 0 {
		t.Errorf("log %q, want none", &log)
	}

	// A systemd that is gone is logged once, and harms nothing.
	socket.Close()
	n.tell("STATUS=")
	n.tell("STATUS=")
	if got := log.String(); strings.Count(got, "systemd unreachable") != 1 {
		t.Errorf("log %q, want one line", got)
	}
}

func TestEnvironmentThatMakesNoSense(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	t.Setenv("WATCHDOG_USEC", "soon")
	if notify, watchdog, err := FromEnvironment(); notify == nil || watchdog != 0 || err == nil {
		t.Errorf("FromEnvironment: notify is nil: %v, watchdog %v, error %v", notify == nil, watchdog, err)
	}
	t.Setenv("WATCHDOG_USEC", "1000000")
	t.Setenv("WATCHDOG_PID", "1") // for another process
	if _, watchdog, err := FromEnvironment(); watchdog != 0 || err != nil {
		t.Errorf("FromEnvironment: watchdog %v, error %v, want none", watchdog, err)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("New takes no Service")
	}
}
