//go:build hil

package hil_test

import (
	"math"
	"sync"
	"time"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// chip is a chip of the loop.
type chip struct {
	driver  string // its name in configurations, of the emulator too
	address uint16
	setting string // others of its settings, in YAML

	// within is how far a reading may be from the truth: half a step of the chip
	// with the driver's defaults, and what a correct driver rounds.
	within map[telemetry.Measure]telemetry.Micro
}

// chips are all chips of the loop. A new one is a line.
func chips() []chip {
	const (
		celsius = telemetry.Temperature
		percent = telemetry.Humidity
		hecto   = telemetry.Pressure
		lux     = telemetry.Luminosity
	)
	type within = map[telemetry.Measure]telemetry.Micro
	return []chip{
		{"aht20", 0x38, "", within{celsius: 110, percent: 53}},
		{"bh1750", 0x23, "", within{lux: 417_000}},
		{"bme280", 0x76, "", within{celsius: 11_000, percent: 15_000, hecto: 22_000}},
		{"bmp280", 0x77, "", within{celsius: 11_000, hecto: 22_000}},
		{"lps22hb", 0x5c, "", within{celsius: 5_500, hecto: 135}},
		{"opt3001", 0x46, "conversion_time: 100ms", within{lux: 5_000_000}}, // of 20,000 lx
		{"sht3x", 0x44, "", within{celsius: 1_470, percent: 840}},
		{"sht4x", 0x45, "", within{celsius: 1_470, percent: 1_050}},
	}
}

// weather is what one chip measures. It changes all the time, so that a reading
// fits one moment only, and is remembered whenever a chip asks.
type weather struct {
	phase time.Duration

	mu    sync.Mutex
	asked []conversion
}

type conversion struct {
	at     time.Time
	values map[telemetry.Measure]telemetry.Micro
}

// At implements i2csim.Source.
func (w *weather) At(t time.Time) i2csim.Environment {
	t = t.Add(w.phase)
	e := i2csim.Environment{
		Temperature: physic.ZeroCelsius + physic.Temperature((15+10*triangle(t, 200*time.Second))*float64(physic.Celsius)),
		Humidity:    physic.RelativeHumidity((30 + 40*triangle(t, 170*time.Second)) * float64(physic.PercentRH)),
		Pressure:    physic.Pressure((98_000 + 4_000*triangle(t, 190*time.Second)) * float64(physic.Pascal)),
		Illuminance: i2csim.Illuminance((100 + 20_000*triangle(t, 230*time.Second)) * float64(i2csim.Lux)),
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, conversion{t.Add(-w.phase), map[telemetry.Measure]telemetry.Micro{
		telemetry.Temperature: micro(float64(e.Temperature-physic.ZeroCelsius) / float64(physic.Celsius)),
		telemetry.Humidity:    micro(float64(e.Humidity) / float64(physic.PercentRH)),
		telemetry.Pressure:    micro(float64(e.Pressure) / float64(100*physic.Pascal)),
		telemetry.Luminosity:  micro(float64(e.Illuminance) / float64(i2csim.Lux)),
	}})
	return e
}

func micro(v float64) telemetry.Micro { return telemetry.Micro(math.Round(v * 1e6)) }

// triangle goes from 0 to 1 and back to 0 in a period.
func triangle(t time.Time, period time.Duration) float64 {
	share := float64(t.UnixNano()%int64(period)) / float64(period)
	return 1 - math.Abs(2*share-1)
}

// conversions returns what a chip has measured from one moment to another.
func (w *weather) conversions(from, to time.Time) []conversion {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []conversion
	for _, c := range w.asked {
		if !c.at.Before(from) && !c.at.After(to) {
			found = append(found, c)
		}
	}
	return found
}
