package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/command"
)

// execute runs the command line and returns its exit code and output.
func execute(ctx context.Context, args ...string) (code int, out, errOut string) {
	var stdout, stderr bytes.Buffer
	root := root()
	root.SetArgs(args)
	root.SetOut(&stdout)
	code = command.Execute(ctx, root, &stderr)
	return code, stdout.String(), stderr.String()
}

var anyPorts = []string{
	"--listen-mqtt", "127.0.0.1:0", "--listen-kafka", "127.0.0.1:0", "--listen-mongo", "127.0.0.1:0", "--listen-metrics", "127.0.0.1:0",
}

func TestLabVerifies(t *testing.T) {
	code, out, errOut := execute(t.Context(), append([]string{"lab", "--sensors", "2", "--interval", "200ms", "--window", "1s", "--for", "3s", "--verify"}, anyPorts...)...)
	if code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, out, errOut)
	}
	counts := regexp.MustCompile(`(?m)^verify sampled=(\d+) kafka=(\d+) mongo=(\d+) windowed=(\d+) missing=0 duplicate=0 different=0$`).FindStringSubmatch(out)
	if counts == nil || counts[1] == "0" || counts[1] != counts[2] || counts[1] != counts[3] || counts[1] != counts[4] {
		t.Errorf("no line that verifies all readings:\n%s", out)
	}
	dir := regexp.MustCompile(`(?m)^state (\S+) \(removed`).FindStringSubmatch(out)
	if dir == nil {
		t.Fatalf("the folder of the state is not named:\n%s", out)
	}
	if _, err := os.Stat(dir[1]); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir[1], err)
	}
}

func TestLabStopsWhenItIsTold(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type result struct {
		code        int
		out, errOut string
	}
	ended := make(chan result, 1)
	go func() {
		code, out, errOut := execute(ctx, append([]string{"lab", "--sensors", "1", "--dir", dir, "--keep"}, anyPorts...)...)
		ended <- result{code, out, errOut}
	}()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for running := false; !running; {
		select {
		case <-tick.C:
			log, _ := os.ReadFile(filepath.Join(dir, "lab.log")) // not there yet
			running = bytes.Contains(log, []byte("broker connected"))
		case <-deadline:
			t.Fatal("the lab does not start")
		}
	}
	cancel()
	select {
	case r := <-ended:
		if r.code != 0 {
			t.Errorf("exit code %d: %s%s", r.code, r.out, r.errOut)
		}
	case <-deadline:
		t.Fatal("the lab does not stop")
	}
	for _, kept := range []string{"lab.log", "ingest.yaml", "devices/office-1/agent.yaml", "kafka", "mongo"} {
		if _, err := os.Stat(filepath.Join(dir, kept)); err != nil {
			t.Errorf("--keep has not kept it: %v", err)
		}
	}
}

func TestABusyAddressNamesItsFlag(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for i := 0; i < len(anyPorts); i += 2 {
		flag := anyPorts[i]
		t.Run(flag, func(t *testing.T) {
			args := append([]string{"lab", "--sensors", "1"}, anyPorts...)
			args = append(args, flag, taken.Addr().String())
			code, _, errOut := execute(t.Context(), args...)
			want := "telltale-simulator: " + taken.Addr().String() + " is taken by another program: choose another address with " + flag + " HOST:PORT"
			if code != 1 || !strings.Contains(errOut, want) {
				t.Errorf("exit code %d, %q; want 1, %q", code, errOut, want)
			}
		})
	}
}

func TestMistakesInSettings(t *testing.T) {
	occupied := t.TempDir()
	if err := os.WriteFile(filepath.Join(occupied, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	series := filepath.Join(t.TempDir(), "series.csv")
	if err := os.WriteFile(series, []byte("Date,Temperature,Humidity,Light\n2015-02-04 17:51:00,23,27,hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args []string
		code int
		want string
	}{
		{[]string{"lab", "--verify"}, 2, "--verify: verify: true: want the setting for as well"},
		{[]string{"lab", "--window", "7s"}, 2, "--window: window: 7s: want 1s to 24h, dividing a day evenly"},
		{[]string{"lab", "--sensors", "-1"}, 2, "--sensors: sensors: -1: want 0 or more"},
		{[]string{"lab", "--speed", "0"}, 2, "--speed: speed: 0: want 1 or more"},
		{[]string{"lab", "--window", "10"}, 2, "--window: window: 10: want a duration"},
		{[]string{"lab", "--dir", occupied}, 1, "is not empty"},
		{[]string{"lab", "--replay", series}, 1, series + ":2:"},
		{[]string{"lab", "--nonsense"}, 2, "unknown flag: --nonsense"},
		{[]string{"fleet"}, 2, "dir: "},
		{[]string{"fleet", "--dir", "x", "--devices", "0"}, 2, "--devices: devices: 0: want 1 or more"},
		{[]string{"fleet", "--dir", "x", "--prefix", "a b"}, 2, "--prefix: prefix: a b: want letters, digits, - and _"},
		{[]string{"verify"}, 2, "journal: "},
		{[]string{"verify", "--journal", "/nonexistent/journal"}, 1, "open /nonexistent/journal"},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			code, _, errOut := execute(t.Context(), test.args...)
			if code != test.code || !strings.Contains(errOut, test.want) {
				t.Errorf("exit code %d, %q; want %d, %q", code, errOut, test.code, test.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(occupied, "precious")); err != nil {
		t.Errorf("a folder that was not ours: %v", err)
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"lab", "--help"}, {"fleet", "--help"}, {"verify", "--help"}, {"bus", "--help"}, {"scenario", "--help"}, {"scenario", "run", "--help"}, {"--version"}, {"completion", "bash"}} {
		if code, out, errOut := execute(t.Context(), args...); code != 0 || len(out) < 20 || errOut != "" {
			t.Errorf("%v: exit code %d, output %.50q, %q", args, code, out, errOut)
		}
	}
}
