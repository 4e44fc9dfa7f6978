// Package veml7700 reads Vishay's VEML7700 ambient light sensor over I2C.
//
// # How it measures
//
// Each reading shuts the chip down, writes its whole configuration and wakes it
// up, so that the result is of one integration that began in this reading. The
// chip has no status: it goes on giving the result of before until the first
// integration is over, and does not tell when. The application note asks to wait
// for the integration time at least; Adafruit's library found that too short and
// waits for twice of it, and so does this driver. After the result the
// configuration is read back: a chip that was reset meanwhile is shut down and has
// no result. It is then measured again.
//
// By default the driver chooses the range as the application note's flow chart
// does, by the count: above 10000 it goes to a less sensitive one, below 100 to a
// more sensitive one, and measures again within the same reading. The next reading
// begins where this one ended.
//
//	gain  integration time  one count  limit
//	1/8    25 ms            2.1504 lx  140926 lx
//	1/8   100 ms            0.5376 lx   35231 lx
//	1     100 ms            0.0672 lx    4403 lx
//	2     400 ms            0.0084 lx     550 lx
//
// A count of 0xFFFF is the converter's limit. The light may be anything from there
// up, so it is never a value: a less sensitive range is tried, and if there is none
// the reading is an error (drivers.ErrSaturated).
//
// # More than 1000 lux
//
// The chip answers more weakly the brighter it is. Above 1000 lx the application
// note corrects the product of count and resolution, x, by
//
//	6.0135e-13 x^4 - 9.3924e-9 x^3 + 8.1488e-5 x^2 + 1.0023 x
//
// which is what this driver gives, to the nearest micro-lux: 1075 lx for 1000 lx,
// 14793 lx for 10000 lx, and the specified 140 klx for 23970 lx. What is above that
// is a drivers.RangeError. The formula does not join the straight line: from
// 1000 lx up a reading steps by 7.5 %, which is within the chip's tolerance of 10 %.
// Linux's driver, veml6030, does not correct.
//
// # Sources
//
//   - VEML7700 datasheet, Vishay document 84286, revision 1.7 (28-Nov-2023) and
//     later: resolution 0.0042 lx with gain 2 and 800 ms. Older revisions have
//     0.0036 lx, which Vishay corrected; Linux did so in 6.12 (commit
//     c9e9746f275c) and its stable kernels.
//   - Designing the VEML7700 Into an Application, Vishay document 84323, for the
//     times, the flow chart and the correction. The polynomial's coefficients
//     are as in the libraries of Adafruit and ESPHome, which quote the note.
//
// # Errata and traps
//
//   - Words are sent with the low byte first.
//   - The gain's codes are not in the order of the gains, nor are those of the
//     integration time.
//   - Gains 1 and 2 are for less than 100 lx to the application note. They are
//     linear, as far as the flow chart lets them be used here (670 lx).
//   - The VEML6030 has the same registers and, at this address, the same identity. Its
//     datasheet of 2017 (revision 1.2) ends before the identity register.
package veml7700
