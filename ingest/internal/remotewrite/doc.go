// Package remotewrite sends every frame of Kafka to a Prometheus remote write
// receiver, each sample with the frame's own time. It speaks Prometheus
// Remote-Write 1.0 (https://prometheus.io/docs/specs/prw/remote_write_spec/), with the messages
// that the Prometheus project publishes.
//
// Kafka is the queue. A batch is sent until the receiver has taken each of its
// samples or has refused it for good; then the offset is committed. So a receiver
// that is away costs no memory and no sample, and one that is slow delays nobody
// else, the consumer group being its own.
//
// Receivers refuse a request as a whole for the sake of one sample. Such a
// request is divided until the samples that are refused stand alone; they are
// counted by reason, and the others go through.
//
// One call of Frames owns one partition; calls for different partitions run at
// the same time and share only the connections and the metrics.
package remotewrite
