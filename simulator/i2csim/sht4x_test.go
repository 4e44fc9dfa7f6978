package i2csim_test

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// crc8 is the remainder of a long division by x^8 + x^5 + x^4 + 1.
func crc8(initial byte, data ...byte) byte {
	remainder := uint(initial)
	for _, b := range data {
		remainder ^= uint(b)
		for range 8 {
			remainder <<= 1
			if remainder >= 0x100 {
				remainder ^= 0x131
			}
		}
	}
	return byte(remainder)
}

// sensirion are words as Sensirion's chips send them.
func sensirion(words ...uint16) []byte {
	var b []byte
	for _, w := range words {
		b = append(b, byte(w>>8), byte(w), crc8(0xFF, byte(w>>8), byte(w)))
	}
	return b
}

func TestCRC8(t *testing.T) {
	// The examples of the data sheets of SHT3x (table 20), HTU21D (page 14)
	// and HTU20D (page 13).
	for _, tt := range []struct {
		initial byte
		data    []byte
		want    byte
	}{
		{0xFF, []byte{0xBE, 0xEF}, 0x92},
		{0, []byte{0xDC}, 0x79},
		{0, []byte{0x68, 0x3A}, 0x7C},
		{0, []byte{0x4E, 0x85}, 0x6B},
		{0, []byte{0x7C, 0x82}, 0x97},
	} {
		if got := crc8(tt.initial, tt.data...); got != tt.want {
			t.Errorf("crc8(%#x, % x) = %#x, want %#x", tt.initial, tt.data, got, tt.want)
		}
	}
}

// roomSHT4x is the room as the SHT4x converts it: (21.37 + 45) x 65535/175 and
// (44 + 6) x 65535/125.
var roomSHT4x = sensirion(24855, 26214)

func TestSHT4x(t *testing.T) {
	for name, exchanges := range map[string][]exchange{
		"supply": {
			{0, nil, nil, acked, "the address"},
			{0, nil, nil, nacked, ""},
		},
		"high precision": {
			{0, []byte{0xFD}, nil, acked, ""},
			{8300*us - 1, nil, nil, nacked, "measuring"},
			{0, []byte{0xFD}, nil, nacked, "no command while measuring"},
			{0, []byte{0x89}, nil, nacked, "none at all"},
			{0, nil, nil, nacked, ""},
			{1, nil, roomSHT4x, acked, "temperature, then humidity"},
			{0, nil, nil, nacked, "read already"},
			{0, []byte{0xFD}, nil, acked, "again"},
			{time.Hour, nil, append(bytes.Clone(roomSHT4x), 0xFF, 0xFF), acked, "nothing after the six bytes"},
		},
		"medium precision": {
			{0, []byte{0xF6}, nil, acked, ""},
			{4500*us - 1, nil, nil, nacked, "measuring"},
			{1, nil, roomSHT4x[:2], acked, "the controller may stop after any byte"},
			{0, nil, nil, nacked, "but that was the read"},
		},
		"low precision": {
			{0, []byte{0xE0}, nil, acked, ""},
			{1600*us - 1, nil, nil, nacked, "measuring"},
			{1, nil, roomSHT4x, acked, ""},
		},
		"in one transaction": {
			{0, []byte{0xFD}, make([]byte, 6), nacked, "no clock stretching"},
			{8300 * us, nil, roomSHT4x, acked, "but the command was carried out"},
		},
		"a new measurement drops the old data": {
			{0, []byte{0xFD}, nil, acked, ""},
			{time.Second, []byte{0xE0}, nil, acked, ""},
			{0, nil, nil, nacked, ""},
			{1600 * us, nil, roomSHT4x, acked, ""},
		},
		"heater for a second": {
			{0, []byte{0x39}, nil, acked, "200 mW"},
			{1100*ms - 1, nil, nil, nacked, ""},
			{1, nil, roomSHT4x, acked, ""},
			{0, []byte{0x2F}, nil, acked, "110 mW"},
			{1100*ms - 1, nil, nil, nacked, ""},
			{1, nil, roomSHT4x, acked, ""},
			{0, []byte{0x1E}, nil, acked, "20 mW"},
			{1100*ms - 1, nil, nil, nacked, ""},
			{1, nil, roomSHT4x, acked, ""},
		},
		"heater for a tenth of a second": {
			{0, []byte{0x32}, nil, acked, "200 mW"},
			{110*ms - 1, nil, nil, nacked, ""},
			{1, nil, roomSHT4x, acked, ""},
			{0, []byte{0x24}, nil, acked, "110 mW"},
			{110 * ms, nil, roomSHT4x, acked, ""},
			{0, []byte{0x15}, nil, acked, "20 mW"},
			{110 * ms, nil, roomSHT4x, acked, ""},
		},
		"soft reset": {
			{0, []byte{0xFD}, nil, acked, ""},
			{time.Second, []byte{0x94}, nil, acked, ""},
			{ms - 1, []byte{0xFD}, nil, nacked, "starting up"},
			{0, nil, nil, nacked, "starting up"},
			{1, nil, nil, nacked, "no data"},
			{0, []byte{0x39}, nil, acked, "heating"},
			{500 * ms, []byte{0x94}, nil, acked, "aborted"},
			{time.Hour, nil, nil, nacked, "no data"},
		},
		"unknown commands": {
			{0, []byte{0x00}, nil, nacked, ""},
			{0, []byte{0xFE}, nil, nacked, ""},
			{0, []byte{0xFD, 0xFD}, nil, nacked, "one command a message"},
			{8300 * us, nil, roomSHT4x, acked, "of which the first was carried out"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newChip(t, "sht4x", 0x44, i2csim.ChipOptions{})
			r.exchange(t, exchanges)
		})
	}
}

