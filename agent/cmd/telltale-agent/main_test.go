package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

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
