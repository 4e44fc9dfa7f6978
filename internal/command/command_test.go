package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/telltale-iot/telltale/internal/settings"
)

func TestExecute(t *testing.T) {
	problems := settings.Problems{
		{Source: "farm.yaml", Line: 2, Column: 7, Path: "area", Value: "x", Want: "a whole number"},
		{Source: "--name", Path: "name", Want: "a name"},
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for _, tt := range []struct {
		name   string
		ctx    context.Context
		args   []string
		err    error
		code   int
		stderr string
	}{
		{name: "success", args: []string{"run"}},
		{name: "failure", args: []string{"run"}, err: errors.New("no disk"), code: 1, stderr: "farm: no disk\n"},
		{name: "problems", args: []string{"run"}, err: fmt.Errorf("load: %w", problems), code: 2,
			stderr: "farm.yaml:2:7: area: x: want a whole number\n--name: name: want a name\n"},
		{name: "stopped", ctx: stopped, args: []string{"run"}, err: fmt.Errorf("run: %w", context.Canceled)},
		{name: "another's context ended", args: []string{"run"}, err: context.Canceled, code: 1, stderr: "farm: context canceled\n"},
		{name: "unknown flag", args: []string{"run", "--fast"}, code: 2, stderr: "farm: unknown flag: --fast\nTry 'farm run --help'.\n"},
		{name: "flag without value", args: []string{"run", "--config"}, code: 2, stderr: "farm: flag needs an argument: --config\nTry 'farm run --help'.\n"},
		{name: "unknown argument", args: []string{"run", "now"}, code: 2, stderr: "farm: unknown command \"now\" for \"farm run\"\nTry 'farm run --help'.\n"},
		{name: "unknown command", args: []string{"walk"}, code: 2, stderr: "farm: unknown command \"walk\" for \"farm\"\nTry 'farm --help'.\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := &cobra.Command{Use: "farm"}
			run := &cobra.Command{Use: "run", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return tt.err }}
			run.Flags().String("config", "", "file")
			root.AddCommand(run)
			root.SetArgs(tt.args)
			ctx := tt.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			var stdout, stderr bytes.Buffer
			root.SetOut(&stdout)
			if code := Execute(ctx, root, &stderr); code != tt.code {
				t.Errorf("got exit code %d, want %d", code, tt.code)
			}
			if diff := cmp.Diff(tt.stderr, stderr.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if stdout.Len() > 0 {
				t.Errorf("got output %q", &stdout)
			}
		})
	}
}

func TestVersionAndCompletion(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--version", "farm version v1.2.3\n"},
		{"completion bash", "# bash completion V2 for farm"},
	} {
		root := &cobra.Command{Use: "farm", Version: "v1.2.3"}
		root.AddCommand(&cobra.Command{Use: "run", RunE: func(*cobra.Command, []string) error { return nil }})
		root.SetArgs(strings.Fields(tt.args))
		var stdout, stderr bytes.Buffer
		root.SetOut(&stdout)
		if code := Execute(t.Context(), root, &stderr); code != 0 || stderr.Len() > 0 {
			t.Errorf("%s: got exit code %d and %q", tt.args, code, &stderr)
		}
		if !strings.HasPrefix(stdout.String(), tt.want) {
			t.Errorf("%s: got %.100q, want %q", tt.args, &stdout, tt.want)
		}
	}
}

func TestLogger(t *testing.T) {
	for _, tt := range []struct{ level, format, want string }{
		{"debug", "text", "level=DEBUG msg=d level=WARN msg=w "},
		{"info", "text", "level=WARN msg=w "},
		{"warn", "json", `"level":"WARN","msg":"w"} `},
		{"error", "json", ""},
	} {
		var out bytes.Buffer
		logger, err := Logger(tt.level, tt.format, &out)
		if err != nil {
			t.Fatal(err)
		}
		logger.Debug("d")
		logger.Warn("w")
		var got strings.Builder
		for line := range strings.Lines(out.String()) {
			// The time comes first.
			if _, rest, ok := strings.Cut(line, " level"); ok {
				line = "level" + rest
			} else if _, rest, ok := strings.Cut(line, ","); ok {
				line = rest
			}
			got.WriteString(strings.TrimSuffix(line, "\n") + " ")
		}
		if diff := cmp.Diff(tt.want, got.String()); diff != "" {
			t.Errorf("%s %s: -want +got:\n%s", tt.level, tt.format, diff)
		}
	}
	if _, err := Logger("loud", "text", nil); err == nil || err.Error() != `log level "loud": want debug, info, warn or error` {
		t.Errorf("got %v", err)
	}
	if _, err := Logger("info", "xml", nil); err == nil || err.Error() != `log format "xml": want text or json` {
		t.Errorf("got %v", err)
	}
}

func TestVersionFromBuild(t *testing.T) {
	vcs := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef0123"}, {Key: "vcs.modified", Value: modified}}
	}
	for want, info := range map[string]debug.BuildInfo{
		"v1.0.0":                {Main: debug.Module{Version: "v1.0.0"}, Settings: vcs("false")},
		"0123456789ab":          {Main: debug.Module{Version: "(devel)"}, Settings: vcs("false")},
		"0123456789ab-modified": {Settings: vcs("true")},
		"unknown":               {Main: debug.Module{Version: "(devel)"}},
	} {
		if got := fromBuild(&info); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
