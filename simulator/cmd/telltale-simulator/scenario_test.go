package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/simulator/scenario"
)

const brief = `
name: brief
duration: 6s
chips: [{kind: bme280, address: 0x76}]
faults: [{fault: nack, chip: bme280, from: 1s, to: 3s}]
sensors: [{id: pi-1, interval: 2s, chips: [{driver: bme280, address: 0x76}]}]
`

func scenarioFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "brief.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestScenarioRun(t *testing.T) {
	met := scenarioFile(t, brief+"expect: [{sensor: pi-1, ok: 2, faults: [{reason: nack, readings: 1}]}]\n")
	code, out, errOut := execute(t.Context(), "scenario", "run", met)
	if code != 0 || !regexp.MustCompile(`(?m)^pi-1 +humidity +2 +0 +0 +nack 1 `).MatchString(out) {
		t.Errorf("exit code %d\n%s%s", code, out, errOut)
	}
	code, out, errOut = execute(t.Context(), "scenario", "run", scenarioFile(t, brief))
	if code != 1 || !strings.Contains(out, "differs: pi-1 pressure: 2 readings are ok: want 3\n") || !strings.Contains(errOut, errScenario.Error()) {
		t.Errorf("exit code %d\n%s%s", code, out, errOut)
	}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	code, out, errOut = execute(ctx, "scenario", "run", "first-minute")
	if code != 0 || !strings.Contains(out, "SENSOR") || strings.Contains(out, "differs") {
		t.Errorf("ended early: exit code %d\n%s%s", code, out, errOut)
	}
}

func TestScenarioList(t *testing.T) {
	code, out, errOut := execute(t.Context(), "scenario", "list")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); code != 0 || errOut != "" || len(lines) != len(scenario.Shipped()) {
		t.Errorf("exit code %d\n%s%s", code, out, errOut)
	}
	if !regexp.MustCompile(`(?m)^unplugged +Somebody pulls a plug`).MatchString(out) {
		t.Errorf("%s\nhas no line of unplugged with its description", out)
	}
	code, out, _ = execute(t.Context(), "scenario", "show", "unplugged")
	if data, err := scenario.Read("unplugged"); err != nil || code != 0 || out != string(data) {
		t.Errorf("show: exit code %d, %v\n%s", code, err, out)
	}
}

func TestScenarioCheck(t *testing.T) {
	if code, out, errOut := execute(t.Context(), append([]string{"scenario", "check"}, scenario.Shipped()...)...); code != 0 || out+errOut != "" {
		t.Errorf("those that come with the program: exit code %d\n%s%s", code, out, errOut)
	}
	wrong := scenarioFile(t, strings.Replace(brief, "nack", "snack", 1))
	recorded := scenarioFile(t, brief+"environments: [{name: a, recorded: gone.csv}]\n")
	code, out, _ := execute(t.Context(), "scenario", "check", wrong, recorded, "nothing", "none.yaml", "unplugged")
	if code != 1 || strings.Count(out, "\n") != 4 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	for _, want := range []string{
		wrong + ":5:18: faults[0].fault: snack: want nack, io, timeout,", "gone.csv: no such file", "scenario nothing: want one of address-conflict, ", "none.yaml: no such file",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%s\nlacks %q", out, want)
		}
	}
}

// safe is a buffer for one who writes and one who reads.
type safe struct{ lines chan string }

func (s safe) Write(p []byte) (int, error) {
	s.lines <- string(p)
	return len(p), nil
}

func TestBus(t *testing.T) {
	s, err := readScenario("two-of-a-kind")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	out := safe{make(chan string, 10)}
	go func() { ended <- runBus(ctx, s, "127.0.0.1:0", out, io.Discard) }()
	text := <-out.lines
	addr := regexp.MustCompile(`USB/IP on (\S+)\.`).FindStringSubmatch(text)
	if addr == nil || !strings.HasPrefix(text, "1-1  bus 1: sht4x at 0x44 behind channel 0 of 0x70, ") {
		t.Fatalf("got\n%s", text)
	}
	if _, port, _ := net.SplitHostPort(addr[1]); !strings.Contains(text, "sudo usbip --tcp-port "+port+" attach -r 127.0.0.1 -b 1-1\n") {
		t.Errorf("it does not say how to attach\n%s", text)
	}
	list := func() []byte {
		conn, err := net.Dial("tcp", addr[1])
		if err != nil {
			return nil
		}
		defer conn.Close()
		if _, err := conn.Write([]byte{1, 0x11, 0x80, 5, 0, 0, 0, 0}); err != nil {
			return nil
		}
		b, _ := io.ReadAll(conn)
		return b
	}
	if b := list(); len(b) != 12+316 || !bytes.Contains(b, []byte("1-1\x00")) {
		t.Errorf("the list of devices: %q", b)
	}
	err = runBus(ctx, s, addr[1], io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "is taken by another program: choose another address with --listen") {
		t.Errorf("the same address again: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	await.True(t, time.Minute, "the port to be closed", func() bool { return list() == nil })
}

func TestBusText(t *testing.T) {
	s, err := readScenario("bus-stuck-low")
	if err != nil {
		t.Fatal(err)
	}
	can := busText(s, []string{"1", "3"}, "127.0.0.1:3240", "")
	for _, want := range []string{
		"1-1  bus 1: bme280 at 0x76\n1-2  bus 3: bmp280 at 0x77\n",
		"  sudo usbip attach -r 127.0.0.1 -b 1-1\n  sudo usbip attach -r 127.0.0.1 -b 1-2\n",
	} {
		if !strings.Contains(can, want) {
			t.Errorf("%s\nlacks %q", can, want)
		}
	}
	cannot := busText(s, []string{"1"}, "127.0.0.1:3240", "it is a teapot")
	if strings.Contains(can, "cannot") || !strings.Contains(cannot, "This machine cannot plug them in: it is a teapot.\n") ||
		!strings.Contains(cannot, "telltale-simulator lab") {
		t.Errorf("%s\n---\n%s", can, cannot)
	}
	if code, _, errOut := execute(t.Context(), "bus"); code == 0 || !strings.Contains(errOut, "--config: want a scenario") {
		t.Errorf("without a scenario: exit code %d, %s", code, errOut)
	}
}
