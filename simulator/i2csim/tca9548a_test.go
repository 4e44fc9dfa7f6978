package i2csim_test

import (
	"bytes"
	"testing"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

func newTCA9548A(t *testing.T) (rig, *i2csim.TCA9548A) {
	t.Helper()
	mux := i2csim.NewTCA9548A()
	return attach(t, newClock(), 0x70, mux), mux
}

func TestTCA9548AControlRegister(t *testing.T) {
	r, mux := newTCA9548A(t)
	r.run(t, []step{
		{0, nil, []byte{0}, "no channel is on when the supply comes"},
		{0, []byte{0x81}, []byte{0x81}, ""},
		{0, nil, []byte{0x81, 0x81, 0x81}, "as often as it is read"},
		{0, []byte{}, nil, "an address alone changes nothing"},
		{0, nil, []byte{0x81}, ""},
		{0, []byte{0x01, 0x02, 0x04}, []byte{0x04}, "the last byte counts"},
	})
	mux.Reset()
	r.run(t, []step{{0, nil, []byte{0}, "reset"}, {0, []byte{0xFF}, []byte{0xFF}, ""}})
	mux.PowerCycle()
	r.run(t, []step{{0, nil, []byte{0}, "brown-out"}})
}

// Behind a switch there are two devices with one address, one with another, and
// one with the switch's own; on the main bus is one, with the first's address.
func TestTCA9548AChannels(t *testing.T) {
	const shared, single, own = 0x44, 0x10, 0x70
	for _, tt := range []struct {
		name    string
		control byte
		main    bool // the device on the main bus is there
		addr    uint16
		want    []byte // nil for an address that is not acknowledged
	}{
		{"off", 0, false, shared, nil},
		{"another channel", 1 << 1, false, shared, nil},
		{"first", 1 << 0, false, shared, []byte{0b1100, 0xFF}},
		{"second", 1 << 7, false, shared, []byte{0b1010, 0x0F}},
		{"both", 1<<0 | 1<<7, false, shared, []byte{0b1000, 0x0F}},
		{"main bus only", 0, true, shared, []byte{0b0110, 0xF0}},
		{"main bus and first", 1 << 0, true, shared, []byte{0b0100, 0xF0}},
		{"all", 0xFF, true, shared, []byte{0, 0}},
		{"other address, off", 1 << 0, true, single, nil},
		{"other address", 1 << 1, true, single, []byte{0x5A}},
		{"the switch's own, off", 0, true, own, []byte{0}},
		{"the switch's own", 0xFF, true, own, []byte{0x7F}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, mux := newTCA9548A(t)
			for _, d := range []struct {
				channel int
				addr    uint16
				held    []byte
			}{
				{0, shared, []byte{0b1100, 0xFF}},
				{7, shared, []byte{0b1010, 0x0F}},
				{1, single, []byte{0x5A}},
				{2, own, []byte{0x7F}},
			} {
				if err := mux.Attach(d.channel, d.addr, &memory{held: d.held}); err != nil {
					t.Fatal(err)
				}
			}
			if tt.main {
				if err := r.bus.Attach(shared, &memory{held: []byte{0b0110, 0xF0}}); err != nil {
					t.Fatal(err)
				}
			}
			r.must(t, []byte{tt.control}, 0)
			r.addr = tt.addr
			if tt.want != nil {
				r.run(t, []step{{0, nil, tt.want, tt.name}})
			} else if err := r.bus.Tx(tt.addr, nil, make([]byte, 1)); kindOf(err) != i2csim.NACK {
				t.Errorf("%v: want NACK", err)
			}
		})
	}
}

// All devices with an address carry out what is written to it; those on a
// channel that is off do not see it.
func TestTCA9548AWrites(t *testing.T) {
	r, mux := newTCA9548A(t)
	devices := make([]*memory, 3)
	for i := range devices {
		devices[i] = new(memory)
		if err := mux.Attach(i, 0x50, devices[i]); err != nil {
			t.Fatal(err)
		}
	}
	r.must(t, []byte{0b101}, 0)
	if err := r.bus.Tx(0x50, []byte{1, 2}, nil); err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]byte{{1, 2}, nil, {1, 2}} {
		if !bytes.Equal(devices[i].held, want) {
			t.Errorf("channel %d was written % x, want % x", i, devices[i].held, want)
		}
	}
}

