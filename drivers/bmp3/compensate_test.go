package bmp3

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"periph.io/x/conn/v3/physic"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/drivers"
)

// example is a BMP388's calibration and one of its measurements, with what the
// floating-point formulas make of it: from the tests of the Elixir driver
// elixir-sensors/bmp3xx.
var (
	example = calibration{
		T1: 27427, T2: 18776, T3: -10,
		P1: -164, P2: -2866, P3: 35, P4: 0, P5: 25578, P6: 31086, P7: -13, P8: -10, P9: 17322, P10: 18, P11: -60,
	}
	exampleRaw = raw{pressure: 0x6D9F97, temperature: 0x85D873}
)

const (
	exampleCelsius = 30.499314453874284
	examplePascal  = 100876.00634692199
)

func TestExample(t *testing.T) {
	var m drivers.Measurement
	if err := example.compensate(exampleRaw, &m); err != nil {
		t.Fatal(err)
	}
	if got := float64(m.Temperature-physic.ZeroCelsius) / float64(physic.Celsius); math.Abs(got-exampleCelsius) > 1e-7 {
		t.Errorf("temperature = %.9f: want %.9f", got, exampleCelsius)
	}
	if got := float64(m.Pressure) / float64(physic.Pascal); math.Abs(got-examplePascal) > 2e-4 {
		t.Errorf("pressure = %.6f: want %.6f", got, examplePascal)
	}
	if m.Words != (drivers.Words{Temperature: 0x85D873, Pressure: 0x6D9F97}) {
		t.Errorf("words = %+v", m.Words)
	}
}

// The datasheet's formulas in double precision (8.4 to 8.6), with results in
// degree Celsius and Pa.

func doubleTemperature(c calibration, adc uint32) float64 {
	t1, t2, t3 := float64(c.T1)*256, float64(c.T2)/(1<<30), float64(c.T3)/(1<<48)
	d := float64(adc) - t1
	return d*t2 + d*d*t3
}

func doublePressure(c calibration, adc uint32, t float64) float64 {
	p1, p2 := (float64(c.P1)-(1<<14))/(1<<20), (float64(c.P2)-(1<<14))/(1<<29)
	p3, p4 := float64(c.P3)/(1<<32), float64(c.P4)/(1<<37)
	p5, p6, p7, p8 := float64(c.P5)*8, float64(c.P6)/(1<<6), float64(c.P7)/(1<<8), float64(c.P8)/(1<<15)
	p9, p10, p11 := float64(c.P9)/(1<<48), float64(c.P10)/(1<<48), float64(c.P11)/(1<<65)
	u := float64(adc)
	out1 := p5 + p6*t + p7*t*t + p8*t*t*t
	out2 := u * (p1 + p2*t + p3*t*t + p4*t*t*t)
	return out1 + out2 + u*u*(p9+p10*t) + u*u*u*p11
}

// calibrations draws what chips in the field hold, and some distance around it.
func calibrations(t *rapid.T) calibration {
	s8 := func(name string) int8 { return rapid.Int8().Draw(t, name) }
	return calibration{
		T1: rapid.Uint16Range(26000, 29000).Draw(t, "T1"), T2: rapid.Uint16Range(17500, 20500).Draw(t, "T2"), T3: s8("T3"),
		P1: rapid.Int16Range(-3000, 3000).Draw(t, "P1"), P2: rapid.Int16Range(-5000, 1000).Draw(t, "P2"),
		P3: s8("P3"), P4: s8("P4"),
		P5: rapid.Uint16Range(23000, 28000).Draw(t, "P5"), P6: rapid.Uint16Range(28000, 33000).Draw(t, "P6"),
		P7: s8("P7"), P8: s8("P8"),
		P9: rapid.Int16Range(10000, 20000).Draw(t, "P9"), P10: s8("P10"), P11: s8("P11"),
	}
}

