package bme280

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"periph.io/x/conn/v3/physic"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/drivers"
)

// example is the worked example of the BMP280 datasheet (3.12) with a humidity
// calibration that has a negative H5.
var example = calibration{
	T1: 27504, T2: 26435, T3: -1000,
	P1: 36477, P2: -10685, P3: 3024, P4: 2855, P5: 140, P6: -7, P7: 15500, P8: -14600, P9: 6000,
	H1: 75, H2: 353, H3: 0, H4: 340, H5: -50, H6: 30,
}

var exampleRaw = raw{pressure: 415148, temperature: 519888, humidity: 30006}

func TestDatasheetExample(t *testing.T) {
	centi, fine := example.temperature(519888)
	if centi != 2508 || fine != 128422 {
		t.Errorf("temperature = %d, fine %d: want 2508, 128422", centi, fine)
	}
	// The datasheet's 100653.27 Pa are by the double formulas. The integer ones
	// cut the fine temperature and each term: 4/256 Pa less here.
	exactFine := doubleFine(example, 519888)
	if p := doublePressure(example, 415148, exactFine); math.Abs(p-100653.27) > 0.005 {
		t.Errorf("double formula gives %.3f Pa: want 100653.27", p)
	}
	q8, err := example.pressure(415148, fine)
	if want := int64(25767233); err != nil || q8 != want {
		t.Errorf("pressure = %d/256 Pa, %v: want %d", q8, err, want)
	}
}

// The datasheet's formulas in double precision (8.1; BMP280 datasheet 8.1), with
// results in degree Celsius / 5120, Pa and percent; humidity without its limits.

func doubleFine(c calibration, adc uint32) float64 {
	t1, t2, t3 := float64(c.T1), float64(c.T2), float64(c.T3)
	var1 := (float64(adc)/16384 - t1/1024) * t2
	square := float64(adc)/131072 - t1/8192
	return var1 + square*square*t3
}

func doublePressure(c calibration, adc uint32, fine float64) float64 {
	var1 := fine/2 - 64000
	var2 := var1 * var1 * float64(c.P6) / 32768
	var2 += var1 * float64(c.P5) * 2
	var2 = var2/4 + float64(c.P4)*65536
	var1 = (float64(c.P3)*var1*var1/524288 + float64(c.P2)*var1) / 524288
	var1 = (1 + var1/32768) * float64(c.P1)
	p := (1048576 - float64(adc) - var2/4096) * 6250 / var1
	var1 = float64(c.P9) * p * p / 2147483648
	var2 = p * float64(c.P8) / 32768
	return p + (var1+var2+float64(c.P7))/16
}

func doubleHumidity(c calibration, adc uint32, fine float64) float64 {
	h := fine - 76800
	h = (float64(adc) - (float64(c.H4)*64 + float64(c.H5)/16384*h)) *
		(float64(c.H2) / 65536 * (1 + float64(c.H6)/67108864*h*(1+float64(c.H3)/67108864*h)))
	return h * (1 - float64(c.H1)*h/524288)
}

// calibrations draws what chips in the field hold, and some distance around it.
func calibrations(t *rapid.T) calibration {
	s16 := func(name string, lo, hi int16) int16 { return rapid.Int16Range(lo, hi).Draw(t, name) }
	return calibration{
		T1: rapid.Uint16Range(26000, 29500).Draw(t, "T1"), T2: s16("T2", 24500, 28000), T3: s16("T3", -1100, 1100),
		P1: rapid.Uint16Range(35000, 40000).Draw(t, "P1"), P2: s16("P2", -11500, -9500), P3: 3024,
		P4: s16("P4", 2000, 12000), P5: s16("P5", -300, 300), P6: -7,
		P7: s16("P7", 9900, 15500), P8: s16("P8", -14600, -10000), P9: s16("P9", 4000, 6000),
		H1: rapid.Uint8Range(0, 100).Draw(t, "H1"), H2: s16("H2", 300, 420), H3: rapid.Uint8Range(0, 5).Draw(t, "H3"),
		H4: s16("H4", -400, 500), H5: s16("H5", -200, 200), H6: rapid.Int8Range(0, 60).Draw(t, "H6"),
	}
}

