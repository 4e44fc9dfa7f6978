// Package clock says what time it is on a machine that may not know it.
//
// A Raspberry Pi has no clock that runs without power. After a start it says some
// time in the past, until a time daemon has asked the network. What it always has
// is CLOCK_BOOTTIME, which counts from the start of the kernel, goes on while the
// machine is suspended, and cannot be set (clock_gettime(2)).
//
// A [Clock] gives each moment by both. Once the wall clock has been believed, it
// knows when CLOCK_BOOTTIME was 0, so that moments before can be placed, too.
// Readings that were taken then have an error of what the crystal drifts until
// the first synchronisation (a Pi's: up to 100 ppm, 0.36 s an hour) beside that of
// the synchronised clock itself.
package clock
