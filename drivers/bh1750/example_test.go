package bh1750_test

import (
	"context"
	"errors"
	"log"

	"periph.io/x/conn/v3/i2c/i2creg"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/bh1750"
)

func Example() {
	// A program for a Pi calls host.Init of periph.io/x/host/v3 first.
	bus, err := i2creg.Open("1")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = bus.Close() }()

	chip, err := bh1750.New(bus, bh1750.Options{Mode: bh1750.HighResolution2})
	if err != nil {
		log.Fatal(err)
	}
	var m drivers.Measurement
	switch err := chip.Sense(context.Background(), &m); {
	case errors.Is(err, drivers.ErrSaturated):
		log.Print("brighter than this mode can measure")
	case err != nil:
		log.Print(err)
	default:
		log.Print(m.Illuminance)
	}
}