func raws(t *rapid.T) raw {
	return raw{
		temperature: rapid.Uint32Range(400000, 650000).Draw(t, "adc_T"),
		pressure:    rapid.Uint32Range(280000, 620000).Draw(t, "adc_P"),
		humidity:    rapid.Uint32Range(0, 65535).Draw(t, "adc_H"),
	}
}

var everything = settings{pressure: true, humidity: true}

// The integer formulas agree with the double ones within their resolution and
// what they cut off on the way. Pressure and humidity are compared at the same
// fine temperature.
func TestIntegerFormulas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, r := calibrations(t), raws(t)
		near := func(quantity string, got, want, within float64) {
			if math.Abs(got-want) > within {
				t.Errorf("%s = %.5f: want %.5f", quantity, got, want)
			}
		}
		centi, fine := c.temperature(r.temperature)
		near("temperature", float64(centi)/100, doubleFine(c, r.temperature)/5120, 0.009)
		if centi < -4000 || centi > 8500 {
			return
		}
		h := doubleHumidity(c, r.humidity, float64(fine))
		near("humidity", float64(c.humidity(r.humidity, fine))/1024, max(0, min(h, 100)), 0.012)

		p := doublePressure(c, r.pressure, float64(fine))
		if p < 20000 || p > 120000 {
			return
		}
		q8, err := c.pressure(r.pressure, fine)
		if err != nil {
			t.Fatal(err)
		}
		near("pressure", float64(q8)/256, p, 0.012)
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
		c.T1, c.P1 = uint16(s16(0))^0x8000, max(1, uint16(s16(0))^0x8000)
		c.T2, c.T3 = s16(1), s16(2)
		c.P2, c.P3, c.P4, c.P5 = s16(1), s16(2), s16(3), s16(4)
		c.P6, c.P7, c.P8, c.P9 = s16(5), s16(6), s16(7), s16(8)
		c.H1, c.H2, c.H3 = uint8(c.P1), s16(1), uint8(s16(2))
		c.H4, c.H5, c.H6 = s16(3)>>4, s16(4)>>4, int8(s16(5)>>8)
		return c
	}
	for bits := range 1 << 9 {
		c := corners(bits)
		for _, adc := range []uint32{0, 1<<20 - 1} {
			centi, _ := c.temperature(adc)
			if want, _ := exactTemperature(c, adc); !want.IsInt64() || centi != want.Int64() {
				t.Fatalf("%+v: temperature of %d is %d: want %d", c, adc, centi, want)
			}
			// The fine temperatures of -40, 0 and 85 degree Celsius, and where
			// the pressure formula has its least factor.
			for _, fine := range []int64{-205000, 0, 128000, 436000} {
				q8, err := c.pressure(adc, fine)
				if want := exactPressure(c, adc, n(fine)); err == nil && (!want.IsInt64() || q8 != want.Int64()) {
					t.Fatalf("%+v: pressure of %d at %d is %d: want %d", c, adc, fine, q8, want)
				}
				q10 := c.humidity(adc>>4, fine)
				if want := exactHumidity(c, adc>>4, n(fine)); q10 != want.Int64() {
					t.Fatalf("%+v: humidity of %d at %d is %d: want %d", c, adc>>4, fine, q10, want)
				}
			}
		}
	}
}

