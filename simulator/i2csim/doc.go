// Package i2csim emulates an I²C bus and sensor chips at register level, so
// that unmodified drivers run without hardware.
//
// A [Bus] implements periph's i2c.BusCloser and carries [Device]s. The chips,
// which [NewChip] makes by name, measure what a [Source] says their
// surroundings are: each finds the raw word that the datasheet's formula turns
// into that value, so a correct driver reads the source back to the chip's
// resolution, and an incorrect one does not.
//
// The chips are written from their datasheets alone and share no code, table
// or formula with this project's drivers: an emulator that shares its driver's
// mistakes proves nothing. Where a datasheet gives a range, the emulator takes
// the end that a driver finds harder; where it is silent, README.md says what
// the emulator does.
//
// Everything is safe for concurrent use. There is no goroutine: a chip catches
// up with its clock whenever it is looked at. The same seeds, sources and
// times give the same bytes.
//
// Sources:
//   - Bosch Sensortec, BME280 data sheet, BST-BME280-DS002-15, rev. 1.6 (2018)
//   - Bosch Sensortec, BMP280 data sheet, BST-BMP280-DS001-23, rev. 1.23 (2020)
//   - Bosch Sensortec, BME680 data sheet, BST-BME680-DS001, rev. 1.0 (2017)
//   - Bosch Sensortec, BMP388 data sheet, BST-BMP388-DS001, and BMP390 data
//     sheet, BST-BMP390-DS002
//   - ROHM, BH1750FVI technical note, 2009.04 rev. B
//   - Texas Instruments, OPT3001-Q1 data sheet, SBOS853B (2024)
//   - Aosong, AHT20 data sheet, v1.1 (2020)
//   - STMicroelectronics, LPS22HB data sheet, DocID027083, rev. 6 (2017)
//   - ams, TSL2591 data sheet, ams163.5 (2013) and v2-04 (2018)
//   - Vishay, VEML7700 data sheet, 84286, rev. 1.7 (2023), and application
//     note 84323, rev. 06-Mar-2025
//   - Texas Instruments, TCA9548A data sheet, SCPS207F (2016)
//   - Sensirion, datasheet SHT3x-DIS, version 6 (2019), and its application
//     notes "Alert Mode of SHT3x- and STS3x-DIS", version 3.1 (2023), and
//     "SHT3x Electronic Identification Code", version 3 (2023)
//   - Sensirion, datasheet SHT4x, version 3 (2022) and later
//   - TE Connectivity, HTU21D(F) RH/T sensor IC, and its application note
//     "HTU2X Serial Number Reading"
//   - Silicon Labs, Si7021-A20 data sheet, rev. 1.1
//   - NXP, I²C-bus specification and user manual, UM10204
package i2csim
