package i2csim_test

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// roomSHT3x is the room as the SHT3x converts it: (21.37 + 45) x 65535/175 and
// 44 x 65535/100.
var roomSHT3x = sensirion(24855, 28835)

// cmd is a command of the SHT3x.
func cmd(op uint16) []byte { return []byte{byte(op >> 8), byte(op)} }

// limit is a command that writes an alert limit.
func limit(op, value uint16) []byte { return append(cmd(op), sensirion(value)...) }

var (
	readStatus  = cmd(0xF32D)
	clearStatus = cmd(0x3041)
	fetch       = cmd(0xE000)
)

func TestSHT3x(t *testing.T) {
	for name, exchanges := range map[string][]exchange{
		"supply": {
			{0, nil, nil, acked, "the address"},
			{0, nil, nil, nacked, "no data"},
			{0, fetch, nil, acked, ""},
			{0, nil, nil, nacked, "no data"},
			{0, readStatus, sensirion(0x8010), acked, "alert and reset detected"},
			{0, clearStatus, nil, acked, ""},
			{0, readStatus, sensirion(0), acked, ""},
		},
		"without clock stretching": {
			{0, cmd(0x2400), nil, acked, "high repeatability"},
			{15*ms - 1, nil, nil, nacked, "measuring"},
			{0, readStatus, nil, nacked, "no command while measuring"},
			{1, nil, roomSHT3x, acked, "temperature, then humidity"},
			{0, nil, nil, nacked, "read already"},
			{0, cmd(0x240B), nil, acked, "medium"},
			{6*ms - 1, nil, nil, nacked, "measuring"},
			{1, nil, append(bytes.Clone(roomSHT3x), 0xFF), acked, "nothing after the six bytes"},
			{0, cmd(0x2416), nil, acked, "low"},
			{4*ms - 1, nil, nil, nacked, "measuring"},
			{1, nil, roomSHT3x[:2], acked, "the controller may stop after any byte"},
			{0, nil, nil, nacked, "but that was the read"},
		},
		"periodically": {
			{0, cmd(0x2236), nil, acked, "twice a second, high repeatability"},
			{15*ms - 1, fetch, nil, acked, ""},
			{0, nil, nil, nacked, "no data yet"},
			{1, fetch, roomSHT3x, acked, ""},
			{0, nil, nil, nacked, "read already"},
			{0, fetch, nil, acked, ""},
			{0, nil, nil, nacked, "nor are there new data"},
			{500*ms - 1, fetch, roomSHT3x[:1], nacked, "nor are there new data"},
			{1, fetch, roomSHT3x, acked, "half a second later"},
			{time.Hour, fetch, nil, acked, ""},
			{0, fetch, nil, acked, "the first fetch has cleared the memory"},
			{0, nil, nil, nacked, ""},
			{500 * ms, cmd(0x2400), nil, nacked, "no single shot in periodic mode"},
			{0, cmd(0x2236), nil, nacked, "nor another period"},
			{0, fetch, roomSHT3x, acked, "it goes on"},
			{500 * ms, cmd(0x3093), nil, acked, "break"},
			{ms - 1, nil, nil, nacked, "which takes 1 ms"},
			{0, fetch, nil, nacked, ""},
			{1, fetch, nil, acked, ""},
			{time.Hour, nil, nil, nacked, "the data are gone"},
			{0, cmd(0x2400), nil, acked, ""},
			{15 * ms, nil, roomSHT3x, acked, "single shot mode again"},
		},
		"with accelerated response time": {
			{0, cmd(0x2B32), nil, acked, ""},
			{15 * ms, fetch, roomSHT3x, acked, ""},
			{250*ms - 1, fetch, roomSHT3x[:1], nacked, ""},
			{1, fetch, roomSHT3x, acked, "four times a second"},
		},
		"status": {
			{0, cmd(0x306D), nil, acked, "heater on"},
			{0, readStatus, sensirion(0xA010), acked, ""},
			{0, clearStatus, nil, acked, ""},
			{0, readStatus, sensirion(0x2000), acked, "the heater is no flag"},
			{0, cmd(0x3066), nil, acked, "heater off"},
			{0, readStatus, sensirion(0), acked, ""},
			{0, cmd(0x2401), nil, nacked, "no such command"},
			{0, readStatus, sensirion(2), acked, "it was not processed"},
			{0, readStatus, sensirion(2), acked, "reading the status does not change it"},
			{0, clearStatus, nil, acked, ""},
			{0, readStatus, sensirion(0), acked, "the last command was"},
			{0, append(cmd(0x3041), 0x30), nil, nacked, "one command a message"},
			{0, []byte{0x24}, nil, acked, "half a command is none"},
			{time.Second, nil, nil, nacked, ""},
		},
		"soft reset": {
			{0, clearStatus, nil, acked, ""},
			{0, cmd(0x306D), nil, acked, "heater on"},
			{0, limit(0x611D, 0x1234), nil, acked, "a limit"},
			{0, cmd(0x2130), nil, acked, ""},
			{time.Second, cmd(0x30A2), nil, acked, "soft reset"},
			{1500*us - 1, readStatus, nil, nacked, "starting up"},
			{1, readStatus, sensirion(0x8010), acked, "as after power-up"},
			{0, cmd(0xE11F), sensirion(0xCD33), acked, "the limits, too"},
			{time.Hour, fetch, roomSHT3x[:1], nacked, "it does not go on measuring"},
		},
		"alert limits": {
			{0, cmd(0xE11F), sensirion(0xCD33), acked, "high set: 60 °C and 80 %RH"},
			{0, cmd(0xE114), sensirion(0xC92D), acked, "high clear: 58 °C and 79 %RH"},
			{0, cmd(0xE109), sensirion(0x3869), acked, "low clear: -9 °C and 22 %RH"},
			{0, cmd(0xE102), sensirion(0x3466), acked, "low set: -10 °C and 20 %RH"},
			{0, limit(0x611D, 0x1111), nil, acked, ""},
			{0, limit(0x6116, 0x2222), nil, acked, ""},
			{0, limit(0x610B, 0x3333), nil, acked, ""},
			{0, limit(0x6100, 0x4444), nil, acked, ""},
			{0, cmd(0xE11F), sensirion(0x1111), acked, "high set"},
			{0, cmd(0xE114), sensirion(0x2222), acked, "high clear"},
			{0, cmd(0xE109), sensirion(0x3333), acked, "low clear"},
			{0, cmd(0xE102), append(sensirion(0x4444), 0xFF, 0xFF, 0xFF), acked, "low set, read as Linux does"},
			{0, clearStatus, nil, acked, ""},
			{0, append(cmd(0x611D), 0xBE, 0xEF, 0x93), nil, acked, "a wrong checksum"},
			{0, cmd(0xE11F), sensirion(0x1111), acked, "the limit stays"},
			{0, readStatus, sensirion(1), acked, "and the status says so"},
			{0, append(cmd(0x611D), 0xBE, 0xEF, 0x92), nil, acked, "a right one"},
			{0, cmd(0xE11F), sensirion(0xBEEF), acked, ""},
			{0, readStatus, sensirion(0), acked, ""},
			{0, cmd(0x611D), nil, nacked, "no limit given"},
			{0, readStatus, sensirion(2), acked, ""},
		},
		"alerts": { // the room has 21.37 °C and 44 %RH: 0x70C2
			{0, clearStatus, nil, acked, ""},
			{0, cmd(0x2737), nil, acked, "ten times a second"},
			{time.Second, readStatus, sensirion(0), acked, "neither hot nor humid"},
			{0, limit(0x611D, 0xCC<<8|0xC1), nil, acked, "too hot, from one step below on"},
			{time.Second, readStatus, sensirion(0x8400), acked, "T tracking alert"},
			{0, clearStatus, nil, acked, ""},
			{time.Second, readStatus, sensirion(0x8400), acked, "the next measurement raises it again"},
			{0, limit(0x611D, 0xCC<<8|0xC2), nil, acked, "not above the set limit,"},
			{0, limit(0x6116, 0xC8<<8|0xC2), nil, acked, "nor below the clear limit"},
			{time.Second, readStatus, sensirion(0x8400), acked, "so it lasts"},
			{0, limit(0x6116, 0xC8<<8|0xC3), nil, acked, ""},
			{time.Second, readStatus, sensirion(0x8000), acked, "the alert has ended, but is pending"},
			{0, clearStatus, nil, acked, ""},
			{0, limit(0x6100, 0x72<<8|0x66), nil, acked, "too dry"},
			{0, limit(0x610B, 0x74<<8|0x69), nil, acked, ""},
			{time.Second, readStatus, sensirion(0x8800), acked, "RH tracking alert"},
			{0, limit(0x6100, 0x70<<8|0x66), nil, acked, "not below the set limit,"},
			{0, limit(0x610B, 0x70<<8|0x69), nil, acked, "nor above the clear limit"},
			{time.Second, readStatus, sensirion(0x8800), acked, "so it lasts"},
			{0, limit(0x610B, 0x6E<<8|0x69), nil, acked, ""},
			{time.Second, readStatus, sensirion(0x8000), acked, "the alert has ended"},
			{0, limit(0x6100, 0x72<<8|0x66), nil, acked, "too dry again"},
			{0, limit(0x611D, 0x70<<8|0xC2), nil, acked, "lower than the low limit"},
			{time.Second, readStatus, sensirion(0x8000), acked, "deactivates it"},
		},
		"alerts are of periodic mode": {
			{0, clearStatus, nil, acked, ""},
			{0, limit(0x611D, 0), nil, acked, "too hot and too humid"},
			{0, limit(0x6100, 0), nil, acked, ""},
			{0, cmd(0x2400), nil, acked, ""},
			{15 * ms, readStatus, sensirion(0), acked, ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newChip(t, "sht3x", 0x44, i2csim.ChipOptions{})
			r.exchange(t, exchanges)
		})
	}
}

