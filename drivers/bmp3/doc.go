// Package bmp3 reads Bosch's BMP388 and BMP390, which measure pressure and
// temperature, over I2C.
//
// # How it measures
//
// Each reading is one measurement in forced mode; in between the chip sleeps.
// In the steady state a reading is three transactions: the command, after the
// time of the measurement one burst read of the status and the results (0x03 to
// 0x09), and one of the configuration (0x1B to 0x1F). A result counts only once,
// which the data-ready bits tell, and only if the configuration read after it is
// the one that was written: a chip that was reset, by a brown-out say, would else
// go on without its oversampling and its filter, and nothing would tell. It is
// then configured anew, which includes its calibration, and measures again.
//
// # Formulas
//
// The datasheets give the compensation in floating point, with coefficients that
// are integers divided by powers of two; Bosch's own integer version is in its
// sensor API. Here the datasheets' polynomials are evaluated in 64 bits with as
// many fractional bits as fit. The results differ from exact arithmetic by less
// than 0.1 microkelvin and 0.2 mPa, a fraction of the chips' resolution; no
// calibration that the registers can hold overflows them.
//
// # Sources
//
//   - BMP390 datasheet, BST-BMP390-DS002, revision 1.7
//   - BMP388 datasheet, BST-BMP388-DS001, revision 1.7
//   - for the signs of the coefficients, and the settling time of temperature,
//     Bosch's BMP3 sensor API, version 2.0
//
// Comments cite sections of the first unless they name the second.
//
// # Errata and traps
//
//   - The id is in register 0x00; a BMP390's, 0x60, is that of a BME280 in 0xD0.
//   - The data-ready bits are cleared by reading the results, each by its own, so
//     that in one burst one bit may be set before the other. They are gathered.
//   - In one transaction registers are written as pairs of address and value; a
//     read increments the address, but not past the FIFO's (0x14), and reading the
//     registers of events (0x10, 0x11) clears them. So the burst ends before them.
//   - I2C has no checksum. The calibration is read twice and compared.
package bmp3
