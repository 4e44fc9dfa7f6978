// Package bme280 reads Bosch's BME280 (temperature, pressure and humidity)
// and BMP280 (temperature and pressure) over I2C.
//
// # How it measures
//
// Each reading is one measurement in forced mode; in between the chip sleeps.
// In the steady state a reading is two transactions: the command, and after
// the longest time that the measurement can take one burst read of the
// configuration, the status and the results (0xF2 to 0xFE). A result counts
// only if the configuration beside it is the one that was written: a chip that
// was reset, by a brown-out say, would else go on without humidity and without
// its filter, and nothing would tell. It is then configured anew, which
// includes its calibration, and measures again. The standby time, which forced
// mode does not use, is set to a value other than its reset value: so even the
// configuration of a BMP280 without filter tells that a reset has been.
//
// The results are computed by the datasheets' integer formulas, in 64 bits.
// Their resolution is 0.01 degree Celsius, 1/256 Pa and 1/1024 %RH; they differ
// from the datasheets' formulas in double precision by less than 0.009 degree
// Celsius, 0.012 Pa and 0.012 %RH.
//
// # Sources
//
//   - BME280 datasheet, BST-BME280-DS002, revision 1.6 (September 2018)
//   - BMP280 datasheet, BST-BMP280-DS001, revision 1.23 (November 2020)
//
// Comments cite sections of the first unless they name the second.
//
// # Errata and traps
//
//   - The reset values of the results, 0x80000 and 0x8000, are also ordinary
//     results, near 26 degree Celsius, 800 hPa and 50 %RH. One alone is taken
//     for what it says. All of them together are no result.
//   - H4 and H5 are signed numbers of 12 bits that share a byte (table 16).
//   - Many boards sold as BME280 carry a BMP280. [Options] say which is meant,
//     so that a missing humidity is an error and not an absence.
//   - I2C has no checksum. The calibration is read twice and compared.
//   - Humidity follows the formula's own limits, 0 and 100 %RH.
//   - The datasheet's 32-bit products overflow for some calibrations that the
//     registers can hold (none that Bosch makes is known). Here they do not:
//     they end in drivers.ErrBadCalibration or drivers.ErrOutOfRange.
package bme280
