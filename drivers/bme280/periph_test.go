package bme280

import (
	"errors"
	"testing"
	"testing/synctest"

	"periph.io/x/conn/v3/physic"
	"periph.io/x/devices/v3/bmxx80"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/internal/bustest"
)

// periph's driver is right where H4 and H5 are not negative: both drivers, each
// with its own transactions, make the same of one chip.
func TestPeriphAgrees(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := calibrations(rt)
		c.H4, c.H5 = max(c.H4, 0), max(c.H5, 0)
		chip := newChip(BME280, c, encodeResults(raws(rt)))

		var got drivers.Measurement
		var want physic.Env
		d, err := New(chip, Options{Sleep: new(bustest.Slept).Sleep})
		if err != nil {
			rt.Fatal(err)
		}
		err = d.Sense(t.Context(), &got)
		if errors.Is(err, drivers.ErrOutOfRange) {
			return // periph's has no range
		}
		if err != nil {
			rt.Fatal(err)
		}
		synctest.Test(t, func(*testing.T) { // its waits take no time here
			var theirs *bmxx80.Dev
			theirs, err = bmxx80.NewI2C(chip, DefaultAddress, &bmxx80.Opts{
				Temperature: bmxx80.O1x, Pressure: bmxx80.O1x, Humidity: bmxx80.O1x,
			})
			if err == nil {
				err = theirs.Sense(&want)
			}
		})
		if err != nil {
			rt.Fatal(err)
		}
		if got.Temperature != want.Temperature || got.Pressure != want.Pressure {
			rt.Errorf("got %v: periph %v", got, want)
		}
		// It cuts humidity to its MicroRH.
		if diff := got.Humidity - want.Humidity; diff < 0 || diff > physic.MicroRH {
			rt.Errorf("humidity %d: periph %d", got.Humidity, want.Humidity)
		}
	})
}
