package i2csim

import (
	"math"
	"math/rand/v2"
	"time"
)

// Commands (HTU21D(F) data sheet, page 11; Si7021-A20 data sheet, table 11).
const (
	htuHoldT       = 0xE3
	htuHoldRH      = 0xE5
	htuT           = 0xF3
	htuRH          = 0xF5
	htuWriteUser   = 0xE6
	htuReadUser    = 0xE7
	htuReset       = 0xFE
	si7021LastT    = 0xE0 // of the last measurement of humidity
	si7021WriteHot = 0x51
	si7021ReadHot  = 0x11
)

// Commands of two bytes.
const (
	htuSerialA      = 0xFA0F
	htuSerialB      = 0xFCC9
	si7021Firmware  = 0x84B8
	si7021Version20 = 0x20
	si7021Device    = 0x15 // the serial number's byte that says what chip it is: 21
	htu21dDevice    = 0x32 // the same, as owners of the chip have read it: libraries tell the two apart by it
)

// The user register.
const (
	htuResolution = 1<<7 | 1<<0
	htuHeater     = 1 << 2
	htuNoReload   = 1 << 1 // of a HTU21D: no defaults before each measurement
)

// htuStatusRH is set in a word of humidity.
const htuStatusRH = 1 << 1

// htuKind is what a HTU21D and a Si7021 have in different ways.
type htuKind struct {
	si7021  bool
	user    byte // the user register after a reset
	powerUp [2]time.Duration
	reset   [2]time.Duration
	// The time for a word of that many bits, by Timing.
	temperature, humidity map[uint][2]time.Duration
}

func htu21dKind() htuKind {
	ms := time.Millisecond
	return htuKind{
		user:    0x02,
		powerUp: [2]time.Duration{15 * ms, 15 * ms},
		reset:   [2]time.Duration{15 * ms, 15 * ms},
		temperature: map[uint][2]time.Duration{
			14: {Maximum: 50 * ms, Typical: 44 * ms}, 13: {Maximum: 25 * ms, Typical: 22 * ms},
			12: {Maximum: 13 * ms, Typical: 11 * ms}, 11: {Maximum: 7 * ms, Typical: 6 * ms},
		},
		humidity: map[uint][2]time.Duration{
			12: {Maximum: 16 * ms, Typical: 14 * ms}, 11: {Maximum: 8 * ms, Typical: 7 * ms},
			10: {Maximum: 5 * ms, Typical: 4 * ms}, 8: {Maximum: 3 * ms, Typical: 2 * ms},
		},
	}
}

func si7021Kind() htuKind {
	us := time.Microsecond
	return htuKind{ // table 2
		si7021:  true,
		user:    0x3A,
		powerUp: [2]time.Duration{Maximum: 80000 * us, Typical: 18000 * us},
		reset:   [2]time.Duration{Maximum: 15000 * us, Typical: 5000 * us},
		temperature: map[uint][2]time.Duration{
			14: {Maximum: 10800 * us, Typical: 7000 * us}, 13: {Maximum: 6200 * us, Typical: 4000 * us},
			12: {Maximum: 3800 * us, Typical: 2400 * us}, 11: {Maximum: 2400 * us, Typical: 1500 * us},
		},
		humidity: map[uint][2]time.Duration{
			12: {Maximum: 12000 * us, Typical: 10000 * us}, 11: {Maximum: 7000 * us, Typical: 5800 * us},
			10: {Maximum: 4500 * us, Typical: 3700 * us}, 8: {Maximum: 3100 * us, Typical: 2600 * us},
		},
	}
}

// HTU21D is an emulated TE Connectivity HTU21D(F), or a Silicon Labs Si7021-A20
// if [NewSi7021] made it. It is idle, and has been supplied for long, when it
// is made. It is safe for concurrent use.
type HTU21D struct {
	core
	kind   htuKind
	serial [8]byte // SNA and SNB of a Si7021; SNB, SNC and SNA of a HTU21D

	user, hot byte

	// The measurement that runs.
	measuring, humid bool
	hold             bool // a read waits for its end

	lastT uint16 // of the last measurement of humidity
	data  reply
}

// NewHTU21D returns a HTU21D that is idle.
func NewHTU21D(o ChipOptions) (*HTU21D, error) {
	c, err := newHTU21D("htu21d", o, htu21dKind())
	if err != nil {
		return nil, err
	}
	c.serial[4] = htu21dDevice
	return c, nil
}

// NewSi7021 returns a Si7021-A20, firmware revision 2.0, that is idle.
func NewSi7021(o ChipOptions) (*HTU21D, error) {
	c, err := newHTU21D("si7021", o, si7021Kind())
	if err != nil {
		return nil, err
	}
	c.serial[4] = si7021Device
	return c, nil
}

func newHTU21D(name string, o ChipOptions, kind htuKind) (*HTU21D, error) {
	c := &HTU21D{kind: kind}
	if err := c.setUp(name, o, c); err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(o.Seed, 0x477521d))
	for i := range c.serial {
		c.serial[i] = byte(r.Uint32())
	}
	return c, nil
}

// powerUp leaves the chip idle, with its registers reset.
func (c *HTU21D) powerUp(now time.Time) {
	c.user = 0
	c.reset()
	c.deafTill = now.Add(c.kind.powerUp[c.timing])
}

