// Package crc8 computes the checksum with which chips for temperature and
// humidity protect what they send: CRC-8 with the polynomial x^8 + x^5 + x^4 + 1
// (0x31), the highest bit first, neither reflected nor inverted.
//
// Sensirion's chips, and those that follow them, start it from 0xFF (SHT3x-DIS
// datasheet, version 5, table 20); the HTU21D and the Si7021 from 0 (their
// datasheets' sections on the checksum).
package crc8

import (
	"fmt"

	"github.com/telltale-iot/telltale/drivers"
)

const polynomial = 0x31

// Sum returns the checksum of data, started from init.
func Sum(init byte, data ...byte) byte {
	sum := init
	for _, b := range data {
		sum ^= b
		for range 8 {
			carry := sum >> 7
			sum = sum<<1 ^ carry*polynomial
		}
	}
	return sum
}

// Word returns the word whose two bytes, the high one first, and checksum are
// the first three bytes of b. The error is a drivers.ErrCRC that begins with what
// they are of.
func Word(what string, init byte, b []byte) (uint16, error) {
	if Sum(init, b[:2]...) != b[2] {
		return 0, fmt.Errorf("%s % x: %w", what, b[:3], drivers.ErrCRC)
	}
	return uint16(b[0])<<8 | uint16(b[1]), nil
}
