package bme680

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"periph.io/x/conn/v3/physic"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/drivers"
)

// example is a BME680's calibration and one of its measurements, with what the
// floating-point formulas make of it: from the tests of the Elixir driver
// elixir-sensors/bmp280.
var (
	example = calibration{
		T1: 26195, T2: 26290, T3: 3,
		P1: 35395, P2: -10405, P3: 88, P4: 4836, P5: -118, P6: 30, P7: 26, P8: -765, P9: -3367, P10: 30,
		H1: 717, H2: 1021, H3: 0, H4: 45, H5: 20, H6: 120, H7: -100,
	}
	exampleRaw = raw{temperature: 480732, pressure: 393705, humidity: 16820}
)

func TestExample(t *testing.T) {
	var m drivers.Measurement
	if err := example.compensate(exampleRaw, &m); err != nil {
		t.Fatal(err)
	}
	near := func(quantity string, got, want, within float64) {
		if math.Abs(got-want) > within {
			t.Errorf("%s = %.5f: want %.5f", quantity, got, want)
		}
	}
	near("temperature", float64(m.Temperature-physic.ZeroCelsius)/float64(physic.Celsius), 19.3113, 2e-4)
	near("pressure", float64(m.Pressure)/float64(physic.Pascal), 100977.52, 0.02)
	near("humidity", float64(m.Humidity)/float64(physic.PercentRH), 25.2, 0.1)
	if m.Words != (drivers.Words{Temperature: 480732, Pressure: 393705, Humidity: 16820}) {
		t.Errorf("words = %+v", m.Words)
	}
}

// Bosch's formulas in double precision, with results in degree Celsius / 5120, Pa
// and percent; humidity without its limits.

func doubleFine(c calibration, adc uint32) float64 {
	t1, t2, t3 := float64(c.T1), float64(c.T2), float64(c.T3)
	var1 := (float64(adc)/16384 - t1/1024) * t2
	square := float64(adc)/131072 - t1/8192
	return var1 + square*square*t3*16
}

func doublePressure(c calibration, adc uint32, fine float64) float64 {
	var1 := fine/2 - 64000
	var2 := var1 * var1 * float64(c.P6) / 131072
	var2 += var1 * float64(c.P5) * 2
	var2 = var2/4 + float64(c.P4)*65536
	var1 = (float64(c.P3)*var1*var1/16384 + float64(c.P2)*var1) / 524288
	var1 = (1 + var1/32768) * float64(c.P1)
	p := (1048576 - float64(adc) - var2/4096) * 6250 / var1
	var1 = float64(c.P9) * p * p / 2147483648
	var2 = p * float64(c.P8) / 32768
	var3 := p / 256 * p / 256 * p / 256 * float64(c.P10) / 131072
	return p + (var1+var2+var3+float64(c.P7)*128)/16
}

func doubleHumidity(c calibration, adc uint32, fine float64) float64 {
	t := fine / 5120
	var1 := float64(adc) - (float64(c.H1)*16 + float64(c.H3)/2*t)
	var2 := var1 * (float64(c.H2) / 262144 * (1 + float64(c.H4)/16384*t + float64(c.H5)/1048576*t*t))
	return var2 + (float64(c.H6)/16384+float64(c.H7)/2097152*t)*var2*var2
}

// calibrations draws what chips in the field hold, and some distance around it.
func calibrations(t *rapid.T) calibration {
	s16 := func(name string, lo, hi int16) int16 { return rapid.Int16Range(lo, hi).Draw(t, name) }
	s8 := func(name string, lo, hi int8) int8 { return rapid.Int8Range(lo, hi).Draw(t, name) }
	return calibration{
		T1: rapid.Uint16Range(25000, 27500).Draw(t, "T1"), T2: s16("T2", 25500, 27500), T3: s8("T3", -10, 10),
		P1: rapid.Uint16Range(34000, 38000).Draw(t, "P1"), P2: s16("P2", -11000, -9500), P3: s8("P3", 70, 110),
		P4: s16("P4", 2000, 12000), P5: s16("P5", -300, 300), P6: s8("P6", 10, 50),
		P7: s8("P7", 0, 60), P8: s16("P8", -4000, 0), P9: s16("P9", -4500, -1500), P10: rapid.Uint8Range(10, 50).Draw(t, "P10"),
		H1: rapid.Uint16Range(600, 900).Draw(t, "H1"), H2: rapid.Uint16Range(900, 1100).Draw(t, "H2"),
		H3: s8("H3", -10, 10), H4: s8("H4", 20, 60), H5: s8("H5", 0, 40),
		H6: rapid.Uint8Range(80, 160).Draw(t, "H6"), H7: s8("H7", -127, -50),
	}
}

