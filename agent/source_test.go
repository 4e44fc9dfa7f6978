package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/agent/internal/sample"
	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/light"
	"github.com/telltale-iot/telltale/internal/settings"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// senses is a driver.
type senses func(m *drivers.Measurement) error

func (s senses) Sense(_ context.Context, m *drivers.Measurement) error { return s(m) }

func payload(values ...telemetry.Micro) (p telemetry.Payload) {
	for m, v := range values {
		if v != 0 {
			p.Set(telemetry.Measure(m), v)
		}
	}
	return p
}

var payloads = cmp.AllowUnexported(telemetry.Payload{})

func TestSource(t *testing.T) {
	offset := settings.Decimal(-350_000)
	calibrated := []config.Calibration{{Measure: "temperature", Date: "2026-11-26", Offset: &offset}}
	climate := senses(func(m *drivers.Measurement) error {
		m.Temperature = physic.ZeroCelsius + 24350*physic.MilliCelsius
		m.Humidity = 40 * physic.PercentRH
		m.Pressure = 101325 * physic.Pascal
		return nil
	})
	broken := fmt.Errorf("bme280: %w", syscall.ENXIO)
	tests := []struct {
		name   string
		chip   config.Chip
		driver driver
		want   sample.Reading
		err    error
	}{
		{"as it is", config.Chip{Driver: config.BME280}, climate, sample.Reading{Values: payload(24_350_000, 40_000_000, 1013_250_000)}, nil},
		{"calibrated", config.Chip{Driver: config.BME280, Calibration: calibrated}, climate,
			sample.Reading{Values: payload(24_000_000, 40_000_000, 1013_250_000), Raw: payload(24_350_000)}, nil},
		{"calibrated, in a case", config.Chip{Driver: config.BME280, Calibration: calibrated, SelfHeating: 2_000_000}, climate,
			sample.Reading{Values: payload(22_000_000, 45_144_020, 1013_250_000), Raw: payload(24_350_000, 40_000_000)}, nil},
		{"light", config.Chip{Driver: config.BH1750}, senses(func(m *drivers.Measurement) error {
			m.Illuminance = 312 * light.Lux
			return nil
		}), sample.Reading{Values: payload(0, 0, 0, 312_000_000)}, nil},
		{"broken", config.Chip{Driver: config.BME280, Calibration: calibrated}, senses(func(*drivers.Measurement) error { return broken }),
			sample.Reading{}, broken},
	}
	for _, tt := range tests {
		var got sample.Reading
		if err := newSource(tt.driver, &tt.chip).Sense(t.Context(), &got); !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.err)
		}
		if diff := cmp.Diff(tt.want, got, payloads); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestSourceIsStuck has each measure's converter stick in turn, while the others
// go on. What cannot be told without it is withheld with it.
func TestSourceIsStuck(t *testing.T) {
	const all = 24_350_000
	words := func(m *drivers.Measurement, add uint32) {
		m.Words.Temperature += add
		m.Words.Humidity += add
		m.Words.Pressure += add
		m.Words.Illuminance += add
	}
	climate := func(m *drivers.Measurement) {
		m.Temperature = physic.ZeroCelsius + 24350*physic.MilliCelsius
		m.Humidity = 40 * physic.PercentRH
		m.Pressure = 101325 * physic.Pascal
	}
	minute := time.Minute
	tests := []struct {
		name  string
		chip  config.Chip
		stuck func(*drivers.Words) *uint32
		want  sample.Reading
		says  string
	}{
		{"temperature", config.Chip{Driver: config.BME280}, func(w *drivers.Words) *uint32 { return &w.Temperature },
			sample.Reading{Values: payload(0, 40_000_000, 1013_250_000), Raw: payload(all)}, "temperature: "},
		{"temperature, by which humidity is converted", config.Chip{Driver: config.BME280, SelfHeating: 2_000_000}, func(w *drivers.Words) *uint32 { return &w.Temperature },
			sample.Reading{Values: payload(0, 0, 1013_250_000), Raw: payload(all, 40_000_000)}, "temperature: "},
		{"humidity", config.Chip{Driver: config.BME280}, func(w *drivers.Words) *uint32 { return &w.Humidity },
			sample.Reading{Values: payload(all, 0, 1013_250_000), Raw: payload(0, 40_000_000)}, "humidity: "},
		{"pressure", config.Chip{Driver: config.BMP280}, func(w *drivers.Words) *uint32 { return &w.Pressure },
			sample.Reading{Values: payload(all), Raw: payload(0, 0, 1013_250_000)}, "pressure: "},
		{"luminosity, as it is asked for", config.Chip{Driver: config.BH1750, StuckAfter: &minute}, func(w *drivers.Words) *uint32 { return &w.Illuminance },
			sample.Reading{Raw: payload(0, 0, 0, 300_000_000)}, "luminosity: "},
		{"luminosity, as it is not", config.Chip{Driver: config.BH1750}, func(w *drivers.Words) *uint32 { return &w.Illuminance },
			sample.Reading{Values: payload(0, 0, 0, 300_000_000)}, ""},
		{"nothing, as it is off", config.Chip{Driver: config.BME280, StuckAfter: new(time.Duration)}, func(w *drivers.Words) *uint32 { return &w.Humidity },
			sample.Reading{Values: payload(all, 40_000_000, 1013_250_000)}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n, sticks uint32 = 0, 7
				s := newSource(senses(func(m *drivers.Measurement) error {
					if n++; n%5 == 0 {
						return syscall.ENXIO // a failure between tells nothing of the converter
					}
					climate(m)
					m.Illuminance = 300 * light.Lux
					words(m, n)
					*tt.stuck(&m.Words) = sticks
					return nil
				}), &tt.chip)
				var got sample.Reading
				var err error
				read := func(times int) {
					for range times {
						got = sample.Reading{}
						if err = s.Sense(t.Context(), &got); errors.Is(err, syscall.ENXIO) {
							continue
						}
						<-time.After(10 * time.Minute)
					}
				}
				if read(9); err != nil {
					t.Errorf("stuck after 8 readings: %v", err)
				}
				read(3)
				if diff := cmp.Diff(tt.want, got, payloads); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if stuck := sample.Reason(err) == sample.Stuck; stuck != (tt.says != "") || stuck && !strings.HasPrefix(err.Error(), tt.says) {
					t.Errorf("%v, want it to be stuck: %t", err, tt.says != "")
				}
				sticks++
				if read(1); err != nil || got.Values.Empty() {
					t.Errorf("with another word: %v, %v", got, err)
				}
			})
		})
	}
}
