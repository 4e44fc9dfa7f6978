package i2csim_test

import (
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/physic"
	"periph.io/x/devices/v3/aht20"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

func newAHT20(t testing.TB, o i2csim.ChipOptions) (rig, *i2csim.AHT20) {
	t.Helper()
	return onBus(t, 0x38, o, i2csim.NewAHT20)
}

// aht20Room is what a chip measured that answered 18 93 ac 95 2a c5 b3
// (github.com/peff74/ESP_AHT20_BMP280): 57.69 %RH and 14.59 °C.
var aht20Room = i2csim.Constant{
	Humidity:    5768519 * physic.TenthMicroRH,
	Temperature: physic.ZeroCelsius + 14588*physic.MilliKelvin + 356*physic.MicroKelvin,
}

func TestAHT20(t *testing.T) {
	initialise, trigger, reset := []byte{0xBE, 8, 0}, []byte{0xAC, 0x33, 0}, []byte{0xBA}
	answer := []byte{0x18, 0x93, 0xAC, 0x95, 0x2A, 0xC5, 0xB3}
	calibrated, measuring := []byte{0x18}, []byte{0x98}
	for name, steps := range map[string][]step{
		"supply": {
			{0, nil, []byte{0x10}, "not calibrated"},
			{0, []byte{0x71}, []byte{0x10}, ""},
			{0, trigger, []byte{0x10}, "does not measure"},
			{time.Hour, nil, []byte{0x10, 0, 0, 0, 0, 0}, "nothing measured"},
			{0, []byte{}, nil, "an address"},
		},
		"calibration": {
			{0, initialise, []byte{0x10}, ""},
			{10*ms - 1, trigger, []byte{0x10}, "too early to measure"},
			{1, nil, calibrated, "10 ms"},
			{80 * ms, nil, []byte{0x18, 0, 0, 0, 0, 0}, "it did not"},
			{0, []byte{0xBE, 8}, calibrated, "half a command changes nothing"},
			{0, []byte{0xBE, 8, 1}, calibrated, "nor do other parameters"},
		},
		"measurement": {
			{0, initialise, nil, ""},
			{10 * ms, trigger, measuring, "busy"},
			{80*ms - 1, nil, []byte{0x98, 0, 0, 0, 0, 0}, "with the data before"},
			{1, nil, answer, "as from a chip"},
			{0, nil, append(answer, 0xFF, 0xFF), "nothing after the checksum"},
			{0, []byte{0x71}, answer[:6], "a status and more"},
			{time.Hour, nil, answer, "it does not measure again"},
			{0, trigger, []byte{0x98, 0x93, 0xAC}, "busy, with the data before"},
		},
		"triggers": {
			{0, initialise, nil, ""},
			{10 * ms, []byte{0xAC, 0x33}, calibrated, "half a command"},
			{0, []byte{0xAC, 0, 0x33}, calibrated, "other parameters"},
			{0, trigger, measuring, ""},
			{79 * ms, trigger, measuring, "ignored"},
			{ms, nil, answer[:1], "the first ends in its time"},
		},
		"polled by 0x71": {
			{0, initialise, nil, ""},
			{10 * ms, trigger, nil, ""},
			{79 * ms, []byte{0x71}, measuring, ""},
			{79 * ms, []byte{0x71}, measuring, "never ready"},
			{80*ms - 1, nil, measuring, ""},
			{1, nil, answer, "but when it is left alone"},
		},
		"reset": {
			{0, initialise, nil, ""},
			{10 * ms, trigger, nil, ""},
			{80 * ms, reset, nil, ""},
			{20 * ms, nil, []byte{0x10, 0, 0, 0, 0, 0}, "not calibrated, no data"},
			{0, initialise, nil, ""},
			{10 * ms, trigger, nil, ""},
			{ms, reset, nil, ""},
			{80 * ms, nil, []byte{0x10, 0, 0, 0, 0, 0}, "nor measuring"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newAHT20(t, i2csim.ChipOptions{Source: aht20Room})
			r.run(t, steps)
		})
	}
}

func TestAHT20NotAcknowledged(t *testing.T) {
	r, chip := newAHT20(t, i2csim.ChipOptions{})
	refused := func(why string, w []byte, n int) {
		t.Helper()
		if err := r.bus.Tx(r.addr, w, make([]byte, n)); kindOf(err) != i2csim.NACK {
			t.Errorf("%s: %v, want NACK", why, err)
		}
	}
	refused("the AHT10's calibration", []byte{0xE1, 8, 0}, 0)
	refused("no command", []byte{0x00}, 0)
	r.must(t, nil, 1)
	chip.PowerCycle()
	r.Advance(40*ms - 1)
	refused("a read before it is up", nil, 1)
	refused("a command before it is up", []byte{0xBE, 8, 0}, 0)
	r.Advance(1)
	r.must(t, nil, 1)
	r.must(t, []byte{0xBA}, 0)
	r.Advance(20*ms - 1)
	refused("a read after reset", nil, 1)
	r.Advance(1)
	r.must(t, nil, 1)
}

func TestAHT20ChecksumOfChips(t *testing.T) {
	for _, answer := range [][]byte{
		{28, 38, 154, 118, 66, 231, 118}, // the wiki of github.com/elixir-sensors/aht20
		{0x18, 0x93, 0xAC, 0x95, 0x2A, 0xC5, 0xB3},
	} {
		if got := crc8(0xFF, answer[:6]...); got != answer[6] {
			t.Errorf("%x of % x, want %x", got, answer[:6], answer[6])
		}
	}
}

// The data sheet's formulas give the source back to half of a step, 100 %RH and
// 200 K by 2^20; the converter ends at those of 0 and 2^20-1.
func TestAHT20ReadsTheSource(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := i2csim.Constant{
			Temperature: physic.ZeroCelsius + physic.Temperature(rapid.Int64Range(-60e9, 160e9).Draw(rt, "temperature")),
			Humidity:    physic.RelativeHumidity(rapid.Int32Range(0, 100*int32(physic.PercentRH)).Draw(rt, "humidity")),
		}
		r, _ := newAHT20(t, i2csim.ChipOptions{Source: want})
		r.must(rt, []byte{0xBE, 8, 0}, 0)
		r.Advance(10 * ms)
		r.must(rt, []byte{0xAC, 0x33, 0}, 0)
		r.Advance(80 * ms)
		b := r.must(rt, nil, 7)
		if got := crc8(0xFF, b[:6]...); got != b[6] {
			rt.Errorf("checksum of % x is %x", b, got)
		}
		h := float64(int(b[1])<<12|int(b[2])<<4|int(b[3])>>4) / 1048576 * 100
		c := float64(int(b[3]&0xF)<<16|int(b[4])<<8|int(b[5]))/1048576*200 - 50
		wantC, wantH := celsiusAndPercent(want)
		wantH = min(wantH, 100*(1-1./1048576))
		wantC = min(max(wantC, -50), 150-200./1048576)
		near(rt, "humidity", h, wantH, 50./1048576)
		near(rt, "temperature", c, wantC, 100./1048576)
	})
}

