package i2csim_test

import (
	"testing"
	"time"

	"periph.io/x/conn/v3/physic"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

func newLPS22HB(t testing.TB, o i2csim.ChipOptions) (rig, *i2csim.LPS22HB) {
	t.Helper()
	return onBus(t, 0x5C, o, i2csim.NewLPS22HB)
}

// lpsConversion is the time of a one-shot conversion.
const lpsConversion = time.Second / 75

func TestLPS22HB(t *testing.T) {
	control1, control2, status, data := []byte{0x10}, []byte{0x11}, []byte{0x27}, []byte{0x28}
	// Before the first conversion; then 1013.25 hPa x 4096 = 0x3F5400, and
	// 21.37 °C x 100 = 0x0859.
	stale, fresh := []byte{0x66, 0x66, 0x2F, 0x00, 0x00}, []byte{0x00, 0x54, 0x3F, 0x59, 0x08}
	for name, steps := range map[string][]step{
		"supply": {
			{0, []byte{0x0F}, []byte{0xB1, 0x00, 0x10, 0x00}, "WHO_AM_I, and the control registers"},
			{0, []byte{0x25}, []byte{0, 0, 0}, "interrupts, FIFO and status"},
			{0, data, stale, "a plausible pressure that was never measured"},
			{time.Hour, status, []byte{0}, "powered down"},
			{0, []byte{0x34}, []byte{0}, "no such register"},
			{0, []byte{0xFF}, []byte{0, 0}, "to the last address and the first"},
		},
		"registers": {
			{0, []byte{0x0C, 1, 2, 3}, nil, "the address counts on"},
			{0, []byte{0x0C}, []byte{1, 2, 0, 0xB1}, "but WHO_AM_I cannot be written"},
			{0, []byte{0x15, 4, 5, 6, 7, 8, 1, 9}, nil, ""},
			{0, []byte{0x15}, []byte{4, 5, 6, 7, 8, 1, 0}, ""},
			{0, []byte{0x27, 0xFF, 1, 2, 3, 4, 5}, nil, ""},
			{0, []byte{0x27}, append([]byte{0}, stale...), "read-only"},
			{0, []byte{0x0A, 9}, nil, "reserved"},
			{0, []byte{0x0A}, []byte{0}, ""},
			{0, []byte{0x12, 3, 9, 4}, nil, ""},
			{0, []byte{0x12}, []byte{3, 0, 4}, "one of them"},
			{0, []byte{0x11, 0x00}, []byte{0x00, 0x00, 0x00}, "now it does not"},
			{0, []byte{0x0F}, []byte{0xB1, 0xB1}, ""},
			{0, []byte{0x0C, 7, 8}, []byte{8}, ""},
		},
		"one-shot": {
			{0, []byte{0x11, 0x11}, []byte{0x00}, ""},
			{lpsConversion - 1, control2, []byte{0x11}, "converting"},
			{0, status, append([]byte{0}, stale...), ""},
			{1, control2, []byte{0x10}, "done"},
			{0, status, []byte{0x03}, "both available"},
			{0, data, fresh[:2], "low bytes"},
			{0, status, []byte{0x03}, "are not enough"},
			{0, []byte{0x2A}, fresh[2:3], ""},
			{0, status, []byte{0x02}, "the pressure was read"},
			{0, []byte{0x2B}, fresh[3:4], ""},
			{0, status, []byte{0x02}, ""},
			{0, []byte{0x2C}, fresh[4:], ""},
			{0, status, []byte{0x00}, "and the temperature"},
			{time.Hour, status, []byte{0x00}, "no other conversion"},
			{0, data, fresh, "the data stay"},
			{0, []byte{0x11, 0x11}, nil, ""},
			{lpsConversion / 2, []byte{0x11, 0x11}, nil, "does not begin again"},
			{lpsConversion/2 + 1, status, []byte{0x03}, ""},
			{0, []byte{0x11, 0x11}, nil, ""},
			{lpsConversion, status, []byte{0x33}, "not read: overrun"},
			{0, data, fresh, ""},
			{0, status, []byte{0x00}, "reading clears that, too"},
		},
		"rates": {
			{0, []byte{0x10, 0x10}, nil, "1 Hz"},
			{time.Second - 1, status, append([]byte{0}, stale...), ""},
			{1, status, append([]byte{3}, fresh...), ""},
			{time.Second - 1, status, []byte{0}, ""},
			{1, status, []byte{0x03}, ""},
			{0, []byte{0x11, 0x11}, nil, "one-shot"},
			{0, control2, []byte{0x10}, "is for a chip that is powered down"},
			{time.Second, status, []byte{0x33}, "overrun"},
			{0, []byte{0x10, 0x20}, nil, "10 Hz"},
			{0, data, fresh, ""},
			{100*ms - 1, status, []byte{0}, ""},
			{1, status, append([]byte{3}, fresh...), ""},
			{0, []byte{0x10, 0x30}, nil, "25 Hz"},
			{40*ms - 1, status, []byte{0}, ""},
			{1, status, append([]byte{3}, fresh...), ""},
			{0, []byte{0x10, 0x40}, nil, "50 Hz"},
			{20*ms - 1, status, []byte{0}, ""},
			{1, status, append([]byte{3}, fresh...), ""},
			{0, []byte{0x10, 0x50}, nil, "75 Hz"},
			{lpsConversion - 1, status, []byte{0}, ""},
			{1, status, append([]byte{3}, fresh...), ""},
			{0, []byte{0x10, 0x00}, nil, "down"},
			{time.Hour, status, []byte{0}, ""},
			{0, []byte{0x10, 0x60}, nil, "reserved"},
			{time.Hour, status, []byte{0}, ""},
			{0, []byte{0x10, 0x10}, nil, ""},
			{999 * ms, []byte{0x10, 0x12}, nil, "the rate stays"},
			{ms, status, []byte{0x03}, "and so does its phase"},
		},
		"one-shot given up": {
			{0, []byte{0x11, 0x11}, nil, ""},
			{ms, []byte{0x10, 0x10}, nil, ""},
			{0, control2, []byte{0x10}, ""},
			{999 * ms, status, []byte{0x00}, ""},
			{ms, status, []byte{0x03}, ""},
		},
		"boot": {
			{0, []byte{0x11, 0x90}, nil, ""},
			{2200*time.Microsecond - 1, control2, []byte{0x90}, ""},
			{0, []byte{0x25}, []byte{0x80}, "boot status"},
			{0, []byte{0x11, 0x91}, nil, ""},
			{1, control2, []byte{0x91}, "again, and then converts"},
			{2200*time.Microsecond - 1, control2, []byte{0x11}, ""},
			{0, []byte{0x25}, []byte{0}, ""},
			{lpsConversion - 1, status, []byte{0}, ""},
			{1, status, []byte{0x03}, "not before it has booted"},
		},
		"software reset": {
			{0, []byte{0x0B, 1, 2, 3}, nil, ""},
			{0, []byte{0x10, 0x12}, nil, ""},
			{0, []byte{0x12, 4}, nil, ""},
			{0, []byte{0x14, 5, 6, 7, 8, 9, 10, 1}, nil, ""},
			{time.Second, []byte{0x11, 0x14}, nil, ""},
			{0, []byte{0x0B}, []byte{0, 0, 0, 0, 0xB1, 0, 0x14, 0, 0, 0, 0, 0, 0, 9, 10, 1}, "some are kept"},
			{2200 * time.Microsecond, control2, []byte{0x10}, "done"},
			{0, data, fresh, "data, too"},
			{time.Hour, status, []byte{0}, "powered down"},
		},
		// Probe of Linux' st_pressure and its reading of both channels.
		"Linux": {
			{0, []byte{0x0F}, []byte{0xB1}, ""},
			{0, control1, []byte{0x00}, ""},
			{0, []byte{0x10, 0x00}, nil, ""},
			{0, control1, []byte{0x00}, ""},
			{0, []byte{0x10, 0x02}, nil, "block data update"},
			{0, control1, []byte{0x02}, ""},
			{0, []byte{0x10, 0x12}, nil, "1 Hz"},
			{2 * time.Second, data, fresh[:3], ""},
			{0, control1, []byte{0x12}, ""},
			{0, []byte{0x10, 0x02}, nil, ""},
			{0, []byte{0x10, 0x12}, nil, ""},
			{2 * time.Second, []byte{0x2B}, fresh[3:], ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newLPS22HB(t, i2csim.ChipOptions{})
			r.run(t, steps)
		})
	}
}

// With block data update the high byte belongs to the low ones that were read
// before it, else it may be of another conversion.
func TestLPS22HBBlockDataUpdate(t *testing.T) {
	for _, update := range []byte{0x00, 0x02} {
		r, _ := newLPS22HB(t, i2csim.ChipOptions{Source: ramp{}})
		r.must(t, []byte{0x10, 0x10 | update}, 0)
		r.Advance(time.Second)
		first := r.must(t, []byte{0x28}, 5)
		low, lowT := r.must(t, []byte{0x28}, 1), r.must(t, []byte{0x2B}, 1)
		r.Advance(time.Hour)
		rest, restT := r.must(t, []byte{0x29}, 2), r.must(t, []byte{0x2C}, 1)
		same := low[0] == first[0] && [2]byte(rest) == [2]byte(first[1:3]) && lowT[0] == first[3] && restT[0] == first[4]
		if same != (update != 0) {
			t.Errorf("control %#x: % x, then %x % x %x %x", update, first, low, rest, lowT, restT)
		}
		r.Advance(time.Second)
		next := r.must(t, []byte{0x28}, 5)
		if next[2] == first[2] || next[4] == first[4] {
			t.Errorf("control %#x: % x an hour after % x", update, next, first)
		}
	}
	// Any of the low bytes holds the others.
	r, _ := newLPS22HB(t, i2csim.ChipOptions{Source: ramp{}})
	r.must(t, []byte{0x10, 0x12}, 0)
	r.Advance(time.Second)
	first := r.must(t, []byte{0x28}, 3)
	r.must(t, []byte{0x29}, 1)
	r.Advance(time.Hour)
	if high := r.must(t, []byte{0x2A}, 1); high[0] != first[2] {
		t.Errorf("the high byte is %x after the middle one of % x", high, first)
	}
	// What it holds it lets go of where it ends.
	for name, end := range map[string][]byte{"switched off": {0x10, 0x10}, "reset": {0x11, 0x14}} {
		r, _ := newLPS22HB(t, i2csim.ChipOptions{Source: ramp{}})
		r.must(t, []byte{0x10, 0x12}, 0)
		r.Advance(time.Second)
		held := r.must(t, []byte{0x28}, 1)
		r.must(t, end, 0)
		r.must(t, []byte{0x10, 0x10}, 0)
		r.Advance(7 * time.Second)
		if now := r.must(t, []byte{0x28}, 1); now[0] == held[0] {
			t.Errorf("%s: still %x", name, now)
		}
	}
}

// 4096 LSB/hPa and 100 LSB/°C, in 24 and 16 bits, give the source back to half
// of a step.
func TestLPS22HBReadsTheSource(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		source := drawRoom(rt)
		source.Pressure = physic.Pressure(rapid.Int64Range(26000e9, 126000e9).Draw(rt, "pressure to 1260 hPa"))
		r, _ := newLPS22HB(t, i2csim.ChipOptions{Source: source})
		r.must(rt, []byte{0x11, 0x11}, 0)
		r.Advance(time.Second)
		b := r.must(rt, []byte{0x28}, 5)
		pascals := float64(int(b[2])<<16|int(b[1])<<8|int(b[0])) / 4096 * 100
		near(rt, "pressure", pascals, float64(source.Pressure)/1e9, 50./4096+1e-6)
		celsius, _ := celsiusAndPercent(source)
		near(rt, "temperature", float64(int16(uint16(b[4])<<8|uint16(b[3])))/100, celsius, 0.005)
	})
}

