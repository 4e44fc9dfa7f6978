package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/spf13/cobra"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/agent"
	"github.com/telltale-iot/telltale/internal/command"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares what a command wrote with a file. What README.md shows of it must
// be the same.
func golden(t *testing.T, name, got string, inReadme bool) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		must(t, os.WriteFile(file, []byte(got), 0o600))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -want +got:\n%s", file, diff)
	}
	if !inReadme {
		return
	}
	readme, err := os.ReadFile("../../README.md")
	must(t, err)
	if !strings.Contains(string(readme), "```\n"+got+"```\n") && !strings.Contains(string(readme), "```yaml\n"+got+"```\n") {
		t.Errorf("agent/README.md does not show %s as it is", file)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// unknown is a chip that acknowledges and says nothing.
type unknown struct{}

func (unknown) Write(p []byte) int { return len(p) }
func (unknown) Read([]byte) bool   { return true }

// device is an open bus with the errors of the kernel's i2c-dev.
type device struct{ *i2csim.Bus }

func (d device) Tx(address uint16, w, r []byte) error {
	err := d.Bus.Tx(address, w, r)
	if errors.Is(err, syscall.ENXIO) {
		return os.NewSyscallError("ioctl", syscall.ENXIO)
	}
	return err
}

// pi is a host with emulated chips on its buses.
type pi struct {
	bus *i2csim.Bus // "1"
	host
}

// newPi has the chips at these addresses, and all well besides.
func newPi(t *testing.T, addresses ...uint16) *pi {
	t.Helper()
	air := i2csim.Constant{
		Temperature: physic.ZeroCelsius + 21370*physic.MilliCelsius,
		Humidity:    44 * physic.PercentRH,
		Pressure:    101325 * physic.Pascal,
		Illuminance: 312 * i2csim.Lux,
	}
	p := &pi{bus: i2csim.NewBus(i2csim.BusOptions{Name: "bus 1"})}
	for _, address := range addresses {
		var chip i2csim.Device = unknown{}
		var err error
		switch address {
		case 0x23, 0x5C:
			chip, err = i2csim.NewBH1750(i2csim.ChipOptions{Source: air})
		case 0x76, 0x77:
			chip, err = i2csim.NewBME280(i2csim.BME280Options{Source: air, Seed: uint64(address)})
		}
		must(t, err)
		must(t, p.bus.Attach(address, chip))
	}
	empty := i2csim.NewBus(i2csim.BusOptions{})
	p.openBus = func(name string) (i2c.BusCloser, error) {
		switch name {
		case "1":
			return device{p.bus.Open()}, nil
		case "20":
			return device{empty.Open()}, nil
		}
		return nil, &fs.PathError{Op: "open", Path: "/dev/i2c-" + name, Err: fs.ErrNotExist}
	}
	p.adapters = func() ([]agent.Adapter, error) {
		return []agent.Adapter{
			{Name: "1", Label: "bcm2835 (i2c@7e804000)", Taken: map[uint16]string{0x68: "ds3231"}},
			{Name: "20", Label: "fef04500.i2c"},
		}, nil
	}
	p.machine = &agent.Machine{
		Now:          func() time.Time { return time.Date(2026, time.November, 26, 12, 0, 0, 0, time.UTC) },
		User:         func() string { return "telltale" },
		Synchronised: func() (bool, error) { return true, nil },
		Writable:     func(string) error { return nil },
		FileSystem:   func(string) (agent.FileSystem, error) { return agent.FileSystem{Type: "ext4", Free: 20 << 30}, nil },
	}
	return p
}

// execute runs a command line of telltale-agent on the Pi.
func (p *pi) execute(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c := &cobra.Command{Use: "telltale-agent"}
	c.AddCommand(detectCommand(p.host), readCommand(p.host), checkCommand(p.host))
	c.SetArgs(args)
	var out, err bytes.Buffer
	c.SetOut(&out)
	code = command.Execute(t.Context(), c, &err)
	return code, out.String(), err.String()
}

// file writes a configuration and returns its name.
func file(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "agent.yaml")
	must(t, os.WriteFile(name, []byte(content), 0o600))
	return name
}

// startBroker starts a broker that takes all, and returns its URL.
func startBroker(t *testing.T) string {
	t.Helper()
	server := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	listener := listeners.NewTCP(listeners.Config{ID: "test", Address: "127.0.0.1:0"})
	must(t, server.AddHook(new(auth.AllowHook), nil))
	must(t, server.AddListener(listener))
	must(t, server.Serve())
	t.Cleanup(func() { _ = server.Close() })
	return "tcp://" + listener.Address()
}

