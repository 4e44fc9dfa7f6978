package i2csim_test

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// Commands of HTU21D and Si7021.
const (
	holdT     = 0xE3
	holdRH    = 0xE5
	noHoldT   = 0xF3
	noHoldRH  = 0xF5
	writeUser = 0xE6
	readUser  = 0xE7
	htuReset  = 0xFE
)

// htu is a word as these chips send it.
func htu(w uint16) []byte { return []byte{byte(w >> 8), byte(w), crc8(0, byte(w>>8), byte(w))} }

// The room as these chips convert it: (21.37 + 46.85) x 2^14/175.72 is 6360.8
// and (44 + 6) x 2^12/125 is 1638.4, and humidity has a status bit.
var (
	roomT  = htu(6361 << 2)
	roomRH = htu(1638<<4 | 2)
)

func TestHTU21DAndSi7021(t *testing.T) {
	for _, tt := range []struct {
		kind             string
		takesT, takesRH  time.Duration
		resets           time.Duration
		user, afterReset byte // the user register, and with all writable bits and then a soft reset
		full             byte
	}{
		{"htu21d", 50 * ms, 16 * ms, 15 * ms, 0x02, 0x06, 0x87},
		{"si7021", 10800 * us, 22800 * us, 15 * ms, 0x3A, 0x3A, 0xBF},
	} {
		for name, exchanges := range map[string][]exchange{
			"supply": {
				{0, nil, nil, acked, "the address"},
				{0, nil, nil, nacked, "no data"},
				{0, []byte{readUser}, []byte{tt.user, 0xFF}, acked, "without a checksum"},
				{0, nil, nil, nacked, "read already"},
			},
			"temperature without hold": {
				{0, []byte{noHoldT}, nil, acked, ""},
				{tt.takesT - 1, nil, nil, nacked, "measuring"},
				{0, []byte{readUser}, nil, nacked, "no command while measuring"},
				{1, nil, append(bytes.Clone(roomT), 0xFF), acked, "nothing after the checksum"},
				{0, nil, nil, nacked, "read already"},
			},
			"humidity without hold": {
				{0, []byte{noHoldRH}, nil, acked, ""},
				{tt.takesRH - 1, nil, nil, nacked, "measuring"},
				{1, nil, roomRH[:2], acked, "the controller may leave the checksum out"},
				{0, nil, nil, nacked, "read already"},
				{0, []byte{noHoldRH}, roomRH, nacked, "in one transaction there is no time"},
				{tt.takesRH, nil, roomRH, acked, "but the command was carried out"},
			},
			"user register": {
				{0, []byte{writeUser, 0xFF}, nil, acked, ""},
				{0, []byte{readUser}, []byte{tt.full}, acked, "reserved bits and the battery's stay"},
				{0, []byte{htuReset}, nil, acked, "soft reset"},
				{tt.resets - 1, []byte{readUser}, nil, nacked, ""},
				{0, nil, nil, nacked, ""},
				{1, []byte{readUser}, []byte{tt.afterReset}, acked, ""},
				{0, []byte{writeUser}, nil, acked, "without a value"},
				{0, []byte{readUser}, []byte{tt.afterReset}, acked, "nothing written"},
				{0, []byte{noHoldT}, nil, acked, ""},
				{time.Second, []byte{htuReset}, nil, acked, ""},
				{time.Second, nil, nil, nacked, "no data after a reset"},
			},
			"unknown commands": {
				{0, []byte{0x00}, nil, nacked, ""},
				{0, []byte{0xEE}, nil, nacked, ""},
				{0, []byte{0xFA, 0x0E}, nil, nacked, ""},
				{0, []byte{0x84, 0xB9}, nil, nacked, ""},
				{0, []byte{noHoldT, noHoldT}, nil, nacked, "one command a message"},
				{tt.takesT, nil, roomT, acked, "of which the first was carried out"},
				{0, []byte{writeUser, 0, 0}, nil, nacked, "one value"},
			},
		} {
			t.Run(tt.kind+" "+name, func(t *testing.T) {
				r, _ := newChip(t, tt.kind, 0x40, i2csim.ChipOptions{})
				r.exchange(t, exchanges)
			})
		}
	}
}

