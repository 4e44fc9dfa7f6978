package i2csim_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// supplied is a chip that notes when its supply comes.
type supplied struct {
	memory
	now  func() time.Time
	came []time.Time
}

func (s *supplied) PowerCycle()                               { s.came = append(s.came, s.now()) }
func (s *supplied) LastConversion() (i2csim.Conversion, bool) { return i2csim.Conversion{}, false }

// The supply comes at the end of each span without, and at the beginning of each
// with; asked late, the chip is told of the last time only, and when that was.
func TestTheSupplyComes(t *testing.T) {
	for name, tt := range someSpans(newClock().now) {
		began := func(s int) bool { return tt.in(s) && !tt.in(s-1) }
		ended := func(s int) bool { return !tt.in(s) && tt.in(s-1) }
		for kind, test := range map[string]struct {
			o     i2csim.SocketOptions
			comes func(s int) bool
		}{
			"brown-outs": {i2csim.SocketOptions{BrownOuts: []i2csim.Spans{tt.Spans}}, began},
			"plugged":    {i2csim.SocketOptions{Plugged: []i2csim.Spans{tt.Spans}}, began},
			"unplugged":  {i2csim.SocketOptions{Unplugged: []i2csim.Spans{tt.Spans}}, ended},
		} {
			for _, every := range []int{1, 39} {
				c := newClock()
				begin := c.now
				var chip *supplied
				socket, err := i2csim.NewSocket(func(o i2csim.ChipOptions) (i2csim.Chip, error) {
					chip = &supplied{now: o.Now}
					return chip, nil
				}, i2csim.ChipOptions{Now: c.Now}, test.o)
				if err != nil {
					t.Fatal(err)
				}
				var want []time.Time
				for s := range 40 {
					c.now = begin.Add(time.Duration(s) * time.Second)
					if test.comes(s) {
						want = append(want, c.now)
					}
					if s > 0 && s%every == 0 || every == 1 {
						socket.Write([]byte{1})
					}
					if every == 1 && len(chip.came) != len(want) {
						t.Errorf("%s, %s, after %d s: the supply has come %d times, want %d", kind, name, s, len(chip.came), len(want))
					}
				}
				if every > 1 && len(want) > 0 {
					want = want[len(want)-1:]
				}
				if !slices.Equal(chip.came, want) {
					t.Errorf("%s, %s, asked each %d s: the supply came at %v, want %v", kind, name, every, chip.came, want)
				}
			}
		}
	}
}

// inSocket is a BME280, or another kind, in a socket that fails as s says.
func inSocket(t *testing.T, kind string, source func(from time.Time) i2csim.Source, fail func(from time.Time) i2csim.SocketOptions) (rig, *i2csim.Socket) {
	t.Helper()
	c := newClock()
	socket, err := i2csim.NewSocket(
		func(o i2csim.ChipOptions) (i2csim.Chip, error) { return i2csim.NewChip(kind, o) },
		i2csim.ChipOptions{Source: source(c.now), Now: c.Now}, fail(c.now))
	if err != nil {
		t.Fatal(err)
	}
	return attach(t, c, 0x76, socket), socket
}

func still(time.Time) i2csim.Source { return room }

func TestBrownOut(t *testing.T) {
	r, _ := inSocket(t, "bme280", still, func(from time.Time) i2csim.SocketOptions {
		return i2csim.SocketOptions{BrownOuts: []i2csim.Spans{
			{From: from.Add(10 * time.Second), To: from.Add(31 * time.Second), Every: 10 * time.Second},
			{From: from.Add(40 * time.Second)},
		}}
	})
	const ctrlHum = 0xF2
	for _, tt := range []struct {
		at, want byte // seconds, and what is left of a register that was written 1 s before
	}{{9, 5}, {10, 0}, {13, 5}, {20, 0}, {30, 0}, {35, 5}, {40, 0}, {50, 5}} {
		r.now = newClock().now.Add(time.Duration(tt.at-1) * time.Second)
		r.must(t, []byte{ctrlHum, 5}, 0)
		r.Advance(time.Second + 5*time.Millisecond)
		if got := r.must(t, []byte{ctrlHum}, 1)[0]; got != tt.want {
			t.Errorf("after %d s: ctrl_hum is %d, want %d", tt.at, got, tt.want)
		}
	}
}

