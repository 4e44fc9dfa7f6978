package i2csim_test

import (
	"strings"
	"sync"
	"testing"
	"time"

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

// TestConcurrentUseOfEveryKind is for the race detector.
func TestConcurrentUseOfEveryKind(t *testing.T) {
	for _, kind := range i2csim.Kinds() {
		chip, err := i2csim.NewChip(kind, i2csim.ChipOptions{Source: room, Sleep: func(time.Duration) {}})
		if err != nil {
			t.Fatal(err)
		}
		bus := i2csim.NewBus(i2csim.BusOptions{})
		if err := bus.Attach(0x40, chip); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		const each = 100
		for range 2 {
			wg.Go(func() {
				for i := range each {
					// A chip that starts up does not answer; that is not the point here.
					_ = bus.Tx(0x40, []byte{byte(i)}, make([]byte, 8))
					_ = bus.Tx(0x40, []byte{0x2C, 0x06}, make([]byte, 6))
				}
			})
		}
		wg.Go(func() {
			for range each {
				chip.PowerCycle()
				chip.LastConversion()
			}
		})
		wg.Wait()
		if got := bus.Stats().Transactions; got != 2*2*each {
			t.Errorf("%s: %d transactions, want %d", kind, got, 2*2*each)
		}
	}
}