// TestPeriphReadsTheAHT20 asks a driver that this project has not written.
func TestPeriphReadsTheAHT20(t *testing.T) {
	for _, want := range []i2csim.Constant{room, aht20Room} {
		synctest.Test(t, func(t *testing.T) {
			chip, err := i2csim.NewAHT20(i2csim.ChipOptions{Source: want})
			if err != nil {
				t.Fatal(err)
			}
			bus := i2csim.NewBus(i2csim.BusOptions{})
			if err := bus.Attach(0x38, chip); err != nil {
				t.Fatal(err)
			}
			dev, err := aht20.NewI2C(bus, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got physic.Env
			if err := dev.Sense(&got); err != nil {
				t.Fatal(err)
			}
			if d := got.Temperature - want.Temperature; d < -100*physic.MicroKelvin || d > 100*physic.MicroKelvin {
				t.Errorf("temperature %s, want %s", got.Temperature, want.Temperature)
			}
			if d := got.Humidity - want.Humidity; d < -10*physic.TenthMicroRH || d > 10*physic.TenthMicroRH {
				t.Errorf("humidity %s, want %s", got.Humidity, want.Humidity)
			}
		})
	}
}

func TestAHT20Truth(t *testing.T) {
	source := ramp{newClock().now}
	r, chip := newAHT20(t, i2csim.ChipOptions{Source: source})
	r.must(t, []byte{0xBE, 8, 0}, 0)
	r.Advance(time.Minute)
	start := r.now
	r.must(t, []byte{0xAC, 0x33, 0}, 0)
	r.Advance(80*ms - 1)
	noTruth(t, chip, "before the first has ended")
	r.Advance(time.Hour)
	wantTruth(t, chip, source, start, 80*ms)
	brownOut(t, chip)
	r.run(t, []step{{40 * ms, nil, []byte{0x10, 0, 0, 0, 0, 0}, "not calibrated, no data"}})
}
