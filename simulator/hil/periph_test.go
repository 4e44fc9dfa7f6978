//go:build hil

package hil_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/internal/capture"
	"github.com/telltale-iot/telltale/simulator/hil"
	"github.com/telltale-iot/telltale/simulator/hil/hiltest"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// TestPeriphBus has periph's bus of the host read the chip that the agent reads
// through its own, on a real kernel: the values are the same. What periph's does not
// have is the errno of a chip that is absent, and so the agent's reason.
func TestPeriphBus(t *testing.T) {
	program := filepath.Join(t.TempDir(), "periphbus")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/periphbus")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build periphbus: %v\n%s", err, out)
	}
	bus := i2csim.NewBus(i2csim.BusOptions{})
	chip, err := i2csim.NewChip("bme280", i2csim.ChipOptions{Seed: 6, Source: i2csim.Constant{
		Temperature: physic.ZeroCelsius + 21370*physic.MilliCelsius, Humidity: 44 * physic.PercentRH, Pressure: 101325 * physic.Pascal,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := bus.Attach(0x76, chip); err != nil {
		t.Fatal(err)
	}
	vm := hiltest.Start(t, hil.Options{Machine: hil.ARM64, Bus: bus, Files: map[string]string{
		"/periphbus": program, "/agent": "../../bin/telltale-agent-linux-arm64",
	}})
	ctx := deadline(t)
	if device, _, err := vm.Adapter(ctx); err != nil || device != "i2c-0" {
		t.Fatalf("adapter %s, %v: want i2c-0", device, err)
	}
	const document = "device: pi\nmqtt: {url: tcp://127.0.0.1:1}\nsensors:\n" +
		"- {id: pi, chips: [{driver: bme280, bus: \"0\", address: 0x76}]}\n- {id: pi.absent, chips: [{driver: bme280, bus: \"0\", address: 0x77}]}\n"
	if err := vm.WriteFile(ctx, "/agent.yaml", []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	type reading struct {
		Payload struct{ Temperature, Humidity, Pressure float64 }
		Fault   string
	}
	read := func(args ...string) (of [2]reading) {
		var out, errs capture.Output
		if _, err := vm.Run(ctx, hil.Command{Args: args, Stdout: &out, Stderr: &errs}); err != nil {
			t.Fatal(err)
		}
		var readings []reading
		if err := json.Unmarshal([]byte(out.String()), &readings); err != nil || copy(of[:], readings) != 2 {
			t.Fatalf("%s reads %s%s: %v", args[0], out.String(), errs.String(), err)
		}
		return of
	}
	ours := read("/agent", "read", "--config", "/agent.yaml", "--format", "json")
	theirs := read("/periphbus", "/agent.yaml")
	if ours[0] != theirs[0] || ours[0].Fault != "" || ours[0].Payload.Pressure < 1000 {
		t.Errorf("the agent's bus reads %+v, periph's %+v: want the same", ours[0], theirs[0])
	}
	if ours[1].Fault != "nack" || theirs[1].Fault != "io" {
		t.Errorf("the agent's bus says %q of a chip that is absent, periph's %q: want nack and io. Has periph's learnt errno? Then it could be used",
			ours[1].Fault, theirs[1].Fault)
	}
}