func TestHTU21DHoldsTheClock(t *testing.T) {
	for _, tt := range []struct {
		kind  string
		op    byte
		takes time.Duration
		want  []byte
	}{
		{"htu21d", holdT, 50 * ms, roomT},
		{"htu21d", holdRH, 16 * ms, roomRH},
		{"si7021", holdT, 10800 * us, roomT},
		{"si7021", holdRH, 22800 * us, roomRH},
	} {
		r, _ := newChip(t, tt.kind, 0x40, i2csim.ChipOptions{})
		for _, before := range []time.Duration{0, ms, time.Hour} {
			began := r.now
			r.must(t, []byte{tt.op}, 0)
			r.Advance(before)
			r.exchange(t, []exchange{{0, nil, tt.want, acked, "held"}, {0, nil, nil, nacked, "read already"}})
			if got, want := r.now.Sub(began), max(tt.takes, before); got != want {
				t.Errorf("%s %#x: read %v after the command, %v in all, want %v", tt.kind, tt.op, before, got, want)
			}
		}
		began := r.now
		r.exchange(t, []exchange{{0, []byte{tt.op}, tt.want[:2], acked, "in one transaction, as Linux does"}})
		if got := r.now.Sub(began); got != tt.takes {
			t.Errorf("%s %#x: one transaction took %v, want %v", tt.kind, tt.op, got, tt.takes)
		}
	}
}

// The HTU21D's maximum times are those that Linux' ms_sensors_i2c.c waits for.
func TestHTU21DResolutions(t *testing.T) {
	micro := func(v ...int) []time.Duration {
		d := make([]time.Duration, len(v))
		for i := range v {
			d[i] = time.Duration(v[i]) * us
		}
		return d
	}
	for _, tt := range []struct {
		kind   string
		timing i2csim.Timing
		// By resolution bits 7 and 0: 12/14, 8/12, 10/13 and 11/11 bits.
		t, rh []time.Duration
	}{
		{"htu21d", i2csim.Maximum, micro(50000, 13000, 25000, 7000), micro(16000, 3000, 5000, 8000)},
		{"htu21d", i2csim.Typical, micro(44000, 11000, 22000, 6000), micro(14000, 2000, 4000, 7000)},
		{"si7021", i2csim.Maximum, micro(10800, 3800, 6200, 2400), micro(22800, 6900, 10700, 9400)},
		{"si7021", i2csim.Typical, micro(7000, 2400, 4000, 1500), micro(17000, 5000, 7700, 7300)},
	} {
		for i, bits := range []struct {
			user  byte
			t, rh uint
		}{{0x00, 14, 12}, {0x01, 12, 8}, {0x80, 13, 10}, {0x81, 11, 11}} {
			t.Run(fmt.Sprintf("%s %d %#02x", tt.kind, tt.timing, bits.user), func(t *testing.T) {
				for n := range 40 { // environments whose words differ in all bits
					source := climate(20+n/2, 2*n+10)
					r, _ := newChip(t, tt.kind, 0x40, i2csim.ChipOptions{Source: source, Timing: tt.timing})
					part := func(v, scale float64, bits uint) uint16 {
						return uint16(math.Round(v/scale*math.Exp2(float64(bits)))) << (16 - bits)
					}
					wantT := part(float64(20+n/2)+46.85, 175.72, bits.t)
					wantRH := part(float64(2*n+10)+6, 125, bits.rh) | 2
					r.exchange(t, []exchange{
						{0, []byte{writeUser, bits.user | 2}, nil, acked, ""},
						{0, []byte{noHoldT}, nil, acked, ""},
						{tt.t[i] - 1, nil, nil, nacked, "measuring"},
						{1, nil, htu(wantT), acked, ""},
						{0, []byte{noHoldRH}, nil, acked, ""},
						{tt.rh[i] - 1, nil, nil, nacked, "measuring"},
						{1, nil, htu(wantRH), acked, ""},
					})
				}
			})
		}
	}
}