// The integer formulas agree with the double ones within what the package comment
// says. Pressure is that of the exact temperature.
func TestIntegerFormulas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := calibrations(t)
		r := raw{
			temperature: rapid.Uint32Range(5_000_000, 12_000_000).Draw(t, "temperature"),
			pressure:    rapid.Uint32Range(0, 1<<24-1).Draw(t, "pressure"),
		}
		t24 := c.temperature(r.temperature)
		celsius := doubleTemperature(c, r.temperature)
		if got := float64(t24) / (1 << 24); math.Abs(got-celsius) > 5e-8 {
			t.Errorf("temperature = %.9f: want %.9f", got, celsius)
		}
		if celsius < -40 || celsius > 85 {
			return
		}
		pascal := doublePressure(c, r.pressure, celsius)
		if got := float64(c.pressure(r.pressure, t24)) / (1 << 16); math.Abs(got-pascal) > 2e-4 {
			t.Errorf("pressure = %.6f: want %.6f", got, pascal)
		}
	})
}

// The formulas in numbers without a limit.

func exactTemperature(c calibration, adc uint32) *big.Rat {
	d := new(big.Rat).SetInt64(int64(adc) - int64(c.T1)*256)
	linear := new(big.Rat).Mul(d, coefficient(int64(c.T2), 30))
	square := new(big.Rat).Mul(d, d)
	return linear.Add(linear, square.Mul(square, coefficient(int64(c.T3), 48)))
}

func exactPressure(c calibration, adc uint32, t *big.Rat) *big.Rat {
	polynomial := func(x *big.Rat, coefficients ...*big.Rat) *big.Rat {
		sum := new(big.Rat)
		for i := len(coefficients) - 1; i >= 0; i-- {
			sum.Mul(sum, x).Add(sum, coefficients[i])
		}
		return sum
	}
	return polynomial(new(big.Rat).SetInt64(int64(adc)),
		polynomial(t, coefficient(int64(c.P5)*8, 0), coefficient(int64(c.P6), 6), coefficient(int64(c.P7), 8), coefficient(int64(c.P8), 15)),
		polynomial(t, coefficient(int64(c.P1)-1<<14, 20), coefficient(int64(c.P2)-1<<14, 29),
			coefficient(int64(c.P3), 32), coefficient(int64(c.P4), 37)),
		polynomial(t, coefficient(int64(c.P9), 48), coefficient(int64(c.P10), 48)),
		coefficient(int64(c.P11), 65),
	)
}

// coefficient returns v divided by 2^shift.
func coefficient(v int64, shift uint) *big.Rat {
	return new(big.Rat).SetFrac(big.NewInt(v), new(big.Int).Lsh(big.NewInt(1), shift))
}

// No calibration that the registers can hold, be it one that no chip has, makes
// the formulas overflow: all corners of their arguments give what they give in
// numbers without a limit.
func TestNoOverflow(t *testing.T) {
	corners := func(bits int) (c calibration) {
		s16 := func(bit int) int16 {
			if bits>>bit&1 == 1 {
				return math.MaxInt16
			}
			return math.MinInt16
		}
		s8 := func(bit int) int8 { return int8(s16(bit) >> 8) }
		c.T1, c.T2, c.T3 = uint16(s16(0))^0x8000, uint16(s16(1))^0x8000, s8(2)
		c.P5, c.P6 = uint16(s16(0))^0x8000, uint16(s16(1))^0x8000
		c.P1, c.P2, c.P3, c.P4 = s16(3), s16(4), s8(5), s8(6)
		c.P7, c.P8, c.P9, c.P10, c.P11 = s8(5), s8(6), s16(7), s8(8), s8(9)
		return c
	}
	near := func(got int64, fraction uint, want *big.Rat, within float64) bool {
		off := coefficient(got, fraction)
		f, _ := off.Sub(off, want).Float64()
		return math.Abs(f) <= within
	}
	for bits := range 1 << 10 {
		c := corners(bits)
		for _, adc := range []uint32{0, 1<<24 - 1} {
			if got, want := c.temperature(adc), exactTemperature(c, adc); !near(got, 24, want, 5e-8) {
				t.Fatalf("%+v: temperature of %d is %d/2^24: want %s", c, adc, got, want.FloatString(9))
			}
			for _, celsius := range []int64{-128, -40, 0, 85, 128} {
				got, want := c.pressure(adc, celsius<<24), exactPressure(c, adc, big.NewRat(celsius, 1))
				if !near(got, 16, want, 5e-4) {
					t.Fatalf("%+v: pressure of %d at %d is %d/2^16: want %s", c, adc, celsius, got, want.FloatString(6))
				}
			}
		}
	}
}

