//go:build quadlet

// Package quadlet has the test of the units beside it.
package quadlet

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/i2csim"
	"github.com/telltale-iot/telltale/simulator/pipeline"
	"github.com/telltale-iot/telltale/simulator/pipeline/pipelinetest"
	"github.com/telltale-iot/telltale/simulator/verify"
)

const (
	// limit is for what takes seconds on a Raspberry Pi.
	limit = 6 * time.Minute
)

// startLimit is TimeoutStartSec= in the test: longer than the minute after which a
// version that is not on trial has started, so that a rollback is the trial's, and
// than podman takes to start a container where the processor is emulated.
func (m *machine) startLimit() time.Duration {
	if m.slow {
		return 2 * time.Minute
	}
	return 80 * time.Second
}

// pi is the machine in the place of a Raspberry Pi, with all that is around it.
type pi struct {
	*machine
	registry *registry
	pipeline *pipeline.Pipeline
	began    time.Time
}

// TestUpdateAndRollback is a device's life with its updates, as README.md tells it.
func TestUpdateAndRollback(t *testing.T) {
	p := newPi(t)
	p.registry.push("v1")
	p.install()
	p.stored("v1 delivers", 5)
	p.systemdIsTold()
	p.nameServersChange()

	p.update("v2 is good", "v2", true, "v2")

	p.update("v3 ends at once", "v3", false, "v2", `ENTRYPOINT ["/usr/bin/telltale-agent", "nothing"]`)
	p.update("v4 reads and cannot deliver", "v4", false, "v2", `ENV TELLTALE_MQTT_URL=tcp://127.0.0.1:9`)
	p.update("v5 delivers and cannot read", "v5", false, "v2",
		`ENV TELLTALE_SENSORS="[{id: pi-1, interval: 2s, chips: [{driver: bme280, address: 0x77}]}]"`)

	p.restartsOffline()
	p.bootsOffline()

	p.update("v6 is good", "v6", true, "v6")
	p.nothingIsMissing()
}

func newPi(t *testing.T) *pi {
	air := i2csim.Constant{
		Temperature: physic.ZeroCelsius + 21370*physic.MilliCelsius,
		Humidity:    44 * physic.PercentRH,
		Pressure:    101325 * physic.Pascal,
	}
	bus := i2csim.NewBus(i2csim.BusOptions{})
	bme280, err := i2csim.NewBME280(i2csim.BME280Options{Source: air, Seed: 1})
	must(t, err)
	bh1750, err := i2csim.NewBH1750(i2csim.ChipOptions{Source: air})
	must(t, err)
	must(t, bus.Attach(0x76, bme280))
	must(t, bus.Attach(0x23, bh1750))
	return &pi{began: time.Now(), registry: startRegistry(t), pipeline: pipelinetest.Start(t), machine: startMachine(t, bus)}
}

// progress says what was seen, and when.
func (p *pi) progress(format string, args ...any) {
	p.Helper()
	p.Logf("%5.0fs  %s", time.Since(p.began).Seconds(), fmt.Sprintf(format, args...))
}

// documented runs a command that README.md has, as root. What there is an example is
// replaced by what is here.
func (p *pi) documented(command string) string {
	p.Helper()
	p.inReadme(command)
	return p.run("%s", strings.NewReplacer("sudo ", "", "registry.example", fromGuest(p.T, p.registry.addr)).Replace(command))
}

