// Package tsl2591 reads ams' TSL2591 ambient light sensor over I2C.
//
// # How it measures
//
// Each reading switches the chip off, writes its whole configuration and starts it,
// and so gets the result of one integration that began in this reading: the flag
// AVALID tells when it is over. After the result the configuration is read back: a
// chip that was reset meanwhile is off and has no result. It is then measured again.
//
// By default the driver chooses the range by the greater of the two counts: above
// nine tenths of the converter's limit it goes to a less sensitive one, below 500 to
// a more sensitive one, and measures again within the same reading. The next reading
// begins where this one ended.
//
//	gain    integration time  one count of visible light  limit
//	Low     100 ms            4.08 lx                     150400 lx
//	Medium  100 ms            0.1632 lx                   6016 lx
//	High    100 ms            0.00953 lx                  351 lx
//	Max     300 ms            0.000138 lx                 9 lx
//
// The limits are those of light without infrared; with four tenths of it, as daylight
// may have, the first one is 54 klx. The datasheet specifies none in lux.
//
// # Illuminance
//
// The chip has a channel for visible and infrared light (c0) and one for infrared
// alone (c1). ams gives no formula in the datasheet. This one is from Adafruit's
// library for its board with the chip, of which older versions have another, and is
// Linux's as well:
//
//	lux = (c0 - c1) (1 - c1/c0) / CPL,  CPL = time in ms x gain / 408
//
// with the gains 1, 25, 428 and 9876, which are typical ones: two ranges, or two chips,
// can differ. The formula is computed exactly, as
// 408 (c0 - c1)^2 / (c0 x time x gain), to the nearest micro-lux.
//
// If the infrared channel counts as much as the other or more, as noise in the dark
// does, there is no visible light to be seen: 0 lx. The formula would give a positive
// value for it, and divides by zero in complete darkness.
//
// # Saturation
//
// The converter's limit depends on the integration time: 36863 counts with 100 ms,
// 65535 with any longer one. Either channel at its limit means that the light may be
// anything from there up, so it is never a value: a less sensitive range is tried,
// and if there is none the reading is an error (drivers.ErrSaturated).
//
// # Sources
//
//   - TSL2591 datasheet, ams, v2-04 (2018-Jun-05). Comments name its registers.
//   - github.com/adafruit/Adafruit_TSL2591_Library, for the formula.
//   - Linux, drivers/iio/light/tsl2591.c, for how long to wait for AVALID.
//
// # Errata and traps
//
//   - Each register address is sent with the command bits 101.
//   - A limit of 65535 for all integration times is a common mistake: with 100 ms,
//     the usual one, saturation then reads as 150 klx, or as anything less with
//     infrared light.
//   - Registers keep the low and high byte of one result together only if they are
//     read in one transaction, as here.
package tsl2591
