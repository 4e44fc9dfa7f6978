// Package htu21d reads TE's (Measurement Specialties') HTU21D and Silicon Labs'
// Si7021, which measure temperature and humidity, over I2C. They have one
// protocol, which is that of Sensirion's SHT21, and the same formulas.
//
// # How it measures
//
// Each reading is two measurements in the "no hold master" mode, temperature and
// then humidity: the command, and after the longest time that it can take one read
// of the result and its checksum. The chip does not acknowledge a read until its
// result is there; one that is late is asked again, up to a bound. Then the user
// register is read: the results count only if it says that the resolution is the
// one that was set, that the heater is off, and that the supply is sufficient. Else
// the chip is configured anew, and measures again. To configure it is to reset it,
// to set the resolution and to switch the heater off.
//
//	resolution (bits)       longest time
//	temperature  humidity   temperature  humidity
//	14           12         50 ms        22.8 ms
//	13           10         25 ms        10.7 ms
//	12            8         13 ms         6.9 ms
//	11           11          7 ms         9.4 ms
//
// The times are the longer ones of the two chips: the HTU21D takes long for
// temperature, and the Si7021 measures it anew for each humidity.
//
// # Sources
//
//   - HTU21D(F) datasheet, Measurement Specialties, HPC199_3
//   - Si7021-A20 datasheet, Silicon Labs, revision 1.1
//   - for the HTU21D's electronic id, the Linux driver for chips of Measurement
//     Specialties, which cites HTU2X_Serial_Number_Reading.pdf
//
// Comments name the chip whose datasheet they cite.
//
// # Errata and traps
//
//   - The checksum starts from 0, so that of two bytes of 0 is 0, too: a line that
//     is held low passes it. Its values, -46.85 degree Celsius and -6 %RH, are
//     refused.
//   - The two lowest bits of a result are a status, and no part of the value.
//   - Humidity can come out a little below 0 and above 100 %RH. As the Si7021's
//     datasheet has it (5.1.1), it is then 0 or 100 %RH.
//   - The HTU21D's datasheet has a correction of -0.15 %RH for each degree Celsius
//     above 25, and Linux's driver does not apply it, nor does this package.
//   - The reset value of the resolution is 14 bits. With that, a reset between two
//     readings changes nothing and is not seen.
//   - A soft reset does not switch the HTU21D's heater off.
//   - The reserved bits of the user register differ between the chips, and have to
//     be written as they are read.
//   - The bit for a low supply is one for 2.25 V of an HTU21D, which works down to
//     1.5 V, and for the least voltage of a Si7021, 1.9 V. On a supply of 3.3 V both
//     announce a brown-out, so it is an error.
//   - After power on a Si7021 takes up to 80 ms until it answers.
package htu21d
