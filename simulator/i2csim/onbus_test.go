package i2csim_test

import (
	"testing"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// onBus makes a chip on a fake clock, in room if o has no source, and puts it
// on a bus.
func onBus[C i2csim.Chip](t testing.TB, addr uint16, o i2csim.ChipOptions, build func(i2csim.ChipOptions) (C, error)) (rig, C) {
	t.Helper()
	c := newClock()
	if o.Source == nil {
		o.Source = room
	}
	if r, ok := o.Source.(ramp); ok && r.from.IsZero() {
		o.Source = ramp{c.now}
	}
	o.Now, o.Sleep = c.Now, c.Advance
	chip, err := build(o)
	if err != nil {
		t.Fatal(err)
	}
	return attach(t, c, addr, chip), chip
}

// light is a source of so many millionths of a lux.
func light(microlux i2csim.Illuminance) i2csim.ChipOptions {
	return i2csim.ChipOptions{Source: i2csim.Constant{Illuminance: microlux}}
}
