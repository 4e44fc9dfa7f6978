package i2csim_test

import (
	"testing"
	"time"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// What a chip was about to do before a reset, it does not do after it.
func TestBoschForgetsAtReset(t *testing.T) {
	for kind, tt := range map[string]struct{ forced, sleep, reset []byte }{
		"bme280": {[]byte{ctrlMeas, forced1}, []byte{ctrlMeas, sleep1}, []byte{reset, 0xB6}},
		"bme680": {[]byte{bme680CtrlMeas, forced1}, []byte{bme680CtrlMeas, sleep1}, []byte{reset, 0xB6}},
		"bmp388": {[]byte{bmp3Power, bmp3Forced}, []byte{bmp3Power, bmp3Sleep}, []byte{bmp3Cmd, 0xB6}},
	} {
		t.Run(kind, func(t *testing.T) {
			r, chip := newChip(t, kind, 0x76, i2csim.ChipOptions{})
			first := r.must(t, []byte{0}, 1)
			for name, reset := range map[string]func(){
				"soft reset": func() { r.must(t, tt.reset, 0) },
				"brown-out":  chip.PowerCycle,
			} {
				r.must(t, tt.forced, 0)
				r.Advance(ms)
				r.must(t, tt.sleep, 0) // waits for the measurement's end
				reset()
				r.Advance(2 * ms)
				r.run(t, []step{{0, nil, first, name + ": register 0 is selected"}})
				r.Advance(time.Second)
				noTruth(t, chip, "after a "+name)
				r.must(t, tt.forced, 0)
				r.Advance(time.Second)
				if _, ok := chip.LastConversion(); !ok {
					t.Errorf("%s: nothing is measured any more", name)
				}
			}
		})
	}
}
