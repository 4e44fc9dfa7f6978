//go:build hil

package hil_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/capture"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/hil"
	"github.com/telltale-iot/telltale/simulator/hil/hiltest"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

const (
	reread = "/reread"

	multiplexerAddress = 0x70
	i2cDevices         = "/sys/bus/i2c/devices"
)

// TestKernelJudges has the agent's drivers and the kernel's own read the same
// emulated chips in the same 50 states each, and wants them to agree. Benches are
// at work at the same time, except those that would be at one address.
func TestKernelJudges(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	modules := []string{"i2c_mux_pca954x"}
	for _, s := range subjects() {
		modules = append(modules, s.module)
	}
	bus := i2csim.NewBus(i2csim.BusOptions{})
	vm := hiltest.Start(t, hil.Options{
		Machine: hil.ARM64, Bus: bus, Modules: modules,
		Files: map[string]string{reread: buildReread(t), program: "../../bin/telltale-agent-linux-arm64"},
	})
	if device, _, err := vm.Adapter(ctx); err != nil || device != "i2c-0" {
		t.Fatalf("adapter %s, %v: want i2c-0", device, err)
	}
	for _, module := range modules {
		if err := vm.LoadModule(ctx, module); err != nil {
			t.Fatal(err)
		}
	}
	benches := newBenches(vm, bus)
	queues := make(map[uint16][]*bench)
	for _, b := range benches {
		queues[b.trials[0].address] = append(queues[b.trials[0].address], b)
	}
	var running sync.WaitGroup
	for _, queue := range queues {
		running.Go(func() {
			for _, b := range queue {
				b.err = b.run(ctx)
			}
		})
	}
	running.Wait()
	for _, b := range benches {
		t.Run(b.name, func(t *testing.T) {
			if b.err != nil {
				t.Fatal(b.err)
			}
			t.Logf("the agent's drivers took %.1fs, the kernel's %.1fs", b.agentTook.Seconds(), b.kernelTook.Seconds())
			for _, c := range b.trials {
				c.compare(t)
			}
		})
	}
}

func buildReread(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "reread")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", file, "./cmd/reread")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build reread: %v\n%s", err, out)
	}
	return file
}

// bench is a chip, or some behind a multiplexer. Those are read one after another
// in each state, as a process and the kernel may not both switch it.
type bench struct {
	name        string
	vm          *hil.VM
	bus         *i2csim.Bus
	multiplexed bool
	trials      []*trial

	agentTook, kernelTook time.Duration
	err                   error
}

// newBenches returns a bench for each chip, and one for all that are behind the
// multiplexer.
func newBenches(vm *hil.VM, bus *i2csim.Bus) []*bench {
	behind := &bench{name: "multiplexer", vm: vm, bus: bus, multiplexed: true}
	benches := []*bench{behind}
	for i, s := range subjects() {
		c := &trial{subject: s, seed: uint64(i)}
		if s.behind {
			c.channel = len(behind.trials)
			behind.trials = append(behind.trials, c)
		} else {
			benches = append(benches, &bench{name: s.kind, vm: vm, bus: bus, trials: []*trial{c}})
		}
	}
	return benches
}

