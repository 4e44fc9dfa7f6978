// Package sht3x reads Sensirion's SHT30, SHT31 and SHT35, which measure
// temperature and humidity, over I2C. They differ in accuracy only.
//
// # How it measures
//
// Each reading is one single-shot measurement without clock stretching: the
// command, after the longest time that it can take one read of both results and
// their checksums, and then the status. The chip does not acknowledge a read
// until its result is there; one that is late is asked again, up to a bound. The
// result counts only if the status says that there was no reset since the chip
// was configured, and that its heater is off. Else it is configured anew and
// measures again. To configure it is to end what it may be doing for somebody
// else, to reset it, and to clear the status.
//
//	repeatability   longest time
//	High            15.5 ms, and 1 ms for the status
//	Medium           6.5 ms
//	Low              4.5 ms
//
// # Source
//
// SHT3x-DIS datasheet, Sensirion, version 6 (February 2019). Comments cite its
// tables and sections. The longest times are those of a supply below 2.4 V.
//
// # Errata and traps
//
//   - Between two commands the chip wants 1 ms (section 4.3). A clock that is
//     stretched, as in the other single-shot commands, is too long for some
//     adapters, so these are not used.
//   - In its periodic mode, in which a Linux driver may have left it, it takes no
//     single-shot command.
//   - A reset sets the alert bit, too; only bit 4 tells that there was one.
//   - An SHT4x has the same addresses, and switches its heater on for the commands
//     that start a measurement here. So nothing is measured until something has
//     answered with a status and its checksum.
//   - TI's HDC302x follows these commands and formulas, and passes for one.
package sht3x
