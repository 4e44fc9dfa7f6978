package bme280

import (
	"encoding/binary"
	"fmt"

	"periph.io/x/conn/v3/physic"
)

// chip is a bus with one chip in place of registers: its results are there as
// soon as a measurement is started.
type chip struct {
	reg     [256]byte
	copying int // status reads for which im_update stays set after a reset
	late    int // result reads for which a measurement stays unfinished
	busy    int
	results [8]byte
	stuck   map[byte]byte // registers that read as this whatever is in them
}

func newChip(m Model, c calibration, results [8]byte) *chip {
	d := &chip{results: results}
	b := encode(c)
	copy(d.reg[regCalibration:], b[:splitCalibration])
	copy(d.reg[regCalibrationHumidity:], b[splitCalibration:])
	d.reg[regID] = 0x60
	if m == BMP280 {
		d.reg[regID] = 0x58
	}
	d.reset()
	return d
}

func (d *chip) String() string                  { return "chip" }
func (d *chip) SetSpeed(physic.Frequency) error { return nil }

func (d *chip) Tx(addr uint16, w, r []byte) error {
	if addr != DefaultAddress || len(w) == 0 {
		return fmt.Errorf("unexpected transaction at %#x: % x", addr, w)
	}
	if r != nil {
		d.read(w[0], r)
		return nil
	}
	for ; len(w) >= 2; w = w[2:] {
		d.write(w[0], w[1])
	}
	return nil
}

func (d *chip) read(reg byte, r []byte) {
	copy(r, d.reg[reg:])
	for at, v := range d.stuck {
		if at >= reg && int(at-reg) < len(r) {
			r[at-reg] = v
		}
	}
	if reg <= regStatus && int(reg)+len(r) > regStatus && d.busy > 0 {
		if d.busy--; d.busy == 0 {
			d.finish()
		}
	}
}

func (d *chip) write(reg, v byte) {
	switch {
	case reg == regReset && v == resetWord:
		d.reset()
		if d.busy = d.copying; d.busy > 0 {
			d.reg[regStatus] = statusCopying
		}
	case reg == regCtrlMeas && v&modeMask == modeForced:
		d.reg[reg] = v
		d.reg[regStatus] = statusMeasuring
		if d.busy = d.late; d.busy == 0 {
			d.finish()
		}
	default:
		d.reg[reg] = v
	}
}

func (d *chip) finish() {
	if d.reg[regStatus] == statusMeasuring {
		d.reg[regCtrlMeas] &^= modeMask
		copy(d.reg[0xF7:], d.results[:])
	}
	d.reg[regStatus] = 0
}

// reset is what a brown-out does as well.
func (d *chip) reset() {
	clear(d.reg[regCtrlHum:])
	d.busy = 0
	d.reg[0xF7], d.reg[0xFA], d.reg[0xFD] = 0x80, 0x80, 0x80
}

// encode lays a calibration out as the chip holds it, in the order in which
// the driver reads it.
func encode(c calibration) (b [calibrationSize]byte) {
	for i, v := range []uint16{
		c.T1, uint16(c.T2), uint16(c.T3), c.P1, uint16(c.P2), uint16(c.P3), uint16(c.P4),
		uint16(c.P5), uint16(c.P6), uint16(c.P7), uint16(c.P8), uint16(c.P9),
	} {
		binary.LittleEndian.PutUint16(b[2*i:], v)
	}
	b[25] = c.H1
	h := b[splitCalibration:]
	binary.LittleEndian.PutUint16(h, uint16(c.H2))
	h[2] = c.H3
	h[3] = byte(c.H4 >> 4)
	h[4] = byte(c.H4&0xF) | byte(c.H5&0xF)<<4
	h[5] = byte(c.H5 >> 4)
	h[6] = byte(c.H6)
	return b
}

// encodeResults lays a measurement out as in the registers 0xF7 to 0xFE.
func encodeResults(r raw) [8]byte {
	p, t, h := r.pressure, r.temperature, r.humidity
	return [8]byte{
		byte(p >> 12), byte(p >> 4), byte(p << 4),
		byte(t >> 12), byte(t >> 4), byte(t << 4),
		byte(h >> 8), byte(h),
	}
}
