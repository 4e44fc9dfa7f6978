package i2csim_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// Whatever a bus carries, a chip gives an answer or none, its ground truth is
// of the past, and the same transactions give the same answers.
func TestAnyTransactions(t *testing.T) {
	for _, kind := range i2csim.Kinds() {
		t.Run(kind, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				build := func(o i2csim.ChipOptions) (i2csim.Chip, error) { return i2csim.NewChip(kind, o) }
				r, chip := onBus(t, 0x40, i2csim.ChipOptions{Source: ramp{}}, build)
				again, twin := onBus(t, 0x40, i2csim.ChipOptions{Source: ramp{}}, build)
				for range rapid.IntRange(1, 20).Draw(rt, "transactions") {
					d := time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(rt, "pause"))
					r.Advance(d)
					again.Advance(d)
					if rapid.IntRange(0, 9).Draw(rt, "brown-out") == 0 {
						chip.PowerCycle()
						twin.PowerCycle()
					}
					w := rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(rt, "write")
					n := rapid.IntRange(0, 12).Draw(rt, "read")
					first, second := make([]byte, n), make([]byte, n)
					if err, twins := r.bus.Tx(r.addr, w, first), again.bus.Tx(again.addr, w, second); kindOf(err) != kindOf(twins) {
						rt.Fatalf("%v, and %v", err, twins)
					} else if err == nil && string(first) != string(second) {
						rt.Fatalf("read % x, and % x", first, second)
					}
					truth, ok := chip.LastConversion()
					if ok && (truth.End.After(r.now) || !truth.Start.Before(truth.End)) {
						rt.Fatalf("at %v the truth is of %v to %v", r.now, truth.Start, truth.End)
					}
				}
			})
		})
	}
}
