// Periphbus takes one reading of a BME280 through periph's bus of the host, where the
// agent has one of its own, and prints it as a line: millidegrees Celsius, pascals and
// thousandths of a percent. If it fails it says whether the error still has its errno.
//
//	periphbus BUS ADDRESS
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"

	"periph.io/x/conn/v3/physic"
	"periph.io/x/host/v3/sysfs"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/bme280"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		var errno syscall.Errno
		_, _ = fmt.Fprintf(os.Stderr, "periphbus: %v; errno: %t\n", err, errors.As(err, &errno))
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("want BUS ADDRESS")
	}
	number, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	address, err := strconv.ParseUint(args[1], 0, 16)
	if err != nil {
		return err
	}
	bus, err := sysfs.NewI2C(number)
	if err != nil {
		return err
	}
	defer func() { _ = bus.Close() }() // nothing was written that could be lost
	chip, err := bme280.New(bus, bme280.Options{Address: uint16(address)})
	if err != nil {
		return err
	}
	var m drivers.Measurement
	if err := chip.Sense(context.Background(), &m); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, int64((m.Temperature-physic.ZeroCelsius)/physic.MilliCelsius), int64(m.Pressure/physic.Pascal),
		int64(m.Humidity/(physic.PercentRH/1000)))
	return err
}
