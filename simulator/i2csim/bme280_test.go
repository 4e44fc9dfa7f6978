package i2csim_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"periph.io/x/conn/v3/physic"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// What the data sheet says of the registers.
const (
	id       = 0xD0
	reset    = 0xE0
	ctrlHum  = 0xF2
	status   = 0xF3
	ctrlMeas = 0xF4
	config   = 0xF5
	data     = 0xF7

	// ctrl_meas with oversampling x1 of temperature and pressure.
	sleep1  = 0b001_001_00
	forced1 = 0b001_001_01
	normal1 = 0b001_001_11
)

var nothing = []byte{0x80, 0, 0, 0x80, 0, 0, 0x80, 0}

func TestBME280Registers(t *testing.T) {
	r, _ := newBME280(t, i2csim.BME280Options{})
	r.run(t, []step{
		{0, []byte{id}, []byte{0x60}, "chip id"},
		{0, []byte{reset}, []byte{0}, "reset reads as 0"},
		{0, []byte{ctrlHum}, []byte{0, 0, 0, 0, 0, 0x80}, "reset state, by auto-increment"},
		{0, []byte{data}, nothing, "no data after reset"},
		{0, []byte{ctrlHum, 0xFF, config, 0xFF}, nil, "pairs of register and value"},
		{0, []byte{ctrlHum}, []byte{0b111}, "only osrs_h is there"},
		{0, []byte{config}, []byte{0b111_111_01}, "bit 1 is not there"},
		{0, []byte{id, 0x12, 0x88, 0x12, status, 0xFF, data, 0x12}, nil, "not writable"},
		{0, []byte{id}, []byte{0x60}, "chip id stays"},
		{0, []byte{status}, []byte{0}, "status stays"},
		{0, []byte{data}, nothing, "data stay"},
		{0, []byte{ctrlHum, 0x01, config}, nil, "a lone byte at the end selects a register"},
		{0, nil, []byte{0b111_111_01}, "which a later transaction reads"},
		{0, []byte{reset, 0xB5}, nil, "not the reset word"},
		{0, []byte{config}, []byte{0b111_111_01}, "no reset"},
		{0, []byte{reset, 0xB6}, nil, "the reset word"},
		{0, []byte{ctrlHum}, []byte{0, 1, 0, 0}, "reset, im_update is set"},
		{2*time.Millisecond - 1, []byte{0x88}, make([]byte, 26), "no calibration yet"},
		{0, []byte{0xE1}, make([]byte, 7), "no calibration yet"},
		{0, []byte{id}, []byte{0x60}, "the chip id is no calibration"},
		{1, []byte{status}, []byte{0}, "im_update is cleared"},
	})
	if got := r.must(t, []byte{0x88}, 26); bytes.Equal(got, make([]byte, 26)) {
		t.Error("no calibration after im_update")
	}
}

func TestBMP280HasNoHumidity(t *testing.T) {
	r, _ := newBMP280(t, i2csim.BME280Options{Timing: i2csim.Typical})
	r.run(t, []step{
		{0, []byte{id}, []byte{0x58}, "chip id"},
		{0, []byte{0xA1}, []byte{0}, "no H1"},
		{0, []byte{0xE1}, make([]byte, 7), "no H2 to H6"},
		{0, []byte{ctrlHum, 1, ctrlMeas, forced1}, nil, "ctrl_hum is ignored"},
		{0, []byte{ctrlHum}, []byte{0, 8}, "ctrl_hum reads as 0"},
		{5500*time.Microsecond - 1, []byte{status}, []byte{8}, "5.5 ms (data sheet, 3.8.1)"},
		{1, []byte{status}, []byte{0}, "done"},
		{0, []byte{0xFD}, []byte{0, 0}, "no humidity"},
	})
}

func TestForcedMode(t *testing.T) {
	r, chip := newBME280(t, i2csim.BME280Options{Source: ramp{}})
	r.Advance(time.Minute)
	r.run(t, []step{
		{0, []byte{ctrlHum, 1}, nil, ""},
		{0, []byte{ctrlMeas, forced1}, nil, ""},
		{0, []byte{status}, []byte{8, forced1}, "measuring, mode is still forced"},
		{0, []byte{data}, nothing, "old data"},
		{9300*time.Microsecond - 1, []byte{status}, []byte{8, forced1}, "1.25 + 2.3 + 2.875 + 2.875 ms"},
		{0, []byte{data}, nothing, "old data until the end"},
		{1, []byte{status}, []byte{0, sleep1}, "asleep again"},
	})
	first := r.must(t, []byte{data}, 8)
	if first[2]&0x0F != 0 || first[5]&0x0F != 0 || first[0] == 0x80 || first[3] == 0x80 || first[6] == 0x80 {
		t.Errorf("data % x: want three measures in 16 bits each", first)
	}
	start := r.now.Add(-9300 * us)
	wantTruth(t, chip, ramp{start.Add(-time.Minute)}, start, 9300*us)
	r.run(t, []step{
		{time.Hour, []byte{data}, first, "nothing more happens"},
		{0, []byte{ctrlMeas, 0b001_001_10}, nil, "10 is forced mode as well"},
		{9 * time.Millisecond, []byte{data}, first, "old data while measuring"},
	})
	r.Advance(time.Millisecond)
	if second := r.must(t, []byte{data}, 8); bytes.Equal(first, second) {
		t.Errorf("data % x both times, of a rising source", first)
	}
}

