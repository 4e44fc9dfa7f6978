package climate_test

import (
	"testing"
	"time"

	"github.com/telltale-iot/telltale/simulator/climate"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// BenchmarkRead is a forced measurement of an emulated BME280 in a replayed
// office: command, status, data.
func BenchmarkRead(b *testing.B) {
	now := begin
	office := replay(b, climate.ReplayOptions{Series: climate.Office(), Seed: 1})
	chip, err := i2csim.NewBME280(i2csim.BME280Options{Source: office, Now: func() time.Time { return now }})
	if err != nil {
		b.Fatal(err)
	}
	bus := i2csim.NewBus(i2csim.BusOptions{})
	if err := bus.Attach(0x76, chip); err != nil {
		b.Fatal(err)
	}
	var data [8]byte
	b.ReportAllocs()
	for b.Loop() {
		for _, w := range [][]byte{{0xF2, 1, 0xF4, 0x25}, {0xF3}, {0xF7}} {
			if err := bus.Tx(0x76, w, data[:]); err != nil {
				b.Fatal(err)
			}
			now = now.Add(10 * time.Millisecond)
		}
	}
}
