// Package kafka is the ingest service's adapter to Apache Kafka, and the only
// package that imports its client, segmentio/kafka-go.
//
// A [Client] holds what every user of the cluster shares: addresses, TLS,
// SASL and the classification of errors. From it come
//
//   - [Client.EnsureTopics], which creates the topics that are absent;
//   - [Producer], which writes record batches with acks=all, keeps the order
//     of each partition, and retries until its context ends;
//   - [Consumer], a member of a consumer group that hands each [Assignment],
//     one partition for one generation, to a goroutine of its own.
//
// The producer encodes record batches itself (format v2, magic 2) and sends
// them with kafka-go's raw produce request, all partitions of a leader in one
// request: its Writer costs three to four times the CPU for the same work.
// The consumer takes the answers to its fetches as bytes, by kafka-go's raw
// exchange, and decodes the record batches where they lie: kafka-go's own reader
// copies each record twice and took 40 % of the CPU time of the role aggregate.
//
// Batches are not compressed: it would cost the bridge time for every byte, and
// a topic's compression.type has the broker do it where disk is what is scarce.
// There is no idempotent producer in kafka-go, so a retry may write a record
// twice. The identity inside each value makes that harmless downstream.
//
// Sources: the Kafka protocol guide (record batch, Produce v3 to v8, Fetch v4 to
// v11), KIP-98 (message format v2), and kafka-go v0.4.51's transport.
package kafka
