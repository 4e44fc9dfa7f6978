package light

import (
	"math"
	"testing"
)

func TestString(t *testing.T) {
	for _, tt := range []struct {
		value Illuminance
		want  string
	}{
		{0, "0lx"},
		{MicroLux, "0.000001lx"},
		{312*Lux + 500*MilliLux, "312.5lx"},
		{100000 * Lux, "100000lx"},
		{-1500 * MilliLux, "-1.5lx"},
		{math.MaxInt64, "9223372036854.775807lx"},
		{math.MinInt64, "-9223372036854.775808lx"},
	} {
		if got := tt.value.String(); got != tt.want {
			t.Errorf("%d: got %s: want %s", int64(tt.value), got, tt.want)
		}
	}
}