func TestCtrlHumNeedsCtrlMeas(t *testing.T) {
	r, _ := newBME280(t, i2csim.BME280Options{})
	r.must(t, []byte{ctrlMeas, normal1, ctrlHum, 1}, 0)
	r.run(t, []step{
		{time.Second, []byte{0xFD}, []byte{0x80, 0}, "not effective yet"},
		{0, []byte{ctrlHum}, []byte{1}, "although it reads so"},
	})
	r.must(t, []byte{ctrlMeas, normal1}, 0)
	r.Advance(time.Second)
	if got := r.must(t, []byte{0xFD}, 2); bytes.Equal(got, []byte{0x80, 0}) {
		t.Error("still no humidity after ctrl_meas was written")
	}
}

func TestSkippedMeasures(t *testing.T) {
	for _, tt := range []struct {
		hum, meas byte
		measured  [3]bool // pressure, temperature, humidity
		takes     time.Duration
	}{
		{0, 0b000_000_01, [3]bool{}, 1250 * time.Microsecond},
		{1, 0b000_000_01, [3]bool{false, false, true}, 4125 * time.Microsecond},
		{0, 0b001_000_01, [3]bool{false, true, false}, 3550 * time.Microsecond},
		{0, 0b000_001_01, [3]bool{true, false, false}, 4125 * time.Microsecond},
		{5, 0b101_101_01, [3]bool{true, true, true}, 112800 * time.Microsecond},
		{7, 0b111_110_01, [3]bool{true, true, true}, 112800 * time.Microsecond},
		{2, 0b011_100_01, [3]bool{true, true, true}, 34600 * time.Microsecond},
	} {
		t.Run(fmt.Sprintf("%03b %08b", tt.hum, tt.meas), func(t *testing.T) {
			r, _ := newBME280(t, i2csim.BME280Options{})
			r.must(t, []byte{ctrlHum, tt.hum, ctrlMeas, tt.meas}, 0)
			r.run(t, []step{
				{tt.takes - 1, []byte{status}, []byte{8}, "1.25 + 2.3 T + (2.3 P + 0.575) + (2.3 H + 0.575) ms"},
				{1, []byte{status}, []byte{0}, "done"},
			})
			got := r.must(t, []byte{data}, 8)
			for i, p := range []struct{ from, to int }{{0, 3}, {3, 6}, {6, 8}} {
				if measured := !bytes.Equal(got[p.from:p.to], nothing[p.from:p.to]); measured != tt.measured[i] {
					t.Errorf("data % x: measure %d is there: %t, want %t", got, i, measured, tt.measured[i])
				}
			}
		})
	}
}

func TestTypicalDuration(t *testing.T) {
	r, _ := newBME280(t, i2csim.BME280Options{Timing: i2csim.Typical})
	r.run(t, []step{
		{0, []byte{ctrlHum, 1, ctrlMeas, forced1}, nil, ""},
		{8*time.Millisecond - 1, []byte{status}, []byte{8}, "1 + 2 + 2.5 + 2.5 ms"},
		{1, []byte{status}, []byte{0}, "done"},
	})
}

