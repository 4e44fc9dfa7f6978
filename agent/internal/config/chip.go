package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/telltale-iot/telltale/internal/settings"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Chip is one chip: on an I2C bus, on a channel of a multiplexer there, or read
// by a driver of the kernel. Settings that are nil are not given.
type Chip struct {
	Driver  string `yaml:"driver" enum:"aht20,bh1750,bme280,bme680,bmp280,bmp388,bmp390,htu21d,iio,lps22hb,opt3001,sht3x,sht4x,si7021,tsl2591,veml7700" help:"what the chip is, or iio for one that a driver of the kernel reads"`
	Bus     string `yaml:"bus" help:"I2C bus: its number, /dev/i2c-N, or the adapter's name or a pattern of it"`
	Address uint16 `yaml:"address" want:"an I2C address from 0x08 to 0x77" help:"7-bit I2C address"`

	Multiplexer uint16 `yaml:"multiplexer" want:"the I2C address of a TCA9548A, from 0x70 to 0x77" help:"address of the TCA9548A behind which the chip is (0: none)"`
	Channel     int    `yaml:"channel" want:"a channel of the multiplexer, from 0 to 7" help:"the multiplexer's channel"`

	Device   string   `yaml:"device" help:"iio: the name that the kernel gives the device, such as bme280, or that of an I2C device, such as 1-0076"`
	Measures []string `yaml:"measures" enum:"temperature,humidity,pressure,luminosity" help:"iio: what the device measures and the sensor is to have"`

	Oversampling    *int           `yaml:"oversampling" want:"a power of two" help:"bme280, bme680, bmp280: samples taken for one value, 1 to 16; bmp388, bmp390: 1 to 32 (default 1)"`
	Filter          *int           `yaml:"filter" want:"a whole number" help:"coefficient of the chip's low-pass filter: bme280, bmp280: 0, 2, 4, 8 or 16; bme680, bmp388, bmp390: 0, 1, 3, 7, 15, 31, 63 or 127; lps22hb: 0, 9 or 20 (default 0, off)"`
	Repeatability   *string        `yaml:"repeatability" enum:"high,medium,low" help:"sht3x, sht4x: less noise and a longer measurement, or more and a shorter one (default high)"`
	Resolution      *int           `yaml:"resolution" want:"11, 12, 13 or 14" help:"htu21d, si7021: bits of a temperature (default 14)"`
	Gain            *string        `yaml:"gain" enum:"auto,1/8,1/4,1,2,25,428,9876" help:"veml7700: 1/8, 1/4, 1 or 2; tsl2591: 1, 25, 428 or 9876; auto changes gain and time with the light (default auto)"`
	IntegrationTime *time.Duration `yaml:"integration_time" help:"with a gain that is not auto: time of a measurement, veml7700: 25ms, 50ms, 100ms, 200ms, 400ms or 800ms; tsl2591: 100ms to 600ms in steps of 100ms (default 100ms)"`
	ConversionTime  *time.Duration `yaml:"conversion_time" help:"opt3001: time of a measurement, 100ms or 800ms (default 800ms)"`
	Mode            *string        `yaml:"mode" enum:"high,high2,low" help:"bh1750: resolution, 1 lx, 0.5 lx or 4 lx (default high)"`
	MeasurementTime *int           `yaml:"measurement_time" want:"a whole number from 31 to 254" help:"bh1750: content of its MTreg, sensitivity in proportion (default 69)"`

	StuckAfter  *time.Duration   `yaml:"stuck_after" help:"time after which a converter's word that does not change is not believed any more; 0s: never (default 1h; luminosity and iio 0s)"`
	SelfHeating settings.Decimal `yaml:"self_heating" help:"kelvin by which the chip is warmer than the air that is asked for"`
	Calibration []Calibration    `yaml:"calibration" help:"calibrations of its measures: measure, date, and offset or points"`
}

// The drivers.
const (
	AHT20    = "aht20"
	BH1750   = "bh1750"
	BME280   = "bme280"
	BME680   = "bme680"
	BMP280   = "bmp280"
	BMP388   = "bmp388"
	BMP390   = "bmp390"
	HTU21D   = "htu21d"
	IIO      = "iio"
	LPS22HB  = "lps22hb"
	OPT3001  = "opt3001"
	SHT3X    = "sht3x"
	SHT4X    = "sht4x"
	Si7021   = "si7021"
	TSL2591  = "tsl2591"
	VEML7700 = "veml7700"
)

// The words of settings.
const (
	RepeatabilityHigh   = "high"
	RepeatabilityMedium = "medium"
	RepeatabilityLow    = "low"

	GainAuto = "auto"

	ModeHigh  = "high"
	ModeHigh2 = "high2"
	ModeLow   = "low"
)

// kind is what can be said of a chip by its driver alone.
type kind struct {
	addresses []uint16 // that its pins can choose; nil: none, as the kernel has it
	measures  []telemetry.Measure
	settings  map[string]values // of those that may be left out, which it has
}

