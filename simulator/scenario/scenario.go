package scenario

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/telltale-iot/telltale/agent"
	"github.com/telltale-iot/telltale/internal/settings"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Scenario is a scenario that has been read. It is immutable.
type Scenario struct {
	File
	dir string // for the files that it names
}

// File is what a scenario file says.
type File struct {
	Name         string         `yaml:"name" help:"what it is called: letters, digits and -"`
	Description  string         `yaml:"description" help:"what it shows, in a sentence"`
	Duration     time.Duration  `yaml:"duration" help:"how long it takes"`
	Seed         uint64         `yaml:"seed" help:"of all that is drawn by chance; chips and faults have streams of their own"`
	Environments []Environment  `yaml:"environments" help:"what surrounds the chips"`
	Multiplexers []Multiplexer  `yaml:"multiplexers" help:"the TCA9548A on the buses"`
	Chips        []Chip         `yaml:"chips" help:"the emulated chips"`
	Faults       []Fault        `yaml:"faults" help:"what goes wrong"`
	Device       string         `yaml:"device" help:"the agent's device"`
	Sensors      []agent.Sensor `yaml:"sensors" help:"the agent's sensors, as in its configuration"`
	Expect       []Expectation  `yaml:"expect" help:"the quality of the readings; of measures that are not named all are ok"`
}

// Environment is a place with chips. Times are since the scenario's begin.
type Environment struct {
	Name     string        `yaml:"name"`
	Recorded string        `yaml:"recorded" help:"a recorded series: office, which is built in, or a CSV file beside the scenario"`
	Begin    time.Duration `yaml:"begin" help:"how far into the recording the scenario begins"`

	Temperature Series `yaml:"temperature" help:"in the place of the recording's"`
	Humidity    Series `yaml:"humidity"`
	Pressure    Series `yaml:"pressure"`
	Luminosity  Series `yaml:"luminosity"`
}

// The shapes of a series.
const (
	constant = "constant"
	sine     = "sine"
	ramp     = "ramp"
	steps    = "steps"
)

// Series is how one measure goes.
type Series struct {
	Shape     string        `yaml:"shape" enum:"constant,sine,ramp,steps" help:"constant if it is left out"`
	Value     string        `yaml:"value" want:"a value with its unit" help:"constant, the sine's mean, the ramp's and the steps' beginning"`
	Amplitude string        `yaml:"amplitude" want:"a difference with its unit" help:"sine: from the mean to the peak"`
	Period    time.Duration `yaml:"period" help:"sine: 24h if it is left out"`
	Peak      time.Duration `yaml:"peak" help:"sine: when it is greatest"`
	To        string        `yaml:"to" want:"a value with its unit" help:"ramp: its end, which it keeps"`
	From      time.Duration `yaml:"from" help:"ramp: when it begins"`
	Over      time.Duration `yaml:"over" help:"ramp: how long it takes"`
	Steps     []Step        `yaml:"steps" help:"steps: when which value begins"`
}

// Step is the beginning of a constant value.
type Step struct {
	At    time.Duration `yaml:"at"`
	Value string        `yaml:"value" want:"a value with its unit"`
}

// Multiplexer is a TCA9548A.
type Multiplexer struct {
	Bus     string `yaml:"bus"`
	Address uint16 `yaml:"address" want:"an address from 0x70 to 0x77"`
}

// SetDefaults gives a multiplexer the bus that an agent's chip has.
func (m *Multiplexer) SetDefaults() { m.Bus = "1" }

// Chip is an emulated chip.
type Chip struct {
	Name        string  `yaml:"name" help:"for faults; the kind if it is left out"`
	Kind        string  `yaml:"kind" help:"what it is, by the name of its driver"`
	Bus         string  `yaml:"bus"`
	Address     uint16  `yaml:"address" want:"an address from 0x08 to 0x77"`
	Multiplexer *uint16 `yaml:"multiplexer" want:"a multiplexer's address" help:"the multiplexer that it is behind"`
	Channel     *int    `yaml:"channel" want:"a channel from 0 to 7" help:"of the multiplexer"`
	Environment string  `yaml:"environment" help:"where it is; the first if it is left out"`
	Timing      string  `yaml:"timing" enum:"maximum,typical" help:"which of the datasheet's durations it has; maximum if it is left out"`
}

// SetDefaults gives a chip the bus that an agent's has.
func (c *Chip) SetDefaults() { c.Bus = "1" }

func (c *Chip) name() string { return cmp.Or(c.Name, c.Kind) }

// The faults.
const (
	NACK            = "nack"
	IO              = "io"
	Timeout         = "timeout"
	StuckLow        = "stuck_low"
	BitFlips        = "bit_flips"
	WrongCRC        = "wrong_crc"
	BrownOut        = "brown_out"
	Unplugged       = "unplugged"
	Frozen          = "frozen"
	Slow            = "slow"
	Drift           = "drift"
	Noise           = "noise"
	AddressConflict = "address_conflict"
)