func TestLPS22HBSaturation(t *testing.T) {
	for _, tt := range []struct {
		source i2csim.Constant
		want   []byte
	}{
		{i2csim.Constant{Pressure: 300_000 * physic.Pascal, Temperature: physic.ZeroCelsius + 400*physic.Celsius}, []byte{0xFF, 0xFF, 0x7F, 0xFF, 0x7F}},
		{i2csim.Constant{Pressure: -300_000 * physic.Pascal, Temperature: physic.ZeroCelsius - 400*physic.Celsius}, []byte{0x00, 0x00, 0x80, 0x00, 0x80}},
	} {
		r, _ := newLPS22HB(t, i2csim.ChipOptions{Source: tt.source})
		r.run(t, []step{{0, []byte{0x11, 0x11}, nil, ""}, {time.Second, []byte{0x28}, tt.want, "data"}})
	}
}

func TestLPS22HBTruth(t *testing.T) {
	source := ramp{newClock().now}
	r, chip := newLPS22HB(t, i2csim.ChipOptions{Source: source})
	r.must(t, []byte{0x0C, 1}, 0)
	r.must(t, []byte{0x10, 0x10}, 0)
	r.Advance(time.Second - 1)
	noTruth(t, chip, "before the first has ended")
	r.Advance(1 + time.Hour + time.Second/2)
	wantTruth(t, chip, source, source.from.Add(time.Hour+time.Second-lpsConversion), lpsConversion)
	if status := r.must(t, []byte{0x27}, 1); status[0] != 0x33 {
		t.Errorf("status %#x after an hour unread, want 0x33", status)
	}
	brownOut(t, chip)
	r.run(t, []step{
		{0, nil, []byte{0, 0, 0}, "powered down, the first register selected"},
		{0, []byte{0x25}, []byte{0x80, 0, 0, 0x66, 0x66, 0x2F, 0, 0}, "booting, data as when the supply comes"},
		{0, []byte{0x0C}, []byte{0, 0, 0, 0xB1, 0, 0x10}, ""},
		{2200 * time.Microsecond, []byte{0x25}, []byte{0}, "booted"},
		{time.Hour, []byte{0x27}, []byte{0}, ""},
	})
}
