package bmp3_test

import (
	"context"
	"log"

	"periph.io/x/conn/v3/i2c/i2creg"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/bmp3"
)

func Example() {
	// A program for a Pi calls host.Init of periph.io/x/host/v3 first.
	bus, err := i2creg.Open("1")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = bus.Close() }()

	chip, err := bmp3.New(bus, bmp3.Options{Model: bmp3.BMP390, Pressure: 8, Filter: 3})
	if err != nil {
		log.Fatal(err)
	}
	var m drivers.Measurement
	if err := chip.Sense(context.Background(), &m); err != nil {
		log.Fatal(err)
	}
	log.Print(m.Pressure, m.Temperature)
}