// kindOf returns the kind of a driver, the zero kind if there is none.
func kindOf(driver string) kind {
	const t, h, p, l = telemetry.Temperature, telemetry.Humidity, telemetry.Pressure, telemetry.Luminosity
	type m = []telemetry.Measure
	type addresses = []uint16
	type set = map[string]values

	oversampling := oneOf(1, 2, 4, 8, 16)
	filter := oneOf(0, 2, 4, 8, 16)
	bosch := set{"oversampling": oversampling, "filter": filter}
	longFilter := oneOf(0, 1, 3, 7, 15, 31, 63, 127)
	bmp3 := set{"oversampling": oneOf(1, 2, 4, 8, 16, 32), "filter": longFilter}
	sensirion := set{"repeatability": oneOf(RepeatabilityHigh, RepeatabilityMedium, RepeatabilityLow)}
	resolution := set{"resolution": oneOf(11, 12, 13, 14)}
	const ms = time.Millisecond

	switch driver {
	case AHT20:
		return kind{addresses{0x38}, m{t, h}, nil}
	case BH1750:
		return kind{addresses{0x23, 0x5c}, m{l}, set{
			"mode": oneOf(ModeHigh, ModeHigh2, ModeLow), "measurement_time": between(31, 254),
		}}
	case BME280:
		return kind{addresses{0x76, 0x77}, m{t, h, p}, bosch}
	case BME680:
		return kind{addresses{0x76, 0x77}, m{t, h, p}, set{"oversampling": oversampling, "filter": longFilter}}
	case BMP280:
		return kind{addresses{0x76, 0x77}, m{t, p}, bosch}
	case BMP388, BMP390:
		return kind{addresses{0x76, 0x77}, m{t, p}, bmp3}
	case HTU21D, Si7021:
		return kind{addresses{0x40}, m{t, h}, resolution}
	case LPS22HB:
		return kind{addresses{0x5c, 0x5d}, m{t, p}, set{"filter": oneOf(0, 9, 20)}}
	case OPT3001:
		return kind{addresses{0x44, 0x45, 0x46, 0x47}, m{l}, set{"conversion_time": oneOf(100*ms, 800*ms)}}
	case SHT3X:
		return kind{addresses{0x44, 0x45}, m{t, h}, sensirion}
	case SHT4X:
		return kind{addresses{0x44, 0x45, 0x46}, m{t, h}, sensirion}
	case TSL2591:
		return kind{addresses{0x29}, m{l}, set{
			"gain":             oneOf(GainAuto, "1", "25", "428", "9876"),
			"integration_time": oneOf(100*ms, 200*ms, 300*ms, 400*ms, 500*ms, 600*ms),
		}}
	case VEML7700:
		return kind{addresses{0x10}, m{l}, set{
			"gain":             oneOf(GainAuto, "1/8", "1/4", "1", "2"),
			"integration_time": oneOf(25*ms, 50*ms, 100*ms, 200*ms, 400*ms, 800*ms),
		}}
	default:
		return kind{}
	}
}

// values are those that a setting can have.
type values struct {
	has  func(any) bool
	want string
}

func oneOf[T comparable](all ...T) values {
	texts := make([]string, len(all))
	for i, v := range all {
		texts[i] = fmt.Sprint(v)
	}
	return values{
		has:  func(v any) bool { t, ok := v.(T); return ok && slices.Contains(all, t) },
		want: alternatives(texts),
	}
}

func between(least, most int) values {
	return values{
		has:  func(v any) bool { n, ok := v.(int); return ok && n >= least && n <= most },
		want: fmt.Sprintf("a whole number from %d to %d", least, most),
	}
}

// alternatives returns "a, b or c".
func alternatives(texts []string) string {
	last := len(texts) - 1
	if last == 0 {
		return texts[0]
	}
	return strings.Join(texts[:last], ", ") + " or " + texts[last]
}

// given is a setting that may be left out, and its value if it is not.
type given struct {
	path  string
	value any // nil if it is left out
}

func (c *Chip) given() []given {
	return []given{
		{"oversampling", deref(c.Oversampling)},
		{"filter", deref(c.Filter)},
		{"repeatability", deref(c.Repeatability)},
		{"resolution", deref(c.Resolution)},
		{"gain", deref(c.Gain)},
		{"integration_time", deref(c.IntegrationTime)},
		{"conversion_time", deref(c.ConversionTime)},
		{"mode", deref(c.Mode)},
		{"measurement_time", deref(c.MeasurementTime)},
	}
}

