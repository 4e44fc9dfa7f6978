package detect

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// chip is a chip of a configuration.
type chip struct {
	bus string
	Finding
}

// measures are those of the chip.
func (c chip) measures() []telemetry.Measure {
	return config.Chip{Driver: c.Driver}.Supplies()
}

// sensors shares the chips of all buses out among sensors, as few as possible:
// no two chips of one supply the same measure.
func sensors(buses []Bus) (sensors [][]chip) {
	var supplied [][telemetry.Measures]bool
	for _, b := range buses {
		for _, f := range b.Found {
			c := chip{b.Name, f}
			if f.Match == No {
				continue
			}
			i := slices.IndexFunc(supplied, func(has [telemetry.Measures]bool) bool {
				return !slices.ContainsFunc(c.measures(), func(m telemetry.Measure) bool { return has[m] })
			})
			if i < 0 {
				i = len(sensors)
				sensors = append(sensors, nil)
				supplied = append(supplied, [telemetry.Measures]bool{})
			}
			sensors[i] = append(sensors[i], c)
			for _, m := range c.measures() {
				supplied[i][m] = true
			}
		}
	}
	return sensors
}

// WriteConfig writes a configuration, as YAML, for the chips that were recognised.
// device names the device and its sensors; url, the broker, may be "", which is then
// left for the reader to say.
func WriteConfig(w io.Writer, buses []Bus, device, url string) error {
	var b strings.Builder
	fmt.Fprintf(&b, `# Made by telltale-agent detect. All other settings: telltale-agent run --help

# The device's name, which no other device has. The ids below begin with it.
device: %s

mqtt:
  # The broker: tls://HOST:PORT, or tcp://HOST:PORT on a network that you trust.
  url: %q

sensors:
`, device, url)
	for i, chips := range sensors(buses) {
		id := device
		if i > 0 {
			id = fmt.Sprintf("%s.%d", device, i+1)
		}
		fmt.Fprintf(&b, `  - id: %[1]s
    # What people call it, and the place by which readings are aggregated.
    name: %[1]s
    place_id: ""
    interval: 1s
    chips:
`, id)
		for _, c := range chips {
			if c.Match == Probable {
				fmt.Fprintf(&b, "      # Probably: %s.\n", c.Evidence)
			}
			fmt.Fprintf(&b, "      - {driver: %s, bus: %q, address: %#02x}\n", c.Driver, c.bus, c.Address)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
