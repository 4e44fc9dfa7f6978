package settings_test

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/internal/settings"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]settings.Size{
		"0B": 0, "1B": 1, "1023B": 1023, "1KiB": 1 << 10, "64KiB": 64 << 10, "256MiB": 256 << 20, "3GiB": 3 << 30, "1TiB": 1 << 40,
		"9223372036854775807B": math.MaxInt64, "8388607TiB": 8388607 << 40,
	} {
		if got, err := settings.ParseSize(text); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "B", "5", "-1B", "+1B", "1.5GiB", "5MB", "5 MiB", "5mib", "5K", "0x10B", "1_000B", "9223372036854775808B", "8388608TiB"} {
		if got, err := settings.ParseSize(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}

func TestSizeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]settings.Size{settings.Byte, settings.KiB, settings.MiB, settings.GiB, settings.TiB}).Draw(t, "unit")
		want := settings.Size(rapid.Int64Range(0, int64(math.MaxInt64/unit)).Draw(t, "count")) * unit
		got, err := settings.ParseSize(want.String())
		if err != nil || got != want {
			t.Errorf("%v: got %d, %v, want %d", want, got, err, want)
		}
	})
}
