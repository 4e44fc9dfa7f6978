// Package sink writes every frame of Kafka to the database, once, and every
// declared loss beside them. A document's id is made of the identity of what it
// holds, so what is there already is left alone, and any write may be repeated.
//
// Offsets are committed after the write. A frame that the database will never
// take becomes a dead letter, and the others go on.
//
// One call of Frames owns one partition; calls for different partitions run at
// the same time and share only the store, the producer and the metrics.
package sink
