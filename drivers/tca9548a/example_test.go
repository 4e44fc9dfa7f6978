package tca9548a_test

import (
	"context"
	"log"

	"periph.io/x/conn/v3/i2c/i2creg"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/bme280"
	"github.com/telltale-iot/telltale/drivers/tca9548a"
)

// Eight chips of one address.
func Example() {
	// A program for a Pi calls host.Init of periph.io/x/host/v3 first.
	bus, err := i2creg.Open("1")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = bus.Close() }()

	// A second multiplexer on the bus would be made of the same shared one.
	mux, err := tca9548a.New(tca9548a.Share(bus), tca9548a.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for n := range tca9548a.Channels {
		chip, err := bme280.New(mux.Channel(n), bme280.Options{})
		if err != nil {
			log.Fatal(err)
		}
		var m drivers.Measurement
		if err := chip.Sense(context.Background(), &m); err != nil {
			log.Print(mux.Channel(n), ": ", err)
			continue
		}
		log.Print(mux.Channel(n), ": ", m.Temperature)
	}
}
