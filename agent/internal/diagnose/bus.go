package diagnose

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/telltale-iot/telltale/agent/internal/detect"
	"github.com/telltale-iot/telltale/agent/internal/sample"
)

// NoBusHint says how a Raspberry Pi gets an I2C bus.
const NoBusHint = "switch I2C on: sudo raspi-config nonint do_i2c 0 (elsewhere: sudo modprobe i2c-dev)"

// BusHint says what to do about the error of a bus, for the user of that name.
func BusHint(err error, user string) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return NoBusHint
	case errors.Is(err, fs.ErrPermission):
		return "let the user use it: sudo usermod --append --groups i2c " + user + ", then log in again"
	case errors.Is(err, detect.ErrStuck):
		return "SDA or SCL is held low, or the adapter knows only SMBus: check the wiring, take the power off the chips and on again"
	case errors.Is(err, detect.ErrEverywhere):
		return "SDA is held low, or there are no pull-up resistors: check the wiring"
	}
	return ""
}

// Bus reports whether a bus opens; err is why it does not.
func (m *Machine) Bus(name string, err error) Finding {
	if err != nil {
		return Finding{Fail, "bus " + name, err.Error(), BusHint(err, m.User())}
	}
	return Finding{OK, "bus " + name, "opens", ""}
}

// chipHints say what to do about a chip's fault, by its reason.
var chipHints = map[string]string{
	sample.NACK:        "nothing answers at the address: check the wiring and the power; telltale-agent detect shows what answers",
	sample.Timeout:     "the chip takes longer than three quarters of the interval, or the bus is held: lengthen interval, check the wiring",
	sample.NotReady:    "try again; if it stays so, the chip is broken or another program uses it",
	sample.LowSupply:   "the chip's supply is too weak: check the wiring and the 3.3 V",
	sample.CRC:         "the line is disturbed: shorten the wires",
	sample.OutOfRange:  "the chip is where it is not made for, or broken, or the line is disturbed",
	sample.Saturated:   "more light than the settings can measure: a lower gain or measurement_time",
	sample.Stuck:       "its converter is stuck, or its steps are coarse in still air: take the power off the chip and on again, or lengthen stuck_after",
	sample.WrongChip:   "another chip answers at the address: telltale-agent detect shows which",
	sample.Calibration: "the line is disturbed or the chip is broken: shorten the wires, try another chip",
	sample.Reset:       "the power of the chip is weak, or another program uses it; try again",
	sample.Bus:         "telltale-agent check says what keeps the bus from opening",
	sample.IO:          "check the wiring; take the power off the chip and on again",
}

// ChipHint says what to do about a chip that fails with that reason.
func ChipHint(reason string) string { return chipHints[reason] }

// Chip reports a reading of a chip: its values as text, or its fault.
func Chip(name, values, reason string, err error) Finding {
	f := Finding{Level: OK, Check: "chip " + name, Seen: values}
	if reason != "" {
		f.Level, f.Hint = Fail, ChipHint(reason)
		f.Seen = reason
		if err != nil {
			f.Seen += ": " + strings.ReplaceAll(err.Error(), "\n", "; ")
		}
	}
	return f
}
