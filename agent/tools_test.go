package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/agent"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// oneBus opens the bus as "1", and no other.
func oneBus(bus *i2csim.Bus) func(string) (i2c.BusCloser, error) {
	return func(name string) (i2c.BusCloser, error) {
		if name != "1" {
			return nil, &fs.PathError{Op: "open", Path: "/dev/i2c-" + name, Err: fs.ErrPermission}
		}
		return bus.Open(), nil
	}
}

// attach makes a bus with chips on it: "bme280", "bmp280", "bh1750".
func attach(t *testing.T, chips map[uint16]string) *i2csim.Bus {
	t.Helper()
	bus := i2csim.NewBus(i2csim.BusOptions{})
	air := i2csim.Constant{
		Temperature: physic.ZeroCelsius + 21370*physic.MilliCelsius,
		Humidity:    44 * physic.PercentRH,
		Pressure:    101325 * physic.Pascal,
		Illuminance: 300 * i2csim.Lux,
	}
	for address, driver := range chips {
		chip, err := i2csim.NewChip(driver, i2csim.ChipOptions{Source: air, Seed: uint64(address)})
		must(t, err)
		must(t, bus.Attach(address, chip))
	}
	return bus
}

func detect(t *testing.T, o agent.DetectOptions) agent.Detected {
	t.Helper()
	found, err := agent.Detect(t.Context(), o)
	must(t, err)
	return found
}

// TestEveryKind finds each kind of chip at each of its addresses, and reads it as
// found, with what it is in.
func TestEveryKind(t *testing.T) {
	for _, driver := range i2csim.Kinds() {
		addresses := 0
		for address := uint16(0x08); address <= 0x77; address++ {
			document := fmt.Sprintf("device: dev\nmqtt: {url: tcp://127.0.0.1:1}\nsensors: [{id: dev, interval: 10s, chips: [{driver: %s, address: %d}]}]", driver, address)
			config, err := agent.ParseConfig("agent.yaml", []byte(document))
			if err != nil {
				continue // not one of its addresses
			}
			addresses++
			synctest.Test(t, func(t *testing.T) {
				open := oneBus(attach(t, map[uint16]string{address: driver}))
				readings, err := agent.Read(t.Context(), agent.Options{Config: config, OpenBus: open})
				must(t, err)
				for m, want := range map[telemetry.Measure]float64{
					telemetry.Temperature: 21.37, telemetry.Humidity: 44, telemetry.Pressure: 1013.25, telemetry.Luminosity: 300,
				} {
					v, ok := readings[0].Values.Get(m)
					if off := v.Float() - want; ok && math.Abs(off) > 0.004*want { // half a count of a VEML7700
						t.Errorf("%s at %#x: %v is %v, want %v", driver, address, m, v, want)
					}
				}
				if readings[0].Fault != "" {
					t.Errorf("%s at %#x: %v", driver, address, readings[0].Err)
				}

				// After a reading, for an AHT20 tells nothing before.
				found := detect(t, agent.DetectOptions{OpenBus: open, Adapters: func() ([]agent.Adapter, error) {
					return []agent.Adapter{{Name: "1"}}, nil
				}})
				if found.Chips() != 1 || found[0].Found[0].Driver != driver || found[0].Found[0].Address != address {
					t.Errorf("%s at %#x is found as %+v", driver, address, found[0].Found)
				}
			})
		}
		if addresses == 0 {
			t.Errorf("%s has no address", driver)
		}
	}
}