// A calibration is read as it was written, with the signs of H4 and H5.
func TestParseCalibration(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := calibrations(t)
		want.H4 = rapid.Int16Range(-2048, 2047).Draw(t, "H4")
		want.H5 = rapid.Int16Range(-2048, 2047).Draw(t, "H5")
		want.H6 = rapid.Int8().Draw(t, "H6")
		b := encode(want)
		if got, err := parseCalibration(&b, BME280); err != nil || got != want {
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
		bme   bool // refused of a BME280
		bmp   bool // refused of a BMP280
	}{
		{name: "line stuck low", bytes: filled(0), bme: true, bmp: true},
		{name: "line stuck high", bytes: filled(0xFF), bme: true, bmp: true},
		{name: "no T1", bytes: changed(func(c *calibration) { c.T1 = 0 }), bme: true, bmp: true},
		{name: "no T2", bytes: changed(func(c *calibration) { c.T2 = 0 }), bme: true, bmp: true},
		{name: "no P1", bytes: changed(func(c *calibration) { c.P1 = 0 }), bme: true, bmp: true},
		{name: "no H2", bytes: changed(func(c *calibration) { c.H2 = 0 }), bme: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for m, refused := range map[Model]bool{BME280: tt.bme, BMP280: tt.bmp} {
				if _, err := parseCalibration(&tt.bytes, m); errors.Is(err, drivers.ErrBadCalibration) != refused {
					t.Errorf("%v: error %v: refused should be %v", m, err, refused)
				}
			}
		})
	}
}

// Humidity of a chip with a negative H5, which a driver that does not extend
// its sign reads as 0.
func TestNegativeH5(t *testing.T) {
	b := encode(example)
	c, err := parseCalibration(&b, BME280)
	if err != nil {
		t.Fatal(err)
	}
	var e drivers.Measurement
	if err := c.compensate(exampleRaw, everything, &e); err != nil {
		t.Fatal(err)
	}
	want := doubleHumidity(example, exampleRaw.humidity, 128422)
	if math.Abs(float64(e.Humidity)/float64(physic.PercentRH)-want) > 0.01 {
		t.Errorf("humidity %v: want %.3f%%", e.Humidity, want)
	}
}

func TestOutOfRange(t *testing.T) {
	for _, tt := range []struct {
		name     string
		raw      raw
		quantity string
	}{
		{"too cold", raw{temperature: 300000, pressure: 415148}, "temperature"},
		{"too hot", raw{temperature: 720000, pressure: 415148}, "temperature"},
		{"least temperature", raw{temperature: 0, pressure: 415148}, "temperature"},
		{"greatest temperature", raw{temperature: 1<<20 - 1, pressure: 415148}, "temperature"},
		{"pressure too low", raw{temperature: 519888, pressure: 850000}, "pressure"},
		{"pressure too high", raw{temperature: 519888, pressure: 340000}, "pressure"},
		{"least pressure", raw{temperature: 519888, pressure: 1<<20 - 1}, "pressure"},
		{"greatest pressure", raw{temperature: 519888, pressure: 0}, "pressure"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := drivers.Measurement{Temperature: 1, Pressure: 2, Humidity: 3}
			e := before
			err := example.compensate(tt.raw, everything, &e)
			var out *drivers.RangeError
			if !errors.As(err, &out) || out.Quantity != tt.quantity || !errors.Is(err, drivers.ErrOutOfRange) {
				t.Fatalf("error %v: want one of the range of %s", err, tt.quantity)
			}
			if e != before {
				t.Errorf("%v was stored", e)
			}
		})
	}
}

