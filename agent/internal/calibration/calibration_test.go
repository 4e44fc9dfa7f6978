package calibration

import (
	"fmt"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

func TestLine(t *testing.T) {
	third := TwoPoints(Point{0, 0}, Point{3, 2})
	tests := []struct {
		name      string
		line      Line
		raw, want telemetry.Micro
	}{
		{"offset", Offset(-350_000), 21_370_000, 21_020_000},
		{"offset below zero", Offset(-350_000), -100_000, -450_000},
		{"the first point", TwoPoints(Point{35_100_000, 33_000_000}, Point{74_200_000, 75_300_000}), 35_100_000, 33_000_000},
		{"the second point", TwoPoints(Point{35_100_000, 33_000_000}, Point{74_200_000, 75_300_000}), 74_200_000, 75_300_000},
		{"the points the other way round", TwoPoints(Point{74_200_000, 75_300_000}, Point{35_100_000, 33_000_000}), 74_200_000, 75_300_000},
		// 33 + (50 - 35.1) * (75.3 - 33) / (74.2 - 35.1) = 49.119437...
		{"between", TwoPoints(Point{35_100_000, 33_000_000}, Point{74_200_000, 75_300_000}), 50_000_000, 49_119_437},
		{"between, the points the other way round", TwoPoints(Point{74_200_000, 75_300_000}, Point{35_100_000, 33_000_000}), 50_000_000, 49_119_437},
		{"below", TwoPoints(Point{35_100_000, 33_000_000}, Point{74_200_000, 75_300_000}), 0, -4_972_634},
		{"up, at two thirds", third, 1, 1},                                      // 0.67
		{"down, at one and a third", third, 2, 1},                               // 1.33
		{"up from a half", TwoPoints(Point{0, 0}, Point{2, 1}), 1, 1},           // 0.5
		{"down from minus a half", TwoPoints(Point{0, 0}, Point{2, 1}), -1, -1}, // -0.5
		{"of the greatest values", TwoPoints(Point{-telemetry.MaxMicro, -telemetry.MaxMicro}, Point{telemetry.MaxMicro, telemetry.MaxMicro / 2}),
			telemetry.MaxMicro, telemetry.MaxMicro / 2},
	}
	for _, tt := range tests {
		if got := tt.line.At(tt.raw); got != tt.want {
			t.Errorf("%s: %v became %v, want %v", tt.name, tt.raw, got, tt.want)
		}
	}
}

// TestLineIsTheNearestInteger compares with rationals, and holds that a greater
// raw value never has a smaller one.
func TestLineIsTheNearestInteger(t *testing.T) {
	micro := rapid.Map(rapid.Int64Range(-int64(telemetry.MaxMicro), int64(telemetry.MaxMicro)), func(v int64) telemetry.Micro { return telemetry.Micro(v) })
	rapid.Check(t, func(t *rapid.T) {
		a := Point{micro.Draw(t, "raw"), micro.Draw(t, "actual")}
		run := telemetry.Micro(rapid.Int64Range(1, 2e15).Draw(t, "run"))
		b := Point{a.Raw + run, a.Actual + telemetry.Micro(rapid.Int64Range(int64(run+1)/2, 2*int64(run)).Draw(t, "rise"))}
		l := TwoPoints(a, b)
		raw := micro.Draw(t, "value")
		got := l.At(raw)
		want := new(big.Rat).SetFrac(
			new(big.Int).Mul(big.NewInt(int64(raw-a.Raw)), big.NewInt(int64(b.Actual-a.Actual))), big.NewInt(int64(run)))
		want.Add(want, new(big.Rat).SetInt64(int64(a.Actual)))
		off := want.Sub(want, new(big.Rat).SetInt64(int64(got)))
		if off.Abs(off).Cmp(big.NewRat(1, 2)) > 0 {
			t.Fatalf("%v by %v is %v, which is %v off", raw, l, got, off)
		}
		if l.At(a.Raw) != a.Actual || l.At(b.Raw) != b.Actual {
			t.Fatalf("%v does not go through its points", l)
		}
		if l.At(raw+1) < got {
			t.Fatalf("%v by %v is %v, one more is %v", raw, l, got, l.At(raw+1))
		}
	})
}

// TestHumidity compares with saturation vapour pressures of another origin: those of
// the tables of the CRC Handbook of Chemistry and Physics, section 6, vapour
// pressure of water, in kPa.
func TestHumidity(t *testing.T) {
	saturation := map[telemetry.Micro]float64{
		0: 0.61129, 10e6: 1.2281, 20e6: 2.3388, 25e6: 3.1690, 30e6: 4.2455, 40e6: 7.3814, 50e6: 12.344,
	}
	for chip, atChip := range saturation {
		for air, atAir := range saturation {
			want := 30 * atChip / atAir
			if got := convert(30e6, chip, air).Float(); math.Abs(got-want) > 0.003*want {
				t.Errorf("30 %% at %v °C is %.3f %% at %v °C, want %.3f %%", chip, got, air, want)
			}
		}
	}
	if got := convert(44_200_000, 21_370_000, 21_370_000); got != 44_200_000 {
		t.Errorf("at the same temperature 44.2 %% become %v %%", got)
	}
}

func payload(values map[telemetry.Measure]telemetry.Micro) (p telemetry.Payload) {
	for m, v := range values {
		p.Set(m, v)
	}
	return p
}

func TestApply(t *testing.T) {
	const temperature, humidity, pressure, luminosity = telemetry.Temperature, telemetry.Humidity, telemetry.Pressure, telemetry.Luminosity
	type values = map[telemetry.Measure]telemetry.Micro
	all := values{temperature: 24_000_000, humidity: 40_000_000, pressure: 1013_250_000, luminosity: 312_500_000}
	tests := []struct {
		name           string
		c              Calibration
		measured, want values
	}{
		{"nothing", Calibration{}, all, all},
		{"an offset, and nothing else", Calibration{Lines: map[telemetry.Measure]Line{pressure: Offset(1_500_000)}}, all,
			values{temperature: 24_000_000, humidity: 40_000_000, pressure: 1014_750_000, luminosity: 312_500_000}},
		{"of what is not measured", Calibration{Lines: map[telemetry.Measure]Line{humidity: Offset(1)}}, values{pressure: 1}, values{pressure: 1}},
		// 40 % exp(17.62 * 24 / 267.12 - 17.62 * 22 / 265.12) = 45.14402 %
		{"self-heating", Calibration{SelfHeating: 2_000_000}, all,
			values{temperature: 22_000_000, humidity: 45_144_020, pressure: 1013_250_000, luminosity: 312_500_000}},
		{"self-heating of a chip without humidity", Calibration{SelfHeating: 500_000}, values{temperature: 24_000_000}, values{temperature: 23_500_000}},
		{"self-heating without the temperature", Calibration{SelfHeating: 500_000}, values{humidity: 40_000_000, pressure: 1}, values{pressure: 1}},
		{"self-heating after the lines",
			Calibration{SelfHeating: 2_000_000, Lines: map[telemetry.Measure]Line{temperature: Offset(-1_000_000), humidity: Offset(2_000_000)}},
			values{temperature: 25_000_000, humidity: 38_000_000}, values{temperature: 22_000_000, humidity: 45_144_020}},
		{"no more than wet", Calibration{SelfHeating: 5_000_000}, values{temperature: 24_000_000, humidity: 90_000_000},
			values{temperature: 19_000_000, humidity: 100_000_000}},
		{"no less than dry", Calibration{Lines: map[telemetry.Measure]Line{humidity: Offset(-3_000_000)}}, values{humidity: 2_000_000}, values{humidity: 0}},
		{"no less than dark", Calibration{Lines: map[telemetry.Measure]Line{luminosity: Offset(-3_000_000)}}, values{luminosity: 2_000_000}, values{luminosity: 0}},
		{"frost", Calibration{Lines: map[telemetry.Measure]Line{temperature: Offset(-3_000_000)}}, values{temperature: 2_000_000}, values{temperature: -1_000_000}},
		{"a chip that says more than 100 %, as it was not changed", Calibration{}, values{humidity: 101_000_000}, values{humidity: 101_000_000}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			measured := payload(tt.measured)
			if got, want := tt.c.Apply(&measured), payload(tt.want); got != want {
				t.Errorf("got %s, want %s", text(got), text(want))
			}
		})
	}
}

func text(p telemetry.Payload) (s string) {
	for m := range telemetry.Measure(telemetry.Measures) {
		if v, ok := p.Get(m); ok {
			s += fmt.Sprintf("%v %v ", m, v)
		}
	}
	return s
}
