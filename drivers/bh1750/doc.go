// Package bh1750 reads ROHM's BH1750FVI ambient light sensor over I2C.
//
// # How it measures
//
// Each reading is one one-time measurement, after which the chip powers down
// by itself. Every reading sends the whole configuration, so a chip that was
// reset, replaced or used by another program between two readings is measured
// right all the same. The chip has no status to poll: the driver waits the
// longest time that the datasheet gives for the measurement.
//
// A result of 0xFFFF is the converter's limit. The light may be anything from
// there up, so it is an error (drivers.ErrSaturated) and not a value. A lower
// MeasurementTime measures brighter light:
//
//	mode                MeasurementTime  one count  limit      longest time
//	HighResolution      69 (default)     0.8333 lx   54612 lx  180 ms
//	HighResolution      31               1.8548 lx  121555 lx   81 ms
//	HighResolution2     69               0.4167 lx   27306 lx  180 ms
//	HighResolution2     254              0.1132 lx    7418 lx  663 ms
//	LowResolution       69               0.8333 lx   54612 lx   24 ms (steps of about 4 lx)
//
// # Source
//
// BH1750FVI technical note, ROHM, 2009.04, revision B. Comments cite its pages.
//
// # Errata and traps
//
//   - The chip has neither an identity nor a status. Whatever else answers at
//     its address is taken for it, and if it loses power between the command
//     and the read, or another program begins a measurement, it reads 0, which
//     is also what darkness reads. So a 0 counts only if a second measurement,
//     with low resolution, sees no light either.
//   - It takes one command a transaction (page 10).
//   - A count of the second high resolution mode is worth half of one of the
//     first (page 11), which drivers commonly miss.
package bh1750