// TestDetected finds chips, and has an agent of the configuration that is written read
// them all.
func TestDetected(t *testing.T) {
	for _, tt := range []struct {
		name  string
		chips map[uint16]string
		want  []string // the chips that the configuration reads, and of which sensor
	}{
		{"none", nil, nil},
		{"both", map[uint16]string{0x23: "bh1750", 0x76: "bme280"}, []string{"dev bh1750@1:0x23", "dev bme280@1:0x76"}},
		{"two of a kind", map[uint16]string{0x76: "bme280", 0x77: "bme280"}, []string{"dev bme280@1:0x76", "dev.2 bme280@1:0x77"}},
		{"all addresses", map[uint16]string{0x23: "bh1750", 0x5C: "bh1750", 0x76: "bmp280", 0x77: "bme280"},
			[]string{"dev bh1750@1:0x23", "dev bmp280@1:0x76", "dev.2 bh1750@1:0x5c", "dev.2 bme280@1:0x77"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			open := oneBus(attach(t, tt.chips))
			found := detect(t, agent.DetectOptions{OpenBus: open, Adapters: func() ([]agent.Adapter, error) {
				return []agent.Adapter{{Name: "1"}}, nil
			}})
			if found.Chips() != len(tt.want) {
				t.Errorf("%d chips, want %d", found.Chips(), len(tt.want))
			}
			if len(tt.want) == 0 {
				return
			}
			var b bytes.Buffer
			must(t, found.WriteConfig(&b, "dev", "tcp://broker:1883"))
			config, err := agent.ParseConfig("agent.yaml", b.Bytes())
			must(t, err)
			readings, err := agent.Read(t.Context(), agent.Options{Config: config, OpenBus: open})
			must(t, err)
			var got []string
			for _, r := range readings {
				got = append(got, r.Sensor+" "+r.Chip)
				if r.Fault != "" || r.Values.Empty() {
					t.Errorf("%s: %v, %v", r.Chip, r.Values, r.Err)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDetectBuses(t *testing.T) {
	open := oneBus(attach(t, map[uint16]string{0x76: "bme280"}))
	host := func() ([]agent.Adapter, error) {
		return []agent.Adapter{
			{Name: "1", Label: "bcm2835 (i2c@7e804000)", Taken: map[uint16]string{0x76: "bmp280"}}, {Name: "20", Label: "fef04500.i2c"},
		}, nil
	}
	for _, tt := range []struct {
		name  string
		buses []string
		want  string
	}{
		{"all", nil, "1 20"},
		{"by number", []string{"1"}, "1"},
		{"by device file", []string{"/dev/i2c-20"}, "20"},
		{"by name", []string{"bcm2835 (i2c@7e804000)"}, "1"},
		{"twice", []string{"1", "/dev/i2c-1", "bcm2835 (i2c@7e804000)"}, "1"},
		{"one that is not", []string{"7"}, "7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found := detect(t, agent.DetectOptions{Buses: tt.buses, OpenBus: open, Adapters: host})
			var names []string
			for _, b := range found {
				names = append(names, b.Name)
				if opens := b.Name == "1"; opens != (b.Err == nil) || opens == strings.Contains(b.Hint, "i2c") {
					t.Errorf("bus %s: %v -> %q", b.Name, b.Err, b.Hint)
				}
			}
			if got := strings.Join(names, " "); got != tt.want || found.Chips() != 0 { // the kernel has it
				t.Errorf("buses %s with %d chips, want %s with none", got, found.Chips(), tt.want)
			}
		})
	}

	none := func() ([]agent.Adapter, error) { return nil, nil }
	if _, err := agent.Detect(t.Context(), agent.DetectOptions{OpenBus: open, Adapters: none}); !errors.Is(err, agent.ErrNoBus) || !strings.Contains(err.Error(), "raspi-config") {
		t.Errorf("a host without a bus: %v", err)
	}
	errSysfs := errors.New("no sysfs")
	broken := func() ([]agent.Adapter, error) { return nil, errSysfs }
	if _, err := agent.Detect(t.Context(), agent.DetectOptions{OpenBus: open, Adapters: broken}); !errors.Is(err, errSysfs) {
		t.Errorf("a host that cannot list its buses: %v", err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := agent.Detect(stopped, agent.DetectOptions{OpenBus: open, Adapters: host}); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

const threeChips = `
device: dev
mqtt: {url: "tcp://127.0.0.1:1"}
buffer: {dir: "DIR"}
sensors:
  - {id: dev, chips: [{driver: bme280, address: 0x76}, {driver: bh1750, address: 0x23}]}
  - {id: dev.second, chips: [{driver: bmp280, address: 0x77}]}
`

func parse(t *testing.T, document string) agent.Config {
	t.Helper()
	config, err := agent.ParseConfig("agent.yaml", []byte(strings.ReplaceAll(document, "DIR", t.TempDir()+"/buffer")))
	must(t, err)
	return config
}

func TestRead(t *testing.T) {
	all := map[uint16]string{0x23: "bh1750", 0x76: "bme280", 0x77: "bmp280"}
	for _, tt := range []struct {
		name   string
		chips  map[uint16]string
		faults i2csim.Faults
		change string // of the document: "old|new"
		want   [3]string
	}{
		{"all", all, nil, "", [3]string{}},
		{"none", nil, nil, "", [3]string{"nack", "nack", "nack"}},
		{"one does not answer", all, i2csim.Only(0x23, i2csim.Always(i2csim.Fault{Kind: i2csim.NACK})), "", [3]string{"", "nack", ""}},
		{"one is another", map[uint16]string{0x23: "bh1750", 0x76: "bmp280", 0x77: "bmp280"}, nil, "", [3]string{"wrong_chip", "", ""}},
		{"stuck", all, i2csim.Always(i2csim.Fault{Kind: i2csim.Stuck}), "", [3]string{"timeout", "timeout", "timeout"}},
		{"slower than the interval allows", all, nil, "{id: dev, |{id: dev, interval: 100ms, ", [3]string{"", "timeout", ""}},
		{"another bus", all, nil, "{driver: bmp280, |{driver: bmp280, bus: \"2\", ", [3]string{"", "", "bus"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			old, changed, _ := strings.Cut(tt.change, "|")
			config := parse(t, strings.Replace(threeChips, old, changed, 1))
			synctest.Test(t, func(t *testing.T) {
				bus := attach(t, tt.chips)
				bus.SetFaults(tt.faults)
				readings, err := agent.Read(t.Context(), agent.Options{Config: config, OpenBus: oneBus(bus)})
				must(t, err)
				var got [3]string
				failed := 0
				for i, r := range readings {
					got[i] = r.Fault
					if r.Fault != "" {
						failed++
					}
					if (r.Fault == "") != (r.Err == nil) || (r.Fault == "") == r.Values.Empty() {
						t.Errorf("%s: %v with %v", r.Chip, r.Values, r.Err)
					}
				}
				if got != tt.want || readings.Failed() != failed {
					t.Errorf("faults %q, %d failed, want %q", got, readings.Failed(), tt.want)
				}
			})
		})
	}
}

// TestReadWhileAnAgentRuns: who reads, a value is right or there is a fault.
func TestReadWhileAnAgentRuns(t *testing.T) {
	bus := attach(t, map[uint16]string{0x23: "bh1750", 0x76: "bme280", 0x77: "bmp280"})
	sampled, received := newRecord(), newRecord()
	in := startIngest(t, "127.0.0.1:0", received)
	a := run(t, in.addr, t.TempDir(), bus, sampled.add)
	eventually(t, "a reading", func() bool { return sampled.len() > 0 })
	config := parse(t, threeChips)
	var payloads []telemetry.Payload
	for range 10 {
		readings, err := agent.Read(t.Context(), agent.Options{Config: config, OpenBus: oneBus(bus)})
		must(t, err)
		for _, r := range readings {
			payloads = append(payloads, r.Values)
		}
	}
	a.drained(t)
	wantSame(t, sampled, received)
	for _, f := range sampled.all() {
		payloads = append(payloads, f.Payload)
	}
	seen := 0
	for _, p := range payloads {
		for m, want := range map[telemetry.Measure]float64{
			telemetry.Temperature: 21.37, telemetry.Humidity: 44, telemetry.Pressure: 1013.25, telemetry.Luminosity: 300,
		} {
			v, ok := p.Get(m)
			if off := v.Float() - want; ok && (off < -2 || off > 2) {
				t.Errorf("%v is %v, want %v or none", m, v, want)
			}
			if ok {
				seen++
			}
		}
	}
	if seen < len(payloads) { // most have two measures or more
		t.Errorf("%d values of %d readings", seen, len(payloads))
	}
}

// checked are the levels of the checks, by name.
func checked(t *testing.T, o agent.CheckOptions) map[string]string {
	t.Helper()
	report, err := agent.Check(t.Context(), o)
	must(t, err)
	levels := make(map[string]string)
	for _, f := range report {
		if levels[f.Check] != "" {
			t.Errorf("two lines of %s", f.Check)
		}
		levels[f.Check] = string(f.Level)
	}
	return levels
}

// calm is a machine on which all is well.
func calm() *agent.Machine {
	return &agent.Machine{
		Now:          time.Now,
		User:         func() string { return "telltale" },
		Synchronised: func() (bool, error) { return true, nil },
		Writable:     func(string) error { return nil },
		FileSystem:   func(string) (agent.FileSystem, error) { return agent.FileSystem{Type: "ext4", Free: 1 << 40}, nil },
	}
}

func TestCheck(t *testing.T) {
	chips := map[uint16]string{0x23: "bh1750", 0x76: "bme280"}
	config := parse(t, strings.Replace(threeChips, "{driver: bmp280, ", "{driver: bmp280, bus: \"2\", ", 1))
	o := agent.CheckOptions{Config: config, OpenBus: oneBus(attach(t, chips)), Machine: calm()}
	for _, tt := range []struct {
		name   string
		change func(*agent.CheckOptions)
		want   map[string]string
	}{
		{"a bus that does not open, and no broker", func(*agent.CheckOptions) {}, map[string]string{
			"configuration": "ok", "bus 1": "ok", "bus 2": "fail", "chip bme280@1:0x76": "ok", "chip bh1750@1:0x23": "ok",
			"disk": "ok", "clock": "ok", "tls": "ok", "broker": "fail",
		}},
		{"offline", func(o *agent.CheckOptions) { o.Offline = true }, map[string]string{
			"configuration": "ok", "bus 1": "ok", "bus 2": "fail", "chip bme280@1:0x76": "ok", "chip bh1750@1:0x23": "ok",
			"disk": "ok", "clock": "ok", "tls": "ok",
		}},
		{"the configuration only", func(o *agent.CheckOptions) { o.ConfigOnly = true }, map[string]string{"configuration": "ok"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed := o
			tt.change(&changed)
			if diff := cmp.Diff(tt.want, checked(t, changed)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if _, err := agent.Check(t.Context(), agent.CheckOptions{}); err == nil {
		t.Error("no error of a configuration that is none")
	}
}

// TestCheckWhileAnAgentRuns: the check passes, and the agent stays connected.
func TestCheckWhileAnAgentRuns(t *testing.T) {
	bus := attach(t, map[uint16]string{0x23: "bh1750", 0x76: "bme280", 0x77: "bmp280"})
	sampled, received := newRecord(), newRecord()
	in := startIngest(t, "127.0.0.1:0", received)
	dir := t.TempDir()
	a := run(t, in.addr, dir, bus, sampled.add)
	eventually(t, "a reading and the status arrive", func() bool { return received.len() > 0 && len(in.status) > 0 })
	for len(in.status) > 0 {
		<-in.status
	}
	config, err := agent.ParseConfig("agent.yaml", []byte(strings.NewReplacer("ADDR", in.addr, "DIR", dir).Replace(document)))
	must(t, err)
	levels := checked(t, agent.CheckOptions{Config: config, OpenBus: oneBus(bus), Machine: calm()})
	for _, check := range []string{"disk", "broker"} {
		if levels[check] != "ok" {
			t.Errorf("%s: %s", check, levels[check])
		}
	}
	n := received.len()
	eventually(t, "10 readings more", func() bool { return received.len() >= n+10 })
	if len(in.status) > 0 { // the agent's come each minute
		t.Errorf("status %s", <-in.status)
	}
	a.drained(t)
	wantSame(t, sampled, received)
}