func TestNormalModeStandby(t *testing.T) {
	const measure = 6425 * time.Microsecond // 1.25 + 2.3 + 2.875 ms
	ms := func(v float64) time.Duration { return time.Duration(v * 1e6) }
	for name, tt := range map[string]struct {
		build   func(testing.TB, i2csim.BME280Options) (rig, *i2csim.BME280)
		standby [8]time.Duration
	}{
		"BME280": {newBME280, [8]time.Duration{ms(0.5), ms(62.5), ms(125), ms(250), ms(500), ms(1000), ms(10), ms(20)}},
		"BMP280": {newBMP280, [8]time.Duration{ms(0.5), ms(62.5), ms(125), ms(250), ms(500), ms(1000), ms(2000), ms(4000)}},
	} {
		for code, standby := range tt.standby {
			t.Run(fmt.Sprintf("%s %03b", name, code), func(t *testing.T) {
				r, _ := tt.build(t, i2csim.BME280Options{})
				r.run(t, []step{
					{0, []byte{config, byte(code) << 5, ctrlMeas, normal1}, nil, ""},
					{0, []byte{status}, []byte{8}, "the first measurement starts at once"},
					{measure - 1, []byte{status}, []byte{8}, "measuring"},
					{1, []byte{status}, []byte{0, normal1}, "standing by, mode stays"},
					{standby - 1, []byte{status}, []byte{0}, "standing by"},
					{1, []byte{status}, []byte{8}, "measuring again"},
					{1000*(measure+standby) - 1, []byte{status}, []byte{0}, "standing by, a thousand cycles on"},
					{1, []byte{status}, []byte{8}, "measuring, a thousand cycles on"},
				})
			})
		}
	}
}

func TestNormalModeTruth(t *testing.T) {
	r, chip := newBME280(t, i2csim.BME280Options{Source: ramp{}, Timing: i2csim.Typical})
	began := r.now
	r.must(t, []byte{config, 0b100_000_00, ctrlMeas, normal1}, 0) // 5.5 ms every 505.5 ms
	r.Advance(10*505500*time.Microsecond + 5500*time.Microsecond)
	wantTruth(t, chip, ramp{began}, began.Add(10*505500*us), 5500*us)
}

func TestModeChangeWaitsForConversion(t *testing.T) {
	// The second change is ignored, and ctrl_hum as well, until the first has
	// been carried out (3.3.1).
	r, _ := newBME280(t, i2csim.BME280Options{})
	const measure = 6425 * time.Microsecond
	r.run(t, []step{
		{0, []byte{ctrlMeas, normal1}, nil, ""},
		{time.Millisecond, []byte{ctrlMeas, 0b010_010_00}, nil, "sleep, which waits"},
		{0, []byte{ctrlMeas, 0b111_111_11}, nil, "ignored"},
		{0, []byte{ctrlHum, 1}, nil, "ignored"},
		{0, []byte{ctrlHum}, []byte{0, 8, normal1}, "not carried out yet"},
		{measure - time.Millisecond, []byte{ctrlHum}, []byte{0, 0, 0b010_010_00}, "asleep"},
		{time.Hour, []byte{status}, []byte{0}, "still asleep"},
	})
	r, _ = newBME280(t, i2csim.BME280Options{})
	r.run(t, []step{
		{0, []byte{ctrlMeas, forced1}, nil, ""},
		{time.Millisecond, []byte{ctrlMeas, 0b010_010_01}, nil, "another measurement, which waits"},
		{measure - time.Millisecond, []byte{status}, []byte{8, 0b010_010_01}, "the second one runs"},
		{11025*time.Microsecond - 1, []byte{status}, []byte{8}, "1.25 + 4.6 + 5.175 ms"},
		{1, []byte{status}, []byte{0, 0b010_010_00}, "asleep"},
	})
	r, _ = newBME280(t, i2csim.BME280Options{})
	r.run(t, []step{
		{0, []byte{config, 0b101_000_00, ctrlMeas, normal1}, nil, ""},
		{measure + time.Millisecond, []byte{ctrlMeas, sleep1}, nil, "while standing by"},
		{0, []byte{ctrlMeas}, []byte{sleep1}, "at once"},
	})
}

func TestConfigIsIgnoredInNormalMode(t *testing.T) {
	r, _ := newBME280(t, i2csim.BME280Options{})
	r.run(t, []step{
		{0, []byte{config, 0b101_000_00, ctrlMeas, normal1}, nil, ""},
		{0, []byte{config, 0}, nil, "ignored (5.4.6)"},
		{0, []byte{config}, []byte{0b101_000_00}, "as before"},
		{100 * time.Millisecond, []byte{ctrlMeas, sleep1, config, 0x04}, nil, "asleep it is not"},
		{0, []byte{config}, []byte{0x04}, "changed"},
	})
}

func TestPowerCycle(t *testing.T) {
	r, chip := newBME280(t, i2csim.BME280Options{})
	calibration := r.must(t, []byte{0x88}, 26)
	r.must(t, []byte{ctrlHum, 1, config, 0x10, ctrlMeas, normal1}, 0)
	r.Advance(time.Second)
	brownOut(t, chip)
	r.Advance(2*ms - 1)
	r.wantDeaf(t, []byte{id}, []byte{ctrlMeas, normal1})
	r.run(t, []step{
		{1, []byte{id}, []byte{0x60}, "up"},
		{0, []byte{ctrlHum}, []byte{0, 0, 0, 0, 0, 0x80}, "reset state"},
		{time.Second, []byte{data}, nothing, "it does not go on measuring"},
		{0, []byte{0x88}, calibration, "the calibration is the same"},
	})
}

