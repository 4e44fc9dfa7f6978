package iio_test

import (
	"context"
	"log"
	"os"
	"time"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/iio"
)

// A DHT22 on a GPIO, by "dtoverlay=dht11,gpiopin=4" in a Raspberry Pi's config.txt.
func Example() {
	sensor, err := iio.New(os.DirFS("/sys"), iio.Options{Device: "dht11@4", Temperature: true, Humidity: true})
	if err != nil {
		log.Fatal(err)
	}
	for range time.Tick(5 * time.Second) {
		var m drivers.Measurement
		if err := sensor.Sense(context.Background(), &m); err != nil {
			log.Print(err) // a DHT22 often does not answer
			continue
		}
		log.Print(m.Temperature, m.Humidity)
	}
}