func raws(t *rapid.T) raw {
	return raw{
		temperature: rapid.Uint32Range(350000, 650000).Draw(t, "adc_T"),
		pressure:    rapid.Uint32Range(200000, 700000).Draw(t, "adc_P"),
		humidity:    rapid.Uint32Range(0, 65535).Draw(t, "adc_H"),
	}
}

// The integer formulas agree with the double ones as the package comment says.
// Pressure and humidity are compared at the same fine temperature.
func TestIntegerFormulas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, r := calibrations(t), raws(t)
		near := func(quantity string, got, want, within float64) {
			if math.Abs(got-want) > within {
				t.Errorf("%s = %.5f: want %.5f", quantity, got, want)
			}
		}
		fine := c.temperature(r.temperature)
		near("fine temperature", float64(fine), doubleFine(c, r.temperature), 0.501)
		if fine < -40*5120 || fine > 85*5120 {
			return
		}
		h, err := c.humidity(r.humidity, fine)
		if err != nil {
			t.Fatal(err)
		}
		near("humidity", float64(h)/1024, max(0, min(doubleHumidity(c, r.humidity, float64(fine)), 100)), 0.002)

		want := doublePressure(c, r.pressure, float64(fine))
		if want < 20000 || want > 120000 {
			return
		}
		p, err := c.pressure(r.pressure, fine)
		if err != nil {
			t.Fatal(err)
		}
		near("pressure", float64(p)/256, want, 0.01)
	})
}

// No calibration that the registers can hold, be it one that no chip has, makes
// the formulas overflow: all corners of their arguments give what they give in
// numbers without a limit, or an error.
func TestNoOverflow(t *testing.T) {
	corners := func(bits int) (c calibration) {
		s16 := func(bit int) int16 {
			if bits>>bit&1 == 1 {
				return math.MaxInt16
			}
			return math.MinInt16
		}
		s8 := func(bit int) int8 { return int8(s16(bit) >> 8) }
		u16 := func(bit int) uint16 { return uint16(s16(bit)) ^ 0x8000 }
		c.T1, c.T2, c.T3 = u16(0), s16(1), s8(2)
		c.P1, c.P2, c.P3, c.P4, c.P5 = max(1, u16(0)), s16(1), s8(2), s16(3), s16(4)
		c.P6, c.P7, c.P8, c.P9, c.P10 = s8(5), s8(6), s16(7), s16(8), uint8(u16(9))
		c.H1, c.H2, c.H3, c.H4 = u16(0)>>4, max(1, u16(1)>>4), s8(2), s8(3)
		c.H5, c.H6, c.H7 = s8(4), uint8(u16(5)), s8(6)
		return c
	}
	for bits := range 1 << 10 {
		c := corners(bits)
		for _, adc := range []uint32{0, 1<<20 - 1} {
			if got, want := c.temperature(adc), exactFine(c, adc); got != want.Int64() {
				t.Fatalf("%+v: temperature of %d is %d: want %d", c, adc, got, want)
			}
			// The fine temperatures of -40, 0 and 85 degree Celsius, and where
			// the pressure formula has its least factor.
			for _, fine := range []int64{-204800, 0, 128000, 435200} {
				p, err := c.pressure(adc, fine)
				if want := exactPressure(c, adc, fine); err == nil && (!want.IsInt64() || p != want.Int64()) {
					t.Fatalf("%+v: pressure of %d at %d is %d: want %d", c, adc, fine, p, want)
				}
				h, err := c.humidity(adc>>4, fine)
				if want := exactHumidity(c, adc>>4, fine); err == nil && h != want.Int64() {
					t.Fatalf("%+v: humidity of %d at %d is %d: want %d", c, adc>>4, fine, h, want)
				}
			}
		}
	}
}

// The pressure formula's limits keep its largest terms from overflowing.
func TestPressureLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := example
		c.P1 = rapid.Uint16Min(1).Draw(t, "P1")
		c.P8, c.P9, c.P10 = rapid.Int16().Draw(t, "P8"), rapid.Int16().Draw(t, "P9"), rapid.Uint8().Draw(t, "P10")
		adc := rapid.Uint32Max(1<<20-1).Draw(t, "adc")
		fine := rapid.Int64Range(-204800, 435200).Draw(t, "fine")
		if p, err := c.pressure(adc, fine); err == nil && p != exactPressure(c, adc, fine).Int64() {
			t.Errorf("pressure is %d: want %d", p, exactPressure(c, adc, fine))
		}
	})
}

// The integer formulas in numbers without a limit.

func n(v int64) *big.Int { return big.NewInt(v) }

