package settings_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/internal/settings"
)

func TestParseDecimal(t *testing.T) {
	for s, want := range map[string]settings.Decimal{
		"0": 0, "-0": 0, "21.5": 21_500_000, "-0.35": -350_000, "007.50": 7_500_000, "0.000001": 1,
		"1013.25": 1013_250_000, "9223372036854.775807": math.MaxInt64, "-9223372036854.775807": -math.MaxInt64,
	} {
		if got, err := settings.ParseDecimal(s); got != want || err != nil {
			t.Errorf("%q: %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "-", ".", ".5", "5.", "+5", "--5", "1e3", "1_000", "0x10", " 1", "1,5", "0.0000001", "1.2.3", "1.-2", "NaN", ".inf",
		"9223372036854.775808", "99999999999999999999",
	} {
		if got, err := settings.ParseDecimal(s); err == nil {
			t.Errorf("%q: %d, want an error", s, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		want := settings.Decimal(rapid.Int64Range(-math.MaxInt64, math.MaxInt64).Draw(t, "decimal"))
		if got, err := settings.ParseDecimal(want.String()); got != want || err != nil {
			t.Fatalf("%d as %q became %d, %v", want, want, got, err)
		}
	})
}

// scale is a configuration with decimals.
type scale struct {
	Tare   settings.Decimal  `yaml:"tare" help:"what it says of nothing"`
	Points []point           `yaml:"points" help:"where it was compared"`
	Most   *settings.Decimal `yaml:"most" help:"the greatest load"`
}

type point struct {
	Raw    settings.Decimal `yaml:"raw"`
	Actual settings.Decimal `yaml:"actual"`
}

func TestDecimalSettings(t *testing.T) {
	var s scale
	err := settings.New(&s).Parse("scale.yaml", []byte("tare: -0.25\nmost: 10\npoints:\n- {raw: 1, actual: '1.05'}\n- {raw: -0, actual: 2.500000}\n"))
	most := settings.Decimal(10_000_000)
	if err != nil || s.Tare != -250_000 || s.Most == nil || *s.Most != most ||
		len(s.Points) != 2 || s.Points[0] != (point{1_000_000, 1_050_000}) || s.Points[1] != (point{0, 2_500_000}) {
		t.Errorf("%v, %+v", err, s)
	}
	for _, value := range []string{"1e3", "0x10", "1_000", ".5", "0.0000001", ".nan", "true", "[1]", "~", "''", "a"} {
		err := settings.New(&scale{}).Parse("scale.yaml", []byte("tare: "+value))
		var problems settings.Problems
		if !errors.As(err, &problems) || len(problems) != 1 || problems[0].Path != "tare" || problems[0].Line != 1 ||
			!strings.Contains(problems[0].Want, "at most 6 digits") {
			t.Errorf("tare: %s: %v, want one problem that says what a decimal is", value, err)
		}
	}
	document := settings.New(&scale{Tare: 500_000}).Document()
	if document[0].Type != "decimal" || document[0].Default != "0.5" {
		t.Errorf("documented as %+v", document[0])
	}
}