// TestTools follows the steps of README.md on an emulated Raspberry Pi.
func TestTools(t *testing.T) {
	p := newPi(t, 0x23, 0x48, 0x76, 0x77)
	code, found, stderr := p.execute(t, "detect", "--device", "pi-1")
	if code != 0 {
		t.Errorf("detect: exit code %d", code)
	}
	golden(t, "detect.yaml", found, true)
	golden(t, "detect.txt", stderr, true)

	// It works once the broker is said.
	name := file(t, found)
	code, stdout, stderr := p.execute(t, "check", "-c", name, "--config-only")
	if want := name + `:8:8: mqtt.url: "": want the broker as tcp://HOST:PORT or tls://HOST:PORT` + "\n"; code != 2 || stdout != "" || stderr != want {
		t.Errorf("check before it is edited: exit code %d, %s%s, want 2, %s", code, stdout, stderr, want)
	}
	url := startBroker(t)
	name = file(t, strings.Replace(found, `url: ""`, `url: "`+url+`"`, 1))
	dir := filepath.Join(t.TempDir(), "buffer")
	shown := strings.NewReplacer(url, "tcp://broker.example:1883", dir, "/var/lib/telltale-agent/buffer")
	code, stdout, stderr = p.execute(t, "check", "-c", name, "--buffer-dir", dir)
	if code != 0 || stderr != "" {
		t.Errorf("check: exit code %d, %s", code, stderr)
	}
	golden(t, "check.txt", shown.Replace(stdout), false)

	// A chip falls off.
	p.bus.Detach(0x77)
	code, stdout, stderr = p.execute(t, "read", "-c", name)
	if want := "telltale-agent: 1 of 3 chips failed\n"; code != 1 || stderr != want {
		t.Errorf("read: exit code %d, %s want 1, %s", code, stderr, want)
	}
	golden(t, "read.txt", stdout, true)
	code, stdout, _ = p.execute(t, "read", "-c", name, "--format", "json")
	if code != 1 {
		t.Errorf("read --format json: exit code %d", code)
	}
	golden(t, "read.json", stdout, false)

	// And the clock is not set.
	p.machine.Synchronised = func() (bool, error) { return false, nil }
	code, stdout, stderr = p.execute(t, "check", "-c", name, "--buffer-dir", dir)
	if want := "telltale-agent: 1 of 9 checks failed\n"; code != 1 || stderr != want {
		t.Errorf("check: exit code %d, %s want 1, %s", code, stderr, want)
	}
	golden(t, "check-fails.txt", shown.Replace(stdout), true)
	code, stdout, _ = p.execute(t, "check", "-c", name, "--offline", "--buffer-dir", dir, "--format", "json")
	var findings []struct{ Level, Check, Seen, Hint string }
	if err := json.Unmarshal([]byte(stdout), &findings); err != nil || code != 1 || len(findings) != 8 || findings[4].Level != "fail" {
		t.Errorf("check --format json: exit code %d, %v, %+v", code, err, findings)
	}
}

