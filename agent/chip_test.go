package agent

import (
	"slices"
	"testing"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/internal/settings"
)

// TestKinds holds the table of chips to the configuration, which names them and
// those of the kernel.
func TestKinds(t *testing.T) {
	c := config.Default()
	var drivers []string
	for _, d := range settings.New(&c).Document() {
		if d.Path == "sensors[].chips[].driver" {
			drivers = d.Values
		}
	}
	var known []string
	for _, k := range detectable() {
		known = append(known, k.Driver)
		if len(k.Addresses) == 0 || len((config.Chip{Driver: k.Driver}).Supplies()) == 0 || k.Recognise == nil {
			t.Errorf("%s lacks its addresses, its measures or how it is recognised", k.Driver)
		}
	}
	drivers = slices.DeleteFunc(drivers, func(name string) bool { return name == config.IIO })
	if !slices.Equal(drivers, known) {
		t.Errorf("the configuration knows %q, the agent %q", drivers, known)
	}
}