func TestSHT3xStretchesTheClock(t *testing.T) {
	for op, takes := range map[uint16]time.Duration{0x2C06: 15 * ms, 0x2C0D: 6 * ms, 0x2C10: 4 * ms} {
		r, _ := newChip(t, "sht3x", 0x44, i2csim.ChipOptions{})
		for _, before := range []time.Duration{0, ms, time.Hour} {
			began := r.now
			r.must(t, cmd(op), 0)
			r.Advance(before)
			r.exchange(t, []exchange{{0, nil, roomSHT3x, acked, "held"}, {0, nil, nil, nacked, "read already"}})
			if got, want := r.now.Sub(began), max(takes, before); got != want {
				t.Errorf("%#x: read %v after the command, %v in all, want %v", op, before, got, want)
			}
		}
		began := r.now
		r.exchange(t, []exchange{{0, cmd(op), roomSHT3x, acked, "in one transaction"}})
		if got := r.now.Sub(began); got != takes {
			t.Errorf("%#x: one transaction took %v, want %v", op, got, takes)
		}
	}
	r, _ := newChip(t, "sht3x", 0x44, i2csim.ChipOptions{})
	began := r.now
	r.exchange(t, []exchange{
		{0, cmd(0x3780), nil, acked, "serial number, with clock stretching"},
		{0, cmd(0x30A2), nil, acked, "reset"},
		{0, nil, nil, nacked, "starting up"},
	})
	if got := r.now.Sub(began); got != 0 {
		t.Errorf("a chip that starts up has held the clock for %v", got)
	}
}