func TestMeasurementWaitsForCalibration(t *testing.T) {
	r, _ := newBME280(t, i2csim.BME280Options{})
	r.run(t, []step{
		{0, []byte{reset, 0xB6, ctrlMeas, forced1}, nil, ""},
		{time.Millisecond, []byte{status}, []byte{1}, "im_update, not measuring"},
		{time.Millisecond, []byte{status}, []byte{8}, "measuring"},
		{6425*time.Microsecond - 1, []byte{status}, []byte{8}, "measuring"},
		{1, []byte{status}, []byte{0}, "done"},
	})
}

func TestFilterStepResponse(t *testing.T) {
	// Samples to reach 75 % of a step (data sheet, table 6).
	for code, want := range map[byte]int{0: 1, 1: 2, 2: 5, 3: 11, 4: 22, 5: 22, 7: 22} {
		c := newClock()
		jump := c.now.Add(time.Hour)
		r, _ := newBME280(t, i2csim.BME280Options{Source: pressureStep(jump)})
		sample := func() int {
			r.must(t, []byte{ctrlMeas, forced1}, 0)
			r.Advance(time.Second)
			return word20(r.must(t, []byte{data}, 3))
		}
		r.must(t, []byte{config, code << 2}, 0)
		from := sample()
		r.now = jump.Add(time.Hour)
		fresh, _ := newBME280(t, i2csim.BME280Options{Source: pressureStep(jump).after})
		fresh.must(t, []byte{config, code << 2, ctrlMeas, forced1}, 0)
		fresh.Advance(time.Second)
		to := word20(fresh.must(t, []byte{data}, 3))
		got := 0
		for reached := false; !reached && got < 100; got++ {
			reached = 4*(from-sample()) >= 3*(from-to)-4 // but for a word's rounding
		}
		if got != want {
			t.Errorf("filter %03b: %d samples to 75 %%, want %d", code, got, want)
		}
	}
}

// rising is the room under a pressure that rises by 1 Pa a second.
type rising struct{ from time.Time }

func (r rising) At(t time.Time) i2csim.Environment {
	e := i2csim.Environment(room)
	e.Pressure += physic.Pressure(t.Sub(r.from).Milliseconds()) * physic.MilliPascal
	return e
}

func TestFilterMemory(t *testing.T) {
	r, _ := newBME280(t, i2csim.BME280Options{Source: rising{newClock().now}})
	sample := func(meas byte) []byte {
		t.Helper()
		r.Advance(time.Minute)
		r.must(t, []byte{ctrlMeas, meas}, 0)
		r.Advance(time.Second)
		return r.must(t, []byte{data}, 6)
	}
	r.must(t, []byte{config, 4 << 2}, 0)
	first := sample(forced1)
	if got := sample(0b001_000_01); !bytes.Equal(got[:3], nothing[:3]) {
		t.Errorf("data % x: want no pressure", got)
	}
	// For the pressure this is the second sample, not the third.
	third := sample(forced1)
	r.must(t, []byte{config, 4 << 2}, 0)
	fresh := sample(forced1)
	moved := word20(first) - word20(third)
	all := word20(first) - word20(fresh)
	if share := float64(moved) / float64(all); share < 2.0/3/16*0.98 || share > 2.0/3/16*1.02 {
		t.Errorf("pressure moved by %.4f of three minutes' rise, want a sixteenth of two", share)
	}
}

