package iio

import (
	"context"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"periph.io/x/conn/v3/physic"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/drivers"
	"github.com/telltale-iot/telltale/drivers/light"
)

// tree returns a sysfs with files of these contents, each with the kernel's line end.
func tree(files map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, content := range files {
		root[name] = &fstest.MapFile{Data: []byte(content + "\n")}
	}
	return root
}

// merge returns one map of all.
func merge(all ...map[string]string) map[string]string {
	sum := map[string]string{}
	for _, files := range all {
		for name, content := range files {
			sum[name] = content
		}
	}
	return sum
}

// in returns the files below a directory.
func in(dir string, files map[string]string) map[string]string {
	below := map[string]string{}
	for name, content := range files {
		below[dir+"/"+name] = content
	}
	return below
}

// What some of the kernel's drivers show.
var (
	bme280 = map[string]string{
		"name": "bme280", "in_temp_input": "25080", "in_pressure_input": "100.653253906", "in_humidityrelative_input": "46004",
	}
	si7020 = map[string]string{
		"name": "si7020", "in_temp_raw": "6684", "in_temp_offset": "-4368", "in_temp_scale": "10.725097656",
		"in_humidityrelative_raw": "7000", "in_humidityrelative_offset": "-786", "in_humidityrelative_scale": "7.629394531",
	}
	bh1750 = map[string]string{"name": "bh1750", "in_illuminance_raw": "28067", "in_illuminance_scale": "0.833333"}
	sht3x  = map[string]string{"name": "sht3x", "temp1_input": "-1250", "humidity1_input": "50000", "temp1_alarm": "0"}
)

const all = 1<<temperature | 1<<humidity | 1<<pressure | 1<<illuminance

