package i2csim

import (
	"math"

	"periph.io/x/conn/v3/physic"
)

// checksum is the CRC-8 that Sensirion's chips and their kin send: polynomial
// x^8 + x^5 + x^4 + 1, most significant bit first, nothing inverted. It starts
// from initial: 0xFF (SHT3x data sheet, 4.12) or 0 (HTU21D, Si7021).
func checksum(initial byte, data ...byte) byte {
	crc := initial
	for _, b := range data {
		crc ^= b
		for range 8 {
			carry := crc&0x80 != 0
			crc <<= 1
			if carry {
				crc ^= 0x31
			}
		}
	}
	return crc
}

// checked returns words, most significant byte first, each with its checksum.
func checked(initial byte, words ...uint16) []byte {
	b := make([]byte, 0, 3*len(words))
	for _, w := range words {
		high, low := byte(w>>8), byte(w)
		b = append(b, high, low, checksum(initial, high, low))
	}
	return b
}

// answer fills p with what a chip has to say and, as it then lets go of the
// data line, with ones.
func answer(p, from []byte) {
	for i := copy(p, from); i < len(p); i++ {
		p[i] = 0xFF
	}
}

// reply is what a chip has to say to the next read, once; empty, nothing.
type reply []byte

// take fills p with r, after which there is nothing more. It reports whether
// there was anything: if not, the chip does not acknowledge its address.
func (r *reply) take(p []byte) bool {
	if len(*r) == 0 {
		return false
	}
	answer(p, *r)
	*r = nil
	return true
}

// word16 returns the word nearest to v.
func word16(v float64) uint16 {
	return uint16(min(max(math.Round(v), 0), math.MaxUint16))
}

func (e Environment) celsius() float64 {
	return float64(e.Temperature-physic.ZeroCelsius) / float64(physic.Kelvin)
}

func (e Environment) percent() float64 {
	return float64(e.Humidity) / float64(physic.PercentRH)
}

func (e Environment) pascals() float64 {
	return float64(e.Pressure) / float64(physic.Pascal)
}

func (e Environment) lux() float64 { return float64(e.Illuminance) / float64(Lux) }
