package i2csim

import (
	"math"
	"math/rand/v2"
	"time"
)

// Commands (SHT4x data sheet, 4.5). The others are in [sht4xMeasures].
const (
	sht4xSerial = 0x89
	sht4xReset  = 0x94
)

// sht4xReady is how long the chip takes from power, and from a soft reset, to
// the first command: the maximum of both (3.2).
const sht4xReady = time.Millisecond

// sensirionCRC is what the checksum of an SHT3x or SHT4x starts from.
const sensirionCRC = 0xFF

// sht4xMeasure is a command that ends in data.
type sht4xMeasure struct {
	heat     [2]time.Duration // before and during the measurement, by Timing
	duration [2]time.Duration // of the measurement, by Timing
}

// sht4xMeasures returns the commands that end in data (4.5; durations 3.2).
// The heater is on until the measurement, of high precision, has ended (4.8).
func sht4xMeasures() map[byte]sht4xMeasure {
	us := time.Microsecond
	high := [2]time.Duration{Maximum: 8300 * us, Typical: 6900 * us}
	medium := [2]time.Duration{Maximum: 4500 * us, Typical: 3700 * us}
	low := [2]time.Duration{Maximum: 1600 * us, Typical: 1300 * us}
	long := [2]time.Duration{Maximum: 1100 * time.Millisecond, Typical: time.Second}
	short := [2]time.Duration{Maximum: 110 * time.Millisecond, Typical: 100 * time.Millisecond}
	return map[byte]sht4xMeasure{
		0xFD: {duration: high},
		0xF6: {duration: medium},
		0xE0: {duration: low},
		0x39: {long, high}, // 200 mW
		0x32: {short, high},
		0x2F: {long, high}, // 110 mW
		0x24: {short, high},
		0x1E: {long, high}, // 20 mW
		0x15: {short, high},
	}
}

// SHT4x is an emulated Sensirion SHT40, SHT41 or SHT45. It is idle, and has
// been supplied for long, when it is made. It is safe for concurrent use.
type SHT4x struct {
	core
	measures map[byte]sht4xMeasure
	serial   uint32

	measuring bool
	data      reply
}

// NewSHT4x returns an SHT4x that is idle.
func NewSHT4x(o ChipOptions) (*SHT4x, error) {
	c := &SHT4x{measures: sht4xMeasures(), serial: rand.New(rand.NewPCG(o.Seed, 0x5487)).Uint32()}
	if err := c.setUp("sht4x", o, c); err != nil {
		return nil, err
	}
	return c, nil
}

// powerUp is as a soft reset.
func (c *SHT4x) powerUp(now time.Time) { c.reset(now) }

// write carries out one command. It is not acknowledged if there is no such
// command, nor during a measurement, unless it is the soft reset, which aborts
// that (4.9). Further bytes are not acknowledged.
func (c *SHT4x) write(p []byte, now time.Time) int {
	if len(p) == 0 || !c.command(p[0], now) {
		return 0
	}
	return 1
}

// read gives temperature and humidity, or the serial number, once. There is no
// clock stretching: without data the address is not acknowledged (4.2).
func (c *SHT4x) read(p []byte, _ time.Time) bool { return c.data.take(p) }

func (c *SHT4x) command(op byte, now time.Time) bool {
	if op == sht4xReset {
		c.reset(now)
		return true
	}
	if c.measuring {
		return false
	}
	if op == sht4xSerial {
		c.data = checked(sensirionCRC, uint16(c.serial>>16), uint16(c.serial))
		return true
	}
	m, known := c.measures[op]
	if !known {
		return false
	}
	c.data = nil
	duration := m.duration[c.timing]
	c.end = now.Add(max(m.heat[c.timing], duration))
	c.measuring, c.start = true, c.end.Add(-duration)
	return true
}

func (c *SHT4x) reset(now time.Time) {
	c.measuring, c.data = false, nil
	c.deafTill = now.Add(sht4xReady)
}

// advance carries out everything that has happened up to now.
func (c *SHT4x) advance(now time.Time) {
	if !c.measuring || now.Before(c.end) {
		return
	}
	e := c.conclude()
	// 4.6.
	c.data = checked(sensirionCRC,
		word16((e.celsius()+45)/175*math.MaxUint16),
		word16((e.percent()+6)/125*math.MaxUint16))
	c.measuring = false
}