// plug makes the chips and attaches them.
func (b *bench) plug() error {
	multiplexer := i2csim.NewTCA9548A()
	if b.multiplexed {
		if err := b.bus.Attach(multiplexerAddress, multiplexer); err != nil {
			return err
		}
	}
	for _, c := range b.trials {
		c.stage = newStage(c.environments(c.seed))
		chip, err := i2csim.NewChip(c.kind, i2csim.ChipOptions{Source: c.stage, Now: c.stage.now, Timing: c.timing, Seed: c.seed})
		if err != nil {
			return err
		}
		if b.multiplexed {
			err = multiplexer.Attach(c.channel, c.address, chip)
		} else {
			err = b.bus.Attach(c.address, chip)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// run has the agent's drivers read the chips, and then the kernel's.
func (b *bench) run(ctx context.Context) error {
	if err := b.plug(); err != nil {
		return err
	}
	began := time.Now()
	if err := b.readByAgent(ctx); err != nil {
		return fmt.Errorf("the agent: %w", err)
	}
	b.agentTook = time.Since(began)
	began = time.Now()
	if err := b.bindAll(ctx); err != nil {
		return fmt.Errorf("the kernel: %w", err)
	}
	if err := b.readByKernel(ctx); err != nil {
		return fmt.Errorf("the kernel: %w", err)
	}
	b.kernelTook = time.Since(began)
	if err := b.readByIIO(ctx); err != nil {
		return fmt.Errorf("the agent's iio: %w", err)
	}
	for _, c := range b.trials {
		if err := c.write(ctx, b.vm, fmt.Sprintf("%s/i2c-%s/delete_device", i2cDevices, c.adapter), fmt.Sprintf("%#x", c.address)); err != nil {
			return err
		}
		b.bus.Detach(c.address)
	}
	return nil
}

// nextState changes what the chips measure.
func (b *bench) nextState() {
	for _, c := range b.trials {
		c.stage.next()
	}
}

// errTimeout is that an emulated processor was too slow for a chip, as on a busy
// host. It is no judgement: the state is read again.
var errTimeout = errors.New("timeout")

const retries = 10

// decode returns the next readings of the bench's chips.
func (b *bench) decode(d *json.Decoder) ([]values, error) {
	var readings []struct {
		Payload map[string]float64 `json:"payload"`
		Fault   string             `json:"fault"`
		Error   string             `json:"error"`
	}
	if err := d.Decode(&readings); err != nil {
		return nil, err
	}
	if len(readings) != len(b.trials) {
		return nil, fmt.Errorf("%d readings, want %d", len(readings), len(b.trials))
	}
	all := make([]values, len(readings))
	for i, r := range readings {
		switch r.Fault {
		case "":
		case "timeout":
			return nil, fmt.Errorf("%s: %w: %s", b.trials[i].kind, errTimeout, r.Error)
		default:
			return nil, fmt.Errorf("%s: %s: %s", b.trials[i].kind, r.Fault, r.Error)
		}
		all[i] = make(values)
		for m := range telemetry.Measure(telemetry.Measures) {
			if v, ok := r.Payload[m.String()]; ok {
				all[i][m] = v
			}
		}
	}
	return all, nil
}

// configure writes a configuration that has a sensor for each chip.
func (b *bench) configure(ctx context.Context, what string, chip func(c *trial) string) (file string, err error) {
	text := "device: judge\nmqtt: {url: \"tcp://127.0.0.1:1\"}\nsensors:\n"
	for i, c := range b.trials {
		text += fmt.Sprintf("  - {id: judge.%d, name: Judge, place_id: guest, interval: 20s, chips: [{%s}]}\n", i, chip(c))
	}
	file = fmt.Sprintf("/etc/%s-%s.yaml", b.name, what)
	return file, b.vm.WriteFile(ctx, file, []byte(text), 0o644)
}

// readByAgent has the agent's drivers read the chips in all states.
func (b *bench) readByAgent(ctx context.Context) error {
	config, err := b.configure(ctx, "i2c", func(c *trial) string {
		text := fmt.Sprintf("driver: %s, bus: \"0\", address: %#x", c.kind, c.address)
		if b.multiplexed {
			text += fmt.Sprintf(", multiplexer: %#x, channel: %d", multiplexerAddress, c.channel)
		}
		return text + c.settings
	})
	if err != nil {
		return err
	}
	stdout, written := io.Pipe()
	defer stdout.Close()
	var stderr capture.Output
	process, err := b.vm.Start(ctx, hil.Command{Args: []string{reread, config}, Stdout: written, Stderr: &stderr})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		exit, err := process.Wait(ctx)
		if err == nil && exit.Code != 0 {
			err = fmt.Errorf("%s ended with %+v: %s", reread, exit, &stderr)
		}
		written.CloseWithError(err)
		ended <- err
	}()
	decoder := json.NewDecoder(stdout)
	for state := range states {
		if state > 0 {
			b.nextState()
			if err := process.Signal(ctx, syscall.SIGUSR1); err != nil {
				return err
			}
		}
		read, err := b.decode(decoder)
		for n := 0; errors.Is(err, errTimeout) && n < retries; n++ {
			if err := process.Signal(ctx, syscall.SIGUSR1); err != nil {
				return err
			}
			read, err = b.decode(decoder)
		}
		if err != nil {
			return fmt.Errorf("state %d: %w", state, err)
		}
		for i, c := range b.trials {
			c.agent[state] = read[i]
		}
	}
	if err := process.Signal(ctx, syscall.SIGTERM); err != nil {
		return err
	}
	return <-ended
}

// bindAll has the kernel drive the chips, and the multiplexer before.
func (b *bench) bindAll(ctx context.Context) error {
	bind := func(adapter, id string, address uint16) error {
		return b.vm.WriteFile(ctx, fmt.Sprintf("%s/i2c-%s/new_device", i2cDevices, adapter), fmt.Appendf(nil, "%s %#x", id, address), 0o200)
	}
	if b.multiplexed {
		if err := bind("0", "pca9548", multiplexerAddress); err != nil {
			return err
		}
	}
	for _, c := range b.trials {
		c.adapter = "0"
		if b.multiplexed {
			adapter, err := glob(ctx, b.vm, fmt.Sprintf("%s/0-%04x/channel-%d/i2c-dev/i2c-*", i2cDevices, multiplexerAddress, c.channel))
			if err != nil {
				return err
			}
			c.adapter = strings.TrimPrefix(path.Base(adapter), "i2c-")
		}
		if err := bind(c.adapter, c.id, c.address); err != nil {
			return err
		}
	}
	return nil
}

// readByKernel has the kernel's drivers read the chips in all states.
func (b *bench) readByKernel(ctx context.Context) error {
	for state := range states {
		b.nextState()
		for _, c := range b.trials {
			values, err := c.readByKernel(ctx, b.vm, c.stage.states[state])
			for n := 0; errors.Is(err, syscall.ETIMEDOUT) && n < retries; n++ {
				values, err = c.readByKernel(ctx, b.vm, c.stage.states[state])
			}
			if err != nil {
				return fmt.Errorf("%s in state %d: %w", c.kind, state, err)
			}
			c.kernel[state] = values
		}
	}
	return nil
}

// readByIIO has the release binary read what the kernel's drivers give, in the
// last state.
func (b *bench) readByIIO(ctx context.Context) error {
	config, err := b.configure(ctx, "iio", func(c *trial) string {
		var measures []string
		for _, q := range c.quantities {
			measures = append(measures, q.measure.String())
		}
		return fmt.Sprintf("driver: iio, device: %s-%04x, measures: [%s]", c.adapter, c.address, strings.Join(measures, ", "))
	})
	if err != nil {
		return err
	}
	var stdout, stderr bytes.Buffer
	exit, err := b.vm.Run(ctx, hil.Command{Args: []string{program, "read", "--config", config, "--format", "json"}, Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		return err
	}
	if exit.Code != 0 {
		return fmt.Errorf("it ended with %+v: %s%s", exit, &stdout, &stderr)
	}
	read, err := b.decode(json.NewDecoder(&stdout))
	for i := range read {
		b.trials[i].iio = read[i]
	}
	return err
}

// values are what was read of a chip, in the measures' units.
type values map[telemetry.Measure]float64

// trial is a chip that is judged, and what was read of it in each state.
type trial struct {
	subject
	seed    uint64 // of the chip's calibration and the states
	stage   *stage
	channel int    // of the multiplexer
	adapter string // the number that the kernel gave its bus

	agent, kernel [states]values
	iio           values // the agent's, of the kernel in the last state
}

// readByKernel reads what the kernel's driver gives.
func (c *trial) readByKernel(ctx context.Context, vm *hil.VM, e i2csim.Environment) (values, error) {
	device := fmt.Sprintf("%s-%04x", c.adapter, c.address)
	if c.caches {
		for _, verb := range []string{"unbind", "bind"} {
			if err := c.write(ctx, vm, path.Join("/sys/bus/i2c/drivers", c.module, verb), device); err != nil {
				return nil, err
			}
		}
	}
	dir, err := glob(ctx, vm, path.Join(i2cDevices, device, c.directory))
	if err != nil {
		return nil, err
	}
	if c.tune != nil {
		for _, a := range c.tune(e) {
			if err := c.write(ctx, vm, path.Join(dir, a.name), a.value); err != nil {
				return nil, err
			}
		}
		c.stage.settle()
	}
	read := make(values)
	for _, q := range c.quantities {
		read[q.measure], err = q.read(func(name string) (float64, error) {
			text, err := vm.ReadFile(ctx, path.Join(dir, name))
			if err != nil {
				return 0, err
			}
			return strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		})
		if err != nil {
			return nil, err
		}
	}
	return read, nil
}

// write writes to a file of sysfs.
func (c *trial) write(ctx context.Context, vm *hil.VM, file, text string) error {
	if err := vm.WriteFile(ctx, file, []byte(text), 0o200); err != nil {
		return fmt.Errorf("%s to %s: %w", text, file, err)
	}
	return nil
}

// compare holds the agent's values against the kernel's.
func (c *trial) compare(t *testing.T) {
	t.Helper()
	for _, q := range c.quantities {
		worst := 0.0
		for state := range states {
			agent, ok := c.agent[state][q.measure]
			kernel := c.kernel[state][q.measure]
			if q.mend != nil {
				kernel = q.mend(kernel)
			}
			step := q.stepAt(c.kernel[state][q.measure])
			steps := math.Abs(agent-kernel) / step
			if !ok || steps > 1+1e-6 { // less than a float64's rounding
				t.Errorf("%s %v in state %d, %+v: the agent says %v, the kernel %v: they differ by %.2f steps of %v",
					c.kind, q.measure, state, c.stage.states[state], agent, kernel, steps, step)
			}
			worst = max(worst, steps)
		}
		t.Logf("%-8s %-11v: they differ by %.2f of a step at most", c.kind, q.measure, worst)
		got, ok := c.iio[q.measure]
		if want := c.kernel[states-1][q.measure]; !ok || math.Abs(got-want) > 1e-6 { // what the agent rounds to
			t.Errorf("%s %v: the agent reads %v by iio, the kernel says %v", c.kind, q.measure, got, want)
		}
	}
}

// glob returns the one file of the guest that matches.
func glob(ctx context.Context, vm *hil.VM, pattern string) (string, error) {
	found, err := vm.Glob(ctx, pattern)
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%s: %q, want one", pattern, found)
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}
