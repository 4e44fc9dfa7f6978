package scenario_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/internal/settings"
	"github.com/telltale-iot/telltale/simulator/i2csim"
	"github.com/telltale-iot/telltale/simulator/scenario"
)

// What is wrong is said with its place, the value and what was expected.
func TestParseRefuses(t *testing.T) {
	const chip = "chips: [{kind: bme280, address: 0x76}]\n"
	const sensor = "sensors: [{id: pi-1, interval: 10s, chips: [{driver: bme280, address: 0x76}]}]\n"
	const whole = "name: x\nduration: 1m\n" + chip + sensor
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", `
x.yaml:1:1: name: want the scenario's name: 1 to 64 letters, digits, _ or -
x.yaml:1:1: duration: 0s: want from 1s to 8784h
x.yaml:1:1: sensors: want at least one sensor
x.yaml:1:1: chips: want at least one chip`},
		{"a misspelt setting", whole + "fault: []\n", "\nx.yaml:5:1: fault: want a setting that exists, perhaps faults"},
		{"a chip that is not emulated", "name: x\nduration: 1m\nchips: [{kind: bme281, address: 0x76}]\n" + sensor,
			"\nx.yaml:3:16: chips[0].kind: bme281: want one of KINDS"},
		{"a chip without a kind and an address beyond the bus", "name: x\nduration: 1m\nchips:\n  - {name: a, address: 0x80}\n" + sensor, `
x.yaml:4:5: chips[0].kind: want one of KINDS
x.yaml:4:24: chips[0].address: 0x80: want from 8 to 119`},
		{"two chips at one address", whole[:len(whole)-len(sensor)-2] + ", {name: b, kind: bmp280, address: 0x76}]\n" + sensor, `
x.yaml:3:73: chips[1].address: 0x76: want an address of its own, or a fault address_conflict with bme280, which is there`},
		{"two chips of one name", whole[:len(whole)-len(sensor)-2] + ", {kind: bme280, address: 0x77}]\n" + sensor, `
x.yaml:3:40: chips[1].name: want a name that no other chip has; one is called bme280`},
		{"a place that is not there", "name: x\nduration: 1m\nchips: [{kind: bme280, address: 0x76, environment: moon}]\n" + sensor, `
x.yaml:3:52: chips[0].environment: moon: want the name of one of the environments`},
		{"a channel of nothing", "name: x\nduration: 1m\nchips: [{kind: bme280, address: 0x76, multiplexer: 0x70, channel: 8}]\n" + sensor, `
x.yaml:3:52: chips[0].multiplexer: 0x70: want the address of a multiplexer on bus 1
x.yaml:3:67: chips[0].channel: 8: want from 0 to 7`},
		{"a channel alone", "name: x\nduration: 1m\nchips: [{kind: bme280, address: 0x76, channel: 1}]\n" + sensor, `
x.yaml:3:9: chips[0].multiplexer: want a multiplexer and a channel, or neither`},
		{"multiplexers", whole + "multiplexers: [{address: 0x6f}, {address: 0x70}, {address: 0x70}, {address: 0x76}]\n", `
x.yaml:3:33: chips[0].address: 0x76: want an address of its own; there is a multiplexer at this one
x.yaml:5:26: multiplexers[0].address: 0x6f: want an address from 0x70 to 0x77
x.yaml:5:60: multiplexers[2].address: 0x70: want an address of its own; there is a multiplexer at this one`},
		{"series", whole + `environments:
  - {name: a, temperature: {value: 20}}
  - {name: a, temperature: {value: 20 K}, humidity: {value: 101 %}}
  - {name: b, pressure: {shape: sine, value: 1000 hPa}, luminosity: {shape: ramp, value: 1 lx, to: 2 lx, peak: 1h}}
  - {name: c, humidity: {shape: steps, value: 1 %}, begin: 1h}
  - {name: d, humidity: {shape: steps, value: 1 %, steps: [{at: 2s, value: 2}, {at: 1s, value: 3 %}]}}
  - {name: e, humidity: {value: 1 %, amplitude: 3 %}}
`, `
x.yaml:6:36: environments[0].temperature.value: 20: want a value with its unit
x.yaml:7:12: environments[1].name: a: want a name that no other environment has
x.yaml:7:36: environments[1].temperature.value: 20 K: want a value from -100 to 200 with its unit, such as 21 °C
x.yaml:7:61: environments[1].humidity.value: 101 %: want a value from 0 to 100 with its unit, such as 45 %
x.yaml:8:15: environments[2].pressure.amplitude: want a difference with its unit, such as 0.5 hPa
x.yaml:8:57: environments[2].luminosity.over: want how long the ramp takes
x.yaml:8:112: environments[2].luminosity.peak: 1h: want it left out, or the shape sine
x.yaml:9:15: environments[3].humidity.steps: want at least one step
x.yaml:9:60: environments[3].begin: 1h: want recorded as well
x.yaml:10:76: environments[4].humidity.steps[0].value: 2: want a value with its unit
x.yaml:10:85: environments[4].humidity.steps[1].at: 1s: want a time after that of the step before
x.yaml:11:49: environments[5].humidity.amplitude: 3 %: want it left out, or the shape sine`},
		{"faults", whole + `faults:
  - {chip: bme280}
  - {fault: nack}
  - {fault: nack, chip: bme281, to: 1s, from: 2s}
  - {fault: nack, bus: "2"}
  - {fault: nack, chip: bme280, bus: "1", delay: 1s}
  - {fault: stuck_low, chip: bme280, from: 1s}
  - {fault: unplugged, chip: bme280}
  - {fault: brown_out, chip: bme280}
  - {fault: brown_out, chip: bme280, from: 1s, every: 1m, for: 1s}
  - {fault: nack, chip: bme280, every: 1m, for: 2m}
  - {fault: nack, chip: bme280, every: 1m}
  - {fault: slow, chip: bme280, one_in: 5}
  - {fault: nack, chip: bme280, one_in: 5, every_transaction: 5}
  - {fault: nack, bus: "1", one_in: 5}
  - {fault: wrong_crc, chip: bme280}
  - {fault: drift, chip: bme280}
  - {fault: drift, chip: bme280, temperature: 1 °C, humidity: 1 %}
  - {fault: nack, chip: bme280, temperature: 1 K}
  - {fault: address_conflict, chip: bme280, with: bme280}
  - {fault: address_conflict, chip: bme280}
  - {fault: burnt, chip: bme280}
`, `
x.yaml:6:5: faults[0].fault: want what goes wrong, such as nack or brown_out
x.yaml:7:5: faults[1].chip: want a chip, or a bus
x.yaml:8:25: faults[2].chip: bme281: want the name of one of the chips
x.yaml:8:37: faults[2].to: 1s: want a time after from
x.yaml:9:24: faults[3].bus: 2: want a bus that a chip is on
x.yaml:10:38: faults[4].bus: 1: want a chip or a bus, not both
x.yaml:10:50: faults[4].delay: 1s: want it left out, as nack has no delay
x.yaml:11:30: faults[5].chip: bme280: want a bus, as no chip on it can be reached
x.yaml:12:5: faults[6].from: want when it happens
x.yaml:13:5: faults[7].from: want when it happens
x.yaml:14:64: faults[8].for: 1s: want it left out: a brown-out is a moment
x.yaml:15:40: faults[9].every: 1m: want every and for, of which for is shorter
x.yaml:16:40: faults[10].every: 1m: want every and for, of which for is shorter
x.yaml:17:5: faults[11].factor: 0: want from 2 to 1000
x.yaml:17:13: faults[11].fault: slow: want it by times only
x.yaml:18:13: faults[12].fault: nack: want one of transactions, every_transaction and one_in
x.yaml:19:24: faults[13].bus: 1: want a chip, as nobody says in which order the chips of a bus are read
x.yaml:20:5: faults[14].byte: want the checksum's place in the answer, from 0
x.yaml:21:13: faults[15].fault: drift: want a difference of at least one measure, such as temperature: 0.5 K
x.yaml:22:47: faults[16].temperature: 1 °C: want a difference with its unit, such as 0.5 K
x.yaml:23:46: faults[17].temperature: 1 K: want it left out, as nack has no temperature
x.yaml:24:51: faults[18].with: bme280: want the name of another chip at the same address
x.yaml:25:5: faults[19].with: want the other chip
x.yaml:26:13: faults[20].fault: burnt: want nack, io, timeout, stuck_low, bit_flips, wrong_crc, brown_out, unplugged, frozen, slow, drift, noise or address_conflict`},
		{"expectations", whole + `expect:
  - {sensor: pi-2, ok: 6}
  - {sensor: pi-1, measures: [luminosity], ok: 6}
  - {sensor: pi-1, measures: [temperature], ok: 5, faults: [{reason: nack, readings: 2}, {readings: 0}]}
  - {sensor: pi-1, measures: [temperature, humidity], ok: 6, wrong: 7, stale: 8, deviation: 1 °C}
`, `
x.yaml:6:14: expect[0].sensor: pi-2: want the id of one of the sensors
x.yaml:7:31: expect[1].measures[0]: luminosity: want a measure that a chip of the sensor supplies
x.yaml:8:49: expect[2].ok: 5: want 6 together with the faults: the sensor takes so many readings
x.yaml:8:90: expect[2].faults[1]: want a reason, and the number of readings with it
x.yaml:9:5: expect[3]: want nothing more about temperature of pi-1
x.yaml:9:69: expect[3].wrong: 7: want no more than are ok
x.yaml:9:79: expect[3].stale: 8: want no more than are ok
x.yaml:9:93: expect[3].deviation: 1 °C: want a difference with its unit, such as 0.5 K
x.yaml:9:93: expect[3].deviation: 1 °C: want a difference with its unit, such as 0.5 %`},
		{"the agent's own rules", "name: x\nduration: 1m\ndevice: pi-2\n" + chip + sensor, `
x.yaml:5:16: sensors[0].id: pi-1: want pi-2 or pi-2.SUFFIX, as the sensor is the device's`},
	} {
		_, err := scenario.Parse("x.yaml", []byte(tt.text))
		var problems settings.Problems
		if !errors.As(err, &problems) {
			t.Errorf("%s: %v: want settings.Problems", tt.name, err)
			continue
		}
		if diff := cmp.Diff(strings.TrimPrefix(strings.ReplaceAll(tt.want, "KINDS", kinds()), "\n"), problems.Error()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range scenario.Shipped() {
		data, err := scenario.Read(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := scenario.Parse("x.yaml", data)
		var problems settings.Problems
		if err != nil && !errors.As(err, &problems) {
			t.Fatalf("error %v: want settings.Problems", err)
		}
		if err != nil || strings.Contains(string(data), "recorded") {
			return
		}
		if _, err := s.World(time.Now()); err != nil {
			t.Errorf("it parses, but: %v", err)
		}
	})
}

func kinds() string { return strings.Join(i2csim.Kinds(), ", ") }
