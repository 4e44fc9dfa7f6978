package i2csim_test

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/physic"
	"periph.io/x/devices/v3/bmxx80"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// words are calibration and data as a driver gets them over the bus.
type words struct {
	t1, t2, t3                               int64
	p1, p2, p3, p4, p5, p6, p7, p8, p9       int64
	h1, h2, h3, h4, h5, h6                   int64
	rawPressure, rawTemperature, rawHumidity int64
}

func (r rig) words(t *rapid.T) words {
	a := r.must(t, []byte{0x88}, 26)
	b := r.must(t, []byte{0xE1}, 7)
	d := r.must(t, []byte{data}, 8)
	u16 := func(i int) int64 { return int64(a[i]) | int64(a[i+1])<<8 }
	s16 := func(i int) int64 { return int64(int16(u16(i))) }
	s12 := func(v int64) int64 { return (v ^ 0x800) - 0x800 }
	return words{
		t1: u16(0), t2: s16(2), t3: s16(4),
		p1: u16(6), p2: s16(8), p3: s16(10), p4: s16(12), p5: s16(14), p6: s16(16), p7: s16(18), p8: s16(20), p9: s16(22),
		h1: int64(a[25]), h2: int64(int16(uint16(b[0]) | uint16(b[1])<<8)), h3: int64(b[2]),
		h4: s12(int64(b[3])<<4 | int64(b[4])&0xF), h5: s12(int64(b[4])>>4 | int64(b[5])<<4), h6: int64(int8(b[6])),
		rawPressure: int64(word20(d[0:])), rawTemperature: int64(word20(d[3:])), rawHumidity: int64(d[6])<<8 | int64(d[7]),
	}
}

// integer compensates by the data sheet's integer formulas (4.2.3), where the
// emulator uses the others: 0.01 degree Celsius, 1/256 Pa, 1/1024 %RH.
func (w words) integer() (centi, pa256, rh1024 int64) {
	v1 := (w.rawTemperature>>3 - w.t1<<1) * w.t2 >> 11
	v2 := (w.rawTemperature>>4 - w.t1) * (w.rawTemperature>>4 - w.t1) >> 12 * w.t3 >> 14
	fine := v1 + v2
	centi = (fine*5 + 128) >> 8

	v1 = fine - 128000
	v2 = v1*v1*w.p6 + v1*w.p5<<17 + w.p4<<35
	v1 = v1*v1*w.p3>>8 + v1*w.p2<<12
	v1 = (1<<47 + v1) * w.p1 >> 33
	p := ((1048576-w.rawPressure)<<31 - v2) * 3125 / v1
	v1 = w.p9 * (p >> 13) * (p >> 13) >> 25
	v2 = w.p8 * p >> 19
	pa256 = (p+v1+v2)>>8 + w.p7<<4

	v := fine - 76800
	v = (w.rawHumidity<<14 - w.h4<<20 - w.h5*v + 16384) >> 15 *
		((((v*w.h6>>10*(v*w.h3>>11+32768)>>10)+2097152)*w.h2 + 8192) >> 14)
	v -= (v >> 15) * (v >> 15) >> 7 * w.h1 >> 4
	rh1024 = min(max(v, 0), 419430400) >> 12
	return centi, pa256, rh1024
}

// TestDriverReadsTheSource reads, with every calibration, resolution and
// environment within the chip's range, the source back.
func TestDriverReadsTheSource(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		source := drawRoom(rt)
		r, _ := newBME280(t, i2csim.BME280Options{Source: source, Seed: rapid.Uint64().Draw(rt, "seed")})
		osrsT := rapid.ByteRange(1, 7).Draw(rt, "osrs_t")
		osrsP := rapid.ByteRange(1, 7).Draw(rt, "osrs_p")
		filter := rapid.ByteRange(0, 7).Draw(rt, "filter")
		r.must(rt, []byte{config, filter << 2, ctrlHum, 1, ctrlMeas, osrsT<<5 | osrsP<<2 | 1}, 0)
		r.Advance(time.Second)
		centi, pa256, rh1024 := r.words(rt).integer()

		// Half of a word's step, which is at most 0.00033 K and 0.195 Pa at 20
		// bits and 0.0069 %RH at 16, and the integer formulas' own rounding.
		steps := func(osrs byte) float64 {
			if filter != 0 {
				return 1
			}
			return math.Exp2(float64(5 - min(osrs, 5)))
		}
		celsius, percent := celsiusAndPercent(source)
		near(rt, "temperature", float64(centi)/100, celsius, 0.00033/2*steps(osrsT)+0.0076)
		near(rt, "pressure", float64(pa256)/256, float64(source.Pressure)/1e9, 0.195/2*steps(osrsP)+0.54)
		near(rt, "humidity", float64(rh1024)/1024, percent, 0.0069/2+0.01)
	})
}

// TestPeriphReadsTheSource asks a driver that neither the emulator nor this
// project has written. It does not extend the signs of H4 and H5, so they are
// positive here, and it polls a chip that is slower than typical without a
// pause, so the chip is typical.
func TestPeriphReadsTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(50) {
			calibration := i2csim.NewCalibration(seed)
			if calibration.H5 < 0 {
				calibration.H5 = -calibration.H5
			}
			chip, err := i2csim.NewBME280(i2csim.BME280Options{
				Source: room, Timing: i2csim.Typical, Calibration: &calibration,
			})
			if err != nil {
				t.Fatal(err)
			}
			bus := i2csim.NewBus(i2csim.BusOptions{})
			if err := bus.Attach(0x77, chip); err != nil {
				t.Fatal(err)
			}
			dev, err := bmxx80.NewI2C(bus, 0x77, &bmxx80.Opts{
				Temperature: bmxx80.O16x, Pressure: bmxx80.O16x, Humidity: bmxx80.O1x,
			})
			if err != nil {
				t.Fatal(err)
			}
			var got physic.Env
			if err := dev.Sense(&got); err != nil {
				t.Fatal(err)
			}
			if d := got.Temperature - room.Temperature; d < -6*physic.MilliKelvin || d > 6*physic.MilliKelvin {
				t.Errorf("seed %d: temperature %s, want %s", seed, got.Temperature, room.Temperature)
			}
			if d := got.Pressure - room.Pressure; d < -500*physic.MilliPascal || d > 500*physic.MilliPascal {
				t.Errorf("seed %d: pressure %s, want %s", seed, got.Pressure, room.Pressure)
			}
			if d := got.Humidity - room.Humidity; d < -150*physic.MicroRH || d > 150*physic.MicroRH {
				t.Errorf("seed %d: humidity %s, want %s", seed, got.Humidity, room.Humidity)
			}
		}
	})
}

func TestSameSeedSameBytes(t *testing.T) {
	read := func(seed uint64) [256]byte {
		r, _ := newBME280(t, i2csim.BME280Options{Seed: seed, Source: ramp{}})
		r.must(t, []byte{ctrlHum, 1, config, 4 << 2, ctrlMeas, normal1}, 0)
		r.Advance(time.Minute)
		return [256]byte(r.must(t, []byte{0}, 256))
	}
	first := read(1)
	if again := read(1); first != again {
		t.Errorf("seed 1 gives registers\n% x\nand then\n% x", first, again)
	}
	if first == read(2) {
		t.Error("seeds 1 and 2 give the same registers")
	}
}
