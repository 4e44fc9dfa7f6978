package i2csim

import (
	"math"
	"math/rand/v2"
	"time"
)

// Commands (SHT3x-DIS data sheet, section 4; 0x61xx and 0xE1xx: "Alert Mode of
// SHT3x- and STS3x-DIS"; serial number: "SHT3x Electronic Identification
// Code"). Those that measure are in [sht3xMeasures].
const (
	sht3xFetch         = 0xE000
	sht3xBreak         = 0x3093
	sht3xReset         = 0x30A2
	sht3xHeaterOn      = 0x306D
	sht3xHeaterOff     = 0x3066
	sht3xReadStatus    = 0xF32D
	sht3xClearStatus   = 0x3041
	sht3xSerialStretch = 0x3780
	sht3xSerial        = 0x3682
)

// The status register (4.11).
const (
	sht3xAlert      = 1 << 15
	sht3xHeater     = 1 << 13
	sht3xAlertRH    = 1 << 11
	sht3xAlertT     = 1 << 10
	sht3xWasReset   = 1 << 4
	sht3xNotCarried = 1 << 1 // the last command
	sht3xNotChecked = 1 << 0 // the last write transfer's checksum was wrong

	sht3xStatus = sht3xAlert | sht3xWasReset // as after a reset
)

const (
	sht3xPowerUp   = time.Millisecond        // table 4, the maximum
	sht3xResetTime = 1500 * time.Microsecond // the same
	sht3xBreakTime = time.Millisecond        // 4.8
	sht3xIdle      = time.Millisecond        // to the serial number
)

// The alert limits, by their places in SHT3x.limits.
const (
	sht3xHighSet = iota
	sht3xHighClear
	sht3xLowClear
	sht3xLowSet
)

// sht3xLimits are the alert limits after a reset (Alert Mode, table 1): 7 bits
// of humidity and 9 of temperature.
var sht3xLimits = [4]uint16{sht3xHighSet: 0xCD33, sht3xHighClear: 0xC92D, sht3xLowClear: 0x3869, sht3xLowSet: 0x3466}

// sht3xLimitCommands returns the commands that read and write limits.
func sht3xLimitCommands() (read, write map[uint16]int) {
	return map[uint16]int{0xE11F: sht3xHighSet, 0xE114: sht3xHighClear, 0xE109: sht3xLowClear, 0xE102: sht3xLowSet},
		map[uint16]int{0x611D: sht3xHighSet, 0x6116: sht3xHighClear, 0x610B: sht3xLowClear, 0x6100: sht3xLowSet}
}

// sht3xMeasure is a command that measures.
type sht3xMeasure struct {
	duration [2]time.Duration // by Timing
	period   time.Duration    // 0 measures once
	stretch  bool             // a read waits for the data
}

// sht3xMeasures returns the commands that measure (tables 9, 10 and 12;
// durations: table 4).
func sht3xMeasures() map[uint16]sht3xMeasure {
	us := time.Microsecond
	high := [2]time.Duration{Maximum: 15000 * us, Typical: 12500 * us}
	medium := [2]time.Duration{Maximum: 6000 * us, Typical: 4500 * us}
	low := [2]time.Duration{Maximum: 4000 * us, Typical: 2500 * us}
	m := map[uint16]sht3xMeasure{
		0x2C06: {high, 0, true},
		0x2C0D: {medium, 0, true},
		0x2C10: {low, 0, true},
		0x2400: {high, 0, false},
		0x240B: {medium, 0, false},
		0x2416: {low, 0, false},
		0x2B32: {high, time.Second / 4, false}, // ART
	}
	for period, ops := range map[time.Duration][3]uint16{
		2 * time.Second:  {0x2032, 0x2024, 0x202F},
		time.Second:      {0x2130, 0x2126, 0x212D},
		time.Second / 2:  {0x2236, 0x2220, 0x222B},
		time.Second / 4:  {0x2334, 0x2322, 0x2329},
		time.Second / 10: {0x2737, 0x2721, 0x272A},
	} {
		m[ops[0]] = sht3xMeasure{high, period, false}
		m[ops[1]] = sht3xMeasure{medium, period, false}
		m[ops[2]] = sht3xMeasure{low, period, false}
	}
	return m
}

// SHT3x is an emulated Sensirion SHT30-DIS, SHT31-DIS or SHT35-DIS. It is
// idle, and has been supplied for long, when it is made. It is safe for
// concurrent use.
type SHT3x struct {
	core
	measures              map[uint16]sht3xMeasure
	readLimit, writeLimit map[uint16]int
	serial                uint32

	status uint16
	limits [4]uint16

	// The measurement that runs or, in periodic mode, the next.
	measuring bool
	measure   sht3xMeasure

	memory   reply // in periodic mode, for the next fetch
	data     reply
	dataFrom time.Time // until then that is not ready
	holds    bool      // and a read before waits for it
}

// NewSHT3x returns an SHT3x that is idle.
func NewSHT3x(o ChipOptions) (*SHT3x, error) {
	c := &SHT3x{measures: sht3xMeasures(), serial: rand.New(rand.NewPCG(o.Seed, 0x5437)).Uint32()}
	if err := c.setUp("sht3x", o, c); err != nil {
		return nil, err
	}
	c.readLimit, c.writeLimit = sht3xLimitCommands()
	return c, nil
}

// powerUp leaves the chip idle, with its status and alert limits as after any
// reset.
func (c *SHT3x) powerUp(now time.Time) {
	c.reset()
	c.deafTill = now.Add(sht3xPowerUp)
}

