// Package tca9548a makes a bus of each channel of Texas Instruments' TCA9548A, an I2C
// multiplexer with eight of them. NXP's PCA9548A has the same register.
//
// # How it works
//
// A transaction on a channel is three on the bus: the channel is opened, the
// transaction made, and all channels closed. Nothing is remembered between two of
// them. So a multiplexer that browned out, which closes all channels, or that another
// program wrote to, is right again at the next transaction. And since no channel stays
// open, chips behind two multiplexers on one bus may have the same addresses, and a
// chip behind one is not found beside it.
//
// The three are one to everything else that uses the same [Share]d bus: the other
// channels, other multiplexers, also one behind a channel, and chips beside them.
// Whatever goes past it, as another program does, can come in between, and is then
// heard behind the open channel, too.
//
// A chip beside the multiplexer hears what is said to those behind it. So it cannot
// have the address of one of them: both would answer. No software can help that; a
// configuration with it is wrong.
//
// An error leaves the channels as they may be. Those of this multiplexer are put
// right by the next transaction through it; until then a chip of the same address
// behind another one may be disturbed.
//
// # Source
//
// TCA9548A datasheet, SCPS207F, Texas Instruments, revised November 2016. The control
// register (8.5.4) has a bit for each channel; all are off after power-on, and what is
// written works from the end of the transaction on.
//
// # Errata and traps
//
//   - A chip behind a channel cannot have the multiplexer's own address. The drivers'
//     chips with addresses from 0x70 up are the BME280, BMP280, BME680 and BMP388,
//     at 0x76 and 0x77.
//   - periph's driver, pca9548, is no base for this one: it remembers the open channel
//     and trusts that after an error, a brown-out and another program's write alike,
//     leaves it open when another multiplexer is used, and loses errno.
package tca9548a