// install does what README.md tells to do on a Raspberry Pi.
func (p *pi) install() {
	p.Helper()
	for _, name := range []string{
		"telltale-agent.container", "telltale-agent.volume", "telltale-agent-resolv.path", "telltale-agent-resolv.service",
		"podman-auto-update.timer.d/telltale.conf",
	} {
		content, err := os.ReadFile(name)
		must(p.T, err)
		p.write("/root/quadlet/"+name, string(content))
	}
	_, port, err := net.SplitHostPort(p.registry.addr)
	must(p.T, err)
	p.write("/etc/containers/registries.conf.d/test.conf", "[[registry]]\nlocation = \"10.0.2.2:"+port+"\"\ninsecure = true\n")
	p.write("/etc/systemd/system/telltale-agent.service.d/test.conf", fmt.Sprintf("[Service]\nTimeoutStartSec=%.0f\n", p.startLimit().Seconds()))
	p.configure("2s")
	await.True(p, limit, "the I2C bus is there", func() bool {
		name, err := p.try(p.Context(), "cat /sys/bus/i2c/devices/i2c-1/name")
		return err == nil && strings.HasPrefix(name, "i2c-tiny-usb")
	})

	const cd = "cd quadlet; "
	for _, command := range []string{
		"sudo install -D -m 644 -t /etc/containers/systemd telltale-agent.container telltale-agent.volume",
		"sudo install -m 644 -t /etc/systemd/system telltale-agent-resolv.path telltale-agent-resolv.service",
		"sudo install -D -m 644 -t /etc/systemd/system/podman-auto-update.timer.d podman-auto-update.timer.d/telltale.conf",
	} {
		p.run("%s%s", cd, strings.ReplaceAll(command, "sudo ", ""))
		p.inReadme(command)
	}
	p.documented("sudo mkdir -p /etc/containers/systemd/telltale-agent.container.d")
	p.documented(`printf '[Container]\nImage=%s\nGroupAdd=%s\n' registry.example/telltale-agent:stable "$(getent group i2c | cut -d: -f3)" | sudo tee /etc/containers/systemd/telltale-agent.container.d/local.conf`)
	p.synchronise()
	p.documented("sudo systemctl daemon-reload")
	p.progress("the machine is ready")
	p.documented("sudo systemctl start telltale-agent")
	p.documented("sudo systemctl enable --now telltale-agent-resolv.path podman-auto-update.timer")
	p.progress("v1 runs: %s", p.status())
	if version := p.version(); version != "v1" {
		p.Fatalf("version %s runs, want v1", version)
	}
}

// inReadme holds that README.md has a command.
func (p *pi) inReadme(command string) {
	p.Helper()
	readme, err := os.ReadFile("README.md")
	must(p.T, err)
	if !strings.Contains(string(readme), "\n"+command+"\n") {
		p.Errorf("README.md lacks %q", command)
	}
}

// configure writes the agent's configuration.
func (p *pi) configure(interval string) {
	p.Helper()
	p.write("/etc/telltale/agent.yaml", fmt.Sprintf(`device: pi-1
mqtt: {url: "tcp://%s", connect_timeout: 3s}
buffer: {commit_interval: 1s}
uplink: {backoff_max: 5s}
sensors:
  - {id: pi-1, place_id: desk, interval: %s, chips: [{driver: bme280, address: 0x76}, {driver: bh1750, address: 0x23}]}
`, fromGuest(p.T, p.pipeline.MQTTAddr()), interval))
}

// synchronise has the machine's kernel believe its clock, which is the host's, as a
// time daemon would.
func (p *pi) synchronise() {
	p.Helper()
	p.run("adjtimex --status 0 --maxerror 0 --esterror 0")
}

// status is the unit's state, and the line that the agent writes for it.
func (p *pi) status() string {
	p.Helper()
	return p.run(`echo "$(systemctl is-active telltale-agent): $(systemctl show --value -p StatusText telltale-agent)"`)
}

// runs reports whether the unit has started.
func (p *pi) runs() bool {
	p.Helper()
	return strings.HasPrefix(p.status(), "active: ")
}

// version is of the agent that runs.
func (p *pi) version() string {
	p.Helper()
	out := p.run("podman exec telltale-agent /usr/bin/telltale-agent --version")
	return out[strings.LastIndexByte(out, ' ')+1:]
}

// image is the id of the image of the container that runs.
func (p *pi) image() string {
	p.Helper()
	return p.run("podman inspect --format '{{.Image}}' telltale-agent")
}

