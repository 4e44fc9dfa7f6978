// Package lps22hb reads ST's LPS22HB barometer over I2C: pressure, and the
// temperature of the chip.
//
// # How it measures
//
// Without filter each reading is one one-shot conversion; in between the chip is
// powered down. The chip's low-pass filter works in continuous mode only, so with a
// filter it measures 75 times a second, and a reading takes the next result.
//
// The driver clears the flags of results that nobody has read, starts a conversion or
// waits for one, and polls the flags of both quantities. It reads the result and then
// the control register: the block data update, which is off after a reset, tells
// whether the result is of the chip as it was configured. A chip that was reset is
// configured anew and measures again.
//
// The resolution is 1/4096 hPa and 0.01 degree Celsius. The temperature is what the
// chip compensates the pressure by: it is specified to 1.5 degrees, and is that of
// the board rather than of the air.
//
// # Source
//
// LPS22HB datasheet, DocID027083, STMicroelectronics, revision 6 (June 2017). Comments
// name its registers.
//
// # Errata and traps
//
//   - The datasheet gives no time for a one-shot conversion. At its highest rate the
//     chip takes 13.3 ms for one, which is what the driver waits before it polls.
//   - Reading the highest byte of a result clears its flag. So the flags are polled
//     by themselves: a result that is read when one of the two is set would be
//     waited for in vain afterwards.
//   - There are reports of chips that never end a one-shot conversion (ST's forum,
//     2016). They are drivers.ErrNotReady here, reading by reading.
//   - The chip subtracts an offset from the pressure (RPDS), which a software reset
//     keeps, as it does the low-current mode (RES_CONF). Both are cleared when the chip
//     is configured, so that none is left that another program has set.
//   - A broken cell reads as 760 hPa for good, which ST says of the LPS25H (AN4450,
//     4.3). It is in range; the word, which does not change, tells.
package lps22hb
