// Package aggregate keeps the windows of package window in a store and on
// Kafka. It reads iot-frames by partition, keeps the windows of the sensors,
// and tells the places on iot-place-parts; it reads that topic in another
// group and keeps the windows of the places.
//
// For both: store with compare-and-set on the revision, then produce, then
// commit the offset of the oldest record still needed by a window that is not
// stored. Every step may be repeated after a crash and changes nothing then:
// package window refuses what it has counted. A window that was touched is
// produced again even if nothing changed, because a crash may have come between
// its store and its produce.
//
// # Another owner
//
// After a rebalance two processes may believe that a partition is theirs. The
// store decides: the loser's compare-and-set fails, and it takes what is stored
// for true. Kafka cannot decide, so a process that has produced and then finds
// that it may no longer commit reads the windows it has produced again, and
// produces those that are stored with a later revision, until there is none.
// Whoever stored later produces after this read or before it; in both cases the
// last record of a key is the last revision.
//
// # Concurrency
//
// One call of Sensors or Places owns one partition and everything it has in
// memory; calls for different partitions run at the same time and share only
// the store, the producer and the metrics, which are safe for that.
package aggregate