// A switch behind a switch needs a channel of both.
func TestTCA9548ABehindAnother(t *testing.T) {
	r, outer := newTCA9548A(t)
	inner := i2csim.NewTCA9548A()
	if err := outer.Attach(3, 0x71, inner); err != nil {
		t.Fatal(err)
	}
	if err := inner.Attach(4, 0x50, &memory{held: []byte{9}}); err != nil {
		t.Fatal(err)
	}
	answers := func() bool { return r.bus.Tx(0x50, nil, make([]byte, 1)) == nil }
	r.must(t, []byte{1 << 3}, 0)
	if answers() {
		t.Error("the inner switch's channel is off, and the device answers")
	}
	if err := r.bus.Tx(0x71, []byte{1 << 4}, nil); err != nil {
		t.Fatal(err)
	}
	if !answers() {
		t.Error("both channels are on, and the device does not answer")
	}
	r.must(t, []byte{0}, 0)
	if answers() {
		t.Error("the outer switch's channel is off, and the device answers")
	}
}

func TestTCA9548AAttach(t *testing.T) {
	mux := i2csim.NewTCA9548A()
	for _, tt := range []struct {
		name    string
		channel int
		addr    uint16
		device  i2csim.Device
		err     string
	}{
		{"first", 0, 0x50, &memory{}, ""},
		{"last", 7, 0x50, &memory{}, ""},
		{"taken", 7, 0x50, &memory{}, "i2csim: tca9548a: channel 7: address 0x50: there is a device already"},
		{"reserved", 0, 0x78, &memory{}, "i2csim: tca9548a: channel 0: address 0x78: want 0x08 to 0x77"},
		{"nothing", 0, 0x51, nil, "i2csim: tca9548a: channel 0: address 0x51: want a device"},
		{"too few", -1, 0x50, &memory{}, "i2csim: tca9548a: channel -1: want 0 to 7"},
		{"too many", 8, 0x50, &memory{}, "i2csim: tca9548a: channel 8: want 0 to 7"},
	} {
		if got := errorText(mux.Attach(tt.channel, tt.addr, tt.device)); got != tt.err {
			t.Errorf("%s: error %q, want %q", tt.name, got, tt.err)
		}
	}
	mux.Detach(-1, 0x50)
	mux.Detach(8, 0x50)
	for _, channel := range []int{0, 7} {
		mux.Detach(channel, 0x50)
		if err := mux.Attach(channel, 0x50, &memory{}); err != nil {
			t.Errorf("attach to channel %d where one was detached: %v", channel, err)
		}
	}
}

func TestConflict(t *testing.T) {
	a, b := &memory{held: []byte{0xF0, 0xAA}}, &memory{held: []byte{0x3C, 0xFF}}
	r := attach(t, newClock(), 0x50, i2csim.Conflict(a, b, mute{}))
	r.run(t, []step{
		{0, nil, []byte{0x30, 0xAA}, "a 0 wins, and who does not acknowledge says nothing"},
		{0, []byte{1, 2}, []byte{1, 2}, "all were written"},
	})
	if a.writes != 1 || b.writes != 1 {
		t.Errorf("%d and %d messages, want one each", a.writes, b.writes)
	}
	// A BH1750 acknowledges one byte a message, but the other keeps the line low.
	light, err := i2csim.NewBH1750(i2csim.ChipOptions{Source: room})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		device i2csim.Device
		want   i2csim.Kind
	}{
		"one that takes both bytes": {i2csim.Conflict(light, a), i2csim.None},
		"none that does":            {i2csim.Conflict(light, mute{}), i2csim.NACK},
		"nobody":                    {i2csim.Conflict(mute{}, mute{}), i2csim.NACK},
	} {
		r := attach(t, newClock(), 0x23, tt.device)
		if err := r.bus.Tx(0x23, []byte{0x10, 0x07}, nil); kindOf(err) != tt.want {
			t.Errorf("%s: write: %v, want %v", name, err, tt.want)
		}
	}
	r = attach(t, newClock(), 0x50, i2csim.Conflict(mute{}, mute{}))
	if err := r.bus.Tx(0x50, nil, make([]byte, 1)); kindOf(err) != i2csim.NACK {
		t.Errorf("nobody reads: %v", err)
	}
}

// A switch that shares its address stays one.
func TestConflictWithASwitch(t *testing.T) {
	mux := i2csim.NewTCA9548A()
	if err := mux.Attach(0, 0x50, &memory{held: []byte{9}}); err != nil {
		t.Fatal(err)
	}
	r := attach(t, newClock(), 0x76, i2csim.Conflict(&memory{}, mux))
	r.must(t, []byte{1}, 0)
	r.addr = 0x50
	r.run(t, []step{{0, nil, []byte{9}, "the channel is on"}})
}
