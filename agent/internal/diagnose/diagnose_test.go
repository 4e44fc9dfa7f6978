package diagnose

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/agent/internal/buffer"
	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/agent/internal/detect"
	"github.com/telltale-iot/telltale/agent/internal/sample"
	"github.com/telltale-iot/telltale/internal/settings"
)

var today = time.Date(2026, time.November, 26, 12, 0, 0, 0, time.UTC)

// machine is one on which all is well.
func machine() *Machine {
	return &Machine{
		Now:          func() time.Time { return today },
		User:         func() string { return "telltale" },
		Synchronised: func() (bool, error) { return true, nil },
		Writable:     func(string) error { return nil },
		FileSystem:   func(string) (FileSystem, error) { return FileSystem{"ext4", 20 << 30}, nil },
	}
}

// want compares a finding with a level and patterns.
func want(t *testing.T, f Finding, level Level, seen, hint string) {
	t.Helper()
	if f.Level != level {
		t.Errorf("level %s, want %s: %+v", f.Level, level, f)
	}
	if !regexp.MustCompile(seen).MatchString(f.Seen) {
		t.Errorf("seen %q, want a match of %q", f.Seen, seen)
	}
	if !regexp.MustCompile(hint).MatchString(f.Hint) {
		t.Errorf("hint %q, want a match of %q", f.Hint, hint)
	}
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDisk(t *testing.T) {
	on := func(kind string, free int64) func(*Machine) {
		return func(m *Machine) {
			m.FileSystem = func(string) (FileSystem, error) { return FileSystem{kind, free}, nil }
		}
	}
	refuse := func(base string, err error) func(*Machine) {
		return func(m *Machine) {
			m.Writable = func(path string) error {
				if filepath.Base(path) == base {
					return &fs.PathError{Op: "write", Path: path, Err: err}
				}
				return nil
			}
		}
	}
	const room = 20 << 30
	for _, tt := range []struct {
		name  string
		dir   string // in the folder there is: "" itself, with a buffer of 1 MiB
		spoil func(*Machine)
		level Level
		seen  string
		hint  string
	}{
		{"there", "", on("ext4", room), OK, `on ext4: 20GiB free, the buffer has 1MiB and takes up to 8MiB$`, `^$`},
		{"to be made", "a/b/c", on("f2fs", room), OK, `a/b/c on f2fs: 20GiB free, the buffer has 0B`, `^$`},
		{"an unknown file system", "", on("", room), OK, `on a file system: `, `^$`},
		{"no room for all", "", on("ext4", 3<<20), Warn, `3MiB free`, `lower buffer\.max_size`},
		{"room for what is left", "", on("ext4", 7<<20), OK, `7MiB free`, `^$`},
		{"no room for a file", "", on("ext4", 100<<10), Fail, `100KiB free`, `make room`},
		{"in memory", "", on("tmpfs", room), Fail, `on tmpfs`, `power cut`},
		{"in memory, full", "", on("ramfs", 0), Fail, `on ramfs`, `power cut`},
		{"overlay", "", on("overlay", room), Warn, `on overlay`, `raspi-config`},
		{"network", "", on("nfs", room), Warn, `on nfs`, `stalls`},
		{"file system cannot be asked", "", func(m *Machine) {
			m.FileSystem = func(string) (FileSystem, error) { return FileSystem{}, errors.New("no statfs") }
		}, Warn, `no statfs`, `^$`},
		{"another's folder", "mine", refuse("mine", syscall.EACCES), Fail, `permission denied`, `chown -R telltale .*/mine$`},
		{"another's file", "", refuse("0.seg", syscall.EACCES), Fail, `0\.seg: permission denied`, `chown -R telltale`},
		{"a file that has just gone", "", refuse("0.seg", syscall.ENOENT), OK, `on ext4`, `^$`},
		{"above it another's folder", "mine/new", refuse("mine", syscall.EACCES), Fail, `permission denied`, `install -d -o telltale .*/mine/new$`},
		{"read-only", "mine", refuse("mine", syscall.EROFS), Fail, `read-only file system`, `remount`},
		{"a file", "file", on("ext4", room), Fail, `not a directory`, `name a folder`},
		{"below a file", "file/folder", on("ext4", room), Fail, `not a directory`, `name a folder`},
		{"newer", "newer", on("ext4", room), Fail, `made by a newer version`, `install that version`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "0.seg"), make([]byte, 1<<20))
			write(t, filepath.Join(dir, "file"), nil)
			for _, sub := range []string{"mine", "newer"} {
				if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			newer := []byte("telltale\xFF\x00\x00\x00\x00\x00\x00\x00")
			copy(newer[12:], castagnoli(newer[:12]))
			write(t, filepath.Join(dir, "newer", "identity"), newer)
			m := machine()
			tt.spoil(m)
			want(t, m.Disk(&config.Buffer{Dir: filepath.Join(dir, tt.dir), MaxSize: 8 * settings.MiB, SegmentSize: settings.MiB}), tt.level, tt.seen, tt.hint)
			if _, err := os.Stat(filepath.Join(dir, "a")); !errors.Is(err, fs.ErrNotExist) {
				t.Error("the check has made the folder")
			}
		})
	}
}