func add(vs ...*big.Int) *big.Int {
	sum := new(big.Int)
	for _, v := range vs {
		sum.Add(sum, v)
	}
	return sum
}

func mul(vs ...*big.Int) *big.Int {
	product := n(1)
	for _, v := range vs {
		product.Mul(product, v)
	}
	return product
}

func shl(v *big.Int, s uint) *big.Int { return new(big.Int).Lsh(v, s) }
func shr(v *big.Int, s uint) *big.Int { return new(big.Int).Rsh(v, s) }

func exactFine(c calibration, adc uint32) *big.Int {
	d := n(int64(adc) - int64(c.T1)*16)
	return shr(add(shl(mul(d, n(int64(c.T2))), 16), mul(d, d, n(int64(c.T3))), n(1<<29)), 30)
}

func exactPressure(c calibration, adc uint32, fine int64) *big.Int {
	x := n(fine - 128000)
	offset := add(shr(mul(x, x, n(int64(c.P6))), 2), shl(mul(x, n(int64(c.P5))), 17), shl(n(int64(c.P4)), 35))
	factor := add(shl(n(1), 47), shr(mul(x, x, n(int64(c.P3))), 3), shl(mul(x, n(int64(c.P2))), 12))
	span := shr(mul(factor, n(int64(c.P1))), 33)
	p := mul(add(shl(n(1048576-int64(adc)), 31), mul(offset, n(-1))), n(3125))
	p.Quo(p, span)
	p6 := shr(p, 10)
	return add(shr(add(
		p,
		shr(mul(p, n(int64(c.P8))), 19),
		shr(mul(shr(p, 13), shr(p, 13), n(int64(c.P9))), 25),
		shr(mul(shr(mul(p6, p6), 20), p6, n(int64(c.P10))), 27),
	), 8), shl(n(int64(c.P7)), 11))
}

func exactHumidity(c calibration, adc uint32, fine int64) *big.Int {
	t := n(fine * 65536 / 5120)
	signal := add(n(int64(adc)<<10-int64(c.H1)<<14), mul(n(-1), shr(mul(n(int64(c.H3)), t), 7)))
	gain := add(shl(n(1), 30), mul(n(int64(c.H4)), t), mul(n(int64(c.H5)), shr(mul(t, t), 22)))
	linear := shr(mul(shr(mul(signal, gain), 30), n(int64(c.H2))), 12)
	bend := add(shl(n(int64(c.H6)), 13), shr(mul(n(int64(c.H7)), t), 10))
	h := shr(add(linear, shr(mul(shr(mul(linear, linear), 18), bend), 25)), 6)
	switch {
	case h.Sign() < 0:
		return n(0)
	case h.Cmp(n(102400)) > 0:
		return n(102400)
	}
	return h
}

// A calibration is read as it was written, with its signs.
func TestParseCalibration(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := calibrations(t)
		want.H1, want.H2 = rapid.Uint16Max(4095).Draw(t, "H1"), rapid.Uint16Range(1, 4095).Draw(t, "H2")
		want.P6, want.P7, want.H7 = rapid.Int8().Draw(t, "P6"), rapid.Int8().Draw(t, "P7"), rapid.Int8().Draw(t, "H7")
		b := encode(want)
		if got, err := parseCalibration(&b); err != nil || got != want {
			t.Fatalf("parsed %+v, %v: want %+v", got, err, want)
		}
	})
}

func TestParseCalibrationRefuses(t *testing.T) {
	filled := func(v byte) (b [calibrationSize]byte) {
		for i := range b {
			b[i] = v
		}
		return b
	}
	changed := func(f func(*calibration)) [calibrationSize]byte {
		c := example
		f(&c)
		return encode(c)
	}
	for _, tt := range []struct {
		name  string
		bytes [calibrationSize]byte
	}{
		{"line stuck low", filled(0)},
		{"line stuck high", filled(0xFF)},
		{"no T1", changed(func(c *calibration) { c.T1 = 0 })},
		{"no T2", changed(func(c *calibration) { c.T2 = 0 })},
		{"no P1", changed(func(c *calibration) { c.P1 = 0 })},
		{"no H2", changed(func(c *calibration) { c.H2 = 0 })},
	} {
		if _, err := parseCalibration(&tt.bytes); !errors.Is(err, drivers.ErrBadCalibration) {
			t.Errorf("%s: error %v: want %v", tt.name, err, drivers.ErrBadCalibration)
		}
	}
}