// TestCalibration reads a chip with the calibration that README.md explains.
func TestCalibration(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	must(t, err)
	example := regexp.MustCompile("(?s)\n## Calibration\n.*?```yaml\n(.*?)```").FindSubmatch(readme)
	if example == nil {
		t.Fatal("README.md has no example of a calibration")
	}
	p := newPi(t, 0x76)
	code, stdout, stderr := p.execute(t, "read", "--config", file(t, string(example[1])))
	if code != 0 || stderr != "" {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	golden(t, "read-calibrated.txt", stdout, true)
	code, stdout, _ = p.execute(t, "read", "--config", file(t, string(example[1])), "--format", "json")
	if code != 0 {
		t.Errorf("--format json: exit code %d", code)
	}
	golden(t, "read-calibrated.json", stdout, false)
}

// TestToolsFail says for each command how it ends when it does not go well.
func TestToolsFail(t *testing.T) {
	config := `device: dev
mqtt: {url: "tcp://127.0.0.1:1"}
buffer: {dir: "` + filepath.Join(t.TempDir(), "buffer") + `"}
sensors:
  - {id: dev, chips: [{driver: bme280, address: 0x76}]}
`
	for _, tt := range []struct {
		name   string
		chips  []uint16
		spoil  func(*pi)
		args   string
		code   int
		stdout string // contained
		stderr string
	}{
		{"nothing on the bus", nil, nil, "detect", 1, "", "  nothing answers\ntelltale-agent: no chip found that an agent can read\n"},
		{"nothing known on the bus", []uint16{0x48}, nil, "detect --bus 1", 1, "", "  0x48  unknown  no chip that"},
		{"no such bus", nil, nil, "detect --bus 7", 1, "", "/dev/i2c-7: file does not exist\n  -> switch I2C on: sudo raspi-config nonint do_i2c 0"},
		{"no bus at all", nil, func(p *pi) { p.adapters = func() ([]agent.Adapter, error) { return nil, nil } }, "detect", 1, "", "no I2C bus -> switch I2C on"},
		{"the bus hangs", []uint16{0x76}, func(p *pi) { p.bus.SetFaults(i2csim.Always(i2csim.Fault{Kind: i2csim.Stuck})) }, "detect", 1, "", "bus does not work"},
		{"a bad device", []uint16{0x76}, nil, "detect --device a.b", 2, "", "--device: device: a.b: want a device's name"},
		{"a bad broker", []uint16{0x76}, nil, "detect --mqtt-url broker", 2, "", "--mqtt-url: mqtt.url: want the broker as"},
		{"the host's name", []uint16{0x76}, nil, "detect", 0, "driver: bme280", "0x76  bme280  by its id\n"},
		{"all is well", []uint16{0x76}, nil, "read", 0, "21.3", ""},
		{"a chip that is not", nil, nil, "read", 1, "nack: BME280 at 0x76: ", "1 of 1 chips failed"},
		{"a bad format", nil, nil, "read --format xml", 2, "", "--format: format: xml: want text or json"},
		{"a bad configuration", nil, nil, "read --device a.b", 2, "", "--device: device: a.b: want"},
		{"no broker", []uint16{0x76}, nil, "check", 1, "fail  broker              tcp://127.0.0.1:1: network: ", "1 of 7 checks failed"},
		{"no broker is wanted", []uint16{0x76}, nil, "check --offline", 0, "ok  tls ", ""},
		{"nothing is wanted", nil, nil, "check --config-only", 0, "ok  configuration  device dev, 1 sensor, 1 chip\n", ""},
		{"no bus", nil, nil, `check --offline --sensors [{"id":"dev","chips":[{"driver":"bme280","address":118,"bus":"9"}]}]`, 1, "fail  bus 9 ", "1 of 5 checks failed"},
		{"a configuration that is wrong", nil, nil, "check --offline --buffer-drop some", 2, "", "--buffer-drop: buffer.drop: some: want oldest or newest"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPi(t, tt.chips...)
			if tt.spoil != nil {
				tt.spoil(p)
			}
			args := strings.Fields(tt.args)
			if args[0] != "detect" {
				args = append(args, "--config", file(t, config))
			}
			code, stdout, stderr := p.execute(t, args...)
			if code != tt.code || !strings.Contains(stdout, tt.stdout) || (stdout == "") != (tt.stdout == "") ||
				!strings.Contains(stderr, tt.stderr) || (stderr == "") != (tt.stderr == "") {
				t.Errorf("exit code %d, want %d\n-- stdout, want %q\n%s-- stderr, want %q\n%s", code, tt.code, tt.stdout, stdout, tt.stderr, stderr)
			}
		})
	}
}

func TestHostDevice(t *testing.T) {
	for host, want := range map[string]string{
		"raspberrypi": "raspberrypi", "pi-1.example.org": "pi-1", "Küche 2": "K-che-2", "": "pi", ".": "pi",
		strings.Repeat("x", 70): strings.Repeat("x", 64),
	} {
		if got := hostDevice(func() (string, error) { return host, nil }); got != want {
			t.Errorf("%q becomes %q, want %q", host, got, want)
		}
	}
}

// TestDocumented gives each command of README.md, with --help behind it, to the
// program: its verb and its flags must be known.
func TestDocumented(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	must(t, err)
	commands := regexp.MustCompile("(?m)(?:`|^    )(?:sudo -u telltale )?telltale-agent ([a-z][^`\n]*)").FindAllStringSubmatch(string(readme), -1)
	if len(commands) < 8 {
		t.Errorf("%d commands, want at least 8", len(commands))
	}
	for _, line := range commands {
		c := root()
		c.SetArgs(append(strings.Fields(line[1]), "--help"))
		var stdout, stderr bytes.Buffer
		c.SetOut(&stdout)
		verb, _, err := c.Find(strings.Fields(line[1]))
		must(t, err)
		if code := command.Execute(t.Context(), c, &stderr); code != 0 || !strings.Contains(stdout.String(), verb.CommandPath()+" [flags]") {
			t.Errorf("telltale-agent %s: exit code %d\n%s%s", line[1], code, &stdout, &stderr)
		}
	}
}
