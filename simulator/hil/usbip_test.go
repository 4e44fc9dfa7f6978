//go:build hil

package hil_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/capture"
	"github.com/telltale-iot/telltale/simulator/hil"
	"github.com/telltale-iot/telltale/simulator/hil/hiltest"
)

// scenarioOnUSB is what telltale-simulator bus offers. One chip is behind a
// multiplexer, where detect does not look.
const scenarioOnUSB = `
name: on-usb
duration: 1h
environments:
  - name: room
    temperature: {value: 23.4 °C}
    humidity: {value: 56 %}
    pressure: {value: 987.6 hPa}
    luminosity: {value: 1234 lx}
multiplexers:
  - {address: 0x70}
chips:
  - {kind: bme280, address: 0x76}
  - {kind: bh1750, address: 0x23}
  - {name: near, kind: sht4x, address: 0x44}
  - {name: far, kind: sht4x, address: 0x46, multiplexer: 0x70, channel: 3}
sensors:
  - {id: pi-1, chips: [{driver: bme280, address: 0x76}]}
`

// TestUSBIP has a machine's own kernel attach the chips of telltale-simulator bus
// over USB/IP, as a laptop's does, and the agent's release binary find and read
// them there.
func TestUSBIP(t *testing.T) {
	ctx := deadline(t)
	addr := startBus(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	attach := filepath.Join(t.TempDir(), "attach")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", attach, "./cmd/attach")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=arm64", "GOOS=linux")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	modules := []string{"vhci_hcd", "i2c_tiny_usb", "i2c_dev"}
	vm := hiltest.Start(t, hil.Options{
		Machine: hil.ARM64, Modules: modules,
		Files: map[string]string{"/attach": attach, program: "../../bin/telltale-agent-linux-arm64"},
	})
	for _, module := range modules {
		if err := vm.LoadModule(ctx, module); err != nil {
			t.Fatal(err)
		}
	}
	runIn(ctx, t, vm, "/attach", net.JoinHostPort(hil.HostAddr, port), "1-1")
	device, name, err := vm.Adapter(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the adapter is %s, %s", device, name)
	if !strings.Contains(name, "i2c-tiny-usb") {
		t.Errorf("adapter %q: want an i2c-tiny-usb", name)
	}

	found := runIn(ctx, t, vm, program, "detect", "--device", "pi-1", "--mqtt-url", "tcp://127.0.0.1:1883")
	for _, want := range []string{"driver: bme280", "driver: bh1750", "driver: sht4x"} {
		if !strings.Contains(found, want) {
			t.Errorf("detect writes\n%s\nwithout %q", found, want)
		}
	}
	found += fmt.Sprintf("  - {id: pi-1.far, chips: [{driver: sht4x, bus: %q, multiplexer: 0x70, channel: 3, address: 0x46}]}\n", name)
	if err := vm.WriteFile(ctx, config, []byte(found), 0o600); err != nil {
		t.Fatal(err)
	}
	var readings []struct {
		Chip    string
		Payload map[string]float64
		Fault   string
	}
	if err := json.Unmarshal([]byte(runIn(ctx, t, vm, program, "read", "--config", config, "--format", "json")), &readings); err != nil {
		t.Fatal(err)
	}
	want := map[string]struct{ value, within float64 }{
		"temperature": {23.4, 0.02}, "humidity": {56, 0.03}, "pressure": {987.6, 0.03}, "luminosity": {1234, 0.5},
	}
	for _, r := range readings {
		if r.Fault != "" || len(r.Payload) == 0 {
			t.Errorf("%s: fault %q, values %v", r.Chip, r.Fault, r.Payload)
		}
		for measure, v := range r.Payload {
			if w := want[measure]; max(v-w.value, w.value-v) > w.within {
				t.Errorf("%s: %s %g, want %g", r.Chip, measure, v, w.value)
			}
		}
	}
	if len(readings) != 4 {
		t.Errorf("read %v: want four chips", readings)
	}
}

// startBus starts telltale-simulator bus and returns its address.
func startBus(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "on-usb.yaml")
	if err := os.WriteFile(file, []byte(scenarioOnUSB), 0o600); err != nil {
		t.Fatal(err)
	}
	out := &capture.Output{}
	bus := exec.CommandContext(t.Context(), "../../bin/telltale-simulator", "bus", "--config", file, "--listen", "127.0.0.1:0")
	bus.Stdout, bus.Stderr = out, out
	bus.Cancel = func() error { return bus.Process.Signal(os.Interrupt) }
	if err := bus.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = bus.Wait() // it says that it was interrupted
	}()
	t.Cleanup(func() {
		<-ended // t's context has ended
		if t.Failed() {
			t.Logf("telltale-simulator bus said:\n%s", out)
		}
	})
	var addr []string
	await.True(t, loopLimit, "telltale-simulator bus to listen", func() bool {
		addr = regexp.MustCompile(`USB/IP on (\S+:\d+)\.`).FindStringSubmatch(out.String())
		return addr != nil
	})
	return addr[1]
}

// runIn runs a program in the guest and returns what it writes.
func runIn(ctx context.Context, t *testing.T, vm *hil.VM, args ...string) string {
	t.Helper()
	var out, errOut capture.Output
	exit, err := vm.Run(ctx, hil.Command{Args: args, Stdout: &out, Stderr: &errOut})
	if err != nil || exit.Code != 0 {
		t.Fatalf("%v: %+v, %v\n%s%s", args, exit, err, &out, &errOut)
	}
	t.Logf("%v\n%s%s", args, &out, &errOut)
	return out.String()
}
