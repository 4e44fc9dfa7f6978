package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/capture"
	"github.com/telltale-iot/telltale/internal/command"
)

const good = `device: dev
mqtt: {url: "tcp://broker:1883"}
sensors:
  - {id: dev, chips: [{driver: bme280, address: 0x76}]}
`

func TestCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "agent.yaml")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name    string
		content string
		args    []string
		code    int
		stdout  string // a pattern
		stderr  string
	}{
		{"good", good, []string{"check", "--config-only", "-c", file}, 0, `^ok +configuration +device dev, 1 sensor, 1 chip\n$`, `^$`},
		{"two mistakes", strings.Replace(good, "0x76", "0x99", 1) + "colour: red\n", []string{"check", "--config", file}, 2,
			`^$`, `(?s)agent\.yaml:4:49: .*0x99.*agent\.yaml:5:1: .*colour`},
		{"a flag mends", strings.Replace(good, "tcp://broker:1883", "", 1), []string{"check", "--config-only", "-c", file, "--mqtt-url", "tcp://other:1883"}, 0, `^ok .*\n$`, `^$`},
		{"a flag spoils", good, []string{"run", "-c", file, "--buffer-drop", "some"}, 2, `^$`, `--buffer-drop: .*oldest`},
		{"no file", "", []string{"check", "-c", file + ".not"}, 2, `^$`, `agent\.yaml\.not`},
		{"nothing at all", "", []string{"run"}, 2, `^$`, `device`},
		{"an argument too many", good, []string{"check", file}, 2, `^$`, `unknown command|accepts no arguments`},
		{"health, nobody there", good, []string{"health", "-c", file, "--metrics-listen", "127.0.0.1:1"}, 1, `^$`, `^telltale-agent: no answer from http://127\.0\.0\.1:1/healthz: `},
		{"health, no endpoint", good, []string{"health", "-c", file}, 2, `^$`, `^metrics\.listen: "": want `},
		{"health, a mistake", good + "colour: red\n", []string{"health", "-c", file, "--ready"}, 2, `^$`, `agent\.yaml:5:1: .*colour`},
		{"help", "", []string{"run", "--help"}, 0, `(?s)--config.*--buffer-commit-interval duration.*--uplink-receipt-timeout`, `^$`},
		{"version", "", []string{"--version"}, 0, `^telltale-agent version \S+\n$`, `^$`},
		{"completion", "", []string{"completion", "bash"}, 0, `telltale-agent`, `^$`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			write(tt.content)
			var stdout, stderr bytes.Buffer
			c := root()
			c.SetArgs(tt.args)
			c.SetOut(&stdout)
			code := command.Execute(t.Context(), c, &stderr)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, out := range []struct {
				name, got, want string
			}{{"stdout", stdout.String(), tt.stdout}, {"stderr", stderr.String(), tt.stderr}} {
				if !regexp.MustCompile(out.want).MatchString(out.got) {
					t.Errorf("%s does not match %q:\n%s", out.name, out.want, out.got)
				}
			}
		})
	}
}

// TestReload runs the command, changes its file and sends it SIGHUP: first with a
// right configuration, then with two mistakes, then with a change that needs a new
// start.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "agent.yaml")
	start := good + "buffer: {dir: " + filepath.Join(dir, "buffer") + "}\n"
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(start)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "notify"))
	t.Setenv("WATCHDOG_USEC", "60000000")

	var stderr capture.Output
	c := root()
	c.SetArgs([]string{"run", "--config", file})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	code := make(chan int, 1)
	go func() { code <- command.Execute(ctx, c, &stderr) }()
	said := func(pattern string) {
		t.Helper()
		await.True(t, time.Minute, pattern, func() bool { return regexp.MustCompile(pattern).MatchString(stderr.String()) })
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	hangUp := func() {
		t.Helper()
		if err := self.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}

	said(`msg="agent started".* sensors=1`)
	write(start + "metrics: {listen: 127.0.0.1:0}\n")
	hangUp()
	said(`msg="configuration reloaded" sensors=1`)
	write(strings.Replace(start, "0x76", "0x99", 1) + "colour: red\n")
	hangUp()
	said(`(?s)msg="configuration refused" error="[^\n]*agent\.yaml:4:49: [^\n]*0x99.*` +
		`msg="configuration refused" error="[^\n]*agent\.yaml:6:1: [^\n]*colour`)
	write(strings.Replace(start, "buffer}", "buffer, drop: newest}", 1))
	hangUp()
	said(`msg="configuration refused" error="buffer\.drop: newest: want oldest as before`)

	cancel()
	if got := <-code; got != 0 {
		t.Errorf("exit code %d, want 0", got)
	}
	var messages []string
	_ = socket.SetReadDeadline(time.Now().Add(20 * time.Second))
	for buf := make([]byte, 4096); len(messages) == 0 || messages[len(messages)-1] != "STOPPING=1"; {
		n, err := socket.Read(buf)
		if err != nil {
			t.Fatalf("messages %q, then %v", messages, err)
		}
		messages = append(messages, string(buf[:n]))
	}
	if messages[0] != "WATCHDOG=1" {
		t.Errorf("messages %q, want a sign of life first", messages)
	}
}

// TestLinksLittle holds the agent to what a Pi needs.
func TestLinksLittle(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(out)) {
		for _, unwanted := range []string{
			"segmentio/kafka-go", "mongo-driver", "prometheus/client_golang", "telltale/simulator", "telltale/ingest", "mochi-mqtt",
		} {
			if strings.Contains(dep, unwanted) {
				t.Errorf("links %s", strings.TrimSpace(dep))
			}
		}
	}
}
