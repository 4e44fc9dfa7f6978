package detect

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/agent/internal/config"
)

func finding(address uint16, driver string, m Match) Finding {
	return Finding{Address: address, Driver: driver, Match: m, Evidence: "evidence"}
}

func bus(name string, found ...Finding) Bus { return Bus{Adapter: Adapter{Name: name}, Found: found} }

// sensor is a sensor of a configuration in short.
type sensor struct {
	ID    string
	Chips []string
}

func TestWriteConfig(t *testing.T) {
	for _, tt := range []struct {
		name  string
		buses []Bus
		want  []sensor
	}{
		{"both chips", []Bus{bus("1", finding(0x23, config.BH1750, Probable), finding(0x76, config.BME280, Certain))},
			[]sensor{{"pi", []string{"bh1750@1:0x23", "bme280@1:0x76"}}}},
		{"two of a kind", []Bus{bus("1", finding(0x76, config.BME280, Certain), finding(0x77, config.BME280, Certain))},
			[]sensor{{"pi", []string{"bme280@1:0x76"}}, {"pi.2", []string{"bme280@1:0x77"}}}},
		{"two that share a measure", []Bus{bus("1", finding(0x76, config.BMP280, Certain), finding(0x77, config.BME280, Certain))},
			[]sensor{{"pi", []string{"bmp280@1:0x76"}}, {"pi.2", []string{"bme280@1:0x77"}}}},
		{"two buses", []Bus{
			bus("1", finding(0x23, config.BH1750, Probable), finding(0x48, "", No), finding(0x76, config.BME280, Certain)),
			bus("20"),
			bus("i2c-tiny-usb, 004", finding(0x5C, config.BH1750, Probable), finding(0x76, config.BME280, Certain), finding(0x77, config.BMP280, Certain)),
		}, []sensor{
			{"pi", []string{"bh1750@1:0x23", "bme280@1:0x76"}},
			{"pi.2", []string{"bh1750@i2c-tiny-usb, 004:0x5c", "bme280@i2c-tiny-usb, 004:0x76"}},
			{"pi.3", []string{"bmp280@i2c-tiny-usb, 004:0x77"}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := WriteConfig(&b, tt.buses, "pi", "tls://broker:8883"); err != nil {
				t.Fatal(err)
			}
			c, err := config.Parse("agent.yaml", b.Bytes())
			if err != nil {
				t.Fatalf("%v\n%s", err, &b)
			}
			if c.Device != "pi" || c.MQTT.URL != "tls://broker:8883" {
				t.Errorf("device %q, broker %q", c.Device, c.MQTT.URL)
			}
			if diff := cmp.Diff(tt.want, inShort(&c)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func inShort(c *config.Config) (all []sensor) {
	for _, s := range c.Sensors {
		short := sensor{ID: s.ID}
		for _, chip := range s.Chips {
			short.Chips = append(short.Chips, fmt.Sprintf("%s@%s:%#02x", chip.Driver, chip.Bus, chip.Address))
		}
		all = append(all, short)
	}
	return all
}

// TestAnyConfigIsValid: whatever is found, what is written parses and has each chip
// once.
func TestAnyConfigIsValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var buses []Bus
		n := 0
		for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching(`[0-9]|[a-z "\\:#{}@(),-]{2,9}`), 1, 4, rapid.ID).Draw(t, "buses") {
			b := bus(name)
			for _, driver := range []string{config.BME280, config.BMP280, config.BH1750} {
				for _, address := range (config.Chip{Driver: driver}).Addresses() {
					free := !slices.ContainsFunc(b.Found, func(f Finding) bool { return f.Address == address })
					if free && rapid.Bool().Draw(t, "present") {
						b.Found = append(b.Found, finding(address, driver, Certain))
						n++
					}
				}
			}
			buses = append(buses, b)
		}
		if n == 0 {
			return
		}
		var b bytes.Buffer
		if err := WriteConfig(&b, buses, "pi", "tcp://broker:1883"); err != nil {
			t.Fatal(err)
		}
		c, err := config.Parse("agent.yaml", b.Bytes())
		if err != nil {
			t.Fatalf("%v\n%s", err, &b)
		}
		for _, s := range c.Sensors {
			n -= len(s.Chips)
		}
		if n != 0 {
			t.Errorf("%d chips are missing:\n%s", n, &b)
		}
	})
}
