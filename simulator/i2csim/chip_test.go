package i2csim_test

import (
	"strings"
	"testing"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// Every kind is made, is a chip without a conversion, and wants surroundings.
func TestNewChip(t *testing.T) {
	for _, kind := range i2csim.Kinds() {
		chip, err := i2csim.NewChip(kind, i2csim.ChipOptions{Source: room})
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if truth, ok := chip.LastConversion(); ok {
			t.Errorf("%s has measured %v before anyone asked", kind, truth)
		}
		for name, o := range map[string]i2csim.ChipOptions{
			"no source": {},
			"timing":    {Source: room, Timing: 2},
		} {
			if chip, err := i2csim.NewChip(kind, o); err == nil {
				t.Errorf("%s: %s: got %v: want an error", kind, name, chip)
			}
		}
	}
	want := `i2csim: no chip is called "bme290": want one of `
	if _, err := i2csim.NewChip("bme290", i2csim.ChipOptions{Source: room}); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v: want %s...", err, want)
	}
}