// The clock is held in the time of a bubble, too, and LastConversion does not
// have to wait for it.
func TestSHT3xStretchesTheWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chip, err := i2csim.NewSHT3x(i2csim.ChipOptions{Source: room})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		chip.Write(cmd(0x2C06))
		done := make(chan bool)
		go func() { done <- chip.Read(make([]byte, 6)) }()
		synctest.Wait()
		noTruth(t, chip, "while the clock is held")
		if ok := <-done; !ok || time.Since(began) != 15*ms {
			t.Errorf("read after %v: %t, want true after 15ms", time.Since(began), ok)
		}
	})
}

func TestSHT3xPeriods(t *testing.T) {
	const high, medium, low = 15 * ms, 6 * ms, 4 * ms
	for op, want := range map[uint16][2]time.Duration{
		0x2032: {2 * time.Second, high}, 0x2024: {2 * time.Second, medium}, 0x202F: {2 * time.Second, low},
		0x2130: {time.Second, high}, 0x2126: {time.Second, medium}, 0x212D: {time.Second, low},
		0x2236: {500 * ms, high}, 0x2220: {500 * ms, medium}, 0x222B: {500 * ms, low},
		0x2334: {250 * ms, high}, 0x2322: {250 * ms, medium}, 0x2329: {250 * ms, low},
		0x2737: {100 * ms, high}, 0x2721: {100 * ms, medium}, 0x272A: {100 * ms, low},
		0x2B32: {250 * ms, high},
	} {
		t.Run(fmt.Sprintf("%#x", op), func(t *testing.T) {
			r, chip := newChip(t, "sht3x", 0x44, i2csim.ChipOptions{Source: ramp{}})
			began := r.now
			r.must(t, cmd(op), 0)
			r.Advance(10*want[0] + want[1] - 1)
			for n := range 2 {
				start := began.Add(time.Duration(9+n) * want[0])
				wantTruth(t, chip, ramp{began}, start, want[1])
				r.Advance(1)
			}
		})
	}
}