// The chip starts up when the supply comes, not when it is asked next.
func TestStartUpIsAtTheBrownOut(t *testing.T) {
	for after, kind := range map[time.Duration]i2csim.Kind{
		0: i2csim.NACK, 1999 * time.Microsecond: i2csim.NACK, 2 * time.Millisecond: i2csim.None, time.Hour: i2csim.None,
	} {
		r, socket := inSocket(t, "bme280", still, func(from time.Time) i2csim.SocketOptions {
			return i2csim.SocketOptions{BrownOuts: []i2csim.Spans{{From: from.Add(time.Second)}}}
		})
		r.Advance(time.Second + after)
		if truth, ok := socket.LastConversion(); ok {
			t.Errorf("a conversion of before the brown-out: %v", truth)
		}
		if err := r.bus.Tx(0x76, []byte{0xD0}, make([]byte, 1)); kindOf(err) != kind {
			t.Errorf("%v after a brown-out: %v, want %v", after, err, kind)
		}
	}
}

func TestUnplugged(t *testing.T) {
	tests := map[string]i2csim.SocketOptions{
		"unplugged": {Unplugged: []i2csim.Spans{{From: newClock().now.Add(10 * time.Second), To: newClock().now.Add(20 * time.Second)}}},
		"plugged": {Plugged: []i2csim.Spans{
			{To: newClock().now.Add(10 * time.Second)}, {From: newClock().now.Add(20 * time.Second)},
		}},
	}
	for name, o := range tests {
		r, socket := inSocket(t, "bme280", still, func(time.Time) i2csim.SocketOptions { return o })
		r.must(t, []byte{0xF2, 5}, 0)
		for _, tt := range []struct {
			at   int // seconds
			kind i2csim.Kind
			want byte
		}{{9, i2csim.None, 5}, {10, i2csim.NACK, 0}, {19, i2csim.NACK, 0}, {21, i2csim.None, 0}} {
			r.now = newClock().now.Add(time.Duration(tt.at) * time.Second)
			got := make([]byte, 1)
			if err := r.bus.Tx(0x76, []byte{0xF2}, got); kindOf(err) != tt.kind || err == nil && got[0] != tt.want {
				t.Errorf("%s: after %d s: %d, %v; want %d, %v", name, tt.at, got[0], err, tt.want, tt.kind)
			}
			if _, ok := socket.LastConversion(); ok {
				t.Errorf("%s: a conversion from nowhere", name)
			}
		}
	}
}

func TestPlugByHand(t *testing.T) {
	r, socket := inSocket(t, "bme280", still, func(time.Time) i2csim.SocketOptions { return i2csim.SocketOptions{} })
	r.must(t, []byte{0xF2, 5}, 0)
	socket.Plug() // it is in: nothing happens
	if got := r.must(t, []byte{0xF2}, 1)[0]; got != 5 {
		t.Errorf("ctrl_hum %d, want 5", got)
	}
	socket.Unplug()
	for _, tx := range []struct{ w, r []byte }{{[]byte{0xF2}, nil}, {nil, make([]byte, 1)}} {
		if err := r.bus.Tx(0x76, tx.w, tx.r); kindOf(err) != i2csim.NACK {
			t.Errorf("unplugged: %v, want NACK", err)
		}
	}
	socket.Plug()
	if err := r.bus.Tx(0x76, []byte{0xF2}, nil); kindOf(err) != i2csim.NACK {
		t.Errorf("starting up: %v, want NACK", err)
	}
	r.Advance(2 * time.Millisecond)
	if got := r.must(t, []byte{0xF2}, 1)[0]; got != 0 {
		t.Errorf("ctrl_hum %d, want 0: the supply was away", got)
	}
	r.must(t, []byte{0xF2, 5}, 0)
	socket.PowerCycle()
	r.Advance(2 * time.Millisecond)
	if got := r.must(t, []byte{0xF2}, 1)[0]; got != 0 {
		t.Errorf("ctrl_hum %d, want 0: the power was cycled", got)
	}
}

