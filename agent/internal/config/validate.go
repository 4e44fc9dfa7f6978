package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/telltale-iot/telltale/internal/settings"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// report is how a settings.Validator says that a value is wrong.
type report = func(path, value, want string)

const (
	minInterval = 10 * time.Millisecond
	maxInterval = 24 * time.Hour
	maxFrames   = 1000 // in one message
	maxInFlight = 1000
	maxMessage  = 16 * settings.MiB
	minSegment  = 64 * settings.KiB
	maxSegment  = settings.GiB
	minMemory   = 256 * settings.KiB
	maxRate     = 1_000_000 // readings a second
)

// Validate reports what is wrong with the device, and between its sensors.
func (c Config) Validate(report report) {
	validDevice := telemetry.ValidDevice(c.Device)
	if !validDevice {
		report("device", "", "a device's name: 1 to 64 letters, digits, _ or -")
	}
	if len(c.Sensors) == 0 {
		report("sensors", "", "at least one sensor")
	}
	first := map[string]int{}
	for i, s := range c.Sensors {
		path := fmt.Sprintf("sensors[%d].id", i)
		j, twice := first[s.ID]
		switch {
		case !validID(s.ID):
			report(path, "", "a sensor's id: at most 128 letters, digits, _, - or .")
		case validDevice && !telemetry.BelongsTo(s.ID, c.Device):
			report(path, "", fmt.Sprintf("%s or %s.SUFFIX, as the sensor is the device's", c.Device, c.Device))
		case twice:
			report(path, "", fmt.Sprintf("an id of its own; sensors[%d] has this one", j))
		default:
			first[s.ID] = i
		}
	}
	c.validateAddresses(report)
}

// validID bounds an id to what is safe in a topic, a document's key and a
// metric's label.
func validID(id string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."
	return id != "" && len(id) <= telemetry.MaxID && strings.Trim(id, letters) == ""
}

// validateAddresses reports chips that would answer at once. One channel of all
// multiplexers is on at a time; what is on the bus itself, the multiplexers
// included, answers beside whatever is on it.
func (c Config) validateAddresses(report report) {
	type taken struct {
		by          string
		multiplexer uint16
		channel     int
	}
	type place struct {
		bus     string
		address uint16
	}
	first := map[place][]taken{}
	devices := map[string]string{} // that the kernel drives
	multiplexers := map[place]string{}
	for i, s := range c.Sensors {
		for j, chip := range s.Chips {
			multiplexers[place{busNumber(chip.Bus), chip.Multiplexer}] = fmt.Sprintf("sensors[%d].chips[%d]", i, j)
		}
	}
	for i, s := range c.Sensors {
		for j := range s.Chips {
			chip := &s.Chips[j]
			path := fmt.Sprintf("sensors[%d].chips[%d]", i, j)
			name := fmt.Sprintf("%s (%s)", path, chip.Driver)
			if chip.Kernel() {
				key := chip.Driver + "@" + chip.Device
				if other := devices[key]; other != "" {
					report(path+".device", "", fmt.Sprintf("a device of its own; %s has this one", other))
				} else {
					devices[key] = name
				}
				continue
			}
			at := place{busNumber(chip.Bus), chip.Address}
			other := slices.IndexFunc(first[at], func(t taken) bool {
				return t.multiplexer == 0 || chip.Multiplexer == 0 || t.multiplexer == chip.Multiplexer && t.channel == chip.Channel
			})
			behind, clash := multiplexers[at]
			switch {
			case clash && chip.Address != 0:
				report(path+".address", "", fmt.Sprintf("an address of its own; on bus %s, the multiplexer of %s has this one", chip.Bus, behind))
			case other >= 0:
				report(path+".address", "", fmt.Sprintf("an address of its own; on bus %s, %s has this one", chip.Bus, first[at][other].by))
			case chip.validAddress():
				first[at] = append(first[at], taken{name, chip.Multiplexer, chip.Channel})
			}
		}
	}
}