// write carries out one command. One that there is not, and bytes beyond it,
// are not acknowledged; during a measurement the address is not.
func (c *HTU21D) write(p []byte, now time.Time) int {
	if c.measuring {
		return -1
	}
	if len(p) == 0 {
		return 0
	}
	c.data = nil
	switch op := p[0]; {
	case c.command(op, now):
		return 1
	case len(p) == 1:
		return c.expects(op)
	case op == htuWriteUser:
		c.setUser(p[1])
	case op == si7021WriteHot && c.kind.si7021:
		c.hot = p[1] & 0x0F
	default:
		return c.identify(uint16(op)<<8 | uint16(p[1]))
	}
	return 2
}

// expects says whether a command's first byte, alone, is acknowledged.
func (c *HTU21D) expects(op byte) int {
	switch {
	case op == htuWriteUser, op == htuSerialA>>8, op == htuSerialB>>8,
		c.kind.si7021 && (op == si7021WriteHot || op == si7021Firmware>>8):
		return 1
	}
	return 0
}

// command carries out a command of one byte, if it is one.
func (c *HTU21D) command(op byte, now time.Time) bool {
	switch {
	case op == htuHoldT, op == htuHoldRH, op == htuT, op == htuRH:
		c.measure(op, now)
	case op == htuReadUser:
		c.data = []byte{c.user}
	case op == htuReset:
		c.reset()
		c.deafTill = now.Add(c.kind.reset[c.timing])
	case op == si7021LastT && c.kind.si7021:
		c.data = []byte{byte(c.lastT >> 8), byte(c.lastT)} // no checksum (5.1.2)
	case op == si7021ReadHot && c.kind.si7021:
		c.data = []byte{c.hot}
	default:
		return false
	}
	return true
}

// identify carries out a command of two bytes that reads, and returns how many
// of them it acknowledges.
func (c *HTU21D) identify(op uint16) int {
	s := c.serial
	switch {
	case op == htuSerialA && c.kind.si7021:
		// Each checksum is of all bytes so far (5.3).
		for i := range 4 {
			c.data = append(c.data, s[i], checksum(0, s[:i+1]...))
		}
	case op == htuSerialB && c.kind.si7021:
		c.data = []byte{s[4], s[5], checksum(0, s[4:6]...), s[6], s[7], checksum(0, s[4:8]...)}
	case op == htuSerialA:
		// Each checksum is of the byte or word before (application note HTU2X
		// Serial Number Reading, as in Linux' ms_sensors_i2c.c).
		for i := range 4 {
			c.data = append(c.data, s[i], checksum(0, s[i]))
		}
	case op == htuSerialB:
		c.data = checked(0, uint16(s[4])<<8|uint16(s[5]), uint16(s[6])<<8|uint16(s[7]))
	case op == si7021Firmware && c.kind.si7021:
		c.data = []byte{si7021Version20}
	default:
		return c.expects(byte(op >> 8))
	}
	return 2
}

// setUser writes the user register's bits that are not reserved.
func (c *HTU21D) setUser(value byte) {
	bits := byte(htuResolution | htuHeater)
	if !c.kind.si7021 {
		bits |= htuNoReload
	}
	c.user = c.user&^bits | value&bits
}

// reset is a soft reset. A HTU21D keeps its heater bit.
func (c *HTU21D) reset() {
	heater := c.user & htuHeater
	if c.kind.si7021 {
		heater = 0
	}
	c.user, c.hot = c.kind.user|heater, 0
	c.measuring, c.data, c.lastT = false, nil, 0
}

// read gives what the last command asked for, once. During a measurement the
// chip holds the clock or does not acknowledge its address, as the command
// says; if there is nothing, it does not acknowledge its address.
func (c *HTU21D) read(p []byte, _ time.Time) bool { return c.data.take(p) }

func (c *HTU21D) held(now time.Time) time.Duration {
	if !c.measuring || !c.hold {
		return 0
	}
	return c.end.Sub(now)
}

// resolution returns the bits of humidity and temperature that the user
// register asks for.
func (c *HTU21D) resolution() (humidity, temperature uint) {
	switch c.user & htuResolution {
	case 0:
		return 12, 14
	case 1:
		return 8, 12
	case 1 << 7:
		return 10, 13
	default:
		return 11, 11
	}
}

// measure starts a measurement. A Si7021 measures the temperature before the
// humidity (table 2, note 1).
func (c *HTU21D) measure(op byte, now time.Time) {
	if !c.kind.si7021 && c.user&htuNoReload == 0 {
		c.user = c.kind.user | c.user&htuHeater
	}
	bitsRH, bitsT := c.resolution()
	c.humid = op == htuRH || op == htuHoldRH
	d := c.kind.temperature[bitsT][c.timing]
	if c.humid {
		if !c.kind.si7021 {
			d = 0
		}
		d += c.kind.humidity[bitsRH][c.timing]
	}
	c.measuring, c.hold = true, op == htuHoldT || op == htuHoldRH
	c.start, c.end = now, now.Add(d)
}

// advance carries out everything that has happened up to now.
func (c *HTU21D) advance(now time.Time) {
	if !c.measuring || now.Before(c.end) {
		return
	}
	c.measuring = false
	e := c.conclude()
	bitsRH, bitsT := c.resolution()
	t := htuWord((e.celsius()+46.85)/175.72, bitsT)
	if c.humid {
		c.lastT = t
		c.data = checked(0, htuWord((e.percent()+6)/125, bitsRH)|htuStatusRH)
	} else {
		c.data = checked(0, t)
	}
}

// htuWord returns the word of the given resolution, left in 16 bits, that is
// nearest to part of 2^16.
func htuWord(part float64, bits uint) uint16 {
	v := math.Round(part * float64(int(1)<<bits))
	return uint16(min(max(v, 0), float64(int(1)<<bits-1))) << (16 - bits)
}
