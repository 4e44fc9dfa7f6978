package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/agent/internal/calibration"
	"github.com/telltale-iot/telltale/internal/settings"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

func decimal(t *testing.T, s string) *settings.Decimal {
	t.Helper()
	d, err := settings.ParseDecimal(s)
	if err != nil {
		t.Fatal(err)
	}
	return &d
}

func TestCalibration(t *testing.T) {
	c, err := Parse("agent.yaml", []byte(good+`
sensors:
  - id: pi
    chips:
      - driver: bme280
        address: 0x76
        stuck_after: 30m
        self_heating: 1.5
        calibration:
          - {measure: temperature, date: 2026-11-26, reference: "Testo 110", offset: -0.35}
          - measure: humidity
            date: 2025-02-03
            points:
              - {raw: 35.1, actual: 33}
              - {raw: "74.2", actual: 75.3}
      - {driver: bh1750, address: 0x23}
`))
	if err != nil {
		t.Fatal(err)
	}
	half := 30 * time.Minute
	want := []Chip{
		{Driver: BME280, Bus: "1", Address: 0x76, StuckAfter: &half, SelfHeating: 1_500_000, Calibration: []Calibration{
			{Measure: "temperature", Date: "2026-11-26", Reference: "Testo 110", Offset: decimal(t, "-0.35")},
			{Measure: "humidity", Date: "2025-02-03", Points: []CalibrationPoint{
				{decimal(t, "35.1"), decimal(t, "33")}, {decimal(t, "74.2"), decimal(t, "75.3")},
			}},
		}},
		{Driver: BH1750, Bus: "1", Address: 0x23},
	}
	got := c.Sensors[0].Chips
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}

	correction := calibration.Calibration{
		Lines: map[telemetry.Measure]calibration.Line{
			telemetry.Temperature: calibration.Offset(-350_000),
			telemetry.Humidity:    calibration.TwoPoints(calibration.Point{Raw: 35_100_000, Actual: 33_000_000}, calibration.Point{Raw: 74_200_000, Actual: 75_300_000}),
		},
		SelfHeating: 1_500_000,
	}
	if diff := cmp.Diff(correction, got[0].Correction(), cmp.AllowUnexported(calibration.Line{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got[0].Calibrated() != "2025-02-03" || got[1].Calibrated() != "" {
		t.Errorf("calibrated on %q and %q", got[0].Calibrated(), got[1].Calibrated())
	}
	plain := Chip{Driver: BME280}
	for _, tt := range []struct {
		chip *Chip
		of   telemetry.Measure
		want time.Duration
	}{
		{&got[0], telemetry.Pressure, half},
		{&got[1], telemetry.Luminosity, 0},
		{&plain, telemetry.Temperature, time.Hour},
		{&plain, telemetry.Humidity, time.Hour},
		{&plain, telemetry.Pressure, time.Hour},
		{&Chip{Driver: BH1750, StuckAfter: &half}, telemetry.Luminosity, half},
		{&Chip{Driver: BME280, StuckAfter: new(time.Duration)}, telemetry.Humidity, 0},
	} {
		if got := tt.chip.Stuck(tt.of); got != tt.want {
			t.Errorf("%s: %v is stuck after %v, want %v", tt.chip.Driver, tt.of, got, tt.want)
		}
	}
}
