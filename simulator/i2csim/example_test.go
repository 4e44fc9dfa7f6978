package i2csim_test

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// A light sensor under 312.5 lx, read as a driver reads it, and then with a
// fault.
func Example() {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	room := i2csim.Constant{
		Temperature: physic.ZeroCelsius + 21*physic.Celsius,
		Illuminance: 312_500_000 * i2csim.MicroLux,
	}
	chip, err := i2csim.NewBH1750(i2csim.ChipOptions{
		Source: room,
		Now:    func() time.Time { return now },
	})
	if err != nil {
		panic(err)
	}
	bus := i2csim.NewBus(i2csim.BusOptions{Name: "/dev/i2c-1"})
	if err := bus.Attach(0x23, chip); err != nil {
		panic(err)
	}

	oneTimeH := []byte{0x20}
	if err := bus.Tx(0x23, oneTimeH, nil); err != nil {
		panic(err)
	}
	now = now.Add(180 * time.Millisecond)
	var counts [2]byte
	if err := bus.Tx(0x23, nil, counts[:]); err != nil {
		panic(err)
	}
	fmt.Printf("%.1f lx\n", (float64(counts[0])*256+float64(counts[1]))/1.2)
	truth, _ := chip.LastConversion()
	fmt.Println(truth.Illuminance)

	bus.SetFaults(i2csim.Script(map[uint64]i2csim.Fault{3: {Kind: i2csim.NACK}}))
	err = bus.Tx(0x23, oneTimeH, nil)
	fmt.Println(err, errors.Is(err, syscall.ENXIO))

	// Output:
	// 312.5 lx
	// 312.5lx
	// /dev/i2c-1: transaction 3 with 0x23: not acknowledged true
}
