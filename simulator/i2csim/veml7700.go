package i2csim

import (
	"encoding/binary"
	"time"
)

// Command codes, each of a 16-bit register (VEML7700 data sheet, table 1). The
// one that is left out is the thresholds' status.
const (
	veml7700Config    = 0
	veml7700High      = 1 // thresholds
	veml7700Low       = 2
	veml7700PowerSave = 3
	veml7700ALS       = 4
	veml7700White     = 5
	veml7700ID        = 7
)

const (
	veml7700Shutdown    = 1 << 0 // in the configuration
	veml7700SaveEnabled = 1 << 0 // in the power saving register

	// The chip's code, and above it the code of its address 0x10.
	veml7700IDValue = 0xC481

	// wake is the time from shutdown to the start of the first integration.
	veml7700Wake = 2500 * time.Microsecond
)

// VEML7700 is an emulated Vishay VEML7700. It is shut down, and has been
// supplied for long, when it is made. It is safe for concurrent use.
type VEML7700 struct {
	core

	pointer   byte
	registers [8]uint16
	measuring uint16 // the configuration as of start
}

// NewVEML7700 returns a VEML7700 that is shut down. The data sheet gives no
// tolerance for the integration time: it is the nominal one for any Timing.
func NewVEML7700(o ChipOptions) (*VEML7700, error) {
	c := new(VEML7700)
	if err := c.setUp("veml7700", o, c); err != nil {
		return nil, err
	}
	return c, nil
}

// powerUp leaves the chip shut down, with its registers reset.
func (c *VEML7700) powerUp(time.Time) {
	c.pointer = 0
	c.registers = [8]uint16{veml7700Config: veml7700Shutdown, veml7700ID: veml7700IDValue}
}

// write takes a command code and then a word, low byte first. Without a whole
// word it selects what is read next.
func (c *VEML7700) write(p []byte, now time.Time) int {
	if len(p) > 0 {
		c.pointer = p[0]
	}
	if len(p) >= 3 {
		c.set(c.pointer, binary.LittleEndian.Uint16(p[1:]), now)
	}
	return len(p)
}

// read gives the register, low byte first, and then nothing: the data line
// stays high.
func (c *VEML7700) read(p []byte, _ time.Time) bool {
	var word uint16
	if int(c.pointer) < len(c.registers) {
		word = c.registers[c.pointer]
	}
	answer(p, binary.LittleEndian.AppendUint16(nil, word))
	return true
}

func (c *VEML7700) set(code byte, word uint16, now time.Time) {
	switch code {
	case veml7700Config:
		asleep := c.asleep()
		c.registers[code] = word
		if asleep && !c.asleep() {
			c.begin(now.Add(veml7700Wake))
		}
	case veml7700High, veml7700Low, veml7700PowerSave:
		c.registers[code] = word
	}
}

func (c *VEML7700) asleep() bool { return c.registers[veml7700Config]&veml7700Shutdown != 0 }

// begin starts an integration as the configuration says then.
func (c *VEML7700) begin(start time.Time) {
	c.measuring = c.registers[veml7700Config]
	c.start, c.end = start, start.Add(c.integration())
}

// advance carries out everything that has happened up to now. Each result
// replaces the one before: of those that follow in one configuration only the
// last needs to be made.
func (c *VEML7700) advance(now time.Time) {
	for !c.asleep() && !now.Before(c.end) {
		c.convert()
		pause := c.pause()
		c.begin(c.end.Add(pause))
		c.skip(now, c.integration()+pause)
	}
}

// convert ends the integration from start to end. The data sheet has no figure
// for the white channel: it counts as the other.
func (c *VEML7700) convert() {
	e := c.conclude()
	perCount := c.luxPerCount()
	count := nearest(16, 16, e.lux(), func(raw uint32) float64 {
		return veml7700Lux(float64(raw) * perCount)
	})
	c.registers[veml7700ALS], c.registers[veml7700White] = uint16(count), uint16(count)
}

// veml7700Lux returns the illuminance to which the application note (84323,
// "illumination values higher than 1000 lx show non-linearity") corrects a
// sensor's result: above 1000 lx by the polynomial that is the same for all
// sensors. It steps from 1000 to 1075 lx there.
func veml7700Lux(x float64) float64 {
	if x <= 1000 {
		return x
	}
	return x * (1.0023 + x*(8.1488e-5+x*(-9.3924e-9+x*6.0135e-13)))
}

// luxPerCount returns the resolution: 0.0042 lx at twice the gain and 800 ms,
// as the data sheet has it since rev. 1.7 (before, 0.0036 "wrongly stated").
func (c *VEML7700) luxPerCount() float64 {
	gain := [4]float64{1, 2, 1. / 8, 1. / 4}[c.measuring>>11&0b11]
	return 0.0042 * 2 / gain * float64(800*time.Millisecond) / float64(c.integration())
}

// integration returns the integration time; 100 ms for reserved values.
func (c *VEML7700) integration() time.Duration {
	switch c.measuring >> 6 & 0b1111 {
	case 0b1100:
		return 25 * time.Millisecond
	case 0b1000:
		return 50 * time.Millisecond
	case 0b0001:
		return 200 * time.Millisecond
	case 0b0010:
		return 400 * time.Millisecond
	case 0b0011:
		return 800 * time.Millisecond
	}
	return 100 * time.Millisecond
}

// pause returns the time between two integrations, which is what the power
// saving modes add (application note, refresh times).
func (c *VEML7700) pause() time.Duration {
	save := c.registers[veml7700PowerSave]
	if save&veml7700SaveEnabled == 0 {
		return 0
	}
	return 500 * time.Millisecond << (save >> 1 & 0b11)
}