func newDev(t testing.TB, root fs.FS, device string, quantities int) *Dev {
	t.Helper()
	d, err := New(root, Options{
		Device:      device,
		Temperature: quantities>>temperature&1 == 1,
		Humidity:    quantities>>humidity&1 == 1,
		Pressure:    quantities>>pressure&1 == 1,
		Illuminance: quantities>>illuminance&1 == 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestSense(t *testing.T) {
	for _, tt := range []struct {
		name       string
		files      map[string]string
		device     string
		quantities int
		want       drivers.Measurement
	}{
		{"processed", in("bus/iio/devices/iio:device0", bme280), "bme280", all &^ (1 << illuminance), drivers.Measurement{
			Temperature: physic.ZeroCelsius + 25080*physic.MilliCelsius,
			Humidity:    4600400 * physic.TenthMicroRH,
			Pressure:    100653253906000 * physic.NanoPascal,
			Words:       drivers.Words{Temperature: 25080, Humidity: 46004, Pressure: 100653253906 & 0xFFFFFFFF},
		}},
		{"only what was asked for", in("bus/iio/devices/iio:device0", bme280), "bme280", 1 << pressure, drivers.Measurement{
			Pressure: 100653253906000 * physic.NanoPascal,
			Words:    drivers.Words{Pressure: 100653253906 & 0xFFFFFFFF},
		}},
		// 2316 x 10.725097656 and 6214 x 7.629394531.
		{"raw, offset and scale", in("bus/iio/devices/iio:device3", si7020), "si7020", 1<<temperature | 1<<humidity, drivers.Measurement{
			Temperature: physic.ZeroCelsius + 24839326171296*physic.NanoKelvin/1000,
			Humidity:    4740906 * physic.TenthMicroRH,
			Words:       drivers.Words{Temperature: 6684, Humidity: 7000},
		}},
		{"raw and scale", in("bus/iio/devices/iio:device0", bh1750), "bh1750", 1 << illuminance, drivers.Measurement{
			Illuminance: 23389157311 * light.MicroLux,
			Words:       drivers.Words{Illuminance: 28067},
		}},
		{"a numbered channel", in("bus/iio/devices/iio:device0", map[string]string{
			"name": "tsl2563", "in_illuminance0_input": "42",
		}), "tsl2563", 1 << illuminance, drivers.Measurement{
			Illuminance: 42 * light.Lux, Words: drivers.Words{Illuminance: 42},
		}},
		{"a numbered channel with a shared scale", in("bus/iio/devices/iio:device0", map[string]string{
			"name": "x", "in_temp0_raw": "-10", "in_temp_scale": "1000", "in_temp_offset": "0.5",
		}), "x", 1 << temperature, drivers.Measurement{
			Temperature: physic.ZeroCelsius - 9500*physic.MilliCelsius, Words: drivers.Words{Temperature: 0xFFFFFFF6},
		}},
		{"processed before raw", in("bus/iio/devices/iio:device0", map[string]string{
			"name": "veml6030", "in_illuminance_input": "88.800000", "in_illuminance_raw": "7", "in_illuminance_scale": "0.125",
		}), "veml6030", 1 << illuminance, drivers.Measurement{
			Illuminance: 88800 * light.MilliLux, Words: drivers.Words{Illuminance: 88800000},
		}},
		{"hwmon", in("class/hwmon/hwmon2", sht3x), "sht3x", 1<<temperature | 1<<humidity, drivers.Measurement{
			Temperature: physic.ZeroCelsius - 1250*physic.MilliCelsius,
			Humidity:    50 * physic.PercentRH,
			Words:       drivers.Words{Temperature: 0xFFFFFB1E, Humidity: 50000},
		}},
		{"no fault", in("class/hwmon/hwmon2", merge(sht3x, map[string]string{"temp1_fault": "0"})), "sht3x", 1 << temperature, drivers.Measurement{
			Temperature: physic.ZeroCelsius - 1250*physic.MilliCelsius, Words: drivers.Words{Temperature: 0xFFFFFB1E},
		}},
		{"humidity is clipped", in("class/hwmon/hwmon2", map[string]string{"name": "sht4x", "humidity1_input": "-5999"}), "sht4x", 1 << humidity,
			drivers.Measurement{Words: drivers.Words{Humidity: 0xFFFFE891}}},
		{"humidity is clipped above", in("class/hwmon/hwmon2", map[string]string{"name": "sht4x", "humidity1_input": "118999"}), "sht4x", 1 << humidity,
			drivers.Measurement{Humidity: 100 * physic.PercentRH, Words: drivers.Words{Humidity: 118999}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m drivers.Measurement
			if err := newDev(t, tree(tt.files), tt.device, tt.quantities).Sense(t.Context(), &m); err != nil || m != tt.want {
				t.Errorf("got %+v, %v: want %+v", m, err, tt.want)
			}
		})
	}
}

// Which of several devices is meant.
func TestFind(t *testing.T) {
	temp := func(name, milli string) map[string]string {
		return map[string]string{"name": name, "in_temp_input": milli}
	}
	hwmon := func(name, milli string) map[string]string {
		return map[string]string{"name": name, "temp1_input": milli}
	}
	root := tree(merge(
		in("bus/iio/devices/iio:device0", temp("bme280", "1000")),
		in("bus/iio/devices/iio:device1", temp("dht11@4", "2000")),
		in("bus/iio/devices/iio:device10", temp("bme280", "3000")),
		in("class/hwmon/hwmon0", hwmon("cpu_thermal", "4000")),
		in("class/hwmon/hwmon1", hwmon("dht11@4", "5000")),
		in("bus/i2c/devices/1-0076/iio:device0", temp("bme280", "1000")),
		in("bus/i2c/devices/1-0077/iio:device10", temp("bme280", "3000")),
		in("bus/i2c/devices/11-0044/hwmon/hwmon7", hwmon("sht3x", "7000")),
		in("bus/i2c/devices/1-0048", map[string]string{"name": "tmp102"}), // without a driver
	))
	for _, tt := range []struct {
		device string
		want   int64 // degree Celsius
		err    error
	}{
		{"dht11@4", 2, nil}, // IIO before hwmon
		{"iio:device1", 2, nil},
		{"iio:device10", 3, nil},
		{"hwmon0", 4, nil},
		{"cpu_thermal", 4, nil},
		{"1-0076", 1, nil},
		{"1-0077", 3, nil},
		{"11-0044", 7, nil},
		{"bme280", 0, drivers.ErrWrongChip},
		{"iio:device2", 0, syscall.ENODEV},
		{"hwmon5", 0, syscall.ENODEV},
		{"1-0048", 0, syscall.ENODEV},
		{"2-0076", 0, syscall.ENODEV},
		{"bme28", 0, syscall.ENODEV},
	} {
		var m drivers.Measurement
		err := newDev(t, root, tt.device, 1<<temperature).Sense(t.Context(), &m)
		if !errors.Is(err, tt.err) || err != nil && !strings.HasPrefix(err.Error(), "IIO device "+tt.device+": ") {
			t.Errorf("%s: error %v: want %v", tt.device, err, tt.err)
		}
		if want := physic.ZeroCelsius + physic.Temperature(tt.want)*physic.Celsius; err == nil && m.Temperature != want {
			t.Errorf("%s: got %v: want %v", tt.device, m.Temperature, want)
		}
	}
}

// A device is found again that went away, and another that took its number is not
// taken for it.
func TestGoneAndBack(t *testing.T) {
	root := tree(in("bus/iio/devices/iio:device0", bme280))
	d := newDev(t, root, "bme280", 1<<temperature)
	sense := func(want error) {
		t.Helper()
		var m drivers.Measurement
		if err := d.Sense(t.Context(), &m); !errors.Is(err, want) || (err != nil) != (m == drivers.Measurement{}) {
			t.Errorf("got %+v, %v: want %v", m, err, want)
		}
	}
	replace := func(files map[string]string) {
		clear(root)
		for name, file := range tree(files) {
			root[name] = file
		}
	}
	sense(nil)
	replace(nil)
	sense(syscall.ENODEV)
	replace(in("bus/iio/devices/iio:device0", map[string]string{"name": "si7020", "in_temp_input": "1"}))
	sense(syscall.ENODEV)
	replace(merge(
		in("bus/iio/devices/iio:device0", map[string]string{"name": "si7020", "in_temp_input": "1"}),
		in("bus/iio/devices/iio:device1", bme280),
	))
	sense(nil)
}

// failing is a sysfs in which reading one file fails, the first times that it is read.
type failing struct {
	fs.FS
	name  string
	err   error
	times int
}

func (f *failing) ReadFile(name string) ([]byte, error) {
	if strings.HasSuffix(name, f.name) && f.times > 0 {
		f.times--
		return nil, &fs.PathError{Op: "read", Path: name, Err: f.err}
	}
	return fs.ReadFile(f.FS, name)
}

// Each file of a reading fails in turn. The errno is kept, nothing is stored, and the
// next reading succeeds.
func TestFailingRead(t *testing.T) {
	files := in("bus/iio/devices/iio:device0", merge(si7020, map[string]string{"in_pressure_input": "100"}))
	var whole drivers.Measurement
	quantities := 1<<temperature | 1<<humidity | 1<<pressure
	if err := newDev(t, tree(files), "si7020", quantities).Sense(t.Context(), &whole); err != nil {
		t.Fatal(err)
	}
	for name := range files {
		for _, errno := range []syscall.Errno{
			syscall.EIO, syscall.ENXIO, syscall.ETIMEDOUT, syscall.EREMOTEIO, syscall.ENODATA, syscall.EBUSY, syscall.ENODEV,
		} {
			d := newDev(t, &failing{tree(files), name, errno, 1}, "si7020", quantities)
			want := errno
			if strings.HasSuffix(name, "/name") {
				want = syscall.ENODEV
			}
			var m drivers.Measurement
			if err := d.Sense(t.Context(), &m); !errors.Is(err, want) || m != (drivers.Measurement{}) {
				t.Errorf("%s, %v: got %+v, %v", name, errno, m, err)
			}
			if err := d.Sense(t.Context(), &m); err != nil || m != whole {
				t.Errorf("%s, %v: the next reading is %+v, %v", name, errno, m, err)
			}
		}
	}
}

// A device that goes away while it is read is not one that measures something else.
func TestGoesAway(t *testing.T) {
	root := &failing{tree(in("bus/iio/devices/iio:device0", map[string]string{"name": "bme280"})), "name", fs.ErrNotExist, 0}
	d := newDev(t, root, "bme280", 1<<temperature)
	if err := d.Sense(t.Context(), new(drivers.Measurement)); !errors.Is(err, drivers.ErrWrongChip) {
		t.Errorf("error %v: want %v", err, drivers.ErrWrongChip)
	}
	gone := goneAfter{FS: root, reads: 1}
	d = newDev(t, &gone, "bme280", 1<<temperature)
	if err := d.Sense(t.Context(), new(drivers.Measurement)); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("error %v: want %v", err, syscall.ENODEV)
	}
}

// goneAfter is a sysfs in which nothing can be read after a number of reads.
type goneAfter struct {
	fs.FS
	reads int
}

func (g *goneAfter) ReadFile(name string) ([]byte, error) {
	if g.reads--; g.reads < 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
	}
	return fs.ReadFile(g.FS, name)
}

func TestFaults(t *testing.T) {
	const dir = "bus/iio/devices/iio:device0"
	for _, tt := range []struct {
		name     string
		files    map[string]string
		quantity quantity
		want     error
	}{
		{"a fault of the sensor", in("class/hwmon/hwmon0", map[string]string{"temp1_input": "20000", "temp1_fault": "1"}), temperature, drivers.ErrNotReady},
		{"no such quantity", in(dir, map[string]string{"in_temp_input": "1"}), humidity, drivers.ErrWrongChip},
		{"no such quantity in hwmon", in("class/hwmon/hwmon0", map[string]string{"temp1_input": "1"}), pressure, drivers.ErrWrongChip},
		{"no scale", in(dir, map[string]string{"in_temp_raw": "1"}), temperature, drivers.ErrWrongChip},
		{"no number", in(dir, map[string]string{"in_temp_input": "nan"}), temperature, drivers.ErrOutOfRange},
		{"nothing", in(dir, map[string]string{"in_temp_input": ""}), temperature, drivers.ErrOutOfRange},
		{"a bad scale", in(dir, map[string]string{"in_temp_raw": "1", "in_temp_scale": "-"}), temperature, drivers.ErrOutOfRange},
		{"a bad offset", in(dir, map[string]string{"in_temp_raw": "1", "in_temp_scale": "1", "in_temp_offset": "1e3"}), temperature, drivers.ErrOutOfRange},
		{"less than absolute zero", in(dir, map[string]string{"in_temp_input": "-273150.001"}), temperature, drivers.ErrOutOfRange},
		{"more than there is", in(dir, map[string]string{"in_temp_input": "9223372036855"}), temperature, drivers.ErrOutOfRange},
		{"negative pressure", in(dir, map[string]string{"in_pressure_input": "-0.000000001"}), pressure, drivers.ErrOutOfRange},
		{"negative light", in(dir, map[string]string{"in_illuminance_input": "-1"}), illuminance, drivers.ErrOutOfRange},
		{"far too dry", in(dir, map[string]string{"in_humidityrelative_input": "-10000.01"}), humidity, drivers.ErrOutOfRange},
		{"far too humid", in(dir, map[string]string{"in_humidityrelative_input": "120000.01"}), humidity, drivers.ErrOutOfRange},
	} {
		t.Run(tt.name, func(t *testing.T) {
			device := "iio:device0"
			for name := range tt.files {
				if strings.Contains(name, "hwmon0") {
					device = "hwmon0"
				}
			}
			var m drivers.Measurement
			if err := newDev(t, tree(tt.files), device, 1<<tt.quantity).Sense(t.Context(), &m); !errors.Is(err, tt.want) || m != (drivers.Measurement{}) {
				t.Errorf("got %+v, %v: want %v", m, err, tt.want)
			}
		})
	}
}

// A reading is whole or not at all, also if the last of the quantities fails.
func TestWhole(t *testing.T) {
	files := in("bus/iio/devices/iio:device0", merge(bme280, map[string]string{"in_pressure_input": "x"}))
	before := drivers.Measurement{Temperature: 1, Humidity: 2, Pressure: 3, Illuminance: 4}
	m := before
	if err := newDev(t, tree(files), "bme280", 1<<temperature|1<<humidity|1<<pressure).Sense(t.Context(), &m); err == nil || m != before {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	root := tree(in("bus/iio/devices/iio:device0", bme280))
	if err := newDev(t, root, "bme280", 1<<temperature).Sense(ctx, new(drivers.Measurement)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v: want %v", err, context.Canceled)
	}
}

// The links of which a real sysfs is made are followed.
func TestLinks(t *testing.T) {
	root := t.TempDir()
	device := filepath.Join(root, "devices/platform/i2c-1/1-0076/iio:device0")
	if err := os.MkdirAll(device, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range bme280 {
		if err := os.WriteFile(filepath.Join(device, name), []byte(content+"\n"), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"bus/iio/devices/iio:device0": "../../../devices/platform/i2c-1/1-0076/iio:device0",
		"bus/i2c/devices/1-0076":      "../../../devices/platform/i2c-1/1-0076",
	} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(link)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"bme280", "iio:device0", "1-0076"} {
		var m drivers.Measurement
		err := newDev(t, os.DirFS(root), name, 1<<temperature).Sense(t.Context(), &m)
		if want := physic.ZeroCelsius + 25080*physic.MilliCelsius; err != nil || m.Temperature != want {
			t.Errorf("%s: got %v, %v: want %v", name, m.Temperature, err, want)
		}
	}
}

// What is computed is exact, and rounded once.
func TestScaled(t *testing.T) {
	number := func(t *rapid.T, name string) string {
		return rapid.StringMatching(`-?[0-9]{1,9}(\.[0-9]{1,9})?`).Draw(t, name)
	}
	rat := func(s string) *big.Rat {
		r, ok := new(big.Rat).SetString(s)
		if !ok {
			panic(s)
		}
		return r
	}
	rapid.Check(t, func(t *rapid.T) {
		raw, offset, scale := number(t, "raw"), number(t, "offset"), number(t, "scale")
		root := tree(in("bus/iio/devices/iio:device0", map[string]string{
			"in_illuminance_raw": raw, "in_illuminance_offset": offset, "in_illuminance_scale": scale,
		}))
		d, err := New(root, Options{Device: "iio:device0", Illuminance: true})
		if err != nil {
			t.Fatal(err)
		}
		want := rat(raw)
		want.Mul(want.Add(want, rat(offset)), rat(scale))
		want.Mul(want, big.NewRat(1_000_000, 1))
		var m drivers.Measurement
		if err := d.Sense(context.Background(), &m); err != nil {
			if fit := want.Cmp(big.NewRat(-1, 2)) >= 0 && want.Cmp(big.NewRat(1<<62, 1)) < 0; fit || !errors.Is(err, drivers.ErrOutOfRange) {
				t.Fatalf("(%s + %s) x %s: %v", raw, offset, scale, err)
			}
			return
		}
		off := want.Sub(want, new(big.Rat).SetInt64(int64(m.Illuminance)))
		if off.Abs(off).Cmp(big.NewRat(1, 2)) > 0 {
			t.Fatalf("(%s + %s) x %s: got %v", raw, offset, scale, m.Illuminance)
		}
	})
}

func TestNew(t *testing.T) {
	root := fstest.MapFS{}
	for _, tt := range []struct {
		name    string
		root    fs.FS
		options Options
		ok      bool
	}{
		{"all of a device", root, Options{"bme280", true, true, true, true}, true},
		{"one quantity", root, Options{Device: "bh1750", Illuminance: true}, true},
		{"no sysfs", nil, Options{Device: "bme280", Temperature: true}, false},
		{"no device", root, Options{Temperature: true}, false},
		{"a path", root, Options{Device: "../x", Temperature: true}, false},
		{"a pattern", root, Options{Device: "1*-0076", Temperature: true}, false},
		{"two lines", root, Options{Device: "a\nb", Temperature: true}, false},
		{"nothing to measure", root, Options{Device: "bme280"}, false},
	} {
		if _, err := New(tt.root, tt.options); (err == nil) != tt.ok || !tt.ok && !errors.Is(err, drivers.ErrOptions) {
			t.Errorf("%s: error %v", tt.name, err)
		}
	}
}

// A number is what the standard library reads of it, if it is a decimal fraction as
// the kernel writes them, and else an error.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"0", "-1250\n", "100.653253906", "-0.000001", "1.0 dB", "1e9", "0x10", "1/2", "+1", ".5", "5.", "", "-", "\n", "--1", "1\n\n",
		"18446744073709551615.999999999", "00000000000000000000000000000000000000000000000000",
	} {
		f.Add(s)
	}
	fraction := regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?\n?$`)
	f.Fuzz(func(t *testing.T, text string) {
		got, word, err := parse(text)
		if ok := fraction.MatchString(text) && len(strings.TrimSuffix(text, "\n")) <= longestNumber; ok != (err == nil) {
			t.Fatalf("%q: error %v", text, err)
		}
		if err != nil {
			if !errors.Is(err, drivers.ErrOutOfRange) {
				t.Errorf("%q: error without a kind: %v", text, err)
			}
			return
		}
		number := strings.TrimSuffix(text, "\n")
		want, _ := new(big.Rat).SetString(number)
		if got.Cmp(want) != 0 {
			t.Errorf("%q: got %v: want %v", text, got, want)
		}
		digits, _ := new(big.Int).SetString(strings.Replace(number, ".", "", 1), 10)
		if low := new(big.Int).And(digits, big.NewInt(0xFFFFFFFF)); low.Uint64() != uint64(word) {
			t.Errorf("%q: word %#x: want %#x", text, word, low)
		}
	})
}

// Whatever the kernel says, a reading is a possible value or an error of a kind.
func FuzzSense(f *testing.F) {
	f.Add("6684", "-4368", "10.725097656")
	f.Add("1", "", "9999999999999999999999999999999999999999")
	f.Fuzz(func(t *testing.T, raw, offset, scale string) {
		root := fstest.MapFS{}
		for _, channel := range []string{"in_temp", "in_humidityrelative", "in_pressure", "in_illuminance"} {
			for name, content := range map[string]string{"raw": raw, "offset": offset, "scale": scale} {
				root["bus/iio/devices/iio:device0/"+channel+"_"+name] = &fstest.MapFile{Data: []byte(content)}
			}
		}
		for q := range quantity(4) {
			var m drivers.Measurement
			err := newDev(t, root, "iio:device0", 1<<q).Sense(t.Context(), &m)
			if err != nil && (m != (drivers.Measurement{}) || !errors.Is(err, drivers.ErrOutOfRange)) {
				t.Errorf("%v: got %+v, %v", q, m, err)
			}
			if m.Temperature < 0 || m.Humidity < 0 || m.Humidity > 100*physic.PercentRH || m.Pressure < 0 || m.Illuminance < 0 {
				t.Errorf("%v: got %+v", q, m)
			}
		}
	})
}