func TestOutOfRange(t *testing.T) {
	const t19, p1009, h25 = 480732, 393705, 16820
	for _, tt := range []struct {
		name     string
		raw      raw
		quantity string // empty: it is in range
	}{
		{"-40.05", raw{p1009, 291300, h25}, "temperature"},
		{"-39.95", raw{temperature: 291619, pressure: 330_000, humidity: h25}, ""},
		{"84.95", raw{temperature: 690050, pressure: 430_000, humidity: h25}, ""},
		{"85.05", raw{p1009, 690370, h25}, "temperature"},
		{"least temperature", raw{p1009, 0, h25}, "temperature"},
		{"greatest temperature", raw{p1009, 1<<20 - 1, h25}, "temperature"},
		{"299.9 hPa", raw{800208, t19, h25}, "pressure"},
		{"300.1 hPa", raw{800092, t19, h25}, ""},
		{"1099.9 hPa", raw{342538, t19, h25}, ""},
		{"1100.1 hPa", raw{342423, t19, h25}, "pressure"},
		{"least pressure", raw{1<<20 - 1, t19, h25}, "pressure"},
		{"greatest pressure", raw{0, t19, h25}, "pressure"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := drivers.Measurement{Temperature: 1, Pressure: 2, Humidity: 3, Illuminance: 4}
			m := before
			err := example.compensate(tt.raw, &m)
			if tt.quantity == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var out *drivers.RangeError
			if !errors.As(err, &out) || out.Quantity != tt.quantity || !errors.Is(err, drivers.ErrOutOfRange) {
				t.Fatalf("error %v: want one of the range of %s", err, tt.quantity)
			}
			if m != before {
				t.Errorf("%v was stored", m)
			}
		})
	}
}

// Humidity follows the formula's own limits.
func TestHumidityLimits(t *testing.T) {
	for adc, want := range map[uint32]physic.RelativeHumidity{0: 0, 65535: 100 * physic.PercentRH} {
		r := exampleRaw
		r.humidity = adc
		var m drivers.Measurement
		if err := example.compensate(r, &m); err != nil || m.Humidity != want {
			t.Errorf("humidity of %d is %v, %v: want %v", adc, m.Humidity, err, want)
		}
	}
}

// What would overflow its formula is an error.
func TestOverflow(t *testing.T) {
	c := example
	c.H2, c.H4, c.H5 = 4095, 127, 127
	var m drivers.Measurement
	hot := raw{pressure: 430_000, temperature: 690050, humidity: 65535}
	if err := c.compensate(hot, &m); !errors.Is(err, drivers.ErrBadCalibration) || m != (drivers.Measurement{}) {
		t.Errorf("humidity: got %v, %v: want %v", m, err, drivers.ErrBadCalibration)
	}
	c = example
	c.P4, c.P5 = math.MinInt16, math.MinInt16
	if _, err := c.pressure(0, 435200); !errors.Is(err, drivers.ErrBadCalibration) {
		t.Errorf("pressure: error %v: want %v", err, drivers.ErrBadCalibration)
	}
}

// Whatever the registers hold, the results are those of the same formulas in
// numbers without a limit, or an error.
func FuzzCompensate(f *testing.F) {
	b, r := encode(example), encodeResults(exampleRaw)
	f.Add(b[:], r[:])
	f.Fuzz(func(t *testing.T, registers, words []byte) {
		var b [calibrationSize]byte
		copy(b[:], registers)
		c, err := parseCalibration(&b)
		if err != nil {
			return
		}
		var answer results
		copy(answer[2:], words)
		r := answer.raw()

		var m drivers.Measurement
		err = c.compensate(r, &m)
		fine := exactFine(c, r.temperature).Int64()
		var out *drivers.RangeError
		switch {
		case err == nil:
			want := drivers.Measurement{
				Temperature: physic.ZeroCelsius + physic.Temperature(fine*390625/2),
				Pressure:    physic.Pressure(exactPressure(c, r.pressure, fine).Int64()) * 3906250,
				Humidity:    physic.RelativeHumidity(math.Round(float64(exactHumidity(c, r.humidity, fine).Int64()) * 100000 / 1024)),
				Words:       drivers.Words{Temperature: r.temperature, Humidity: r.humidity, Pressure: r.pressure},
			}
			if m != want {
				t.Errorf("got %+v: want %+v", m, want)
			}
			if m.Temperature < minTemperature || m.Temperature > maxTemperature ||
				m.Pressure < minPressure || m.Pressure > maxPressure || m.Humidity < 0 || m.Humidity > 100*physic.PercentRH {
				t.Errorf("out of range: %v", m)
			}
		case errors.As(err, &out):
			if out.Quantity == "temperature" && fine >= -204800 && fine <= 435200 {
				t.Errorf("%v: but it is %d/5120", err, fine)
			}
		case !errors.Is(err, drivers.ErrBadCalibration):
			t.Errorf("error without a kind: %v", err)
		}
	})
}
