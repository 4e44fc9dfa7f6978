//go:build hil

package hil_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/capture"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// arm1176 runs a program on the emulated processor of a Raspberry Pi Zero or 1,
// with this machine's kernel.
func arm1176(t *testing.T, args ...string) *exec.Cmd {
	return exec.CommandContext(t.Context(), "qemu-arm-static", append([]string{"-cpu", "arm1176"}, args...)...)
}

// TestABI holds that the agent for ARMv6 has only instructions of ARMv6. Under
// an emulated processor there is no I2C: the agent that samples is the facade
// with an emulated bus in its own process, compiled for ARMv6; what it wrote is
// read by the release binary.
func TestABI(t *testing.T) {
	const agent = "../../bin/telltale-agent-linux-armv6"
	dir := t.TempDir()
	config := filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(config, []byte(`device: pi-zero
mqtt: {url: "tcp://127.0.0.1:1"}
buffer: {dir: `+dir+`/buffer, max_size: 1MiB, segment_size: 64KiB, commit_interval: 50ms}
clock: {trust: always}
sensors: [{id: pi-zero, name: Zero, place_id: shed, interval: 1s, chips: [{driver: bme280, address: 0x76}, {driver: bh1750, address: 0x23}]}]
`), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(want string, args ...string) {
		t.Helper()
		out, err := arm1176(t, append([]string{agent}, args...)...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s\nwant %q in it", args, err, out, want)
		}
	}
	run("telltale-agent", "--version")
	run("ok  configuration  device pi-zero, 1 sensor, 2 chips", "check", "--config-only", "--config", config)

	emulated := filepath.Join(dir, "emulated-agent")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", emulated, "../e2e/testdata/emulated-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm", "GOARM=6")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	journal := filepath.Join(dir, "journal")
	sampling := arm1176(t, emulated, config, journal)
	var log capture.Output
	sampling.Stderr = &log
	if err := sampling.Start(); err != nil {
		t.Fatal(err)
	}
	// What the program's chips measure: 21 °C, 40 %, 1013.25 hPa, darkness.
	truth := map[telemetry.Measure]telemetry.Micro{telemetry.Temperature: 21e6, telemetry.Humidity: 40e6, telemetry.Pressure: 1013_250_000, telemetry.Luminosity: 0}
	var frames []telemetry.Frame
	await.True(t, 3*time.Minute, "three readings, and eight values of theirs", func() bool { // on a busy host an emulated processor can be too slow for a chip
		data, err := os.ReadFile(journal)
		if err != nil {
			return false // not yet
		}
		var decoder telemetry.Decoder
		frames = nil
		values := 0
		for line := range bytes.Lines(data[:bytes.LastIndexByte(data, '\n')+1]) {
			var f telemetry.Frame
			if err := decoder.Decode(bytes.TrimSuffix(line, []byte("\n")), &f); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			frames = append(frames, f)
			for m := range truth {
				if _, ok := f.Payload.Get(m); ok {
					values++
				}
			}
		}
		return len(frames) >= 3 && values >= 8
	})
	if err := sampling.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := sampling.Wait(); err != nil {
		t.Errorf("the agent: %v\n%s", err, &log)
	}
	within := map[telemetry.Measure]telemetry.Micro{}
	for _, c := range chips() {
		if c.driver == "bme280" || c.driver == "bh1750" {
			for m, v := range c.within {
				within[m] = v
			}
		}
	}
	for _, f := range frames {
		for m, want := range truth {
			got, ok := f.Payload.Get(m)
			if difference := got - want; ok && (difference > within[m] || difference < -within[m]) {
				t.Errorf("%s of %+v is %v, want %v", m, f, got.Float(), want.Float())
			}
		}
	}
	run("readings of", "buffer", "verify", "--dir", filepath.Join(dir, "buffer"))

	// The gate can fail: what is compiled for ARMv7 is refused.
	err := arm1176(t, "../../bin/telltale-agent-linux-armv7", "--version").Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGILL {
		t.Errorf("the agent for ARMv7 ended with %v, want an illegal instruction", err)
	}
}
