package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/agent/internal/buffer"
	"github.com/telltale-iot/telltale/internal/command"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// certain are random bytes that are always the same.
type certain struct{}

func (certain) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i + 1)
	}
	return len(p), nil
}

// fillBuffer makes a buffer with readings of two sensors, of which some are freed and the
// last ones wait until their time is known.
func fillBuffer(t *testing.T, dir string) {
	t.Helper()
	b, err := buffer.Open(buffer.Options{Dir: dir, BootID: "5fb06bbe-4e4b-4a1c-9d0e-5d1b3bb0f1c0", Rand: certain{}})
	must(t, err)
	start := time.Date(2026, time.November, 26, 3, 0, 0, 0, time.UTC)
	take := func(id string, i int) *telemetry.Frame {
		f := &telemetry.Frame{ID: id, Name: "Greenhouse 7", PlaceID: "house-2", Timestamp: start.Add(time.Duration(i) * time.Second).UnixMilli()}
		f.Payload.Set(telemetry.Temperature, 21_370_000+telemetry.Micro(i)*10_000)
		return f
	}
	for i := range 200 {
		must(t, b.Append(take("greenhouse-7", i)))
		if i%10 == 0 {
			must(t, b.Append(take("greenhouse-7.2", i)))
		}
	}
	r := b.Reader()
	var f telemetry.Frame
	for range 100 {
		p, err := r.Next(&f)
		must(t, err)
		must(t, b.Free(p))
	}
	for i := range 3 {
		must(t, b.AppendWaiting(take("greenhouse-7", 0), time.Duration(12+i)*time.Second))
	}
	must(t, b.Close())
}

// damageReading changes a byte of the reading of a sensor with that number.
func damageReading(t *testing.T, dir, content string) {
	t.Helper()
	i, err := buffer.Inspect(buffer.Options{Dir: dir})
	must(t, err)
	var at buffer.Position
	must(t, i.Records(t.Context(), func(r *buffer.RawRecord) error {
		if strings.HasPrefix(r.Content, content) {
			at = r.Position
		}
		return nil
	}))
	if at == 0 {
		t.Fatalf("no record %q", content)
	}
	name := filepath.Join(dir, "0000000000000000.seg")
	data, err := os.ReadFile(name)
	must(t, err)
	data[at+9]++
	must(t, os.WriteFile(name, data, 0o600))
}

// run runs a command line of telltale-agent.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c := root()
	c.SetArgs(args)
	var out, errs bytes.Buffer
	c.SetOut(&out)
	code = command.Execute(t.Context(), c, &errs)
	return code, out.String(), errs.String()
}

// state is all that a look could change of a folder.
func state(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, name := range append([]string{"."}, names(entries)...) {
		info, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		data, _ := os.ReadFile(filepath.Join(dir, name)) // the folder has none
		all[name] = info.ModTime().String() + info.Mode().String() + string(data)
	}
	return all
}

