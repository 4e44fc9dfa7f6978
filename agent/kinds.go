package agent

import (
	"fmt"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/agent/internal/detect"
	"github.com/telltale-iot/telltale/drivers/aht20"
	"github.com/telltale-iot/telltale/drivers/bh1750"
	"github.com/telltale-iot/telltale/drivers/bme280"
	"github.com/telltale-iot/telltale/drivers/bme680"
	"github.com/telltale-iot/telltale/drivers/bmp3"
	"github.com/telltale-iot/telltale/drivers/htu21d"
	"github.com/telltale-iot/telltale/drivers/lps22hb"
	"github.com/telltale-iot/telltale/drivers/opt3001"
	"github.com/telltale-iot/telltale/drivers/sht3x"
	"github.com/telltale-iot/telltale/drivers/sht4x"
	"github.com/telltale-iot/telltale/drivers/tsl2591"
	"github.com/telltale-iot/telltale/drivers/veml7700"
)

// A kind is a kind of chip that the agent can read: how a configured one is made,
// and how one is recognised on a bus.
type kind struct {
	driver    string // its name in a configuration
	open      func(bus i2c.Bus, c *config.Chip) (driver, error)
	recognise recognise
	silent    bool // see detect.Kind
}

type recognise = func(bus i2c.Bus, address uint16) (m detect.Match, evidence string)

// kinds returns all of them but the kernel's, in the order of their names. The
// measures, addresses and settings of each are in package config.
func kinds() []kind {
	return []kind{
		{config.AHT20, newAHT20, isAHT20, false},
		{config.BH1750, newBH1750, isBH1750, false},
		{config.BME280, newBME280, isModel(bme280.Identify, bme280.BME280), false},
		{config.BME680, newBME680, is(bme680.Identify), false},
		{config.BMP280, newBME280, isModel(bme280.Identify, bme280.BMP280), false},
		{config.BMP388, newBMP3, isModel(bmp3.Identify, bmp3.BMP388), false},
		{config.BMP390, newBMP3, isModel(bmp3.Identify, bmp3.BMP390), false},
		{config.HTU21D, newHTU21D, isModel(htu21d.Identify, htu21d.HTU21D), true},
		{config.LPS22HB, newLPS22HB, is(lps22hb.Identify), false},
		{config.OPT3001, newOPT3001, is(opt3001.Identify), false},
		{config.SHT3X, newSHT3x, isSHT3x, true},
		{config.SHT4X, newSHT4x, isSHT4x, true},
		{config.Si7021, newHTU21D, isModel(htu21d.Identify, htu21d.Si7021), true},
		{config.TSL2591, newTSL2591, is(tsl2591.Identify), false},
		{config.VEML7700, newVEML7700, is(veml7700.Identify), false},
	}
}

// value is that of a setting, or 0 if it is left out, which every driver takes for
// its default.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func newAHT20(bus i2c.Bus, c *config.Chip) (driver, error) {
	return aht20.New(bus, aht20.Options{Address: c.Address})
}

func newBH1750(bus i2c.Bus, c *config.Chip) (driver, error) {
	o := bh1750.Options{Address: c.Address, MeasurementTime: uint8(value(c.MeasurementTime))}
	switch value(c.Mode) {
	case config.ModeHigh2:
		o.Mode = bh1750.HighResolution2
	case config.ModeLow:
		o.Mode = bh1750.LowResolution
	}
	return bh1750.New(bus, o)
}

func newBME280(bus i2c.Bus, c *config.Chip) (driver, error) {
	samples := bme280.Oversampling(value(c.Oversampling))
	o := bme280.Options{
		Model:       bme280.BME280,
		Address:     c.Address,
		Temperature: samples,
		Pressure:    samples,
		Humidity:    samples,
		Filter:      bme280.Filter(value(c.Filter)),
	}
	if c.Driver == config.BMP280 {
		o.Model, o.Humidity = bme280.BMP280, bme280.Skip
	}
	return bme280.New(bus, o)
}

func newBME680(bus i2c.Bus, c *config.Chip) (driver, error) {
	samples := bme680.Oversampling(value(c.Oversampling))
	return bme680.New(bus, bme680.Options{
		Address: c.Address, Temperature: samples, Pressure: samples, Humidity: samples, Filter: bme680.Filter(value(c.Filter)),
	})
}

func newBMP3(bus i2c.Bus, c *config.Chip) (driver, error) {
	samples := bmp3.Oversampling(value(c.Oversampling))
	o := bmp3.Options{Address: c.Address, Temperature: samples, Pressure: samples, Filter: bmp3.Filter(value(c.Filter))}
	if c.Driver == config.BMP390 {
		o.Model = bmp3.BMP390
	}
	return bmp3.New(bus, o)
}