// TestWatchingChangesNothing compares a chip that is polled with one that is
// left alone: what a chip does must not depend on who looks when.
func TestWatchingChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		seed := rapid.Uint64().Draw(t, "seed")
		var buses [2]*i2csim.Bus
		for i := range buses {
			chip, err := i2csim.NewBME280(i2csim.BME280Options{Source: ramp{c.now}, Now: c.Now, Seed: seed})
			if err != nil {
				t.Fatal(err)
			}
			buses[i] = i2csim.NewBus(i2csim.BusOptions{})
			if err := buses[i].Attach(0x76, chip); err != nil {
				t.Fatal(err)
			}
		}
		for range rapid.IntRange(1, 12).Draw(t, "writes") {
			register := rapid.SampledFrom([]byte{ctrlHum, ctrlMeas, ctrlMeas, config, reset}).Draw(t, "register")
			value := rapid.Byte().Draw(t, "value")
			if register == reset && rapid.Bool().Draw(t, "really") {
				value = 0xB6
			}
			for _, bus := range buses {
				if err := bus.Tx(0x76, []byte{register, value}, nil); err != nil {
					t.Fatal(err)
				}
			}
			for range rapid.IntRange(0, 8).Draw(t, "polls") {
				c.Advance(time.Duration(rapid.IntRange(0, 200_000).Draw(t, "µs")) * time.Microsecond)
				if err := buses[0].Tx(0x76, []byte{status}, make([]byte, 12)); err != nil {
					t.Fatal(err)
				}
			}
		}
		var got [2][16]byte
		for i, bus := range buses {
			if err := bus.Tx(0x76, []byte{0xF0}, got[i][:]); err != nil {
				t.Fatal(err)
			}
		}
		if got[0] != got[1] {
			t.Fatalf("polled % x\nalone  % x", got[0], got[1])
		}
	})
}

func TestBME280Options(t *testing.T) {
	calibration := i2csim.NewCalibration(1)
	calibration.H4 = 2048
	for name, tt := range map[string]struct {
		options i2csim.BME280Options
		err     string
	}{
		"no source":        {i2csim.BME280Options{}, "i2csim: bme280: Source is nil"},
		"no such timing":   {i2csim.BME280Options{Source: room, Timing: 2}, "i2csim: bme280: Timing is 2: want Maximum or Typical"},
		"H4 of 13 bits":    {i2csim.BME280Options{Source: room, Calibration: &calibration}, "i2csim: calibration H4 is 2048: want -2048 to 2047"},
		"the wall clock":   {i2csim.BME280Options{Source: room}, ""},
		"another's timing": {i2csim.BME280Options{Source: room, Timing: i2csim.Typical}, ""},
	} {
		if _, err := i2csim.NewBME280(tt.options); errorText(err) != tt.err {
			t.Errorf("%s: error %v, want %q", name, err, tt.err)
		}
	}
}

// TestArbitraryMessages writes whatever there is: what cannot be written stays
// as it is.
func TestArbitraryMessages(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r, _ := newBME280(t, i2csim.BME280Options{Seed: 1})
		low, high := r.must(rt, []byte{0x88}, 26), r.must(rt, []byte{0xE1}, 7)
		for range rapid.IntRange(1, 20).Draw(rt, "messages") {
			w := rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(rt, "message")
			r.must(rt, w, rapid.IntRange(0, 300).Draw(rt, "read"))
			r.Advance(time.Duration(rapid.IntRange(0, 100).Draw(rt, "ms")) * time.Millisecond)
		}
		r.Advance(2 * time.Millisecond) // of a reset
		if got := r.must(rt, []byte{id}, 1); got[0] != 0x60 {
			rt.Errorf("chip id %#x", got[0])
		}
		if got := r.must(rt, []byte{status}, 1); got[0]&^8 != 0 {
			rt.Errorf("status %08b", got[0])
		}
		if got := r.must(rt, []byte{0x88}, 26); !bytes.Equal(got, low) {
			rt.Errorf("calibration % x, want % x", got, low)
		}
		if got := r.must(rt, []byte{0xE1}, 7); !bytes.Equal(got, high) {
			rt.Errorf("calibration % x, want % x", got, high)
		}
	})
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	bme, err := i2csim.NewBME280(i2csim.BME280Options{Source: room})
	if err != nil {
		t.Fatal(err)
	}
	bh, err := i2csim.NewBH1750(i2csim.ChipOptions{Source: room})
	if err != nil {
		t.Fatal(err)
	}
	bus := i2csim.NewBus(i2csim.BusOptions{})
	for addr, d := range map[uint16]i2csim.Device{0x76: bme, 0x23: bh} {
		if err := bus.Attach(addr, d); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	const each = 200
	for range 2 {
		wg.Go(func() {
			for range each {
				// A chip that starts up does not answer; that is not the point here.
				_ = bus.Tx(0x76, []byte{ctrlMeas, normal1}, nil)
				_ = bus.Tx(0x76, []byte{data}, make([]byte, 8))
				_ = bus.Tx(0x23, []byte{continuousH}, make([]byte, 2))
			}
		})
	}
	wg.Go(func() {
		for range each {
			bme.PowerCycle()
			bh.PowerCycle()
			bme.LastConversion()
			bh.LastConversion()
			bus.SetFaults(nil)
			bus.Recover()
		}
	})
	wg.Wait()
	if got := bus.Stats().Transactions; got != 2*3*each {
		t.Errorf("%d transactions, want %d", got, 2*3*each)
	}
}