func TestSHT4xTypicalDuration(t *testing.T) {
	r, _ := newChip(t, "sht4x", 0x44, i2csim.ChipOptions{Timing: i2csim.Typical})
	for op, takes := range map[byte]time.Duration{
		0xFD: 6900 * us, 0xF6: 3700 * us, 0xE0: 1300 * us, 0x39: time.Second, 0x15: 100 * ms,
	} {
		r.exchange(t, []exchange{
			{0, []byte{op}, nil, acked, ""},
			{takes - 1, nil, nil, nacked, "measuring"},
			{1, nil, roomSHT4x, acked, "done"},
		})
	}
}

func TestSHT4xSerialNumber(t *testing.T) {
	read := func(seed uint64) []byte {
		r, chip := newChip(t, "sht4x", 0x44, i2csim.ChipOptions{Seed: seed})
		first := r.must(t, []byte{0x89}, 6)
		chip.PowerCycle()
		r.Advance(ms)
		if again := r.must(t, []byte{0x89}, 6); !bytes.Equal(first, again) {
			t.Errorf("serial number % x and then % x", first, again)
		}
		for i := 0; i < 6; i += 3 {
			if crc := crc8(0xFF, first[i:i+2]...); first[i+2] != crc {
				t.Errorf("% x: checksum %#x, want %#x", first, first[i+2], crc)
			}
		}
		return first
	}
	if one, two := read(1), read(2); bytes.Equal(one, two) {
		t.Errorf("two chips have the serial number % x", one)
	}
}

func TestSHT4xSaturates(t *testing.T) {
	for _, tt := range []struct {
		celsius, percent int
		want             []byte
	}{
		{-45, 0, sensirion(0, 3146)},
		{-60, -20, sensirion(0, 0)},
		{130, 101, sensirion(0xFFFF, 0xDB22)},
		{200, 120, sensirion(0xFFFF, 0xFFFF)},
	} {
		r, _ := newChip(t, "sht4x", 0x44, i2csim.ChipOptions{Source: climate(tt.celsius, tt.percent)})
		r.must(t, []byte{0xFD}, 0)
		r.Advance(time.Second)
		if got := r.must(t, nil, 6); !bytes.Equal(got, tt.want) {
			t.Errorf("%d °C, %d %%RH: read % x, want % x", tt.celsius, tt.percent, got, tt.want)
		}
	}
}

// TestSHT4xReadsTheSource converts by the data sheet's formulas ("Conversion of
// Signal Output") and by those of Linux' drivers/hwmon/sht4x.c (6.1), which are
// in thousandths and cut.
func TestSHT4xReadsTheSource(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		source := drawRoom(rt)
		r, _ := newChip(t, "sht4x", 0x44, i2csim.ChipOptions{Source: source, Seed: rapid.Uint64().Draw(rt, "seed")})
		r.must(rt, []byte{rapid.SampledFrom([]byte{0xFD, 0xF6, 0xE0, 0x39, 0x15}).Draw(rt, "command")}, 0)
		r.Advance(2 * time.Second)
		b := r.must(rt, nil, 6)
		st, srh := float64(b[0])*256+float64(b[1]), float64(b[3])*256+float64(b[4])
		celsius, percent := celsiusAndPercent(source)
		near(rt, "temperature", -45+175*st/65535, celsius, 175/65535.0/2)
		near(rt, "humidity", -6+125*srh/65535, percent, 125/65535.0/2)
		near(rt, "temperature in Linux", float64((21875*int32(st))>>13-45000)/1000, celsius, 175/65535.0/2+0.001+175/65536.0)
		near(rt, "humidity in Linux", float64((15625*int32(srh))>>13-6000)/1000, percent, 125/65535.0/2+0.001+125/65536.0)
	})
}

func TestSHT4xTruth(t *testing.T) {
	r, chip := newChip(t, "sht4x", 0x44, i2csim.ChipOptions{Source: ramp{}})
	began := r.now
	r.Advance(time.Hour)
	r.must(t, []byte{0x32}, 0)
	r.Advance(110*ms - 1)
	noTruth(t, chip, "before the first has ended")
	r.Advance(time.Minute)
	start := began.Add(time.Hour + 110*ms - 8300*us) // the heater's time comes first
	wantTruth(t, chip, ramp{began}, start, 8300*us)
	if got, want := r.must(t, nil, 6), sensirion(30334, 22020); !bytes.Equal(got, want) {
		t.Errorf("read % x, want % x: 36.001 °C and 36.001 %%RH", got, want)
	}
	r.must(t, []byte{0xFD}, 0)
	brownOut(t, chip)
	r.exchange(t, []exchange{
		{ms - 1, nil, nil, nacked, "starting up"},
		{0, []byte{0xFD}, nil, nacked, "starting up"},
		{1, nil, nil, acked, "up"},
		{time.Second, nil, nil, nacked, "the measurement was lost"},
	})
}