// Fault is something that goes wrong, at times or in transactions. README.md
// says which of the settings each has.
type Fault struct {
	Fault string `yaml:"fault" enum:"nack,io,timeout,stuck_low,bit_flips,wrong_crc,brown_out,unplugged,frozen,slow,drift,noise,address_conflict"`
	Chip  string `yaml:"chip" help:"the chip that it befalls"`
	Bus   string `yaml:"bus" help:"the bus, where it befalls all of one"`

	From  time.Duration `yaml:"from" help:"when it begins"`
	To    time.Duration `yaml:"to" help:"when it ends; never if it is left out"`
	Every time.Duration `yaml:"every" help:"it comes again so often, for the time that for says"`
	For   time.Duration `yaml:"for" help:"how long it lasts each time"`

	Transactions     []uint64 `yaml:"transactions" help:"in which of the chip's transactions, counted from 1"`
	EveryTransaction uint64   `yaml:"every_transaction" help:"in each so many of the chip's transactions"`
	OneIn            uint64   `yaml:"one_in" help:"in one of so many of the chip's transactions, by chance"`

	Delay       time.Duration `yaml:"delay" help:"timeout, stuck_low: how long the bus is held in each transaction"`
	Byte        *int          `yaml:"byte" help:"wrong_crc: the checksum's place in the answer, from 0"`
	Factor      int           `yaml:"factor" help:"slow: how many times as long everything takes"`
	Temperature string        `yaml:"temperature" want:"a difference with its unit" help:"drift: in an hour; noise: its standard deviation"`
	Humidity    string        `yaml:"humidity" want:"a difference with its unit"`
	Pressure    string        `yaml:"pressure" want:"a difference with its unit"`
	Luminosity  string        `yaml:"luminosity" want:"a difference with its unit"`
	With        string        `yaml:"with" help:"address_conflict: the other chip, which is there in these times only"`
}

// Expectation is how the readings of a sensor have to be.
type Expectation struct {
	Sensor    string   `yaml:"sensor"`
	Measures  []string `yaml:"measures" enum:"temperature,humidity,pressure,luminosity" help:"all of the sensor's if it is left out"`
	OK        int      `yaml:"ok" help:"readings that have the measure"`
	Wrong     int      `yaml:"wrong" help:"of them, those that differ from what the chip measured"`
	Stale     int      `yaml:"stale" help:"of them, those of a conversion that had ended long before"`
	Faults    []Count  `yaml:"faults" help:"readings that lack the measure, by the reason"`
	Deviation string   `yaml:"deviation" want:"a difference with its unit" help:"how far a value may be from the surroundings, without drift and noise"`
}

// Count is how many readings lack a measure for a reason.
type Count struct {
	Reason   string `yaml:"reason"`
	Readings int    `yaml:"readings"`
}

// Parse reads a scenario; name is its file's, for messages, and tells where the
// files are that it names. The error is [settings.Problems]: everything that is
// wrong, with its place and what was expected.
func Parse(name string, data []byte) (*Scenario, error) {
	s := Scenario{File: File{Seed: 1, Device: "pi-1"}, dir: filepath.Dir(name)}
	if err := settings.New(&s.File).Parse(name, data); err != nil {
		return nil, err
	}
	return &s, nil
}

// ticks is how many readings a sensor takes: at the begin, and after each
// interval before the end.
func (f *File) ticks(s *agent.Sensor) int {
	return int((f.Duration + s.Interval - 1) / s.Interval)
}

// chip returns the chip of that name, nil if there is none.
func (f *File) chip(name string) *Chip {
	for i := range f.Chips {
		if f.Chips[i].name() == name {
			return &f.Chips[i]
		}
	}
	return nil
}

// sensor returns the sensor with that id, nil if there is none.
func (f *File) sensor(id string) *agent.Sensor {
	for i := range f.Sensors {
		if f.Sensors[i].ID == id {
			return &f.Sensors[i]
		}
	}
	return nil
}

// measuresOf are those that a sensor has, in telemetry's order.
func measuresOf(s *agent.Sensor) []telemetry.Measure {
	var found []telemetry.Measure
	for i := range s.Chips {
		found = append(found, s.Chips[i].Supplies()...)
	}
	slices.Sort(found)
	return found
}

// Where says what the chip is, and where.
func (c *Chip) Where() string {
	where := fmt.Sprintf("%s at %#02x", c.Kind, c.Address)
	if c.Multiplexer != nil && c.Channel != nil {
		where += fmt.Sprintf(" behind channel %d of %#02x", *c.Channel, *c.Multiplexer)
	}
	return where
}