func TestHTU21DReloadsDefaults(t *testing.T) {
	r, _ := newChip(t, "htu21d", 0x40, i2csim.ChipOptions{})
	r.exchange(t, []exchange{
		{0, []byte{writeUser, 0x85}, nil, acked, "11 bits, heater, and OTP reload"},
		{0, []byte{readUser}, []byte{0x85}, acked, ""},
		{0, []byte{holdT}, roomT, acked, "14 bits all the same"},
		{0, []byte{readUser}, []byte{0x06}, acked, "but for the heater, the defaults"},
	})
}

func TestSi7021Registers(t *testing.T) {
	r, _ := newChip(t, "si7021", 0x40, i2csim.ChipOptions{})
	r.exchange(t, []exchange{
		{0, []byte{0x84, 0xB8}, []byte{0x20}, acked, "firmware revision 2.0"},
		{0, []byte{0x84}, nil, acked, "half a command"},
		{0, nil, nil, nacked, "is none"},
		{0, []byte{0x11}, []byte{0}, acked, "heater current"},
		{0, []byte{0x51, 0xFF}, nil, acked, ""},
		{0, []byte{0x11}, []byte{0x0F}, acked, "of four bits"},
		{0, []byte{0xE0}, []byte{0, 0}, acked, "no humidity measured yet"},
		{0, []byte{holdT}, roomT, acked, ""},
		{0, []byte{0xE0}, []byte{0, 0}, acked, "nor is this one"},
		{0, []byte{holdRH}, roomRH, acked, ""},
		{0, []byte{0xE0}, append(bytes.Clone(roomT[:2]), 0xFF), acked, "its temperature, without a checksum"},
		{0, []byte{htuReset}, nil, acked, ""},
		{15 * ms, []byte{0x11}, []byte{0}, acked, "reset"},
	})
	r, _ = newChip(t, "htu21d", 0x40, i2csim.ChipOptions{})
	for _, w := range [][]byte{{0xE0}, {0x11}, {0x51, 1}, {0x84, 0xB8}} {
		r.exchange(t, []exchange{
			{0, w, nil, nacked, "an HTU21D has no such command"},
			{0, nil, nil, nacked, "and no answer"},
		})
	}
}

func TestHTU21DSerialNumber(t *testing.T) {
	read := func(kind string, seed uint64) (a, b []byte) {
		r, chip := newChip(t, kind, 0x40, i2csim.ChipOptions{Seed: seed})
		a, b = r.must(t, []byte{0xFA, 0x0F}, 8), r.must(t, []byte{0xFC, 0xC9}, 6)
		chip.PowerCycle()
		r.Advance(80 * ms)
		if again := r.must(t, []byte{0xFA, 0x0F}, 8); !bytes.Equal(a, again) {
			t.Errorf("%s: serial number % x and then % x", kind, a, again)
		}
		return a, b
	}
	// As ms_sensors_read_serial of Linux' ms_sensors_i2c.c checks it.
	a, b := read("htu21d", 1)
	if want := []byte{crc8(0, a[0]), crc8(0, a[2]), crc8(0, a[4]), crc8(0, a[6])}; !bytes.Equal(want, []byte{a[1], a[3], a[5], a[7]}) {
		t.Errorf("htu21d: % x, want the checksums % x", a, want)
	}
	if want := []byte{crc8(0, b[0], b[1]), crc8(0, b[3], b[4])}; !bytes.Equal(want, []byte{b[2], b[5]}) {
		t.Errorf("htu21d: % x, want the checksums % x", b, want)
	}
	// Those of a Si7021 are of all bytes so far.
	c, d := read("si7021", 1)
	if want := []byte{crc8(0, c[0]), crc8(0, c[0], c[2]), crc8(0, c[0], c[2], c[4]), crc8(0, c[0], c[2], c[4], c[6])}; !bytes.Equal(want, []byte{c[1], c[3], c[5], c[7]}) {
		t.Errorf("si7021: % x, want the checksums % x", c, want)
	}
	if want := []byte{crc8(0, d[0], d[1]), crc8(0, d[0], d[1], d[3], d[4])}; !bytes.Equal(want, []byte{d[2], d[5]}) {
		t.Errorf("si7021: % x, want the checksums % x", d, want)
	}
	if d[0] != 0x15 {
		t.Errorf("si7021: device %#x, want 0x15", d[0])
	}
	if e, _ := read("si7021", 2); bytes.Equal(c, e) {
		t.Errorf("two chips have the serial number % x", c)
	}
}

