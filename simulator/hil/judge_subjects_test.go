//go:build hil

package hil_test

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// states is in how many states each chip is read.
const states = 50

// subject is a chip that the kernel has a driver for.
type subject struct {
	kind     string // of the emulator, and the driver in the agent's configuration
	address  uint16
	behind   bool   // the multiplexer
	settings string // in the agent's configuration, such as ", oversampling: 16"
	timing   i2csim.Timing

	module, id string // of the kernel's driver
	directory  string // of its attributes, below the device's

	// caches says that the kernel's driver gives a value of before for up to
	// seconds: it is bound anew in each state.
	caches bool
	// tune returns what is written before a state is read.
	tune func(e i2csim.Environment) []attribute

	temperature, humidity, pressure, illuminance bounds
	quantities                                   []quantity
}

// bounds are from where to where a chip measures, in °C, %, Pa, lx.
type bounds struct{ least, most float64 }

// attribute is a file in the directory of the kernel's driver.
type attribute struct{ name, value string }

// get reads an attribute's number.
type get = func(attribute string) (float64, error)

// quantity is what both drivers give.
type quantity struct {
	measure telemetry.Measure
	step    float64                      // by how much the two may differ; README.md says why
	stepOf  func(kernel float64) float64 // that, where it depends on the value
	read    func(get) (float64, error)   // the kernel's value, in the measure's unit
	mend    func(kernel float64) float64 // where the kernel departs from the datasheet; README.md says how
}

func (q *quantity) stepAt(kernel float64) float64 {
	if q.stepOf != nil {
		return q.stepOf(kernel)
	}
	return q.step
}

// input is an attribute that has a value in a multiple of the measure's unit.
func input(name string, perUnit float64) func(get) (float64, error) {
	return func(number get) (float64, error) {
		v, err := number(name)
		return v / perUnit, err
	}
}

// scaled is a channel's raw x scale.
func scaled(name string, perUnit float64) func(get) (float64, error) {
	return func(number get) (float64, error) {
		raw, err := number(name + "_raw")
		if err != nil {
			return 0, err
		}
		scale, err := number(name + "_scale")
		return raw * scale / perUnit, err
	}
}

// Units of the kernel's: milli degree Celsius, milli percent, kilopascal.
const (
	milli        = 1000
	kiloPerHecto = 0.1
)

// floored mends a value of Sensirion's that the kernel computes as
// span·word/2^16 - offset, without what is below a thousandth. The datasheets
// have 2^16 - 1.
func floored(offset float64) func(float64) float64 {
	return func(v float64) float64 { return (v+0.0005+offset)*65536/65535 - offset }
}

// nineDigits mends an LPS22HB's pressure, of which the kernel's scale is cut to
// nine decimals of a kilopascal. The datasheet has 4096 counts to the hectopascal.
func nineDigits(hecto float64) float64 { return hecto * kiloPerHecto / 0.000024414 / 4096 }

// hundredths mends a BMP388's temperature, of which the kernel drops what is
// below a hundredth.
func hundredths(celsius float64) float64 { return celsius + 0.005 }

// binary is the step of an OPT3001's result: 4095 of them are full scale, which
// doubles from 40.95 lx.
func binary(lux float64) float64 { return 0.01 * math.Exp2(max(0, math.Ceil(math.Log2(lux/40.95)))) }