// write carries out one command of two bytes, or of five if it writes an alert
// limit. A command that cannot be carried out is not acknowledged at its second
// byte; while the chip measures once, its address is not.
func (c *SHT3x) write(p []byte, now time.Time) int {
	if c.busy() {
		return -1
	}
	if len(p) < 2 {
		return len(p)
	}
	op := uint16(p[0])<<8 | uint16(p[1])
	if limit, ok := c.writeLimit[op]; ok && len(p) >= 5 {
		c.status &^= sht3xNotCarried
		c.setLimit(limit, [3]byte(p[2:5]))
		return 5
	}
	if !c.command(op, now) {
		c.status |= sht3xNotCarried
		return 1
	}
	if op != sht3xReadStatus { // or nobody would ever read it
		c.status &^= sht3xNotCarried
	}
	return 2
}

// read gives what the last command asked for, once. If that is not ready, the
// chip holds the clock or does not acknowledge its address, as the command
// says; if there is nothing, it does not acknowledge its address.
func (c *SHT3x) read(p []byte, now time.Time) bool {
	return !now.Before(c.dataFrom) && c.data.take(p)
}

func (c *SHT3x) held(now time.Time) time.Duration {
	if !c.holds {
		return 0
	}
	if c.busy() {
		return c.end.Sub(now)
	}
	return max(c.dataFrom.Sub(now), 0)
}

// busy reports whether a single measurement runs.
func (c *SHT3x) busy() bool { return c.measuring && c.measure.period == 0 }

// command carries out a command of two bytes, if it can.
func (c *SHT3x) command(op uint16, now time.Time) bool {
	if limit, ok := c.readLimit[op]; ok {
		c.offer(c.limits[limit])
		return true
	}
	if m, ok := c.measures[op]; ok {
		if c.measuring {
			return false // "recommended to issue a break command first" (4.5)
		}
		c.offer()
		c.measuring, c.measure, c.holds, c.memory = true, m, m.stretch, nil
		c.start, c.end = now, now.Add(m.duration[c.timing])
		return true
	}
	switch op {
	case sht3xFetch:
		c.offer()
		c.data, c.memory = c.memory, nil
	case sht3xBreak:
		c.measuring, c.memory, c.data = false, nil, nil
		c.deafTill = now.Add(sht3xBreakTime)
	case sht3xReset:
		c.reset()
		c.deafTill = now.Add(sht3xResetTime)
	case sht3xHeaterOn:
		c.status |= sht3xHeater
	case sht3xHeaterOff:
		c.status &^= sht3xHeater
	case sht3xReadStatus:
		c.offer(c.status)
	case sht3xClearStatus:
		c.status &^= sht3xAlert | sht3xAlertRH | sht3xAlertT | sht3xWasReset
	case sht3xSerial, sht3xSerialStretch:
		c.offer(uint16(c.serial>>16), uint16(c.serial))
		c.dataFrom, c.holds = now.Add(sht3xIdle), op == sht3xSerialStretch
	default:
		return false
	}
	return true
}

// offer makes words what is read next, from now on.
func (c *SHT3x) offer(words ...uint16) {
	c.data, c.dataFrom, c.holds = checked(sensirionCRC, words...), time.Time{}, false
}

// setLimit takes a limit of two bytes if its checksum is right.
func (c *SHT3x) setLimit(limit int, b [3]byte) {
	if checksum(sensirionCRC, b[0], b[1]) != b[2] {
		c.status |= sht3xNotChecked
		return
	}
	c.status &^= sht3xNotChecked
	c.limits[limit] = uint16(b[0])<<8 | uint16(b[1])
}

func (c *SHT3x) reset() {
	c.status, c.limits = sht3xStatus, sht3xLimits
	c.measuring, c.memory, c.data = false, nil, nil
}

// advance carries out everything that has happened up to now: each measurement,
// for the alerts remember.
func (c *SHT3x) advance(now time.Time) {
	for c.measuring && !now.Before(c.end) {
		words := c.convert()
		if c.busy() {
			c.measuring = false
			c.data = checked(sensirionCRC, words[:]...)
			return
		}
		c.memory = checked(sensirionCRC, words[:]...)
		c.track(words)
		c.start = c.start.Add(c.measure.period)
		c.end = c.start.Add(c.measure.duration[c.timing])
	}
}

// convert ends the measurement from start to end, and returns temperature and
// humidity (4.13).
func (c *SHT3x) convert() [2]uint16 {
	e := c.conclude()
	return [2]uint16{
		word16((e.celsius() + 45) / 175 * math.MaxUint16),
		word16(e.percent() / 100 * math.MaxUint16),
	}
}

// track raises and ends alerts, in the resolution of the limits.
func (c *SHT3x) track(words [2]uint16) {
	for _, m := range []struct {
		value uint16
		of    func(limit uint16) uint16
		alert uint16
	}{
		{words[0] >> 7, func(limit uint16) uint16 { return limit & 0x1FF }, sht3xAlertT},
		{words[1] >> 9, func(limit uint16) uint16 { return limit >> 9 }, sht3xAlertRH},
	} {
		highSet, lowSet := m.of(c.limits[sht3xHighSet]), m.of(c.limits[sht3xLowSet])
		switch {
		case lowSet > highSet: // deactivated
			c.status &^= m.alert
		case m.value > highSet || m.value < lowSet:
			c.status |= m.alert | sht3xAlert
		case m.value < m.of(c.limits[sht3xHighClear]) && m.value > m.of(c.limits[sht3xLowClear]):
			c.status &^= m.alert
		}
	}
}