func newHTU21D(bus i2c.Bus, c *config.Chip) (driver, error) {
	return htu21d.New(bus, htu21d.Options{Address: c.Address, Resolution: uint8(value(c.Resolution))})
}

func newLPS22HB(bus i2c.Bus, c *config.Chip) (driver, error) {
	return lps22hb.New(bus, lps22hb.Options{Address: c.Address, Filter: lps22hb.Filter(value(c.Filter))})
}

func newOPT3001(bus i2c.Bus, c *config.Chip) (driver, error) {
	return opt3001.New(bus, opt3001.Options{Address: c.Address, ConversionTime: value(c.ConversionTime)})
}

func newSHT3x(bus i2c.Bus, c *config.Chip) (driver, error) {
	o := sht3x.Options{Address: c.Address}
	switch value(c.Repeatability) {
	case config.RepeatabilityMedium:
		o.Repeatability = sht3x.Medium
	case config.RepeatabilityLow:
		o.Repeatability = sht3x.Low
	}
	return sht3x.New(bus, o)
}

func newSHT4x(bus i2c.Bus, c *config.Chip) (driver, error) {
	o := sht4x.Options{Address: c.Address}
	switch value(c.Repeatability) {
	case config.RepeatabilityMedium:
		o.Repeatability = sht4x.Medium
	case config.RepeatabilityLow:
		o.Repeatability = sht4x.Low
	}
	return sht4x.New(bus, o)
}

func newTSL2591(bus i2c.Bus, c *config.Chip) (driver, error) {
	o := tsl2591.Options{Address: c.Address}
	if gain, fixed := c.FixedGain(); fixed {
		o.IntegrationTime = c.Integration()
		o.Gain = map[string]tsl2591.Gain{
			"1": tsl2591.LowGain, "25": tsl2591.MediumGain, "428": tsl2591.HighGain, "9876": tsl2591.MaxGain,
		}[gain]
	}
	return tsl2591.New(bus, o)
}

func newVEML7700(bus i2c.Bus, c *config.Chip) (driver, error) {
	o := veml7700.Options{Address: c.Address}
	if gain, fixed := c.FixedGain(); fixed {
		o.IntegrationTime = c.Integration()
		o.Gain = map[string]veml7700.Gain{
			"1/8": veml7700.GainEighth, "1/4": veml7700.GainQuarter, "1": veml7700.Gain1, "2": veml7700.Gain2,
		}[gain]
	}
	return veml7700.New(bus, o)
}

// is recognises a chip that has an identity.
func is(identify func(i2c.Bus, uint16) error) recognise {
	return func(bus i2c.Bus, address uint16) (detect.Match, string) {
		if err := identify(bus, address); err != nil {
			return detect.No, err.Error()
		}
		return detect.Certain, "by its id"
	}
}

// isModel recognises one of the models that a driver is for.
func isModel[M interface {
	comparable
	fmt.Stringer
}](identify func(i2c.Bus, uint16) (M, error), want M) recognise {
	return func(bus i2c.Bus, address uint16) (detect.Match, string) {
		switch found, err := identify(bus, address); {
		case err != nil:
			return detect.No, err.Error()
		case found != want:
			return detect.No, fmt.Sprintf("its id is that of a %v", found)
		}
		return detect.Certain, "by its id"
	}
}

// isAHT20 recognises an AHT20 as far as that goes.
func isAHT20(bus i2c.Bus, address uint16) (detect.Match, string) {
	switch like, err := aht20.Resembles(bus, address); {
	case err != nil:
		return detect.No, err.Error()
	case !like:
		return detect.No, "it has no checksum as an AHT20 has, nor has an AHT20 that never measured"
	}
	return detect.Probable, "the chip has no identity, and its status could be one's"
}

// isBH1750 recognises a BH1750 as far as that goes.
func isBH1750(bus i2c.Bus, address uint16) (detect.Match, string) {
	switch like, err := bh1750.Resembles(bus, address); {
	case err != nil:
		return detect.No, err.Error()
	case !like:
		return detect.No, "it repeats one byte, as a BH1750 seldom does"
	}
	return detect.Probable, "the chip has no identity, and what answers could be one"
}

// isSHT3x recognises an SHT3x as far as that goes.
func isSHT3x(bus i2c.Bus, address uint16) (detect.Match, string) {
	switch like, err := sht3x.Resembles(bus, address); {
	case err != nil:
		return detect.No, err.Error()
	case !like:
		return detect.No, "it has no status as an SHT3x has"
	}
	return detect.Probable, "by its status, which an HDC302x has, too"
}

func isSHT4x(bus i2c.Bus, address uint16) (detect.Match, string) {
	serial, err := sht4x.Identify(bus, address)
	if err != nil {
		return detect.No, err.Error()
	}
	return detect.Certain, fmt.Sprintf("by its serial number, %d", serial)
}
