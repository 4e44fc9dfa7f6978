package bmp3

import (
	"encoding/binary"
	"fmt"

	"periph.io/x/conn/v3/physic"
)

// chip is a bus with one chip in place of registers: its results are there as
// soon as a measurement is started.
type chip struct {
	reg               [256]byte
	busy              int // status reads for which commands are not taken after a reset
	late              int // result reads for which a measurement stays unfinished
	starting, pending int // what is left of busy and of late
	results           [6]byte
	stuck             map[byte]byte // registers that read as this whatever is in them
}

func newChip(m Model, c calibration, r raw) *chip {
	d := &chip{results: encodeResults(r)}
	b := encode(c)
	copy(d.reg[0x31:], b[:])
	d.reg[0x00] = 0x50
	if m == BMP390 {
		d.reg[0x00] = 0x60
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
	covers := func(a byte) bool { return a >= reg && int(a-reg) < len(r) }
	if covers(0x10) || covers(0x11) || covers(0x14) {
		panic("a read with side effects")
	}
	copy(r, d.reg[reg:])
	for at, v := range d.stuck {
		if covers(at) {
			r[at-reg] = v
		}
	}
	if covers(0x04) {
		d.reg[0x03] &^= 1 << 5
	}
	if covers(0x07) {
		d.reg[0x03] &^= 1 << 6
	}
	if covers(0x03) && d.starting > 0 {
		if d.starting--; d.starting == 0 {
			d.reg[0x03] |= 1 << 4
		}
	}
	if covers(0x04) && d.pending > 0 {
		if d.pending--; d.pending == 0 {
			d.finish()
		}
	}
}

func (d *chip) write(reg, v byte) {
	switch {
	case reg == 0x7E && v == 0xB6:
		d.reset()
		if d.starting = d.busy; d.starting > 0 {
			d.reg[0x03] &^= 1 << 4
		}
	case reg == 0x1B && v&0b110000 != 0:
		d.reg[reg] = v
		if d.pending = d.late; d.pending == 0 {
			d.finish()
		}
	default:
		d.reg[reg] = v
	}
}

func (d *chip) finish() {
	d.reg[0x1B] &^= 0b110000
	copy(d.reg[0x04:], d.results[:])
	d.reg[0x03] |= 1<<5 | 1<<6
}

// reset is what a brown-out does as well.
func (d *chip) reset() {
	clear(d.reg[0x02:0x20])
	d.reg[0x03] = 1 << 4
	d.reg[0x06], d.reg[0x09], d.reg[0x1C] = 0x80, 0x80, 0x02
	d.pending = 0
}

// encode lays a calibration out as the chip holds it.
func encode(c calibration) (b [calibrationSize]byte) {
	le := binary.LittleEndian
	le.PutUint16(b[0:], c.T1)
	le.PutUint16(b[2:], c.T2)
	b[4] = byte(c.T3)
	le.PutUint16(b[5:], uint16(c.P1))
	le.PutUint16(b[7:], uint16(c.P2))
	b[9], b[10] = byte(c.P3), byte(c.P4)
	le.PutUint16(b[11:], c.P5)
	le.PutUint16(b[13:], c.P6)
	b[15], b[16] = byte(c.P7), byte(c.P8)
	le.PutUint16(b[17:], uint16(c.P9))
	b[19], b[20] = byte(c.P10), byte(c.P11)
	return b
}

// encodeResults lays a measurement out as in the registers 0x04 to 0x09.
func encodeResults(r raw) [6]byte {
	p, t := r.pressure, r.temperature
	return [6]byte{byte(p), byte(p >> 8), byte(p >> 16), byte(t), byte(t >> 8), byte(t >> 16)}
}