func subjects() []subject {
	const (
		celsius = telemetry.Temperature
		percent = telemetry.Humidity
		hecto   = telemetry.Pressure
		lux     = telemetry.Luminosity
	)
	const iio, hwmon = "iio:device*", "hwmon/hwmon*"
	all := bounds{0, 100}
	sensirion := func(span, offset float64) []quantity {
		return []quantity{
			{measure: celsius, step: 175. / 65535, read: input("temp1_input", milli), mend: floored(45)},
			{measure: percent, step: span / 65535, read: input("humidity1_input", milli), mend: floored(offset)},
		}
	}
	htu21d := []quantity{
		{measure: celsius, step: 175.72 / (1 << 14), read: input("temp1_input", milli)},
		{measure: percent, step: 125. / (1 << 12), read: input("humidity1_input", milli)},
	}
	return []subject{
		{
			kind: "bme280", address: 0x76, settings: ", filter: 2", module: "bmp280_i2c", id: "bme280", directory: iio,
			temperature: bounds{-39.9, 84.9}, humidity: all, pressure: bounds{30100, 109900}, tune: tuneBMP280,
			quantities: []quantity{
				{measure: celsius, step: 0.01, read: input("in_temp_input", milli)},
				{measure: percent, step: 0.008, read: input("in_humidityrelative_input", milli)},
				{measure: hecto, step: 0.0018, read: input("in_pressure_input", kiloPerHecto)},
			},
		},
		{
			kind: "bmp280", address: 0x77, settings: ", filter: 2", module: "bmp280_i2c", id: "bmp280", directory: iio,
			temperature: bounds{-39.9, 84.9}, pressure: bounds{30100, 109900}, tune: tuneBMP280,
			quantities: []quantity{
				{measure: celsius, step: 0.01, read: input("in_temp_input", milli)},
				{measure: hecto, step: 0.0018, read: input("in_pressure_input", kiloPerHecto)},
			},
		},
		{
			kind: "bmp388", address: 0x77, settings: ", filter: 1", module: "bmp280_i2c", id: "bmp380", directory: iio,
			temperature: bounds{-39.9, 84.9}, pressure: bounds{30100, 124900},
			quantities: []quantity{
				{measure: celsius, step: 0.01, read: input("in_temp_input", milli), mend: hundredths},
				{measure: hecto, step: 0.00085, read: input("in_pressure_input", kiloPerHecto)},
			},
		},
		{
			kind: "sht3x", address: 0x44, module: "sht3x", id: "sht3x", directory: hwmon, caches: true,
			temperature: bounds{-39.9, 124.9}, humidity: all, quantities: sensirion(100, 0),
		},
		{
			kind: "sht4x", address: 0x46, module: "sht4x", id: "sht4x", directory: hwmon, caches: true,
			temperature: bounds{-39.9, 124.9}, humidity: all, quantities: sensirion(125, 6),
		},
		{
			kind: "htu21d", address: 0x40, behind: true, module: "sht21", id: "sht21", directory: hwmon, caches: true,
			temperature: bounds{-39.9, 124.9}, humidity: all, quantities: htu21d,
		},
		{
			kind: "si7021", address: 0x40, behind: true, module: "sht21", id: "sht21", directory: hwmon, caches: true,
			temperature: bounds{-39.9, 124.9}, humidity: all, quantities: htu21d,
		},
		{
			// The kernel's driver waits the typical time, and takes what is there then.
			kind: "bh1750", address: 0x23, timing: i2csim.Typical, module: "bh1750", id: "bh1750", directory: iio,
			illuminance: bounds{0, 54600},
			quantities:  []quantity{{measure: lux, step: 1 / 1.2, read: scaled("in_illuminance", 1)}},
		},
		{
			kind: "opt3001", address: 0x47, settings: ", conversion_time: 100ms", module: "opt3001", id: "opt3001", directory: iio,
			illuminance: bounds{0, 83800},
			tune:        func(i2csim.Environment) []attribute { return []attribute{{"in_illuminance_integration_time", "0.1"}} },
			quantities:  []quantity{{measure: lux, stepOf: binary, read: input("in_illuminance_input", 1)}},
		},
		{
			kind: "veml7700", address: 0x10, module: "veml6030", id: "veml6030", directory: iio,
			illuminance: bounds{0, 139_000}, tune: tuneVEML6030,
			quantities: []quantity{{measure: lux, stepOf: stepOfVEML7700, read: input("in_illuminance_input", 1), mend: linearised}},
		},
		{
			kind: "lps22hb", address: 0x5c, module: "st_pressure_i2c", id: "lps22hb", directory: iio,
			temperature: bounds{-39.9, 84.9}, pressure: bounds{26100, 125900},
			tune: func(i2csim.Environment) []attribute { return []attribute{{"sampling_frequency", "75"}} }, // at 1 Hz it waits 2 s
			quantities: []quantity{
				{measure: celsius, step: 0.01, read: scaled("in_temp", milli)},
				{measure: hecto, step: 1. / 4096, read: scaled("in_pressure", kiloPerHecto), mend: nineDigits},
			},
		},
	}
}

