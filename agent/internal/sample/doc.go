// Package sample reads the sensors on schedule and hands each reading on as a
// frame.
//
// A sensor is an id with one or more chips that supply its measures. Each
// sensor has a goroutine that keeps its schedule, and each chip one that runs
// its bus transactions, so that a chip that fails or hangs costs its own
// measures and nothing else: they are absent from the frame and named in its
// faults with the reason.
//
// A measure that is withheld although the chip gave one, or that is not what it
// gave, has that in the frame's raw. A [Converter] tells when one is to be withheld
// because the chip repeats itself.
//
// Tick n of a sensor is at start + n × interval on the monotonic clock. A tick
// that cannot be kept is counted as missed and left out, never caught up with.
// A frame's timestamp is what the wall clock says as the sampling of its tick
// begins. If that clock is set back, the timestamps go back with it: what
// orders and identifies readings is the sequence number that the buffer gives
// them, not their time.
package sample