// TestDiskInUse has an agent run on the buffer.
func TestDiskInUse(t *testing.T) {
	dir := t.TempDir()
	b, err := buffer.Open(buffer.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	want(t, machine().Disk(&config.Buffer{Dir: dir, MaxSize: 256 * settings.MiB, SegmentSize: 4 * settings.MiB}), OK, `the buffer has 4MiB`, `^$`)
}

func TestClock(t *testing.T) {
	const believed, waits, sent = `; believed`, `not believed, .*wait in the buffer`, `not believed, .*marked unsynced`
	for _, tt := range []struct {
		trust, minimum, unsynced string
		year                     int
		synchronised             bool
		err                      error
		level                    Level
		seen                     string
	}{
		{"kernel", "", "wait", 2026, true, nil, OK, `^2026-11-26 12:00:00 UTC, synchronised` + believed},
		{"kernel", "", "wait", 2026, false, nil, Warn, `UTC, not synchronised; ` + waits},
		{"kernel", "", "send", 2026, false, nil, Warn, sent},
		{"kernel", "", "wait", 2024, true, nil, Fail, `certainly wrong, and believed`},
		{"kernel", "", "wait", 2024, false, nil, Warn, waits},
		{"kernel", "", "wait", 2026, false, errors.New("not permitted"), Warn, `does not say whether .*not permitted.*` + waits},
		{"minimum", "2026-11-26", "wait", 2026, false, nil, OK, believed},
		{"minimum", "2026-11-27", "wait", 2026, true, nil, Warn, waits},
		{"minimum", "2020-01-01", "wait", 2024, true, nil, Fail, `certainly wrong, and believed`},
		{"always", "", "wait", 2026, false, nil, OK, `not synchronised; believed`},
		{"always", "", "wait", 1970, false, nil, Fail, `^1970-11-26.* certainly wrong, and believed`},
	} {
		m := machine()
		m.Now = func() time.Time { return time.Date(tt.year, time.November, 26, 12, 0, 0, 0, time.UTC) }
		m.Synchronised = func() (bool, error) { return tt.synchronised, tt.err }
		hint := `timedatectl`
		if tt.level == OK {
			hint = `^$`
		}
		want(t, m.Clock(config.Clock{Trust: tt.trust, Minimum: tt.minimum, Unsynced: tt.unsynced}), tt.level, tt.seen, hint)
	}
}

func TestBusAndChip(t *testing.T) {
	m := machine()
	want(t, m.Bus("1", nil), OK, `^opens$`, `^$`)
	want(t, m.Bus("1", &fs.PathError{Op: "open", Path: "/dev/i2c-1", Err: syscall.ENOENT}), Fail, `/dev/i2c-1: no such file`, `raspi-config nonint do_i2c 0`)
	want(t, m.Bus("1", &fs.PathError{Op: "open", Path: "/dev/i2c-1", Err: syscall.EACCES}), Fail, `permission denied`, `--groups i2c telltale`)
	want(t, m.Bus("1", errors.New("odd")), Fail, `^odd$`, `^$`)
	for _, err := range []error{detect.ErrStuck, detect.ErrEverywhere} {
		if hint := BusHint(fmt.Errorf("bus: %w", err), "pi"); !strings.Contains(hint, "wiring") {
			t.Errorf("hint of %v: %q", err, hint)
		}
	}

	want(t, Chip("bme280@1:0x76", "21.37 °C", "", nil), OK, `^21\.37 °C$`, `^$`)
	want(t, Chip("bme280@1:0x76", "", sample.NACK, errors.New("no\nanswer")), Fail, `^nack: no; answer$`, `wiring.*detect`)
}

// TestEveryReasonHasAHint reads the reasons from the document that lists them.
func TestEveryReasonHasAHint(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, faults, _ := strings.Cut(string(readme), "\n## Faults\n")
	faults, _, _ = strings.Cut(faults, "\n## ")
	reasons := regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(faults, -1)
	if len(reasons) < 11 {
		t.Fatalf("%d reasons in README.md", len(reasons))
	}
	for _, reason := range reasons {
		if ChipHint(reason[1]) == "" {
			t.Errorf("no hint for the fault %s", reason[1])
		}
	}
	connect := regexp.MustCompile("`telltale_agent_mqtt_connect_errors_total` \\| reason \\| .*").Find(readme)
	reasons = regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(string(connect), -1)
	if len(reasons) < 8 {
		t.Fatalf("%d reasons of connect errors in README.md", len(reasons))
	}
	for _, reason := range reasons[1:] {
		f := Broker("tcp://broker:1883", "dev", "topic", reason[1], errors.New("no"))
		want(t, f, Fail, `^tcp://broker:1883: `+reason[1]+`: no$`, `\w`)
	}
	want(t, Broker("tcp://broker:1883", "dev", "topic", "", nil), OK, `user dev and the subscription to topic$`, `^$`)
	want(t, Broker("tcp://broker:1883", "dev", "", "", nil), OK, `user dev$`, `^$`)
}

func TestReport(t *testing.T) {
	r := Report{{OK, "bus 1", "opens", ""}, {Fail, "chip bme280@1:0x76", "nack", "look <here>"}, {Warn, "clock", "late", "set it"}}
	if r.Failed() != 1 {
		t.Errorf("%d failed, want 1", r.Failed())
	}
	var text, json bytes.Buffer
	if err := errors.Join(r.WriteText(&text), r.WriteJSON(&json)); err != nil {
		t.Fatal(err)
	}
	const wantText = `ok    bus 1               opens
fail  chip bme280@1:0x76  nack -> look <here>
warn  clock               late -> set it
`
	if text.String() != wantText {
		t.Errorf("text:\n%s", &text)
	}
	if !strings.Contains(json.String(), `"hint": "look <here>"`) || strings.Count(json.String(), `"hint"`) != 2 {
		t.Errorf("json:\n%s", &json)
	}
}