func TestHTU21DTruth(t *testing.T) {
	for kind, tt := range map[string]struct{ takes, powerUp time.Duration }{
		"htu21d": {16 * ms, 15 * ms}, "si7021": {22800 * us, 80 * ms},
	} {
		t.Run(kind, func(t *testing.T) {
			r, chip := newChip(t, kind, 0x40, i2csim.ChipOptions{Source: ramp{}})
			began := r.now
			r.Advance(time.Hour)
			start := r.now
			r.must(t, []byte{noHoldRH}, 0)
			r.Advance(tt.takes - 1)
			noTruth(t, chip, "before the first has ended")
			r.Advance(time.Minute)
			wantTruth(t, chip, ramp{began}, start, tt.takes)
			r.exchange(t, []exchange{
				{0, []byte{writeUser, 0x85 | 2}, nil, acked, "heater, 11 bits"},
				{0, []byte{noHoldT}, nil, acked, ""},
			})
			brownOut(t, chip)
			user := map[string]byte{"htu21d": 0x02, "si7021": 0x3A}[kind]
			r.exchange(t, []exchange{
				{tt.powerUp - 1, nil, nil, nacked, "starting up"},
				{0, []byte{readUser}, nil, nacked, "starting up"},
				{1, []byte{readUser}, []byte{user}, acked, "reset, the heater as well"},
				{time.Second, nil, nil, nacked, "the measurement was lost"},
			})
		})
	}
}

func TestHTU21DSaturates(t *testing.T) {
	for _, kind := range []string{"htu21d", "si7021"} {
		for _, tt := range []struct {
			celsius, percent int
			t, rh            uint16
		}{
			{-47, -7, 0, 2},
			{129, 120, 0xFFFC, 0xFFF2},
		} {
			r, _ := newChip(t, kind, 0x40, i2csim.ChipOptions{Source: climate(tt.celsius, tt.percent)})
			r.exchange(t, []exchange{
				{0, []byte{holdT}, htu(tt.t), acked, "temperature"},
				{0, []byte{holdRH}, htu(tt.rh), acked, "humidity"},
			})
		}
	}
}

// TestHTU21DReadsTheSource converts by the data sheets' formulas, after taking
// the status bits off, and by those of Linux' drivers/hwmon/sht21.c (6.1), which
// are in thousandths and cut.
func TestHTU21DReadsTheSource(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		source := drawRoom(rt)
		kind := rapid.SampledFrom([]string{"htu21d", "si7021"}).Draw(rt, "kind")
		r, _ := newChip(t, kind, 0x40, i2csim.ChipOptions{Source: source, Seed: rapid.Uint64().Draw(rt, "seed")})
		word := func(op byte) int32 {
			b := r.must(rt, []byte{op}, 3)
			if crc := crc8(0, b[0], b[1]); b[2] != crc {
				rt.Errorf("% x: checksum %#x, want %#x", b, b[2], crc)
			}
			return int32(b[0])<<8 | int32(b[1])&^3
		}
		st, srh := word(holdT), word(holdRH)
		celsius, percent := celsiusAndPercent(source)
		const stepT, stepRH = 175.72 / (1 << 14), 125.0 / (1 << 12)
		near(rt, "temperature", -46.85+175.72*float64(st)/65536, celsius, stepT/2)
		near(rt, "humidity", -6+125*float64(srh)/65536, percent, stepRH/2)
		near(rt, "temperature in Linux", float64(21965*st>>13-46850)/1000, celsius, stepT/2+0.002)
		near(rt, "humidity in Linux", float64(15625*srh>>13-6000)/1000, percent, stepRH/2+0.001)
	})
}