// readings are the stored ones.
func (p *pi) readings() []telemetry.Frame {
	p.Helper()
	stored, err := verify.Read(p.Context(), verify.Sources{
		Brokers: []string{p.pipeline.KafkaAddr()}, MongoURI: p.pipeline.MongoURI(), Database: pipeline.Database,
	})
	must(p.T, err)
	if len(stored.Losses) > 0 {
		p.Errorf("declared lost: %v", stored.Losses)
	}
	return stored.Frames
}

// stored waits for so many more readings with a value. Not with all, as an emulated
// processor on a busy host is too slow for a chip at times.
func (p *pi) stored(what string, more int) {
	p.Helper()
	good := func() (n int) {
		for _, f := range p.readings() {
			if !f.Payload.Empty() {
				n++
			}
		}
		return n
	}
	before := good()
	await.True(p, limit, what, func() bool { return good() >= before+more })
	p.progress("%s: %d readings are stored", what, good())
}

// systemdIsTold looks at what the agent says through podman: that it lives, and how it is.
func (p *pi) systemdIsTold() {
	p.Helper()
	signs := func() string { return p.run("systemctl show --value -p WatchdogTimestampMonotonic telltale-agent") }
	first := signs()
	if first == "0" || !strings.Contains(p.status(), ": 1 sensor, ") {
		p.Errorf("watchdog %s, status %q", first, p.status())
	}
	await.True(p, limit, "another sign of life", func() bool { return signs() != first })
	if clock := p.run("podman exec telltale-agent /usr/bin/telltale-agent check --offline --config /etc/telltale/agent.yaml | grep clock || true"); !strings.HasPrefix(clock, "ok ") {
		p.Errorf("check says of the clock %q", clock)
	}
	if user := p.run("cat /proc/$(pidof telltale-agent)/status | grep -E '^(Uid|CapBnd|CapEff|NoNewPrivs|Seccomp):' | tr '\\t' ' ' | paste -sd,"); user !=
		"Uid: 65532 65532 65532 65532,CapEff: 0000000000000000,CapBnd: 0000000000000000,NoNewPrivs: 1,Seccomp: 2" {
		p.Errorf("it runs as %s", user)
	}
}

// nameServersChange has the network come with another name server.
func (p *pi) nameServersChange() {
	p.Helper()
	p.run("rm /etc/resolv.conf; echo nameserver 192.0.2.53 >/etc/resolv.conf")
	await.True(p, limit, "the container has the new name server", func() bool {
		out, err := p.try(p.Context(), "cat /proc/$(pidof telltale-agent)/root/etc/resolv.conf")
		return err == nil && out == "nameserver 192.0.2.53"
	})
	p.progress("the container knows the name server that came later")
}

// update gives the tag to another image and updates the device. It must then run
// the version that is wanted: that one, or the one before.
func (p *pi) update(what, version string, good bool, want string, wrong ...string) {
	p.Helper()
	before, began := p.image(), time.Now()
	p.registry.push(version, wrong...)
	if pending := p.documented("sudo podman auto-update --dry-run --format '{{.Unit}} {{.Updated}}'"); pending != "telltale-agent.service pending" {
		p.Errorf("%s: a dry run says %q", what, pending)
	}
	ctx, cancel := context.WithTimeout(p.Context(), p.startLimit()+2*bootLimit)
	defer cancel()
	// A rollback is no success: podman's exit code says so, and the journal why.
	p.inReadme("sudo podman auto-update --format '{{.Unit}} {{.Updated}}'")
	out, _ := p.try(ctx, "podman auto-update --format '{{.Unit}} {{.Updated}}'")
	outcome := map[bool]string{true: "true", false: "rolled back"}[good]
	if !strings.Contains(out, "telltale-agent.service "+outcome) {
		p.Fatalf("%s: podman says %q, want %q; %s\n%s", what, out, outcome, p.status(), p.run("journalctl -o cat -n 50 -u telltale-agent"))
	}
	await.True(p, limit, what+": the unit runs", p.runs)
	if got := p.version(); got != want {
		p.Errorf("%s: version %s runs, want %s", what, got, want)
	}
	if changed := p.image() != before; changed != good {
		p.Errorf("%s: another image runs: %v, want %v", what, changed, good)
	}
	p.progress("%s: %s after %.0fs, %s runs: %s", what, outcome, time.Since(began).Seconds(), want, p.status())
	p.stored(what+": it delivers", 3)
}

