package i2csim

import "time"

const (
	resetWord = 0xB6 // the command of a soft reset

	// The modes. What a chip makes of 0b10 is its own affair.
	modeMask   = 0b11
	modeSleep  = 0b00
	modeForced = 0b01
	modeNormal = 0b11

	// startup is the time from power to the first answer (BME280 data sheet,
	// table 1), and to the calibration, which a soft reset loads, too.
	startup = 2 * time.Millisecond
)

// boschSensor is what is particular to one of Bosch's chips.
type boschSensor interface {
	// get and set are about one register. The chip has advanced to now.
	get(register byte, now time.Time) byte
	set(register, value byte, now time.Time)
	resetRegisters()

	// control carries out a write to the register of the mode. [bosch] does for
	// most.
	control(value byte, at time.Time)
	// begin starts a measurement.
	begin(at time.Time)
	// convert ends it.
	convert()
	// period is from one start to the next in normal mode, 0 if there can be no
	// next.
	period() time.Duration

	// coefficient is the part of the IIR filter's value that a measurement
	// replaces, inverted: 1 if it is off.
	coefficient() float64
	// celsius is what the ADC's word for the temperature means, and rises with
	// it; pascals is the same for the pressure, and falls.
	celsius(rawT uint32) float64
	pascals(rawP, rawT uint32) float64
}

// bosch is what Bosch's chips have in common: how registers are written and
// read, how the mode decides what is measured when, and what temperature and
// pressure become.
type bosch struct {
	core
	sensor    boschSensor
	width     uint                        // bits of the ADC's words
	put       func(data []byte, w uint32) // stores one of them
	modeByte  *byte                       // the register of the mode
	modeShift int                         // its lowest bit

	image    [256]byte // chip id and calibration
	pointer  byte      // the register that is read next
	busyTill time.Time // until then it copies its calibration
	pending  *byte     // a write to the register of the mode that waits for the measurement's end

	filterT, filterP filter
}

// powerUp leaves the chip asleep, with its registers reset.
func (b *bosch) powerUp(now time.Time) {
	b.softReset(now)
	b.deafTill = b.busyTill
}

func (b *bosch) softReset(now time.Time) {
	b.pointer, b.pending = 0, nil
	b.resetFilter()
	b.forget()
	b.sensor.resetRegisters()
	b.busyTill = now.Add(startup)
}

func (b *bosch) resetFilter() { b.filterT, b.filterP = filter{}, filter{} }

// write takes pairs of register and value (BME280 data sheet, 6.2.1). A lone
// byte at the end sets the register to be read next.
func (b *bosch) write(p []byte, now time.Time) int {
	for i, v := range p {
		if i%2 == 0 {
			b.pointer = v
			continue
		}
		b.sensor.set(b.pointer, v, now)
	}
	return len(p)
}

// read fills p from consecutive registers (6.2.2). All of p is of one moment:
// that is the shadowing of 4.1.
func (b *bosch) read(p []byte, now time.Time) bool {
	for i := range p {
		p[i] = b.sensor.get(b.pointer, now)
		b.pointer++
	}
	return true
}

func (b *bosch) mode() byte { return *b.modeByte >> b.modeShift & modeMask }

// measuring reports whether a measurement runs, once the chip has advanced to
// now.
func (b *bosch) measuring(now time.Time) bool { return b.mode() != modeSleep && !now.Before(b.start) }

func (b *bosch) sleepMode() { *b.modeByte &^= modeMask << b.modeShift }

func (b *bosch) control(value byte, at time.Time) {
	*b.modeByte = value
	if at.Before(b.busyTill) {
		at = b.busyTill
	}
	if b.mode() != modeSleep {
		b.sensor.begin(at)
	}
}

// advance carries out everything that has happened up to now.
func (b *bosch) advance(now time.Time) {
	for b.mode() != modeSleep && !now.Before(b.end) {
		if period := b.sensor.period(); b.mode() == modeNormal && b.pending == nil && period > 0 {
			b.skip(now.Add(-time.Duration(b.memory())*period), period)
		}
		b.sensor.convert()
		switch {
		case b.pending != nil:
			value := *b.pending
			b.pending = nil
			b.sensor.control(value, b.end)
		case b.mode() == modeNormal:
			b.sensor.begin(b.start.Add(b.sensor.period()))
		default:
			b.sleepMode()
		}
	}
}

// memory returns how many measurements before the last still show in it: those
// before have less than 2^-46 of its weight.
func (b *bosch) memory() int {
	if c := b.sensor.coefficient(); c > 1 {
		return 32 * int(c)
	}
	return 0
}

// sample ends the measurement from start to end. Its data are a word for the
// pressure and one for the temperature of so many bits, unless these are 0.
// What it returns is for the other words: the word for the temperature, before
// the filter. A chip that does not measure its temperature has one nevertheless,
// and they depend on it. One that does gives the driver a rounded word to
// compensate with, so that is the one to be inverted.
func (b *bosch) sample(data []byte, bitsP, bitsT uint) (e Environment, rawT uint32) {
	e = b.conclude()
	rawT = b.rawTemperature(e, b.width)
	if bitsT != 0 {
		rawT = b.rawTemperature(e, bitsT)
		b.put(data[3:], b.filterT.next(rawT, b.sensor.coefficient()))
	}
	if bitsP != 0 {
		// The word falls as the pressure rises.
		rawP := nearest(b.width, bitsP, -e.pascals(), func(raw uint32) float64 { return -b.sensor.pascals(raw, rawT) })
		b.put(data, b.filterP.next(rawP, b.sensor.coefficient()))
	}
	return e, rawT
}

// rawTemperature returns the word of the given resolution (left in b.width
// bits) whose temperature is nearest to e's.
func (b *bosch) rawTemperature(e Environment, bits uint) uint32 {
	return nearest(b.width, bits, e.celsius(), b.sensor.celsius)
}

// resolution returns the bits of a word as an osrs field of a BME280 or BME680
// asks for (BME280 data sheet, 3.4.2 and 3.4.3): all with the filter on, else
// 16 and one more for each doubling.
func (b *bosch) resolution(osrs byte) uint {
	switch {
	case osrs == 0:
		return 0
	case b.sensor.coefficient() > 1:
		return b.width
	}
	return 15 + uint(min(osrs, 5))
}

// samples returns the oversampling of an osrs field (BME280 data sheet, 5.4.3
// and 5.4.5).
func samples(osrs byte) int {
	if osrs == 0 {
		return 0
	}
	return 1 << (min(osrs, 5) - 1)
}

// put20 stores a 20-bit word: msb, lsb, xlsb in the high four bits.
func put20(b []byte, w uint32) { b[0], b[1], b[2] = byte(w>>12), byte(w>>4), byte(w<<4) }

// put24 stores a word of 24 bits: xlsb, lsb, msb.
func put24(b []byte, w uint32) { b[0], b[1], b[2] = byte(w), byte(w>>8), byte(w>>16) }

// filter is the memory of the IIR filter for one measure (BME280 data sheet,
// 3.4.4).
type filter struct {
	value float64
	set   bool
}

// next filters a word. The first passes unchanged.
func (f *filter) next(raw uint32, coefficient float64) uint32 {
	if !f.set {
		f.value, f.set = float64(raw), true
	} else {
		f.value += (float64(raw) - f.value) / coefficient
	}
	return uint32(f.value + 0.5)
}
