// Package window computes tumbling event-time windows of sensor readings that
// are exact, revisable and able to say what is missing from them. It does no
// I/O, starts no goroutine and reads no clock: time is an argument.
//
// A [Window] is the state of one sensor in one interval: exact fixed-point
// moments of each measure, in one part per place, and its [Coverage], the
// identities of the frames counted in. A [Place] is the fold of the latest
// revision of every (sensor, part) at one place in one interval. [Engine] and
// [Places] decide which windows are open and when they close.
//
// README.md holds the model and the proof that the result does not depend on
// the order, the number of deliveries, or where the work was interrupted.
//
// No type here is safe for concurrent use: one goroutine owns an engine and
// the windows it hands out.
package window