// offline cuts the network of the machine but for the test's own way in, also at the
// next boot.
func (p *pi) offline() {
	p.Helper()
	p.write("/etc/nftables.conf", "table inet test { chain output { type filter hook output priority 0; ip daddr 10.0.2.2 tcp sport 22 accept; ip daddr 10.0.2.0/24 reject; }; }\n")
	p.run("nft -f /etc/nftables.conf")
}

func (p *pi) online() {
	p.Helper()
	p.run("echo >/etc/nftables.conf; nft delete table inet test")
}

// restartsOffline has a version that is proven start without a network.
func (p *pi) restartsOffline() {
	p.Helper()
	p.offline()
	began := time.Now()
	p.run("systemctl restart telltale-agent")
	// That it starts within TimeoutStartSec= is what systemctl has waited for.
	if status := p.status(); !strings.HasPrefix(status, "active: ") || !strings.Contains(status, "broker not connected") {
		p.Errorf("offline it says %s", status)
	}
	p.progress("v2 restarts offline within %.0fs: %s", time.Since(began).Seconds(), p.status())
}

// bootsOffline starts the machine anew without a network, a clock and access to the
// bus, and has all come later.
func (p *pi) bootsOffline() {
	p.Helper()
	// As if udev had much to do: the bus belongs to root alone for so long.
	p.write("/etc/udev/rules.d/10-late.rules", `SUBSYSTEM=="i2c-dev", PROGRAM="/usr/bin/sleep 30"`+"\n")
	p.reboot()
	await.True(p, bootLimit, "the unit runs after a boot", p.runs)
	if version := p.version(); version != "v2" {
		p.Errorf("version %s runs, want v2", version)
	}
	await.True(p, limit, "readings wait for the time", func() bool { return p.contents().Waiting > 3 })
	p.progress("booted offline: %s, %d readings wait for the time", p.status(), p.contents().Waiting)
	p.online()
	p.synchronise()
	p.stored("the network and the time are back", 10)
}

// contents is what the agent says of its buffer.
type contents struct {
	Readings, Waiting uint64
	Lost              map[string]uint64
	Sensors           []struct{ Next uint64 }
}

func (p *pi) contents() (c contents) {
	p.Helper()
	out := p.run("podman exec telltale-agent /usr/bin/telltale-agent buffer stat --format json")
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		p.Fatalf("%v\n%s", err, out)
	}
	return c
}

// nothingIsMissing has sampling end, and holds what is stored against all that was
// sampled, by whichever version.
func (p *pi) nothingIsMissing() {
	p.Helper()
	p.configure("24h")
	p.documented("sudo systemctl reload telltale-agent")
	var c contents
	await.True(p, limit, "all is delivered", func() bool {
		c = p.contents()
		return c.Readings == 0
	})
	if len(c.Sensors) != 1 || len(c.Lost) > 0 {
		p.Fatalf("the buffer has %+v", c)
	}
	var numbers []uint64
	await.True(p, limit, "all is stored", func() bool {
		numbers = numbers[:0]
		for _, f := range p.readings() {
			numbers = append(numbers, f.Seq)
		}
		return uint64(len(numbers)) >= c.Sensors[0].Next
	})
	slices.Sort(numbers)
	for i, n := range numbers {
		if n != uint64(i) {
			p.Fatalf("reading %d is missing, or %d is there twice", i, n)
		}
	}
	p.progress("sampled %d, stored %d, missing 0", c.Sensors[0].Next, len(numbers))
}