func TestSHT3xTypicalDuration(t *testing.T) {
	r, _ := newChip(t, "sht3x", 0x44, i2csim.ChipOptions{Timing: i2csim.Typical})
	for op, takes := range map[uint16]time.Duration{0x2400: 12500 * us, 0x240B: 4500 * us, 0x2416: 2500 * us} {
		r.exchange(t, []exchange{
			{0, cmd(op), nil, acked, ""},
			{takes - 1, nil, nil, nacked, "measuring"},
			{1, nil, roomSHT3x, acked, "done"},
		})
	}
}

func TestSHT3xSerialNumber(t *testing.T) {
	read := func(seed uint64) []byte {
		r, chip := newChip(t, "sht3x", 0x44, i2csim.ChipOptions{Seed: seed})
		r.exchange(t, []exchange{
			{0, cmd(0x3682), nil, acked, "without clock stretching"},
			{ms - 1, nil, nil, nacked, "not yet"},
		})
		r.Advance(1)
		first := r.must(t, nil, 6)
		chip.PowerCycle()
		r.Advance(ms)
		began := r.now
		if again := r.must(t, cmd(0x3780), 6); !bytes.Equal(first, again) || r.now.Sub(began) != ms {
			t.Errorf("serial number % x and then, after %v, % x", first, r.now.Sub(began), again)
		}
		if want := sensirion(uint16(first[0])<<8|uint16(first[1]), uint16(first[3])<<8|uint16(first[4])); !bytes.Equal(first, want) {
			t.Errorf("serial number % x, want checksums as in % x", first, want)
		}
		return first
	}
	if one, two := read(1), read(2); bytes.Equal(one, two) {
		t.Errorf("two chips have the serial number % x", one)
	}
}

func TestSHT3xPowerCycle(t *testing.T) {
	r, chip := newChip(t, "sht3x", 0x44, i2csim.ChipOptions{})
	r.exchange(t, []exchange{
		{0, clearStatus, nil, acked, ""},
		{0, cmd(0x306D), nil, acked, "heater on"},
		{0, limit(0x6100, 0), nil, acked, ""},
		{0, cmd(0x2737), nil, acked, ""},
		{time.Second, readStatus, sensirion(0x2000), acked, ""},
	})
	brownOut(t, chip)
	r.exchange(t, []exchange{
		{ms - 1, readStatus, nil, nacked, "starting up"},
		{0, nil, nil, nacked, "starting up"},
		{1, readStatus, sensirion(0x8010), acked, "reset detected, heater off"},
		{0, cmd(0xE102), sensirion(0x3466), acked, "the limits are lost"},
		{time.Second, fetch, roomSHT3x[:1], nacked, "it does not go on measuring"},
	})
}

func TestSHT3xSaturates(t *testing.T) {
	for _, tt := range []struct {
		celsius, percent int
		want             []byte
	}{
		{-45, 0, sensirion(0, 0)},
		{-60, -1, sensirion(0, 0)},
		{130, 100, sensirion(0xFFFF, 0xFFFF)},
		{131, 101, sensirion(0xFFFF, 0xFFFF)},
	} {
		r, _ := newChip(t, "sht3x", 0x44, i2csim.ChipOptions{Source: climate(tt.celsius, tt.percent)})
		if got := r.must(t, cmd(0x2C06), 6); !bytes.Equal(got, tt.want) {
			t.Errorf("%d °C, %d %%RH: read % x, want % x", tt.celsius, tt.percent, got, tt.want)
		}
	}
}

// TestSHT3xReadsTheSource converts by the data sheet's formulas (4.13) and by
// those of Linux' drivers/hwmon/sht3x.c (6.1), which are in thousandths and cut.
func TestSHT3xReadsTheSource(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		source := drawRoom(rt)
		r, _ := newChip(t, "sht3x", 0x44, i2csim.ChipOptions{Source: source, Seed: rapid.Uint64().Draw(rt, "seed")})
		b := r.must(rt, cmd(rapid.SampledFrom([]uint16{0x2C06, 0x2C0D, 0x2C10}).Draw(rt, "command")), 6)
		st, srh := float64(b[0])*256+float64(b[1]), float64(b[3])*256+float64(b[4])
		celsius, percent := celsiusAndPercent(source)
		near(rt, "temperature", -45+175*st/65535, celsius, 175/65535.0/2)
		near(rt, "humidity", 100*srh/65535, percent, 100/65535.0/2)
		near(rt, "temperature in Linux", float64((21875*int32(st))>>13-45000)/1000, celsius, 175/65535.0/2+0.001+175/65536.0)
		near(rt, "humidity in Linux", float64((12500*int32(srh))>>13)/1000, percent, 100/65535.0/2+0.001+100/65536.0)
	})
}