// tuneBMP280 has the kernel take as many samples of the temperature as the agent
// does. Else its word is another, and with it what Bosch's integer formulas drop.
func tuneBMP280(i2csim.Environment) []attribute {
	return []attribute{{"in_temp_oversampling_ratio", "16"}}
}

// tuneVEML6030 sets the gain and the integration time.
func tuneVEML6030(e i2csim.Environment) []attribute {
	gain, time := "0.125", "0.025"
	if e.Illuminance < 1000*i2csim.Lux {
		gain, time = "0.25", "0.8"
	}
	return []attribute{{"in_illuminance_scale", gain}, {"in_illuminance_integration_time", time}}
}

// stepOfVEML7700 is the greater one of the steps of both drivers' settings.
func stepOfVEML7700(lux float64) float64 {
	switch {
	case lux < 6.5:
		return 0.0336 // the kernel's
	case lux < 53.5:
		return 0.0672
	case lux < 214.5:
		return 0.5376
	default:
		return linearised(lux+2.1504) - linearised(lux)
	}
}

// linearised corrects a VEML7700's light above 1000 lx, as application note 84323
// of Vishay has it and the kernel does not.
func linearised(lux float64) float64 {
	if lux <= 1000 {
		return lux
	}
	return lux * (1.0023 + lux*(8.1488e-5+lux*(-9.3924e-9+lux*6.0135e-13)))
}

// environments returns the states of a chip: first the corners of its range,
// then others in it.
func (s *subject) environments(seed uint64) (all [states]i2csim.Environment) {
	r := rand.New(rand.NewPCG(seed, 0x1d6e))
	for i := range all {
		within := func(b bounds, bit int) float64 {
			switch {
			case i >= 8:
				return b.least + r.Float64()*(b.most-b.least)
			case i>>bit&1 == 0:
				return b.least
			default:
				return b.most
			}
		}
		// Light is spread evenly over its magnitudes.
		light := within(bounds{math.Log1p(s.illuminance.least), math.Log1p(s.illuminance.most)}, 0)
		all[i] = i2csim.Environment{
			Temperature: physic.ZeroCelsius + physic.Temperature(within(s.temperature, 0)*float64(physic.Celsius)),
			Humidity:    physic.RelativeHumidity(within(s.humidity, 1) * float64(physic.PercentRH)),
			Pressure:    physic.Pressure(within(s.pressure, 2) * float64(physic.Pascal)),
			Illuminance: i2csim.Illuminance(math.Expm1(light) * float64(i2csim.Lux)),
		}
	}
	return all
}

// stage is a chip's clock and what the chip measures: the states one after
// another, over and over. Each lasts for hold of the chip's clock, which jumps to
// the middle of the next. So a chip that measures all the time, with a filter, has
// only ever seen this state, and what is read is read within half of it.
type stage struct {
	states [states]i2csim.Environment
	began  time.Time

	mu    sync.Mutex
	ahead time.Duration // of the chip's clock
}

const hold = 4 * time.Minute

func newStage(all [states]i2csim.Environment) *stage {
	return &stage{states: all, began: time.Now(), ahead: hold / 2}
}

// At implements i2csim.Source.
func (s *stage) At(t time.Time) i2csim.Environment {
	return s.states[int(max(0, t.Sub(s.began))/hold)%states]
}

func (s *stage) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.ahead)
}

// next makes it the middle of the next state.
func (s *stage) next() {
	s.mu.Lock()
	defer s.mu.Unlock()
	passed := time.Since(s.began) + s.ahead
	s.ahead += passed.Truncate(hold) + hold + hold/2 - passed
}

// settle lets pass what the chip takes to measure by new settings.
func (s *stage) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += 10 * time.Second
}