// Whatever the registers hold, the results are those of the same formulas in
// numbers without a limit, or an error.
func FuzzCompensate(f *testing.F) {
	b, r := encode(example), encodeResults(exampleRaw)
	f.Add(b[:], r[:])
	c := example
	c.P1, c.P2, c.P4, c.P5, c.P6 = 65535, 32767, -32768, -32768, -32768
	b = encode(c)
	f.Add(b[:], r[:])
	f.Fuzz(func(t *testing.T, registers, results []byte) {
		var b [calibrationSize]byte
		copy(b[:], registers)
		c, err := parseCalibration(&b, BME280)
		if err != nil {
			return
		}
		var results8 burst
		copy(results8[0xF7-regBurst:], results)
		r := results8.results()

		var e drivers.Measurement
		err = c.compensate(r, everything, &e)
		centi, fine := exactTemperature(c, r.temperature)
		var out *drivers.RangeError
		switch {
		case err == nil:
			want := drivers.Measurement{
				Temperature: physic.ZeroCelsius + physic.Temperature(centi.Int64())*10*physic.MilliCelsius,
				Pressure:    physic.Pressure(exactPressure(c, r.pressure, fine).Int64()) * 3906250,
				Humidity: physic.RelativeHumidity(
					math.Round(float64(exactHumidity(c, r.humidity, fine).Int64()) * 100000 / 1024)),
				Words: drivers.Words{Temperature: r.temperature, Humidity: r.humidity, Pressure: r.pressure},
			}
			if e != want {
				t.Errorf("got %+v: want %+v", e, want)
			}
			if e.Temperature < minTemperature || e.Temperature > maxTemperature ||
				e.Pressure < minPressure || e.Pressure > maxPressure ||
				e.Humidity < 0 || e.Humidity > 100*physic.PercentRH {
				t.Errorf("out of range: %v", e)
			}
		case errors.As(err, &out):
			if out.Quantity == "temperature" && centi.Cmp(n(-4000)) >= 0 && centi.Cmp(n(8500)) <= 0 {
				t.Errorf("%v: but it is %v", err, centi)
			}
		case !errors.Is(err, drivers.ErrBadCalibration):
			t.Errorf("error without a kind: %v", err)
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

func exactTemperature(c calibration, adc uint32) (centi, fine *big.Int) {
	t := int64(adc)
	d3, d4 := n(t>>3-int64(c.T1)<<1), n(t>>4-int64(c.T1))
	fine = add(shr(mul(d3, n(int64(c.T2))), 11), shr(mul(shr(mul(d4, d4), 12), n(int64(c.T3))), 14))
	return shr(add(mul(fine, n(5)), n(128)), 8), fine
}

func exactPressure(c calibration, adc uint32, fine *big.Int) *big.Int {
	x := add(fine, n(-128000))
	offset := add(mul(x, x, n(int64(c.P6))), shl(mul(x, n(int64(c.P5))), 17), shl(n(int64(c.P4)), 35))
	factor := add(shl(n(1), 47), shr(mul(x, x, n(int64(c.P3))), 8), shl(mul(x, n(int64(c.P2))), 12))
	span := shr(mul(factor, n(int64(c.P1))), 33)
	p := mul(add(shl(n(1048576-int64(adc)), 31), mul(offset, n(-1))), n(3125))
	p.Quo(p, span)
	square := shr(mul(n(int64(c.P9)), shr(p, 13), shr(p, 13)), 25)
	linear := shr(mul(n(int64(c.P8)), p), 19)
	return add(shr(add(p, square, linear), 8), n(int64(c.P7)<<4))
}

func exactHumidity(c calibration, adc uint32, fine *big.Int) *big.Int {
	x := add(fine, n(-76800))
	signal := shr(add(n(int64(adc)<<14-int64(c.H4)<<20+16384), mul(n(-int64(c.H5)), x)), 15)
	drift := shr(mul(shr(mul(x, n(int64(c.H6))), 10), add(shr(mul(x, n(int64(c.H3))), 11), n(32768))), 10)
	h := mul(signal, shr(add(mul(add(drift, n(2097152)), n(int64(c.H2))), n(8192)), 14))
	h15 := shr(h, 15)
	h = add(h, mul(n(-1), shr(mul(shr(mul(h15, h15), 7), n(int64(c.H1))), 4)))
	switch full := n(419430400); {
	case h.Sign() < 0:
		return n(0)
	case h.Cmp(full) > 0:
		return shr(full, 12)
	}
	return shr(h, 12)
}
