package i2csim_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"syscall"
	"testing"
	"time"

	"periph.io/x/conn/v3/physic"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

const (
	us = time.Microsecond
	ms = time.Millisecond
)

// clock is a fake one; nobody waits.
type clock struct{ now time.Time }

func newClock() *clock {
	return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

func (c *clock) Now() time.Time          { return c.now }
func (c *clock) Advance(d time.Duration) { c.now = c.now.Add(d) }

// room is an ordinary environment.
var room = i2csim.Constant{
	Temperature: physic.ZeroCelsius + 21370*physic.MilliKelvin,
	Humidity:    44 * physic.PercentRH,
	Pressure:    101325 * physic.Pascal,
	Illuminance: 1000 * i2csim.Lux,
}

// ramp is an environment in which everything rises steadily, by 36 K, 36 %RH,
// 36 hPa and 36000 lx an hour.
type ramp struct{ from time.Time }

func (r ramp) At(t time.Time) i2csim.Environment {
	d := t.Sub(r.from)
	return i2csim.Environment{
		Temperature: physic.ZeroCelsius + physic.Temperature(d.Milliseconds())*10*physic.MicroKelvin,
		Humidity:    physic.RelativeHumidity(d.Milliseconds()) * physic.TenthMicroRH,
		Pressure:    90000*physic.Pascal + physic.Pressure(d.Milliseconds())*physic.MilliPascal,
		Illuminance: i2csim.Illuminance(d.Milliseconds()) * i2csim.Lux / 100,
	}
}

// steps is an environment that jumps once.
type steps struct {
	at            time.Time
	before, after i2csim.Constant
}

func (s steps) At(t time.Time) i2csim.Environment {
	if t.Before(s.at) {
		return i2csim.Environment(s.before)
	}
	return i2csim.Environment(s.after)
}

// pressureStep is the room with a pressure that jumps by 50 hPa.
func pressureStep(at time.Time) steps {
	high := room
	high.Pressure += 5000 * physic.Pascal
	return steps{at, room, high}
}

func climate(celsius, percent int) i2csim.Constant {
	return i2csim.Constant{
		Temperature: physic.ZeroCelsius + physic.Temperature(celsius)*physic.Celsius,
		Humidity:    physic.RelativeHumidity(percent) * physic.PercentRH,
		Pressure:    101325 * physic.Pascal,
	}
}

// light is a source of so many millionths of a lux.
func light(microlux i2csim.Illuminance) i2csim.ChipOptions {
	return i2csim.ChipOptions{Source: i2csim.Constant{Illuminance: microlux}}
}

// drawRoom draws an environment in which all chips work.
func drawRoom(t *rapid.T) i2csim.Constant {
	return i2csim.Constant{
		Temperature: physic.ZeroCelsius + physic.Temperature(rapid.Int64Range(-40e9, 85e9).Draw(t, "temperature")),
		Humidity:    physic.RelativeHumidity(rapid.Int32Range(0, 100*int32(physic.PercentRH)).Draw(t, "humidity")),
		Pressure:    physic.Pressure(rapid.Int64Range(30000e9, 110000e9).Draw(t, "pressure")),
	}
}

func celsiusAndPercent(c i2csim.Constant) (celsius, percent float64) {
	return float64(c.Temperature-physic.ZeroCelsius) / 1e9, float64(c.Humidity) / 1e5
}

func near(t *rapid.T, name string, got, want, within float64) {
	t.Helper()
	if math.Abs(got-want) > within+1e-9 {
		t.Errorf("%s: %g, want %g within %g", name, got, want, within)
	}
}

// rig is one chip on a bus.
type rig struct {
	*clock
	bus  *i2csim.Bus
	addr uint16
}

// must does a transaction that has to succeed, and returns the n bytes read.
func (r rig) must(t interface {
	Helper()
	Fatalf(string, ...any)
}, w []byte, n int) []byte {
	t.Helper()
	read := make([]byte, n)
	if err := r.bus.Tx(r.addr, w, read); err != nil {
		t.Fatalf("Tx(% x, %d): %v", w, n, err)
	}
	return read
}

// step is a transaction after a time.
type step struct {
	after time.Duration
	write []byte
	want  []byte // that many bytes are read
	why   string
}

func (r rig) run(t *testing.T, steps []step) {
	t.Helper()
	for i, s := range steps {
		r.Advance(s.after)
		if got := r.must(t, s.write, len(s.want)); !bytes.Equal(got, s.want) {
			t.Errorf("step %d: write % x: read % x, want % x: %s", i, s.write, got, s.want, s.why)
		}
	}
}

// exchange is a transaction after a time that may be refused.
type exchange struct {
	after  time.Duration
	write  []byte
	want   []byte // that many bytes are read
	answer bool   // acked or nacked
	why    string
}

const (
	acked  = true
	nacked = false // with nothing to write or read, that is a read of a byte
)

func (r rig) exchange(t *testing.T, exchanges []exchange) {
	t.Helper()
	for i, x := range exchanges {
		r.Advance(x.after)
		read := make([]byte, len(x.want))
		if x.answer == nacked && len(x.write)+len(x.want) == 0 {
			read = make([]byte, 1)
		}
		switch err := r.bus.Tx(r.addr, x.write, read); {
		case x.answer == nacked:
			if !errors.Is(err, syscall.ENXIO) {
				t.Errorf("exchange %d: write % x, read % x: %v, want ENXIO: %s", i, x.write, read, err, x.why)
			}
		case err != nil:
			t.Errorf("exchange %d: write % x: %v: %s", i, x.write, err, x.why)
		case !bytes.Equal(read, x.want):
			t.Errorf("exchange %d: write % x: read % x, want % x: %s", i, x.write, read, x.want, x.why)
		}
	}
}

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

// newChip is onBus for a chip of a kind.
func newChip(t testing.TB, kind string, addr uint16, o i2csim.ChipOptions) (rig, i2csim.Chip) {
	t.Helper()
	return onBus(t, addr, o, func(o i2csim.ChipOptions) (i2csim.Chip, error) { return i2csim.NewChip(kind, o) })
}

func attach(t testing.TB, c *clock, addr uint16, d i2csim.Device) rig {
	t.Helper()
	bus := i2csim.NewBus(i2csim.BusOptions{Name: "bus", Sleep: c.Advance})
	if err := bus.Attach(addr, d); err != nil {
		t.Fatal(err)
	}
	return rig{clock: c, bus: bus, addr: addr}
}

func newBME280(t testing.TB, o i2csim.BME280Options) (rig, *i2csim.BME280) {
	t.Helper()
	return chip280(t, o, i2csim.NewBME280)
}

func newBMP280(t testing.TB, o i2csim.BME280Options) (rig, *i2csim.BME280) {
	t.Helper()
	return chip280(t, o, i2csim.NewBMP280)
}

func newBH1750(t testing.TB, o i2csim.ChipOptions) (rig, *i2csim.BH1750) {
	t.Helper()
	return onBus(t, 0x23, o, i2csim.NewBH1750)
}

func chip280(t testing.TB, o i2csim.BME280Options, build func(i2csim.BME280Options) (*i2csim.BME280, error)) (rig, *i2csim.BME280) {
	t.Helper()
	return onBus(t, 0x76, i2csim.ChipOptions{Source: o.Source}, func(c i2csim.ChipOptions) (*i2csim.BME280, error) {
		o.Source, o.Now = c.Source, c.Now
		return build(o)
	})
}

// wantDeaf checks that a chip does not acknowledge its address, neither for a
// read nor for the writes.
func (r rig) wantDeaf(t *testing.T, writes ...[]byte) {
	t.Helper()
	for _, w := range append(writes, nil) {
		r.exchange(t, []exchange{{0, w, nil, nacked, "starting up"}})
	}
}

// wantTruth checks that a chip's last conversion was of source, from start on.
func wantTruth(t *testing.T, chip i2csim.Chip, source i2csim.Source, start time.Time, takes time.Duration) {
	t.Helper()
	want := i2csim.Conversion{Environment: source.At(start), Start: start, End: start.Add(takes)}
	if truth, ok := chip.LastConversion(); !ok || truth != want {
		t.Errorf("LastConversion() = %+v, %t; want %+v", truth, ok, want)
	}
}

func noTruth(t *testing.T, chip i2csim.Chip, when string) {
	t.Helper()
	if truth, ok := chip.LastConversion(); ok {
		t.Errorf("LastConversion() = %+v %s", truth, when)
	}
}

// brownOut checks that a chip has measured, and does not know any more after a
// brown-out.
func brownOut(t *testing.T, chip i2csim.Chip) {
	t.Helper()
	if _, ok := chip.LastConversion(); !ok {
		t.Error("no conversion before a brown-out")
	}
	chip.PowerCycle()
	noTruth(t, chip, "after a brown-out")
}

// wantFiltered checks Bosch's IIR filter after a step: each sample comes nearer
// by the part 1/(coefficient + 1).
func wantFiltered(t *testing.T, coefficient, from float64, samples []float64, to float64) {
	t.Helper()
	for n, got := range samples {
		want := to + (from-to)*math.Pow(coefficient/(coefficient+1), float64(n+1))
		if math.Abs(got-want) > 8 {
			t.Errorf("coefficient %g: sample %d is %g, want %g on the way from %g to %g", coefficient, n, got, want, from, to)
		}
	}
}

func word20(b []byte) int { return int(b[0])<<12 | int(b[1])<<4 | int(b[2])>>4 }

func TestIlluminanceString(t *testing.T) {
	for v, want := range map[i2csim.Illuminance]string{
		0: "0lx", 1: "0.000001lx", 312_500_000: "312.5lx", -i2csim.Lux: "-1lx",
	} {
		if got := fmt.Sprint(v); got != want {
			t.Errorf("%d: %q, want %q", int64(v), got, want)
		}
	}
}
