// Package sht4x reads Sensirion's SHT40, SHT41, SHT43 and SHT45, which measure
// temperature and humidity, over I2C. They differ in accuracy only.
//
// # How it measures
//
// Each reading is one measurement: the command, and after the longest time that
// it can take one read of both results and their checksums. The chip holds no
// configuration, so one that was reset or replaced between two readings is
// measured right all the same. Until its result is there it does not acknowledge
// a read; one that is late is asked again, up to a bound. The heater is never
// switched on.
//
//	repeatability   longest time
//	High            8.3 ms
//	Medium          4.5 ms
//	Low             1.7 ms
//
// # Source
//
// SHT4x datasheet, Sensirion, version 6 (February 2023). Comments cite its
// sections. Versions differ by 0.1 ms in the longest times; here they are the
// greatest of them.
//
// # Errata and traps
//
//   - The chip has no status: a reset during a measurement cannot be told from a
//     chip that is late, and ends in drivers.ErrNotReady.
//   - Humidity can come out below 0 and above 100 %RH, by no more than the chip's
//     accuracy in sensible air. As section 4.6 has it, it is then 0 or 100 %RH.
//   - While the heater is on, which takes a command of somebody else, nothing is
//     acknowledged for up to 1.1 s.
//   - An SHT3x has the same addresses, and other commands: what starts a
//     measurement there (0x24..) switches the heater on here. An SHT3x ignores
//     this package's commands, so it is an error and not a wrong value.
package sht4x
