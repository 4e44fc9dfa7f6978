package climate_test

import (
	"fmt"
	"time"

	"github.com/telltale-iot/telltale/simulator/climate"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// The office's week behind the chips of one sensor, an hour of it in a minute.
func ExampleReplay() {
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	office, err := climate.NewReplay(climate.ReplayOptions{
		Series: climate.Office(),
		Begin:  begin,
		Offset: 16 * time.Hour,
		Speed:  60,
	})
	if err != nil {
		panic(err)
	}
	chip, err := i2csim.NewBME280(i2csim.BME280Options{Source: office, Seed: 7})
	if err != nil {
		panic(err)
	}
	bus := i2csim.NewBus(i2csim.BusOptions{})
	if err := bus.Attach(0x76, chip); err != nil {
		panic(err)
	}
	// A driver may now open a BME280 at 0x76.

	for m := range 3 {
		e := office.At(begin.Add(time.Duration(m) * time.Minute))
		fmt.Printf("%.2f °C, %.1f %%, %s\n", e.Temperature.Celsius(), float64(e.Humidity)/1e5, e.Illuminance)
	}

	// Output:
	// 22.10 °C, 26.3 %, 454lx
	// 22.05 °C, 26.3 %, 450.25lx
	// 22.20 °C, 27.0 %, 444lx
}