// busNumber makes the names that a numbered bus has one.
func busNumber(name string) string {
	for _, prefix := range []string{"/dev/i2c-", "I2C"} {
		name = strings.TrimPrefix(name, prefix)
	}
	return name
}

// Validate reports what is wrong with the broker's settings.
func (m MQTT) Validate(report report) {
	settings.ValidateBroker(m.URL, m.TLS, report)
	settings.ValidateKeepAlive(m.KeepAlive, report)
	settings.Within(report, "connect_timeout", m.ConnectTimeout, 100*time.Millisecond, 10*time.Minute)
}

// Validate reports what is wrong with the buffer's settings.
func (b Buffer) Validate(report report) {
	if b.Dir == "" {
		report("dir", "", "a folder")
	}
	settings.Within(report, "segment_size", b.SegmentSize, minSegment, maxSegment)
	if b.MaxSize < 4*b.SegmentSize {
		report("max_size", b.MaxSize.String(), fmt.Sprintf("at least four times segment_size, %v", 4*b.SegmentSize))
	}
	settings.Within(report, "commit_interval", b.CommitInterval, 10*time.Millisecond, time.Hour)
	settings.Within(report, "memory_size", b.MemorySize, minMemory, maxSegment)
}

// Validate reports a minimum that is no date, or that is not used.
func (c Clock) Validate(report report) {
	switch _, err := c.MinimumTime(); {
	case c.Trust == TrustMinimum && err != nil:
		report("minimum", "", "the date before which the clock is certainly wrong, such as 2026-11-26, as trust is minimum")
	case c.Trust != TrustMinimum && c.Minimum != "":
		report("minimum", "", "it left out, or trust to be minimum")
	}
}

// Validate reports what is wrong with the uplink's settings.
func (u Uplink) Validate(report report) {
	settings.Within(report, "batch_frames", u.BatchFrames, 1, maxFrames)
	settings.Within(report, "batch_size", u.BatchSize, settings.KiB, maxMessage)
	settings.Within(report, "batch_age", u.BatchAge, 0, time.Hour)
	settings.Within(report, "max_drain_rate", u.MaxDrainRate, 1, maxRate)
	settings.Within(report, "in_flight", u.InFlight, 1, maxInFlight)
	settings.Within(report, "receipt_timeout", u.ReceiptTimeout, 100*time.Millisecond, time.Hour)
	settings.Within(report, "backoff_min", u.BackoffMin, time.Millisecond, time.Hour)
	settings.Within(report, "backoff_max", u.BackoffMax, max(u.BackoffMin, time.Millisecond), 24*time.Hour)
}

// Validate reports what is wrong with a sensor by itself.
func (s Sensor) Validate(report report) {
	settings.Within(report, "interval", s.Interval, minInterval, maxInterval)
	for _, text := range []struct{ path, value string }{{"name", s.Name}, {"place_id", s.PlaceID}} {
		if len(text.value) > telemetry.MaxText {
			report(text.path, "", fmt.Sprintf("at most %d bytes", telemetry.MaxText))
		}
	}
	if len(s.Chips) == 0 {
		report("chips", "", "at least one chip")
	}
	var supplier [telemetry.Measures]string
	for i, chip := range s.Chips {
		path := fmt.Sprintf("chips[%d]", i)
		for _, m := range chip.Supplies() {
			if other := supplier[m]; other != "" {
				report(path+".driver", "", fmt.Sprintf("a chip without %v, which %s supplies already; make it a sensor of its own", m, other))
				break
			}
		}
		for _, m := range chip.Supplies() {
			supplier[m] = fmt.Sprintf("%s (%s)", path, chip.Driver)
		}
	}
}

// Validate reports what is wrong with the metrics endpoint.
func (m Metrics) Validate(report report) {
	if m.Listen != "" && !settings.IsListen(m.Listen) {
		report("listen", "", settings.WantListen)
	}
}
