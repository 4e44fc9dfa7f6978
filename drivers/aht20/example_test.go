package aht20_test

import (
	"context"
	"log"
	"time"

	"periph.io/x/conn/v3/i2c/i2creg"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/aht20"
)

func Example() {
	// A program for a Pi calls host.Init of periph.io/x/host/v3 first.
	bus, err := i2creg.Open("1")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = bus.Close() }()

	chip, err := aht20.New(bus, aht20.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for range time.Tick(5 * time.Second) {
		var m drivers.Measurement
		if err := chip.Sense(context.Background(), &m); err != nil {
			log.Print(err) // the next reading may succeed
			continue
		}
		log.Print(m.Temperature, m.Humidity)
	}
}
