package agent_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/agent"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

const watched = `
device: pi-1
mqtt: {url: "tcp://nowhere:1883"}
clock: {trust: always}
sensors:
  - {id: pi-1, interval: 1s, chips: [{driver: bme280, bus: "1", address: 0x76}]}
  - {id: pi-1.2, interval: 2s, chips: [{driver: bh1750, bus: "2", address: 0x23}]}
`

// An hour of sampling: each reading has its time and its value, and the reason of
// what is missing.
func TestWatch(t *testing.T) {
	config, err := agent.ParseConfig("agent.yaml", []byte(watched))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		bus := i2csim.NewBus(i2csim.BusOptions{Name: "1"})
		chip, err := i2csim.NewBME280(i2csim.BME280Options{Source: i2csim.Constant{
			Temperature: physic.ZeroCelsius + 21*physic.Kelvin, Humidity: 44 * physic.PercentRH, Pressure: 100 * physic.KiloPascal,
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := bus.Attach(0x76, chip); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		times := map[string][]time.Duration{}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour-time.Millisecond)
		defer cancel()
		clock := agent.ClockSource{
			Boottime: func() time.Duration { return time.Since(begin) }, Wall: time.Now, Believed: func() bool { return true },
		}
		err = agent.Watch(ctx, agent.Options{
			Config: config,
			Clock:  &clock,
			OpenBus: func(name string) (i2c.BusCloser, error) {
				if name != "1" {
					return nil, errors.New("no such bus")
				}
				return bus.Open(), nil
			},
		}, func(f *telemetry.Frame) {
			mu.Lock()
			defer mu.Unlock()
			times[f.ID] = append(times[f.ID], time.UnixMilli(f.Timestamp).Sub(begin))
			if v, ok := f.Payload.Get(telemetry.Temperature); ok != (f.ID == "pi-1") || ok && max(v-21e6, 21e6-v) > 1e4 {
				t.Errorf("%s: temperature %v, %t", f.ID, v, ok)
			}
			if reason := f.Faults[telemetry.Luminosity]; (reason == "bus") != (f.ID == "pi-1.2") {
				t.Errorf("%s: no light because of %q", f.ID, reason)
			}
			if f.Epoch != 0 || f.Seq != 0 {
				t.Errorf("%s has a number, %d/%d", f.ID, f.Epoch, f.Seq)
			}
		})
		if err != nil {
			t.Error(err)
		}
		for id, interval := range map[string]time.Duration{"pi-1": time.Second, "pi-1.2": 2 * time.Second} {
			var want []time.Duration
			for at := time.Duration(0); at < time.Hour; at += interval {
				want = append(want, at)
			}
			if !slices.Equal(times[id], want) {
				t.Errorf("%s: %d readings, want %d, each %v", id, len(times[id]), len(want), interval)
			}
		}
		if err := bus.Tx(0x76, []byte{0xD0}, make([]byte, 1)); err != nil {
			t.Errorf("the bus itself is closed: %v", err)
		}
	})
}

func TestWatchRefusesWhatNoAgentCanBe(t *testing.T) {
	var c agent.Config
	c.Sensors = []agent.Sensor{{ID: "a"}}
	err := agent.Watch(t.Context(), agent.Options{Config: c}, func(*telemetry.Frame) {})
	if err == nil || !strings.Contains(err.Error(), "interval 0s is not positive") {
		t.Errorf("got %v", err)
	}
}
