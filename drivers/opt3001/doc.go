// Package opt3001 reads Texas Instruments' OPT3001 ambient light sensor over I2C.
//
// # How it measures
//
// Each reading is one single-shot conversion, after which the chip shuts down by
// itself. The command that starts it is the whole configuration, so a chip that
// was reset, replaced or used by another program between two readings is measured
// right all the same. The chip chooses its full-scale range itself, from 40.95 lx to
// 83865.6 lx, and sends it along with each result.
//
// The driver waits the longest time of the conversion and then polls the conversion
// ready flag. It reads the result between two reads of the configuration: the first
// tells that the conversion is over and whether it overflowed, the second that the
// chip was not reset since, after which the result would read as darkness. The
// configuration has a fault count that is not the one after a reset (the interrupt
// that it is for is not used); so even that of 800 ms tells a reset.
//
// Light beyond the greatest range sets the overflow flag: drivers.ErrSaturated.
//
// # Source
//
// OPT3001 datasheet, SBOS681C, Texas Instruments, July 2014, revised November 2017.
// Comments cite its sections.
//
// # Errata and traps
//
//   - Reading the configuration clears the conversion ready flag.
//   - Words are sent with the high byte first.
//   - In automatic range the chip first measures for about 10 ms to find the range,
//     and starts again if it finds the light too bright on the way (7.4.1). Linux's
//     driver takes 150 ms and 1000 ms for enough; this one polls for longer.
//   - The addresses are also those of the SHT3x and the SHT4x. [Identify] does
//     nothing to either: the SHT3x takes two bytes for a command, and what
//     Identify writes is no command of the SHT4x.
//   - OPT3004, OPT3006 and OPT3007 have the same registers and identity.
package opt3001
