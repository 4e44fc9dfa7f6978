package i2csim_test

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/simulator/i2csim"
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

// newChip puts a chip of a kind on a bus of its own.
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

func chip280(t testing.TB, o i2csim.BME280Options, build func(i2csim.BME280Options) (*i2csim.BME280, error)) (rig, *i2csim.BME280) {
	t.Helper()
	c := newClock()
	if o.Source == nil {
		o.Source = room
	}
	if r, ok := o.Source.(ramp); ok && r.from.IsZero() {
		o.Source = ramp{c.now}
	}
	o.Now = c.Now
	chip, err := build(o)
	if err != nil {
		t.Fatal(err)
	}
	return attach(t, c, 0x76, chip), chip
}

func newBH1750(t testing.TB, o i2csim.ChipOptions) (rig, *i2csim.BH1750) {
	t.Helper()
	c := newClock()
	if o.Source == nil {
		o.Source = room
	}
	if r, ok := o.Source.(ramp); ok && r.from.IsZero() {
		o.Source = ramp{c.now}
	}
	o.Now = c.Now
	chip, err := i2csim.NewBH1750(o)
	if err != nil {
		t.Fatal(err)
	}
	return attach(t, c, 0x23, chip), chip
}

func TestIlluminanceString(t *testing.T) {
	for v, want := range map[i2csim.Illuminance]string{
		0: "0lx", 1: "0.000001lx", 312_500_000: "312.5lx", -i2csim.Lux: "-1lx",
	} {
		if got := fmt.Sprint(v); got != want {
			t.Errorf("%d: %q, want %q", int64(v), got, want)
		}
	}
}
