package telemetry

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// decodeMicro decodes number as the value of a measure.
func decodeMicro(number string) (v Micro, reason string) {
	var d Decoder
	var f Frame
	err := d.Decode([]byte(`{"id":"a","timestamp":1,"payload":{"pressure":`+number+`}}`), &f)
	if err != nil {
		return 0, err.(*DecodeError).Reason //nolint:errorlint // Decode returns no other
	}
	v, _ = f.Payload.Get(Pressure)
	return v, ""
}

func TestMicroOfNumber(t *testing.T) {
	tests := []struct {
		number string
		want   Micro
		reason string
	}{
		{number: "0"},
		{number: "-0"},
		{number: "0.0"},
		{number: "-0e5"},
		{number: "0e999999999999999999999"},
		{number: "0.000e-999999999999999999999"},
		{number: "1", want: 1_000_000},
		{number: "-1", want: -1_000_000},
		{number: "21.37", want: 21_370_000},
		{number: "2137e-2", want: 21_370_000},
		{number: "0.02137E+3", want: 21_370_000},
		{number: "1.5E+1", want: 15_000_000},
		{number: "1.5e01", want: 15_000_000},
		{number: "1e9", want: MaxMicro},
		{number: "-1000000000", want: -MaxMicro},
		{number: "1000000000.0000", want: MaxMicro},
		{number: "10000000000000000000e-10", want: MaxMicro},
		{number: "0.000001", want: 1},
		{number: "0.0000005", want: 1},
		{number: "-0.0000005", want: -1},
		{number: "5e-7", want: 1},
		{number: "0.00000049999999999999999999", want: 0},
		{number: "4.9e-7", want: 0},
		{number: "9e-8", want: 0},
		{number: "1e-400", want: 0},
		{number: "0.9999995", want: 1_000_000},
		{number: "0.99999949", want: 999_999},
		{number: "1.2345675", want: 1_234_568},
		{number: "-1.2345674", want: -1_234_567},
		// The double nearest to this is below the tie.
		{number: "1.0000005", want: 1_000_001},
		{number: "123456789.123456", want: 123_456_789_123_456},
		{number: "123456789.1234560000000000000000000", want: 123_456_789_123_456},
		{number: "0." + strings.Repeat("0", 400) + "1e401", want: 1_000_000},
		{number: "1" + strings.Repeat("0", 400) + "e-400", want: 1_000_000},
		{number: "1000000000.0000004", want: MaxMicro},
		{number: "1000000000.0000005", reason: ReasonOutOfRange},
		{number: "1000000001", reason: ReasonOutOfRange},
		{number: "1e10", reason: ReasonOutOfRange},
		{number: "-1e400", reason: ReasonOutOfRange},
		{number: "1e99999999999999999999", reason: ReasonOutOfRange},
		// 2^64 millionths, and so many units: 0 if it were to wrap around.
		{number: "18446744073709.551616", reason: ReasonOutOfRange},
		{number: "18446744073709551616", reason: ReasonOutOfRange},
	}
	for _, test := range tests {
		t.Run(abbreviated(test.number), func(t *testing.T) {
			got, reason := decodeMicro(test.number)
			if got != test.want || reason != test.reason {
				t.Errorf("got %d %q, want %d %q", got, reason, test.want, test.reason)
			}
		})
	}
}

func TestMicroOfNumberIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.StringMatching(`-?(0|[1-9][0-9]{0,21})(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "number")
		want, wantReason := exactMicro(number)
		if got, reason := decodeMicro(number); got != want || reason != wantReason {
			t.Fatalf("%s: got %d %q, want %d %q", number, got, reason, want, wantReason)
		}
	})
}

func TestMicroString(t *testing.T) {
	tests := []struct {
		v    Micro
		want string
	}{
		{0, "0"},
		{1, "0.000001"},
		{-1, "-0.000001"},
		{100_000, "0.1"},
		{21_370_000, "21.37"},
		{1013_250_000, "1013.25"},
		{-5_000_000, "-5"},
		{10_000_001, "10.000001"},
		{MaxMicro, "1000000000"},
		{-MaxMicro + 1, "-999999999.999999"},
		{-1 << 63, "-9223372036854.775808"},
	}
	for _, test := range tests {
		if got := test.v.String(); got != test.want {
			t.Errorf("%d: got %s, want %s", int64(test.v), got, test.want)
		}
		if got := fmt.Sprint(test.v); got != test.want {
			t.Errorf("%d: printed as %s, want %s", int64(test.v), got, test.want)
		}
	}
}

func TestMicroRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Micro(rapid.Int64Range(-int64(MaxMicro), int64(MaxMicro)).Draw(t, "v"))
		if got, reason := decodeMicro(want.String()); got != want || reason != "" {
			t.Fatalf("%s: got %d %q, want %d", want, got, reason, want)
		}
	})
}
