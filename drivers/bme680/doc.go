// Package bme680 reads temperature, pressure and humidity of Bosch's BME680 over
// I2C. The gas sensor is not used: its heater, which would warm the others, is
// kept off.
//
// # How it measures
//
// Each reading is one measurement in forced mode; in between the chip sleeps.
// In the steady state a reading is three transactions: the command, after the
// longest time that the measurement can take one burst read of the status and the
// results (0x1D to 0x26), and one of the configuration (0x70 to 0x75). A result
// counts only if the chip says that it is new, and if the configuration read after
// it is the one that was written: a chip that was reset, by a brown-out say, would
// else go on without its oversampling and its filter, and nothing would tell. It
// is then configured anew, which includes its calibration, and measures again.
//
// # Formulas
//
// Bosch gives the compensation in floating point, and in 32-bit integers that lose
// some pascals. Here the floating-point formulas are evaluated in 64 bits.
// The results' resolution is 0.2 mK, 1/256 Pa and 1/1024 %RH; they differ from the
// formulas in double precision by less than 0.1 mK, 0.01 Pa and 0.002 %RH. Humidity
// follows the formula's own limits, 0 and 100 %RH.
//
// # Sources
//
//   - BME680 datasheet, BST-BME680-DS001, revision 1.1 (April 2019)
//   - for the formulas, Bosch's BME68x sensor API, version 4.4
//
// Comments cite sections of the first.
//
// # Errata and traps
//
//   - The id is in the register, and the chip at the addresses, of a BME280.
//   - H1 and H2 are unsigned numbers of 12 bits that share a byte, in another order
//     than a BME280's H4 and H5.
//   - The filter's coefficients are one less than powers of two.
//   - I2C has no checksum. The calibration is read twice and compared.
//   - A BME688 has the same id and registers, and its temperature, pressure and
//     humidity are read as well.
package bme680