func deref[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

// SetDefaults gives a chip the bus on the Raspberry Pi's header.
func (c *Chip) SetDefaults() { c.Bus = "1" }

// Kernel reports whether a driver of the kernel reads the chip.
func (c *Chip) Kernel() bool { return c.Driver == IIO }

// Name returns the chip's name for logs, metrics and the status, unique in a
// valid configuration: bme280@1:0x76, sht4x@1:0x70.3:0x44, iio@dht11.
func (c *Chip) Name() string {
	switch {
	case c.Kernel():
		return c.Driver + "@" + c.Device
	case c.Multiplexer != 0:
		return fmt.Sprintf("%s@%s:%#02x.%d:%#02x", c.Driver, c.Bus, c.Multiplexer, c.Channel, c.Address)
	}
	return fmt.Sprintf("%s@%s:%#02x", c.Driver, c.Bus, c.Address)
}

// Supplies returns the measures of a chip, none if its driver is unknown.
func (c Chip) Supplies() []telemetry.Measure {
	if !c.Kernel() {
		return kindOf(c.Driver).measures
	}
	var all []telemetry.Measure
	for m := range telemetry.Measure(telemetry.Measures) {
		if slices.Contains(c.Measures, m.String()) {
			all = append(all, m)
		}
	}
	return all
}

// Addresses returns those that the chip's pins can choose.
func (c Chip) Addresses() []uint16 { return kindOf(c.Driver).addresses }

// Validate reports what is wrong with a chip by itself.
func (c Chip) Validate(report report) {
	if c.Driver == "" {
		report("driver", "", "what the chip is, such as bme280")
		return
	}
	if c.Kernel() {
		c.validateKernel(report)
	} else {
		c.validateAddressed(report)
	}
	c.validateQuality(report)
	has := kindOf(c.Driver).settings
	for _, g := range c.given() {
		switch can, ok := has[g.path]; {
		case g.value == nil:
		case !ok:
			c.refuse(report, g.path)
		case !can.has(g.value):
			report(g.path, "", can.want)
		}
	}
	if c.IntegrationTime != nil && (c.Gain == nil || *c.Gain == GainAuto) && has["gain"].has != nil {
		report("integration_time", "", "it left out, or a gain that is not auto")
	}
}

func (c *Chip) validateAddressed(report report) {
	if c.Bus == "" {
		report("bus", "", "the I2C bus, such as \"1\"")
	}
	if !c.validAddress() {
		report("address", "", c.wantAddress())
	}
	switch {
	case c.Multiplexer != 0 && (c.Multiplexer < firstMultiplexer || c.Multiplexer > lastAddress):
		report("multiplexer", "", "the I2C address of a TCA9548A, from 0x70 to 0x77")
	case c.Channel < 0 || c.Channel > 7:
		report("channel", "", "a channel of the multiplexer, from 0 to 7")
	case c.Channel != 0 && c.Multiplexer == 0:
		report("channel", "", "it left out, or the address of a multiplexer")
	}
	if c.Device != "" {
		c.refuse(report, "device")
	}
	if c.Measures != nil {
		c.refuse(report, "measures")
	}
}

func (c *Chip) validateKernel(report report) {
	if c.Device == "" || strings.ContainsAny(c.Device, "/*?[\\\n") {
		report("device", "", "the device's name, as in /sys/bus/iio/devices/*/name or /sys/class/hwmon/*/name")
	}
	if len(c.Measures) == 0 {
		report("measures", "", "what the device measures, such as [temperature, humidity]")
	}
	for i, m := range c.Measures {
		if slices.Contains(c.Measures[:i], m) {
			report(fmt.Sprintf("measures[%d]", i), "", "each measure once")
		}
	}
	if c.Address != 0 {
		c.refuse(report, "address")
	}
	if c.Multiplexer != 0 {
		c.refuse(report, "multiplexer")
	}
	if c.Channel != 0 {
		c.refuse(report, "channel")
	}
}

// refuse reports a setting that is given and that the chip does not have.
func (c *Chip) refuse(report report, path string) {
	report(path, "", fmt.Sprintf("it left out: %s %s has no %s", article(c.Driver), c.Driver, path))
}

func article(name string) string {
	if strings.ContainsAny(name[:1], "aefhilmnorsx") { // as the first letter is spoken
		return "an"
	}
	return "a"
}

// The addresses that are not reserved (I2C-bus specification UM10204, 3.1.12),
// and the first of a TCA9548A (its datasheet, table 2).
const (
	firstAddress     = 0x08
	firstMultiplexer = 0x70
	lastAddress      = 0x77
)

func (c *Chip) validAddress() bool {
	possible := c.Addresses()
	return c.Address >= firstAddress && c.Address <= lastAddress && (possible == nil || slices.Contains(possible, c.Address))
}

func (c *Chip) wantAddress() string {
	want := fmt.Sprintf("an I2C address from 0x%02x to 0x%02x", firstAddress, lastAddress)
	possible := c.Addresses()
	if possible == nil {
		return want
	}
	texts := make([]string, len(possible))
	for i, a := range possible {
		texts[i] = fmt.Sprintf("0x%02x", a)
	}
	return fmt.Sprintf("%s: %s %s has %s", want, article(c.Driver), c.Driver, alternatives(texts))
}

// FixedGain returns the gain of a light sensor, and false if the driver is to
// change it with the light.
func (c *Chip) FixedGain() (gain string, fixed bool) {
	gain = value(c.Gain, GainAuto)
	return gain, gain != GainAuto
}

// Integration returns the time of a measurement with a fixed gain.
func (c *Chip) Integration() time.Duration {
	return value(c.IntegrationTime, 100*time.Millisecond)
}

func value[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
