package i2csim

import (
	"time"
)

// Commands (AHT20 data sheet, 5.3).
const (
	aht20Init    = 0xBE // and 0x08, 0x00
	aht20Trigger = 0xAC // and 0x33, 0x00
	aht20Reset   = 0xBA
	aht20Status  = 0x71
)

// aht20CRC is what the checksum starts from (5.4).
const aht20CRC = 0xFF

// Bits of the status. The one that has no name is always set.
const (
	aht20Busy       = 1 << 7
	aht20Calibrated = 1 << 3
	aht20Reserved   = 1 << 4
)

// Durations (AHT20 data sheet, 5.4 and 5.5).
const (
	aht20Startup     = 40 * time.Millisecond
	aht20Calibration = 10 * time.Millisecond
	aht20Measurement = 80 * time.Millisecond
	aht20Restart     = 20 * time.Millisecond
)

// AHT20 is an emulated Aosong AHT20. It has been supplied for long, and is not
// calibrated, when it is made. It is safe for concurrent use.
type AHT20 struct {
	core

	calibrating  bool
	calibratedAt time.Time // if calibrating
	measuring    bool
	data         [5]byte
}

// NewAHT20 returns an AHT20 that is not calibrated. The data sheet gives one
// duration for each thing: Timing makes no difference.
func NewAHT20(o ChipOptions) (*AHT20, error) {
	c := new(AHT20)
	if err := c.setUp("aht20", o, c); err != nil {
		return nil, err
	}
	return c, nil
}

// powerUp lets the chip answer after 40 ms. It is not calibrated then.
func (c *AHT20) powerUp(now time.Time) {
	c.restart(now.Add(aht20Startup))
}

// write carries out a command. One that it does not know it does not
// acknowledge.
func (c *AHT20) write(p []byte, now time.Time) int {
	if len(p) == 0 {
		return 0
	}
	switch p[0] {
	case aht20Reset:
		c.restart(now.Add(aht20Restart))
	case aht20Init:
		if len(p) >= 3 && p[1] == 0x08 && p[2] == 0x00 {
			c.calibrating, c.calibratedAt = true, now.Add(aht20Calibration)
		}
	case aht20Trigger:
		if len(p) >= 3 && p[1] == 0x33 && p[2] == 0x00 && c.calibrated(now) && !c.measuring {
			c.measure(now)
		}
	case aht20Status:
		// That is no command but the address byte of a read. While it measures,
		// chips have stayed busy for as long as they were sent it
		// (github.com/anglerud/aht20-driver, pull request 10).
		if c.measuring {
			c.measure(now)
		}
	default:
		return 0
	}
	return len(p)
}

// read gives the status, the humidity and the temperature of the last
// measurement, their checksum, and then nothing: the data line stays high.
func (c *AHT20) read(p []byte, now time.Time) bool {
	said := append([]byte{c.status(now)}, c.data[:]...)
	answer(p, append(said, checksum(aht20CRC, said...)))
	return true
}

func (c *AHT20) status(now time.Time) byte {
	status := byte(aht20Reserved)
	if c.calibrated(now) {
		status |= aht20Calibrated
	}
	if c.measuring {
		status |= aht20Busy
	}
	return status
}

func (c *AHT20) calibrated(now time.Time) bool {
	return c.calibrating && !now.Before(c.calibratedAt)
}

func (c *AHT20) measure(now time.Time) {
	c.measuring = true
	c.start, c.end = now, now.Add(aht20Measurement)
}

func (c *AHT20) restart(up time.Time) {
	c.deafTill, c.calibrating, c.measuring, c.data = up, false, false, [5]byte{}
	c.forget()
}

// advance carries out everything that has happened up to now. A humidity of
// 100 %RH and a temperature of -50 to 150 °C are 20 bits each (section 6).
func (c *AHT20) advance(now time.Time) {
	if !c.measuring || now.Before(c.end) {
		return
	}
	c.measuring = false
	e := c.conclude()
	h := nearest(20, 20, e.percent(), func(raw uint32) float64 {
		return float64(raw) / (1 << 20) * 100
	})
	t := nearest(20, 20, e.celsius(), func(raw uint32) float64 {
		return float64(raw)/(1<<20)*200 - 50
	})
	c.data = [5]byte{byte(h >> 12), byte(h >> 4), byte(h<<4) | byte(t>>16), byte(t >> 8), byte(t)}
}
