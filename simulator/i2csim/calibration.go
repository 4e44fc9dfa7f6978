package i2csim

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// Calibration is a BME280's trimming words (data sheet, table 16). A BMP280
// has no H words.
type Calibration struct {
	T1                             uint16
	T2, T3                         int16
	P1                             uint16
	P2, P3, P4, P5, P6, P7, P8, P9 int16
	H1                             uint8
	H2                             int16
	H3                             uint8
	H4, H5                         int16 // 12 bits: -2048 to 2047
	H6                             int8
}

// NewCalibration draws the trimming words of one chip from seed, spread as
// they are on chips that are sold. H5 is negative on about a third of them.
func NewCalibration(seed uint64) Calibration {
	r := rand.New(rand.NewPCG(seed, 0x0b3e280))
	between := func(lo, hi int) int { return lo + r.IntN(hi-lo+1) }
	c := Calibration{
		T1: uint16(between(27000, 29000)),
		T2: int16(between(25600, 27000)),
		T3: 50,
		P1: uint16(between(35500, 38500)),
		P2: int16(between(-10900, -10300)),
		P3: 3024,
		P4: int16(between(2500, 9500)),
		P5: int16(between(-200, 200)),
		P6: -7,
		P7: 9900,
		P8: -10230,
		P9: 4285,
		H1: 75,
		H2: int16(between(345, 385)),
		H3: 0,
		H4: int16(between(290, 340)),
		H5: int16(between(-50, 100)),
		H6: 30,
	}
	// Chips of earlier lots have these; the datasheet's example is one.
	if r.IntN(2) == 0 {
		c.T3, c.P7, c.P8, c.P9 = -1000, 15500, -14600, 6000
	}
	return c
}

// validate reports words that the calibration memory has no room for.
func (c *Calibration) validate() error {
	for name, v := range map[string]int16{"H4": c.H4, "H5": c.H5} {
		if v < -2048 || v > 2047 {
			return fmt.Errorf("i2csim: calibration %s is %d: want -2048 to 2047", name, v)
		}
	}
	return nil
}

// store writes the words where table 16 has them: T and P little-endian from
// 0x88 on, H1 at 0xA1, the other H from 0xE1 on.
func (c *Calibration) store(registers *[256]byte, humidity bool) {
	b := registers[regCalibration0:regCalibration0]
	for _, v := range []uint16{
		c.T1, uint16(c.T2), uint16(c.T3),
		c.P1, uint16(c.P2), uint16(c.P3), uint16(c.P4), uint16(c.P5),
		uint16(c.P6), uint16(c.P7), uint16(c.P8), uint16(c.P9),
	} {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	if !humidity {
		return
	}
	registers[regCalibrationH] = c.H1
	copy(registers[regCalibration1:], []byte{
		byte(c.H2), byte(c.H2 >> 8), c.H3,
		// 12 bits each: of the byte that they share H4 has the low half.
		byte(c.H4 >> 4), byte(c.H5<<4) | byte(c.H4&0x0F), byte(c.H5 >> 4),
		byte(c.H6),
	})
}