// A calibration is read as it was written, with its signs.
func TestParseCalibration(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := calibrations(t)
		want.P1, want.P2, want.P9 = rapid.Int16().Draw(t, "P1"), rapid.Int16().Draw(t, "P2"), rapid.Int16().Draw(t, "P9")
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
		{"no P5", changed(func(c *calibration) { c.P5 = 0 })},
	} {
		if _, err := parseCalibration(&tt.bytes); !errors.Is(err, drivers.ErrBadCalibration) {
			t.Errorf("%s: error %v: want %v", tt.name, err, drivers.ErrBadCalibration)
		}
	}
}

func TestOutOfRange(t *testing.T) {
	const t30 = 0x85D873
	for _, tt := range []struct {
		name     string
		raw      raw
		quantity string // empty: it is in range
	}{
		{"-40.05", raw{temperature: 4_741_534, pressure: 7_200_000}, "temperature"},
		{"-39.95", raw{temperature: 4_747_202, pressure: 7_200_000}, ""},
		{"84.95", raw{temperature: 11_928_261, pressure: 7_200_000}, ""},
		{"85.05", raw{temperature: 11_934_097, pressure: 7_200_000}, "temperature"},
		{"least temperature", raw{temperature: 0, pressure: 7_200_000}, "temperature"},
		{"greatest temperature", raw{temperature: 1<<24 - 1, pressure: 7_200_000}, "temperature"},
		{"299.9 hPa", raw{temperature: t30, pressure: 11_583_496}, "pressure"},
		{"300.1 hPa", raw{temperature: t30, pressure: 11_582_250}, ""},
		{"1249.9 hPa", raw{temperature: t30, pressure: 5_700_590}, ""},
		{"1250.1 hPa", raw{temperature: t30, pressure: 5_699_363}, "pressure"},
		{"least pressure", raw{temperature: t30, pressure: 1<<24 - 1}, "pressure"},
		{"greatest pressure", raw{temperature: t30, pressure: 0}, "pressure"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := drivers.Measurement{Temperature: 1, Pressure: 2, Humidity: 3}
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
		copy(answer[1:], words)
		r := answer.raw()

		var m drivers.Measurement
		err = c.compensate(r, &m)
		celsius := exactTemperature(c, r.temperature)
		pascal := exactPressure(c, r.pressure, celsius)
		cf, _ := celsius.Float64()
		pf, _ := pascal.Float64()
		near := func(a, b, within float64) bool { return math.Abs(a-b) <= within }
		// The pressure of a calibration that no chip has may depend on
		// temperature far more strongly.
		const within = 0.002
		var out *drivers.RangeError
		switch {
		case err == nil:
			if !near(float64(m.Temperature-physic.ZeroCelsius)/1e9, cf, 1e-7) || !near(float64(m.Pressure)/1e9, pf, within) {
				t.Errorf("got %+v: want %v, %v", m, cf, pf)
			}
			if m.Temperature < minTemperature || m.Temperature > maxTemperature || m.Pressure < minPressure || m.Pressure > maxPressure {
				t.Errorf("out of range: %v", m)
			}
		case !errors.As(err, &out):
			t.Errorf("error without a kind: %v", err)
		case out.Quantity == "temperature" && cf > -40+1e-7 && cf < 85-1e-7:
			t.Errorf("%v: but it is %v", err, cf)
		case out.Quantity == "pressure" && pf > 30000+within && pf < 125000-within:
			t.Errorf("%v: but it is %v", err, pf)
		}
	})
}
