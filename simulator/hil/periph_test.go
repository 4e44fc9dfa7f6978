//go:build hil

package hil_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"periph.io/x/conn/v3/physic"

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
	run := func(args ...string) (stdout, stderr string) {
		var out, errs hiltest.Log
		if _, err := vm.Run(ctx, hil.Command{Args: args, Stdout: &out, Stderr: &errs}); err != nil {
			t.Fatal(err)
		}
		return out.String(), errs.String()
	}

	text, errs := run("/agent", "read", "--config", "/agent.yaml", "--format", "json")
	var ours []struct {
		Payload struct{ Temperature, Humidity, Pressure float64 }
		Fault   string
	}
	if err := json.Unmarshal([]byte(text), &ours); err != nil || len(ours) != 2 {
		t.Fatalf("the agent reads %s%s: %v", text, errs, err)
	}
	text, errs = run("/periphbus", "0", "0x76")
	var celsius, pascal, percent float64
	if _, err := fmt.Sscan(text, &celsius, &pascal, &percent); err != nil {
		t.Fatalf("periphbus reads %s%s: %v", text, errs, err)
	}
	p := ours[0].Payload
	for _, q := range []struct {
		name          string
		theirs, agent float64
	}{{"temperature", celsius / 1000, p.Temperature}, {"pressure", pascal / 100, p.Pressure}, {"humidity", percent / 1000, p.Humidity}} {
		if math.Abs(q.theirs-q.agent) > 0.01 { // what periphbus prints is cut
			t.Errorf("%s is %v through periph's bus, %v through the agent's", q.name, q.theirs, q.agent)
		}
	}
	if ours[1].Fault != "nack" {
		t.Errorf("the agent says %q of a chip that is absent, want nack", ours[1].Fault)
	}
	if _, errs = run("/periphbus", "0", "0x77"); !strings.Contains(errs, "errno: false") {
		t.Errorf("periphbus says %q of a chip that is absent. Has periph's bus learnt errno? Then it could be used", errs)
	}
}