// A chip of half the speed takes twice as long, and measures what is there then.
func TestSlow(t *testing.T) {
	r, socket := inSocket(t, "bh1750", func(from time.Time) i2csim.Source { return ramp{from} },
		func(from time.Time) i2csim.SocketOptions {
			return i2csim.SocketOptions{
				Slow:   i2csim.Spans{From: from.Add(time.Hour), To: from.Add(2 * time.Hour)},
				SlowBy: 2,
			}
		})
	begin := r.now
	for _, tt := range []struct {
		at, takes time.Duration
	}{{time.Minute, 180 * time.Millisecond}, {90 * time.Minute, 360 * time.Millisecond}, {3 * time.Hour, 180 * time.Millisecond}} {
		r.now = begin.Add(tt.at)
		before := r.must(t, nil, 2)
		r.must(t, []byte{0x20}, 0)
		r.Advance(tt.takes - time.Microsecond)
		if got := r.must(t, nil, 2); !bytes.Equal(got, before) {
			t.Errorf("at %v: a result before %v", tt.at, tt.takes)
		}
		r.Advance(2 * time.Microsecond)
		got := r.must(t, nil, 2)
		truth, ok := socket.LastConversion()
		if !ok {
			t.Fatalf("at %v: no result after %v", tt.at, tt.takes)
		}
		near := func(got, want time.Time) bool { return got.Sub(want).Abs() < 10*time.Nanosecond }
		if want := begin.Add(tt.at); !near(truth.Start, want) || !near(truth.End, want.Add(tt.takes)) {
			t.Errorf("at %v: measured from %v to %v, want %v and %v later", tt.at, truth.Start, truth.End, want, tt.takes)
		}
		if want := (ramp{begin}).At(begin.Add(tt.at)).Illuminance; absolute(truth.Illuminance-want) > i2csim.Lux/50 {
			t.Errorf("at %v: %v were measured, want %v", tt.at, truth.Illuminance, want)
		}
		if lux := i2csim.Illuminance(float64(int(got[0])<<8|int(got[1])) / 1.2 * float64(i2csim.Lux)); absolute(lux-min(truth.Illuminance, 65535*i2csim.Lux*10/12)) > i2csim.Lux {
			t.Errorf("at %v: read %v, want %v", tt.at, lux, truth.Illuminance)
		}
	}
}

func TestFreezer(t *testing.T) {
	c := newClock()
	chip, err := i2csim.NewBH1750(i2csim.ChipOptions{Source: ramp{c.now}, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	frozen := false
	freezer := i2csim.NewFreezer(chip, func() bool { return frozen })
	r := attach(t, c, 0x23, freezer)
	measure := func() []byte {
		r.must(t, []byte{0x10}, 0)
		r.Advance(time.Minute)
		return r.must(t, nil, 2)
	}
	measure()
	first := measure()
	firstTruth, _ := freezer.LastConversion()
	frozen = true
	for range 2 {
		if got := measure(); !bytes.Equal(got, first) {
			t.Errorf("frozen: % x, want % x", got, first)
		}
		if got, ok := freezer.LastConversion(); !ok || got != firstTruth {
			t.Errorf("frozen: the registers hold %v, want %v", got, firstTruth)
		}
	}
	if got := r.must(t, nil, 3); bytes.Equal(got[:2], first) {
		t.Error("a read that was never made before is frozen")
	}
	frozen = false
	if got := measure(); bytes.Equal(got, first) {
		t.Error("thawed, and nothing has changed")
	}
	if got, _ := freezer.LastConversion(); got == firstTruth {
		t.Error("thawed, and the truth is the old one")
	}
}

func absolute(v i2csim.Illuminance) i2csim.Illuminance { return max(v, -v) }

// A slow chip that stretches the clock does so for longer.
func TestSlowStretches(t *testing.T) {
	c := newClock()
	var slept time.Duration
	stretch := func(o i2csim.ChipOptions) (i2csim.Chip, error) {
		o.Sleep(10 * time.Millisecond)
		return &supplied{now: o.Now}, nil
	}
	_, err := i2csim.NewSocket(stretch, i2csim.ChipOptions{Source: room, Now: c.Now, Sleep: func(d time.Duration) { slept += d }},
		i2csim.SocketOptions{Slow: i2csim.Spans{From: c.now.Add(-time.Hour)}, SlowBy: 3})
	if err != nil || (slept-30*time.Millisecond).Abs() > time.Microsecond {
		t.Errorf("10ms of a chip that is slow by 3 are %v, %v", slept, err)
	}
}

// Each read freezes by itself: what was written before it says which it is.
func TestFreezerKnowsTheReads(t *testing.T) {
	c := newClock()
	chip, err := i2csim.NewBME280(i2csim.BME280Options{Source: room, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	frozen := false
	freezer := i2csim.NewFreezer(chip, func() bool { return frozen })
	r := attach(t, c, 0x76, freezer)
	ctrlMeas := []byte{0xF4}
	id := r.must(t, []byte{0xD0}, 1)
	before := r.must(t, ctrlMeas, 1)
	frozen = true
	r.must(t, []byte{0xF4, 0b001_001_01}, 0) // it measures all the same
	if got := r.must(t, []byte{0xD0}, 1); !bytes.Equal(got, id) {
		t.Errorf("id % x, want % x", got, id)
	}
	if got := r.must(t, ctrlMeas, 1); !bytes.Equal(got, before) {
		t.Errorf("ctrl_meas % x, want % x", got, before)
	}
	r.Advance(time.Second)
	if got, ok := freezer.LastConversion(); ok {
		t.Errorf("the registers hold %v, want none", got)
	}
	frozen = false
	if got, ok := freezer.LastConversion(); !ok || got.Environment != i2csim.Environment(room) {
		t.Errorf("the registers hold %v, want the room", got)
	}
}
