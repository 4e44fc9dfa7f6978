package bme680

import (
	"encoding/binary"
	"fmt"

	"periph.io/x/conn/v3/physic"
)

// chip is a bus with one chip in place of registers: its results are there as
// soon as a measurement is started.
type chip struct {
	reg     [256]byte
	late    int // result reads for which a measurement stays unfinished
	pending int
	results [8]byte
	stuck   map[byte]byte // registers that read as this whatever is in them
}

func newChip(c calibration, r raw) *chip {
	d := &chip{results: encodeResults(r)}
	b := encode(c)
	copy(d.reg[0x8A:], b[:splitCalibration])
	copy(d.reg[0xE1:], b[splitCalibration:])
	d.reg[0xD0] = 0x61
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
	covers := func(a byte) bool { return a >= reg && int(a-reg) < len(r) }
	copy(r, d.reg[reg:])
	for at, v := range d.stuck {
		if covers(at) {
			r[at-reg] = v
		}
	}
	if covers(0x1D) && d.pending > 0 {
		if d.pending--; d.pending == 0 {
			d.finish()
		}
	}
}

func (d *chip) write(reg, v byte) {
	switch {
	case reg == 0xE0 && v == 0xB6:
		d.reset()
	case reg == 0x74 && v&0b11 == 0b01:
		d.reg[reg] = v
		d.reg[0x1D] = 1 << 5
		if d.pending = d.late; d.pending == 0 {
			d.finish()
		}
	default:
		d.reg[reg] = v
	}
}

func (d *chip) finish() {
	d.reg[0x74] &^= 0b11
	copy(d.reg[0x1F:], d.results[:])
	d.reg[0x1D] = 1 << 7
}

// reset is what a brown-out does as well.
func (d *chip) reset() {
	clear(d.reg[0x1D:0x76])
	d.reg[0x1F], d.reg[0x22], d.reg[0x25] = 0x80, 0x80, 0x80
	d.pending = 0
}

// encode lays a calibration out as the chip holds it, in the order in which the
// driver reads it.
func encode(c calibration) (b [calibrationSize]byte) {
	le := binary.LittleEndian
	le.PutUint16(b[:], uint16(c.T2))
	b[0x8C-0x8A] = byte(c.T3)
	le.PutUint16(b[0x8E-0x8A:], c.P1)
	le.PutUint16(b[0x90-0x8A:], uint16(c.P2))
	b[0x92-0x8A] = byte(c.P3)
	le.PutUint16(b[0x94-0x8A:], uint16(c.P4))
	le.PutUint16(b[0x96-0x8A:], uint16(c.P5))
	b[0x98-0x8A], b[0x99-0x8A] = byte(c.P7), byte(c.P6)
	le.PutUint16(b[0x9C-0x8A:], uint16(c.P8))
	le.PutUint16(b[0x9E-0x8A:], uint16(c.P9))
	b[0xA0-0x8A] = c.P10

	h := b[splitCalibration:]
	h[0] = byte(c.H2 >> 4)
	h[1] = byte(c.H2&0xF)<<4 | byte(c.H1&0xF)
	h[2] = byte(c.H1 >> 4)
	h[3], h[4], h[5], h[6], h[7] = byte(c.H3), byte(c.H4), byte(c.H5), c.H6, byte(c.H7)
	le.PutUint16(h[8:], c.T1)
	return b
}

// encodeResults lays a measurement out as in the registers 0x1F to 0x26.
func encodeResults(r raw) [8]byte {
	p, t, h := r.pressure, r.temperature, r.humidity
	return [8]byte{
		byte(p >> 12), byte(p >> 4), byte(p << 4),
		byte(t >> 12), byte(t >> 4), byte(t << 4),
		byte(h >> 8), byte(h),
	}
}