func names(entries []os.DirEntry) (all []string) {
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// TestBuffer looks into a buffer that is sound, and into the same with two readings
// damaged. No look changes anything.
func TestBuffer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "buffer")
	fillBuffer(t, dir)
	const installed = "/var/lib/telltale-agent/buffer"
	look := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		before := state(t, dir)
		code, stdout, stderr := run(t, append([]string{"buffer"}, args...)...)
		if code != want {
			t.Errorf("%s: exit code %d, want %d\n%s", args, code, want, stderr)
		}
		if !maps.Equal(before, state(t, dir)) {
			t.Errorf("%s changed the folder", args)
		}
		return strings.ReplaceAll(stdout, dir, installed), stderr
	}

	stdout, _ := look(0, "stat", "--dir", dir)
	golden(t, "buffer-stat.txt", stdout, true)
	stdout, _ = look(0, "verify", "--dir", dir)
	golden(t, "buffer-verify.txt", stdout, false)
	config := file(t, good+"buffer: {dir: \""+dir+"\"}\n")
	stdout, _ = look(0, "stat", "--config", config, "--format", "json")
	golden(t, "buffer-stat.json", stdout, false)

	stdout, stderr := look(0, "dump", "--dir", dir)
	lines := strings.SplitAfter(strings.TrimSuffix(stdout, "\n"), "\n")
	golden(t, "buffer-dump.txt", strings.Join(lines[:3], ""), true)
	if want := "3 readings left out: they were taken before the machine knew the time, and wait until it does; see --waiting\n"; stderr != want || len(lines) != 120 {
		t.Errorf("dump: %d lines, %s", len(lines), stderr)
	}
	var decoder telemetry.Decoder
	for _, line := range lines {
		var f telemetry.Frame
		if err := decoder.Decode([]byte(line), &f); err != nil {
			t.Fatalf("dump: %s: %v", line, err)
		}
	}
	if stdout, _ := look(0, "dump", "--dir", dir, "--all"); strings.Count(stdout, "\n") != 220 {
		t.Errorf("dump --all: %d lines, want 220", strings.Count(stdout, "\n"))
	}
	stdout, stderr = look(0, "dump", "--dir", dir, "--waiting")
	lines = strings.SplitAfter(strings.TrimSuffix(stdout, "\n"), "\n")
	golden(t, "buffer-waiting.txt", lines[len(lines)-1]+"\n", true)
	if len(lines) != 123 || stderr != "" {
		t.Errorf("dump --waiting: %d lines, %s", len(lines), stderr)
	}
	stdout, _ = look(0, "dump", "--dir", dir, "--records")
	lines = strings.SplitAfter(stdout, "\n")
	golden(t, "buffer-records.txt", strings.Join(lines[:8], ""), false)

	damageReading(t, dir, "index=0 seq=120 ")
	damageReading(t, dir, "index=0 seq=20 ") // it is freed
	stdout, stderr = look(1, "verify", "--dir", dir)
	golden(t, "buffer-damaged.txt", stdout, true)
	if want := "telltale-agent: the buffer is damaged: 3 findings\n"; stderr != want {
		t.Errorf("verify: %s want %s", stderr, want)
	}
	stdout, _ = look(0, "stat", "--dir", dir, "--format", "json")
	var contents struct {
		Readings int
		Damage   []struct{ Bytes int }
		Lost     map[string]int
	}
	if err := json.Unmarshal([]byte(stdout), &contents); err != nil || contents.Readings != 122 || contents.Lost["corrupt"] != 1 ||
		len(contents.Damage) != 1 || contents.Damage[0].Bytes == 0 {
		t.Errorf("stat: %v\n%s", err, stdout)
	}
}

// TestBufferFails says for each command how it ends when there is no buffer to read.
func TestBufferFails(t *testing.T) {
	empty := t.TempDir()
	newer := t.TempDir()
	fillBuffer(t, newer)
	identity, err := os.ReadFile(filepath.Join(newer, "identity"))
	must(t, err)
	copy(identity[8:], []byte{2, 0, 0, 0, 0x16, 0xcc, 0x80, 0x3c}) // version 2, and the CRC of that
	must(t, os.WriteFile(filepath.Join(newer, "identity"), identity, 0o600))
	config := file(t, good+"buffer: {dir: \""+empty+"\"}\n")
	for _, tt := range []struct {
		name, args, stderr string
	}{
		{"no folder", "--dir " + empty + "/none", "--dir: dir: "},
		{"no buffer", "--dir " + empty, "want a folder with a buffer\n"},
		{"no buffer where the configuration says", "--config " + config, config + ": buffer.dir: "},
		{"no configuration", "--config " + config + ".not", "agent.yaml.not"},
		{"a newer version", "--dir " + newer, "version 2, this program knows 1\n"},
		{"both", "--dir x --config y", "[config dir]"},
		{"an argument", "--dir x y", "telltale-agent"},
	} {
		for _, verb := range []string{"stat", "dump", "verify"} {
			t.Run(tt.name+", "+verb, func(t *testing.T) {
				code, stdout, stderr := run(t, slices.Concat([]string{"buffer", verb}, strings.Fields(tt.args))...)
				if code != 2 || stdout != "" || !strings.Contains(stderr, tt.stderr) {
					t.Errorf("exit code %d, want 2\n%s%s\nwant %s", code, stdout, stderr, tt.stderr)
				}
			})
		}
	}
}
