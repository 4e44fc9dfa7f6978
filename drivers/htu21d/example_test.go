package htu21d_test

import (
	"context"
	"log"

	"periph.io/x/conn/v3/i2c/i2creg"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/htu21d"
)

func Example() {
	// A program for a Pi calls host.Init of periph.io/x/host/v3 first.
	bus, err := i2creg.Open("1")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = bus.Close() }()

	chip, err := htu21d.New(bus, htu21d.Options{Resolution: 12})
	if err != nil {
		log.Fatal(err)
	}
	var m drivers.Measurement
	if err := chip.Sense(context.Background(), &m); err != nil {
		log.Fatal(err)
	}
	log.Print(m.Temperature, m.Humidity)
}
