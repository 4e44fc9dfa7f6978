// Package bridge carries frames from MQTT to Kafka and says so only when Kafka
// has them.
//
// [Bridge.Handle] is given each MQTT message, takes its frames apart and adds
// them to a batch; [Bridge.Run] writes one batch after another and then, and
// only then, receipts the frames to their devices and acknowledges the messages
// to the broker, in the order they came. What cannot be carried goes to the
// dead-letter topic with its reason, as part of the same batch. What is beyond the
// limits of its device is not taken: the device sends it again. README.md has
// the picture, the argument that nothing is lost, and how to read a dead
// letter.
//
// # Concurrency
//
// Handle may be called from several goroutines; it blocks while too much is
// unacknowledged, but never for a message that it does not take. There are two batches: one is filled under the bridge's lock
// while Run, on its own, writes the other. Nothing else runs.
package bridge
